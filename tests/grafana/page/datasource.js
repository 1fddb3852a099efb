// The part of Grafana's Prometheus data source that these dashboards use: turns a panel's queries
// into data frames.

import { FieldType, MutableDataFrame, renderLegendFormat } from '@grafana/data';
import { RuntimeDataSource, sceneGraph } from '@grafana/scenes';

const POINTS = 300;

export class Prometheus extends RuntimeDataSource {
  constructor(address) {
    super('prometheus', 'prometheus');
    this.address = address;
  }

  async query(request) {
    const scene = request.scopedVars.__sceneObject.value.valueOf();
    const frames = await Promise.all(
      request.targets.map(async (target) => {
        const expr = sceneGraph.interpolate(scene, target.expr, request.scopedVars, asPattern);
        const legend = sceneGraph.interpolate(scene, target.legendFormat ?? '', request.scopedVars);
        const series = await this.fetchSeries(expr, target.instant, request.range);
        return target.format === 'table'
          ? [table(series, target)]
          : series.map((one) => line(one, target, legend || expr, step(request.range)));
      })
    );
    return { data: frames.flat() };
  }

  /** Returns the values of a variable: `label_values(selector, label)`. */
  async metricFindQuery(query, { scopedVars }) {
    const text = typeof query === 'string' ? query : query.query;
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(text);
    const expr = sceneGraph.interpolate(
      scopedVars.__sceneObject.value.valueOf(),
      selector,
      scopedVars,
      asPattern
    );
    const series = await this.fetchSeries(`group by (${label}) (${expr})`, true, null);
    return series.map((one) => ({ text: one.metric[label] }));
  }

  async fetchSeries(expr, instant, range) {
    const query = new URLSearchParams({ query: expr });
    if (!instant) {
      const [from, to] = [range.from.valueOf() / 1000, range.to.valueOf() / 1000];
      query.set('start', from);
      query.set('end', to);
      query.set('step', step(range));
    } else if (range) {
      query.set('time', range.to.valueOf() / 1000);
    }
    const answer = await (
      await fetch(`${this.address}/api/v1/${instant ? 'query' : 'query_range'}?${query}`)
    ).json();
    if (answer.status !== 'success') {
      throw new Error(`${expr}: ${answer.error}`);
    }
    return answer.data.result;
  }
}

const step = ({ from, to }) => Math.max(1, Math.round((to - from) / 1000 / POINTS));

/** Formats a variable's value for a query: several values become alternatives. */
function asPattern(value) {
  const escaped = [value].flat().map((one) => one.replace(/[\\^$.*+?()[\]{}|]/g, '\\\\$&'));
  return Array.isArray(value) && value.length > 1 ? `(${escaped.join('|')})` : escaped[0];
}

const points = (series) =>
  (series.values ?? [series.value]).map(([time, value]) => [time * 1000, Number(value)]);

function line(series, target, legend, step) {
  const values = points(series);
  return new MutableDataFrame({
    refId: target.refId,
    fields: [
      // The interval distinguishes a gap (a failed test) from adjacent values.
      {
        name: 'Time',
        type: FieldType.time,
        values: values.map(([time]) => time),
        config: { interval: step * 1000 },
      },
      {
        name: 'Value',
        type: FieldType.number,
        values: values.map(([, value]) => value),
        labels: series.metric,
        config: { displayNameFromDS: renderLegendFormat(legend, series.metric) },
      },
    ],
  });
}

function table(all, target) {
  const rows = all.flatMap((series) => points(series).map((point) => [series.metric, point]));
  const labels = [...new Set(all.flatMap((series) => Object.keys(series.metric)))].sort();
  return new MutableDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map(([, [time]]) => time) },
      ...labels.map((name) => ({
        name,
        type: FieldType.string,
        values: rows.map(([metric]) => metric[name]),
      })),
      { name: 'Value', type: FieldType.number, values: rows.map(([, [, value]]) => value) },
    ],
  });
}
