// Takes screenshots of the dashboards, and checks what they show:
//
//   node screenshots.js BUNDLE PICTURES
//
// lab.py passes it the address of Prometheus and the faults of the mesh. The exit code is 1 if a check
// fails.

import { mkdir } from 'node:fs/promises';
import puppeteer from 'puppeteer-core';
import * as checks from './checks.js';
import * as reader from './page_reader.js';

const PATIENCE = 60_000;
const WIDTH = 1440;

const [bundle, pictures] = process.argv.slice(2);
const { PROMETHEUS, SECONDS_BACK } = process.env;
const lab = JSON.parse(process.env.LAB);
// One instant for all queries, so that the pictures can be compared with Prometheus.
const now = Date.now();
const to = new Date(now).toISOString();
const from = new Date(now - SECONDS_BACK * 1000).toISOString();

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  // The page is a file and reads its icons from files. The lab's namespace contains nothing to
  // protect.
  args: ['--no-sandbox', '--allow-file-access-from-files', '--hide-scrollbars'],
});

/** Opens a dashboard at its full height, and waits until all panels have data and are drawn. */
async function open(dashboard, variables) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => report(dashboard, [`the page fails: ${error.message}`]));
  const query = new URLSearchParams({ dashboard, prometheus: PROMETHEUS, from, to, ...variables });
  await page.goto(`file://${bundle}/index.html?${query}`);
  await page.evaluate(
    `window.reader = {${Object.entries(reader).map(([name, body]) => `${name}: ${body}`)}}`
  );
  await page.setViewport({ width: WIDTH, height: 500 });
  await page.waitForSelector('[data-viz-panel-key]', { timeout: PATIENCE });
  await page.setViewport({
    width: WIDTH,
    height: await page.evaluate(() => document.documentElement.scrollHeight),
  });
  await drawn(page, dashboard);
  await page.waitForNetworkIdle({ idleTime: 1000, timeout: PATIENCE });
  report(dashboard, await page.evaluate(() => window.unknown));
  report(dashboard, checks.panels(await page.evaluate(() => window.reader.panels())));
  return page;
}

/** Waits until all panels have data and are drawn; reports those that are not. */
async function drawn(page, dashboard) {
  const waiting = () =>
    window.reader
      .panels()
      .filter(
        ({ done, errors, text, title }) => !errors.length && !(done && text.length > title.length)
      );
  try {
    await page.waitForFunction(`!(${waiting})().length`, { timeout: PATIENCE });
  } catch {
    const panels = await page.evaluate(waiting);
    report(dashboard, [
      `not drawn within ${PATIENCE / 1000} s: ${panels.map(({ title }) => title)}`,
    ]);
  }
}

/** Returns the values of all successful cells from Prometheus, by source and destination. */
async function valuesOf(metric, protocol) {
  const cell = `{protocol="${protocol}"}`;
  const success = `iperf_test_success${cell} == 1`;
  const query = `${metric}${cell} and on (source_node, destination_node) ${success}`;
  const answer = await fetch(
    `${PROMETHEUS}/api/v1/query?${new URLSearchParams({ query, time: now / 1000 })}`
  );
  const values = {};
  for (const { metric: labels, value } of (await answer.json()).data.result) {
    (values[labels.source_node] ??= {})[labels.destination_node] = Number(value[1]);
  }
  return values;
}

let failures = 0;
function report(where, problems) {
  failures += problems.length;
  problems.forEach((problem) => console.log(`WRONG  ${where}: ${problem}`));
}

async function matrix(page, key, metric, protocol, read) {
  const table = await page.evaluate((key) => window.reader.table(key), key);
  const expected = await valuesOf(metric, protocol);
  report(`${key} (${metric})`, [
    ...checks.shape(table, lab.nodes),
    ...checks.figures(table, lab.nodes, expected, read),
  ]);
  return table;
}

async function overview() {
  const page = await open('overview', {});
  const bandwidth = await matrix(
    page,
    'panel-9',
    'iperf_network_bandwidth_mbps',
    'tcp',
    checks.megabits
  );
  report('overview', checks.down(bandwidth, lab.nodes, lab.blocked));
  await matrix(page, 'panel-10', 'iperf_network_loss_ratio', 'udp', checks.ratio);
  report('overview', checks.links(bandwidth, lab.nodes, { protocol: 'tcp', from, to }));
  await page.screenshot({ path: `${pictures}/overview.png`, captureBeyondViewport: false });
  const clip = await page.evaluate(() => window.reader.frame('panel-9'));
  await page.screenshot({ path: `${pictures}/matrix.png`, clip, captureBeyondViewport: false });
}

async function pair() {
  const page = await open('pair', variables(lab.blocked));
  await page.screenshot({ path: `${pictures}/pair.png`, captureBeyondViewport: false });
}

async function plain() {
  const page = await open('plain', variables(lab.lossy));
  report(
    'plain',
    checks.shape(await page.evaluate(() => window.reader.table('panel-1')), lab.nodes)
  );
  await page.screenshot({ path: `${pictures}/plain.png`, captureBeyondViewport: false });
}

const variables = ([source, destination]) => ({
  'var-source_node': source,
  'var-destination_node': destination,
});

await mkdir(pictures, { recursive: true });
try {
  await overview();
  await pair();
  await plain();
} finally {
  await browser.close();
}
console.log(
  failures
    ? `pictures: ${failures} checks failed`
    : `pictures: all checks passed; written to ${pictures}`
);
process.exitCode = failures ? 1 : 0;
