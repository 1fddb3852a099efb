// The page that is photographed: one dashboard, drawn as Grafana draws it. Its address says which, and from what:
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
import { unknown } from './known.js';
import { surround } from './surroundings.js';

const wanted = new URLSearchParams(location.search);

const theme = createTheme();
config.theme2 = theme;
surround(new Prometheus(wanted.get('prometheus')));
const dashboard = { overview, pair, plain }[wanted.get('dashboard')];
const values = Object.fromEntries([...wanted].filter(([key]) => key.startsWith('var-')).map(([key, value]) => [key.slice(4), value]));
const scene = sceneOf(dashboard, { from: wanted.get('from'), to: wanted.get('to'), values });
// For the checks, which look at the data behind the picture.
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
