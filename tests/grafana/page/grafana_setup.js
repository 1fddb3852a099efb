// Sets up what Grafana's application provides before it opens the first dashboard.

import {
  EventBusSrv,
  LoadingState,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
} from '@grafana/data';
import {
  setAppEvents,
  setDataSourceSrv,
  setPluginImportUtils,
  setRunRequest,
} from '@grafana/runtime';
import { sceneUtils } from '@grafana/scenes';
import { catchError, from, map, of } from 'rxjs';
import { standard } from './fields.js';
import { plugins } from './panels.jsx';

// The transformations that the dashboards use.
export const TRANSFORMERS = ['sortBy', 'groupingToMatrix', 'organize'];

export function setUpGrafana(source) {
  setAppEvents(new EventBusSrv());
  standardFieldConfigEditorRegistry.setInit(standard);
  const transformers = Object.values(standardTransformers).filter(({ id }) =>
    TRANSFORMERS.includes(id)
  );
  standardTransformersRegistry.setInit(() =>
    transformers.map((one) => ({ ...one, transformation: () => Promise.resolve(one) }))
  );

  const settings = {
    uid: source.uid,
    type: source.type,
    name: 'Prometheus',
    meta: source.meta,
    isDefault: true,
  };
  setDataSourceSrv({
    get: async () => source,
    getList: () => [settings],
    getInstanceSettings: () => settings,
  });
  sceneUtils.registerRuntimeDataSource({ dataSource: source });
  setRunRequest(runRequest);

  setPluginImportUtils({
    importPanelPlugin: async (id) => plugins[id],
    getPanelPluginFromCache: () => undefined,
  });
  for (const [pluginId, plugin] of Object.entries(plugins)) {
    sceneUtils.registerRuntimePanelPlugin({ pluginId, plugin });
  }
}

function runRequest(datasource, request) {
  const state = (state, more) => ({
    state,
    series: [],
    timeRange: request.range,
    request,
    ...more,
  });
  return from(datasource.query(request)).pipe(
    map(({ data }) => state(LoadingState.Done, { series: data.map(toDataFrame) })),
    catchError((error) => of(state(LoadingState.Error, { errors: [{ message: error.message }] })))
  );
}
