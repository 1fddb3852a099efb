// Finds options in a dashboard that Grafana does not know. Grafana silently ignores them: a
// misspelt colour scheme makes every cell green.

import { fieldColorModeRegistry, getValueFormats } from '@grafana/data';
import { CUSTOM, STANDARD } from './fields.js';
import { TRANSFORMERS } from './grafana_setup.js';

const UNITS = getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value));

export const unknown = ({ panels }) =>
  panels.flatMap((panel) =>
    unknownIn(panel).map((what) => `panel "${panel.title}" has an unknown ${what}`)
  );

function unknownIn({ fieldConfig: { defaults, overrides }, transformations = [] }) {
  const { custom = {}, ...standard } = defaults;
  const options = [
    ...Object.entries(standard),
    ...Object.entries(custom).map(([id, value]) => [`custom.${id}`, value]),
    ...overrides.flatMap(({ properties }) => properties.map(({ id, value }) => [id, value])),
  ];
  const ids = [...Object.keys(STANDARD), ...CUSTOM.map((id) => `custom.${id}`)];
  const all = (id) => options.filter((option) => option[0] === id).map((option) => option[1]);
  const others = (what, found, known) =>
    found.filter((one) => !known(one)).map((one) => `${what} ${one}`);
  return [
    ...others(
      'option',
      options.map(([id]) => id),
      (id) => ids.includes(id)
    ),
    ...others('unit', all('unit'), (unit) => UNITS.includes(unit)),
    ...others(
      'colour scheme',
      all('color').map(({ mode }) => mode),
      (mode) => fieldColorModeRegistry.getIfExists(mode)
    ),
    ...others(
      'transformation',
      transformations.map(({ id }) => id),
      (id) => TRANSFORMERS.includes(id)
    ),
  ];
}
