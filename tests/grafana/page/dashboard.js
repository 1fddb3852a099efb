// Converts a dashboard's JSON to a scene, as Grafana does since version 11.

import {
  CustomVariable,
  DataSourceVariable,
  EmbeddedScene,
  QueryVariable,
  SceneControlsSpacer,
  SceneDataTransformer,
  SceneGridItem,
  SceneGridLayout,
  SceneQueryRunner,
  SceneTimePicker,
  SceneTimeRange,
  SceneVariableSet,
  VariableValueSelectors,
  VizPanel,
} from '@grafana/scenes';

export function sceneOf(dashboard, { from, to, values }) {
  return new EmbeddedScene({
    $timeRange: new SceneTimeRange({ from, to }),
    $variables: new SceneVariableSet({
      variables: dashboard.templating.list.map((model) => variable(model, values[model.name])),
    }),
    controls: [new VariableValueSelectors({}), new SceneControlsSpacer(), new SceneTimePicker({})],
    body: new SceneGridLayout({ children: dashboard.panels.map(panel) }),
  });
}

function variable(model, value) {
  const common = {
    name: model.name,
    label: model.label,
    isMulti: model.multi,
    includeAll: model.includeAll,
    allValue: model.allValue,
    value: value ?? model.current.value,
    text: value ?? model.current.text,
  };
  switch (model.type) {
    case 'datasource':
      return new DataSourceVariable({ ...common, pluginId: model.query });
    case 'custom':
      return new CustomVariable({ ...common, query: model.query });
    case 'query':
      return new QueryVariable({
        ...common,
        query: model.query,
        datasource: model.datasource,
        sort: model.sort,
      });
    default:
      throw new Error(
        `variable ${model.name}: unknown type ${model.type}; expected datasource, custom or query`
      );
  }
}

function panel(model) {
  const queries = new SceneQueryRunner({ datasource: model.datasource, queries: model.targets });
  return new SceneGridItem({
    ...{ x: model.gridPos.x, y: model.gridPos.y, width: model.gridPos.w, height: model.gridPos.h },
    body: new VizPanel({
      key: `panel-${model.id}`,
      title: model.title,
      description: model.description,
      pluginId: model.type,
      options: model.options,
      fieldConfig: model.fieldConfig,
      $data: new SceneDataTransformer({
        $data: queries,
        transformations: model.transformations ?? [],
      }),
    }),
  });
}
