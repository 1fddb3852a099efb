// Bundles the page into a directory: node build.js target/pictures/page

import { copyFile, cp } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const [directory] = process.argv.slice(2);
const here = fileURLToPath(new URL('.', import.meta.url));

// Scenes need version 6 of the router, which Grafana's components install under this name beside
// version 5.
const router = {
  name: 'router',
  setup: ({ onResolve, resolve }) =>
    onResolve({ filter: /^react-router-dom$/ }, ({ importer, ...more }) =>
      importer.includes('@grafana/scenes')
        ? resolve('react-router-dom-v5-compat', {
            importer,
            kind: more.kind,
            resolveDir: more.resolveDir,
          })
        : undefined
    ),
};

await build({
  entryPoints: [`${here}/page/main.jsx`],
  outdir: directory,
  bundle: true,
  minify: true,
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  loader: { '.ttf': 'dataurl', '.woff2': 'dataurl', '.svg': 'dataurl' },
  plugins: [router],
  logLevel: 'error',
});
await cp(`${here}/node_modules/@grafana/ui/dist/public`, `${directory}/build`, { recursive: true });
await copyFile(`${here}/page/index.html`, `${directory}/index.html`);
