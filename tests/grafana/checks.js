// Checks of the pictures. Each check takes what the page shows, and returns the problems as text.

const DOWN = 'down';
const SELF = '–';
const NUMBER = /^\d+(\.\d+)?$/;
const PERCENT = /^(\d+(\.\d+)?)%$/;
// The page shows at least three digits.
const ROUNDING = 0.005;

/** Every panel has data and no errors. */
export function panels(shown) {
  return shown.flatMap(({ title, errors, rows, text }) => [
    ...errors.map((error) => `panel "${title}": ${error}`),
    ...(rows ? [] : [`panel "${title}": its queries returned nothing`]),
    ...(/No data/.test(text) ? [`panel "${title}" says "No data"`] : []),
  ]);
}

/** Rows and columns are the nodes in the same order, and only the diagonal is empty. */
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

/** Every cell shows its rounded value; failed cells have a text and a colour of their own. */
export function figures({ rows }, nodes, expected, read) {
  const wrong = [];
  const colours = new Map();
  rows.forEach(({ name, cells }) =>
    cells.forEach(({ text, colour }, column) => {
      const where = `${name} to ${nodes[column]}`;
      const value = expected[name]?.[nodes[column]];
      if (name === nodes[column]) {
        return;
      }
      colours.set(colour, (colours.get(colour) ?? new Set()).add(text === DOWN));
      if (value === undefined) {
        if (text !== DOWN) wrong.push(`${where} has failed, but shows "${text}"`);
      } else if (!(Math.abs(read(text) - value) <= ROUNDING * value)) {
        wrong.push(`${where} shows "${text}", but is ${value}`);
      }
    })
  );
  if ([...colours.values()].some((kinds) => kinds.size > 1)) {
    wrong.push('a failed cell has the same colour as one that has not failed');
  }
  if (colours.size < 3) {
    wrong.push(`the matrix has only ${colours.size} colours`);
  }
  return wrong;
}

/** The blocked path is shown as down. */
export function down({ rows }, nodes, [source, destination]) {
  const text = rows[nodes.indexOf(source)]?.cells[nodes.indexOf(destination)]?.text;
  return text === DOWN ? [] : [`${source} to ${destination} is blocked, but shows "${text}"`];
}

export const megabits = (text) => (NUMBER.test(text) ? Number(text) : NaN);

export const ratio = (text) => PERCENT.exec(text)?.[1] / 100;

/**
 * Every cell links to its pair, with the same protocol, data source and time range. Node names have
 * no link.
 */
export function links({ rows }, nodes, { protocol, from, to }) {
  return rows.flatMap(({ name, head, cells }) => [
    ...(head.link ? [`the name ${name} links to ${head.link}`] : []),
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
      const differs = Object.keys(wanted).filter(
        (key) => found.searchParams.get(key) !== wanted[key]
      );
      return found.pathname === '/d/iperf3-mesh-pair' && !differs.length
        ? []
        : [`${name} to ${nodes[column]} links to ${link}; wrong: ${differs}`];
    }),
  ]);
}
