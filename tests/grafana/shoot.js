// Photographs the dashboards, and checks what they show: node shoot.js BUNDLE PICTURES
// Where Prometheus is, and what is wrong with the mesh, it learns from lab.py. It ends with 1 if a check fails.

import { mkdir } from 'node:fs/promises';
import puppeteer from 'puppeteer-core';
import * as checks from './checks.js';
import * as look from './look.js';

const PATIENCE = 60_000;
const WIDTH = 1440;

const [bundle, pictures] = process.argv.slice(2);
const { PROMETHEUS, SECONDS_BACK } = process.env;
const lab = JSON.parse(process.env.LAB);
// One instant for everything, so that what is seen can be compared with what is.
const now = Date.now();
const to = new Date(now).toISOString();
const from = new Date(now - SECONDS_BACK * 1000).toISOString();

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  // The page is a file and reads its icons from files; in a laboratory's namespace there is nothing to protect.
  args: ['--no-sandbox', '--allow-file-access-from-files', '--hide-scrollbars'],
});

/** Opens a dashboard, as high as it is, and waits until all of its panels have their data and are drawn. */
async function open(dashboard, variables) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => complain(dashboard, [`the page fails: ${error.message}`]));
  const query = new URLSearchParams({ dashboard, prometheus: PROMETHEUS, from, to, ...variables });
  await page.goto(`file://${bundle}/index.html?${query}`);
  await page.evaluate(`window.look = {${Object.entries(look).map(([name, body]) => `${name}: ${body}`)}}`);
  await page.setViewport({ width: WIDTH, height: 500 });
  await page.waitForSelector('[data-viz-panel-key]', { timeout: PATIENCE });
  await page.setViewport({ width: WIDTH, height: await page.evaluate(() => document.documentElement.scrollHeight) });
  await drawn(page, dashboard);
  await page.waitForNetworkIdle({ idleTime: 1000, timeout: PATIENCE });
  complain(dashboard, await page.evaluate(() => window.unknown));
  complain(dashboard, checks.panels(await page.evaluate(() => window.look.panels())));
  return page;
}

/** All panels have their data and are drawn, or are named as those that are not. */
async function drawn(page, dashboard) {
  const waiting = () =>
    window.look.panels().filter(({ done, errors, text, title }) => !errors.length && !(done && text.length > title.length));
  try {
    await page.waitForFunction(`!(${waiting})().length`, { timeout: PATIENCE });
  } catch {
    const panels = await page.evaluate(waiting);
    complain(dashboard, [`not drawn within ${PATIENCE / 1000} s: ${panels.map(({ title }) => title)}`]);
  }
}

/** What Prometheus holds of each cell that has not failed: source, then destination, then the figure. */
async function truth(metric, protocol) {
  const cell = `{protocol="${protocol}"}`;
  const query = `${metric}${cell} and on (source_node, destination_node) iperf_test_success${cell} == 1`;
  const answer = await fetch(`${PROMETHEUS}/api/v1/query?${new URLSearchParams({ query, time: now / 1000 })}`);
  const figures = {};
  for (const { metric: labels, value } of (await answer.json()).data.result) {
    (figures[labels.source_node] ??= {})[labels.destination_node] = Number(value[1]);
  }
  return figures;
}

let wrong = 0;
function complain(where, complaints) {
  wrong += complaints.length;
  complaints.forEach((complaint) => console.log(`WRONG  ${where}: ${complaint}`));
}

async function matrix(page, key, metric, protocol, read) {
  const table = await page.evaluate((key) => window.look.table(key), key);
  const real = await truth(metric, protocol);
  complain(`${key} (${metric})`, [
    ...checks.shape(table, lab.nodes),
    ...checks.figures(table, lab.nodes, real, read),
  ]);
  return table;
}

async function overview() {
  const page = await open('overview', {});
  const bandwidth = await matrix(page, 'panel-9', 'iperf_network_bandwidth_mbps', 'tcp', checks.megabits);
  complain('overview', checks.down(bandwidth, lab.nodes, lab.shut));
  await matrix(page, 'panel-10', 'iperf_network_loss_ratio', 'udp', checks.ratio);
  complain('overview', checks.links(bandwidth, lab.nodes, { protocol: 'tcp', from, to }));
  await page.screenshot({ path: `${pictures}/overview.png`, captureBeyondViewport: false });
  const clip = await page.evaluate(() => window.look.frame('panel-9'));
  await page.screenshot({ path: `${pictures}/matrix.png`, clip, captureBeyondViewport: false });
}

async function pair() {
  const page = await open('pair', variables(lab.shut));
  await page.screenshot({ path: `${pictures}/pair.png`, captureBeyondViewport: false });
}

async function plain() {
  const page = await open('plain', variables(lab.lossy));
  complain('plain', checks.shape(await page.evaluate(() => window.look.table('panel-1')), lab.nodes));
  await page.screenshot({ path: `${pictures}/plain.png`, captureBeyondViewport: false });
}

const variables = ([source, destination]) => ({ 'var-source_node': source, 'var-destination_node': destination });

await mkdir(pictures, { recursive: true });
try {
  await overview();
  await pair();
  await plain();
} finally {
  await browser.close();
}
console.log(wrong ? `pictures: ${wrong} things wrong` : `pictures: as they must be, in ${pictures}`);
process.exitCode = wrong ? 1 : 0;
