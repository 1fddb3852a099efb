// What must be seen in the pictures. Each check takes what the page shows, and tells what is wrong with it, in words.

const DOWN = 'down';
const SELF = '–';
const NUMBER = /^\d+(\.\d+)?$/;
const PERCENT = /^(\d+(\.\d+)?)%$/;
// At least three digits are shown.
const ROUNDING = 0.005;

/** Every panel has something to show, and nothing went wrong on the way to it. */
export function panels(shown) {
  return shown.flatMap(({ title, errors, rows, text }) => [
    ...errors.map((error) => `panel "${title}": ${error}`),
    ...(rows ? [] : [`panel "${title}": its queries found nothing`]),
    ...(/No data/.test(text) ? [`panel "${title}" says "No data"`] : []),
  ]);
}

/** Rows and columns are the nodes in one order, and the diagonal, and nothing else, is empty. */
export function shape({ columns, rows }, nodes) {
  const wrong = [];
  if (columns.slice(1).join() !== nodes.join()) {
    wrong.push(`columns are ${columns.slice(1)}, not ${nodes}`);
  }
  if (rows.map(({ name }) => name).join() !== nodes.join()) {
    wrong.push(`rows are ${rows.map(({ name }) => name)}, not ${nodes}`);
  }
  rows.forEach(({ name, cells }, row) =>
    cells.forEach(({ text }, column) => {
      if ((text === SELF) !== (row === column)) {
        wrong.push(`${name} to ${nodes[column]} shows "${text}"`);
      }
    })
  );
  return wrong;
}

/** Every cell shows what Prometheus holds, rounded, and a failed one says so in its own colour. */
export function figures({ rows }, nodes, truth, read) {
  const wrong = [];
  const colours = new Map();
  rows.forEach(({ name, cells }) =>
    cells.forEach(({ text, colour }, column) => {
      const where = `${name} to ${nodes[column]}`;
      const real = truth[name]?.[nodes[column]];
      if (name === nodes[column]) {
        return;
      }
      colours.set(colour, (colours.get(colour) ?? new Set()).add(text === DOWN));
      if (real === undefined) {
        if (text !== DOWN) wrong.push(`${where} has failed and shows "${text}"`);
      } else if (!(Math.abs(read(text) - real) <= ROUNDING * real)) {
        wrong.push(`${where} shows "${text}" and is ${real}`);
      }
    })
  );
  if ([...colours.values()].some((kinds) => kinds.size > 1)) {
    wrong.push('a failed cell has the colour of one that has not failed');
  }
  if (colours.size < 3) {
    wrong.push(`all there is to see has ${colours.size} colours`);
  }
  return wrong;
}

/** The way that was shut is shown as such. */
export function down({ rows }, nodes, [source, destination]) {
  const text = rows[nodes.indexOf(source)]?.cells[nodes.indexOf(destination)]?.text;
  return text === DOWN ? [] : [`${source} to ${destination} is shut and shows "${text}"`];
}

export const megabits = (text) => (NUMBER.test(text) ? Number(text) : NaN);

export const ratio = (text) => PERCENT.exec(text)?.[1] / 100;

/** Every cell leads to its pair, with the same protocol, data source and time; the nodes' own names lead nowhere. */
export function links({ rows }, nodes, { protocol, from, to }) {
  return rows.flatMap(({ name, head, cells }) => [
    ...(head.link ? [`the name ${name} leads to ${head.link}`] : []),
    ...cells.flatMap(({ link }, column) => {
      const found = new URL(link ?? '', 'http://grafana');
      const wanted = {
        'var-datasource': 'prometheus',
        'var-protocol': protocol,
        'var-source_node': name,
        'var-destination_node': nodes[column],
        from,
        to,
      };
      const differs = Object.keys(wanted).filter((key) => found.searchParams.get(key) !== wanted[key]);
      return found.pathname === '/d/iperf3-mesh-pair' && !differs.length
        ? []
        : [`${name} to ${nodes[column]} leads to ${link}, wrong: ${differs}`];
    }),
  ]);
}
