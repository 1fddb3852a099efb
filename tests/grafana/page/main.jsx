// The page for the screenshots: one dashboard, drawn as in Grafana. Its address selects the
// dashboard and its data:
// ?dashboard=overview&prometheus=http://...&from=...&to=...&var-source_node=...

import '@fontsource-variable/inter';
import './page.css';
import { createTheme } from '@grafana/data';
import { config } from '@grafana/runtime';
import { GlobalStyles, PortalContainer, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom-v5-compat';
import overview from '../../../kustomize/components/grafana-dashboard/iperf3-mesh-overview.json';
import pair from '../../../kustomize/components/grafana-dashboard/iperf3-mesh-pair.json';
import plain from '../../../kustomize/components/grafana-dashboard/k8s-iperf3.json';
import { sceneOf } from './dashboard.js';
import { Prometheus } from './datasource.js';
import { setUpGrafana } from './grafana_setup.js';
import { unknown } from './unknown_options.js';

const query = new URLSearchParams(location.search);

// Grafana's server has the font Inter; the package has it under this name.
const fontFamily = "'Inter Variable', sans-serif";
const theme = createTheme({ typography: { fontFamily } });
config.theme2 = theme;
setUpGrafana(new Prometheus(query.get('prometheus')));
const dashboard = { overview, pair, plain }[query.get('dashboard')];
const variables = [...query].filter(([key]) => key.startsWith('var-'));
const values = Object.fromEntries(variables.map(([key, value]) => [key.slice(4), value]));
const scene = sceneOf(dashboard, { from: query.get('from'), to: query.get('to'), values });
// The checks read the data behind the picture from here.
window.scene = scene;
window.unknown = unknown(dashboard);

createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <MemoryRouter>
      <h1>{dashboard.title}</h1>
      <scene.Component model={scene} />
      <PortalContainer />
    </MemoryRouter>
  </ThemeContext.Provider>
);
