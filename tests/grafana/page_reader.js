// Reads from the page what a person would see. These functions run in the browser.

/** Returns the title, the text, the number of data rows and the errors of each panel. */
export function panels() {
  return window.scene.state.body.state.children.map(({ state: { body: panel } }) => {
    const { data } = panel.state.$data.state;
    return {
      key: panel.state.key,
      title: panel.state.title,
      done: data?.state === 'Done',
      errors: [data?.error, ...(data?.errors ?? []), panel.state._pluginLoadError]
        .filter(Boolean)
        .map((e) => e.message ?? e),
      rows: (data?.series ?? []).reduce((sum, frame) => sum + frame.length, 0),
      text: document.querySelector(`[data-viz-panel-key="${panel.state.key}"]`)?.innerText ?? '',
    };
  });
}

/** Returns the table in a panel: its column heads, and the text, colour and link of each cell. */
export function table(key) {
  const grid = document.querySelector(`[data-viz-panel-key="${key}"] [role="grid"]`);
  const cell = (element) => ({
    text: element.innerText.trim(),
    colour: getComputedStyle(element).backgroundColor,
    link: element.querySelector('a')?.getAttribute('href'),
  });
  if (!grid) {
    return { columns: [], rows: [] };
  }
  const rows = [...grid.querySelectorAll('[role="row"]')].filter((row) =>
    row.querySelector('[role="gridcell"]')
  );
  return {
    columns: [...grid.querySelectorAll('[role="columnheader"]')].map((head) =>
      head.innerText.trim()
    ),
    rows: rows.map((row) => {
      const [head, ...cells] = [...row.querySelectorAll('[role="gridcell"]')].map(cell);
      return { name: head.text, head, cells };
    }),
  };
}

/** Returns the frame of a panel with a table, without the empty space below its last row. */
export function frame(key) {
  const panel = document.querySelector(`[data-viz-panel-key="${key}"]`);
  const bottoms = [...panel.querySelectorAll('[role="gridcell"]')].map(
    (cell) => cell.getBoundingClientRect().bottom
  );
  const { x, y, width } = panel.getBoundingClientRect();
  return { x, y, width, height: Math.max(y, ...bottoms) + 8 - y };
}
