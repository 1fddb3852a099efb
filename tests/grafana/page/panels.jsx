// Grafana's panel plugins are part of its server and not published. These plugins rebuild them from
// the published components.

import {
  FieldColorModeId,
  PanelPlugin,
  cacheFieldDisplayNames,
  getFieldDisplayName,
  getFieldDisplayValues,
} from '@grafana/data';
import { BigValue, TimeSeries, VizLegend, VizRepeater, useTheme2 } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useMemo } from 'react';
import { custom } from './fields.js';

function Table({ data, width, height, options, fieldConfig }) {
  // The column heads come from these names.
  useMemo(() => cacheFieldDisplayNames(data.series), [data.series]);
  const [frame] = data.series;
  if (!frame?.length) {
    return <Nothing fieldConfig={fieldConfig} />;
  }
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      noHeader={!options.showHeader}
      cellHeight={options.cellHeight}
      frozenColumns={options.frozenColumns?.left}
      fieldConfig={fieldConfig}
      // The checks need every cell, even if the panel is too small for all of them.
      enableVirtualization={false}
    />
  );
}

function Stat({ data, width, height, options, fieldConfig, replaceVariables, timeZone }) {
  const theme = useTheme2();
  const values = () =>
    getFieldDisplayValues({
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables,
      theme,
      data: data.series,
      timeZone,
    });
  const draw = ({ value, width, height, count }) => (
    <BigValue
      value={value.display}
      count={count}
      width={width}
      height={height}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      theme={theme}
    />
  );
  return (
    <VizRepeater
      source={data}
      getValues={values}
      renderValue={draw}
      width={width}
      height={height}
      orientation={options.orientation}
      itemSpacing={3}
      renderCounter={0}
    />
  );
}

function Lines({ data, width, height, options, fieldConfig, timeRange, timeZone }) {
  return data.series.length ? (
    <TimeSeries
      frames={data.series}
      structureRev={data.structureRev}
      width={width}
      height={height}
      timeRange={timeRange}
      timeZone={timeZone}
      legend={options.legend}
    />
  ) : (
    <Nothing fieldConfig={fieldConfig} />
  );
}

/**
 * The only panel whose component is not published: one bar per state, with colours and texts from
 * its field config.
 */
function States({ data, width, height, timeRange, options }) {
  const theme = useTheme2();
  const [from, to] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  const [namesWidth, legendHeight] = [90, 30];
  const at = (time) => namesWidth + ((time - from) / (to - from)) * (width - namesWidth);
  const rowHeight = (height - legendHeight) / data.series.length;
  const rows = data.series.map((frame) => ({
    name: getFieldDisplayName(frame.fields[1], frame),
    bars: bars(frame, to),
  }));
  const legend = new Map(rows.flatMap(({ bars }) => bars.map(({ text, color }) => [text, color])));
  return (
    <>
      <svg width={width} height={height - legendHeight}>
        {rows.map(({ name, bars }, row) => (
          <g key={name} transform={`translate(0 ${row * rowHeight})`}>
            <text y={rowHeight / 2} fill={theme.colors.text.primary} fontSize={12}>
              {name}
            </text>
            {bars.map(({ start, end, color }) => (
              <rect
                key={start}
                x={at(start)}
                width={at(end) - at(start)}
                height={rowHeight * options.rowHeight}
                fill={color}
              />
            ))}
          </g>
        ))}
      </svg>
      <VizLegend
        items={[...legend].map(([label, color]) => ({ label, color, yAxis: 1 }))}
        placement="bottom"
        displayMode="list"
      />
    </>
  );
}

/** Returns the intervals in which a value stays the same. */
function bars(frame, to) {
  const [{ values: times }, { values, display }] = frame.fields;
  const all = [];
  times.forEach((start, i) => {
    const { text, color } = display(values[i]);
    const end = times[i + 1] ?? to;
    const last = all.at(-1);
    if (last?.text === text) {
      last.end = end;
    } else {
      all.push({ start, end, text, color });
    }
  });
  return all;
}

const Nothing = ({ fieldConfig }) => <div>{fieldConfig.defaults.noValue ?? 'No data'}</div>;

const plugin = (component, standardOptions = {}) =>
  new PanelPlugin(component).useFieldConfig({ standardOptions, useCustomConfig: custom });

export const plugins = {
  table: plugin(Table),
  stat: plugin(Stat),
  timeseries: plugin(Lines, { color: { defaultValue: { mode: FieldColorModeId.PaletteClassic } } }),
  'state-timeline': plugin(States),
};
