// The field options that these dashboards use. Grafana's own list is part of its server; the
// processors are published.

import * as data from '@grafana/data';

export const STANDARD = {
  displayName: data.displayNameOverrideProcessor,
  unit: data.unitOverrideProcessor,
  min: data.numberOverrideProcessor,
  max: data.numberOverrideProcessor,
  decimals: data.numberOverrideProcessor,
  noValue: data.stringOverrideProcessor,
  color: data.identityOverrideProcessor,
  thresholds: data.thresholdsOverrideProcessor,
  mappings: data.valueMappingsOverrideProcessor,
  links: data.dataLinksOverrideProcessor,
};

export const CUSTOM = [
  // Tables.
  ...['align', 'width', 'minWidth', 'wrapHeaderText', 'cellOptions'],
  // Time series and state timelines.
  ...[
    'drawStyle',
    'lineInterpolation',
    'lineWidth',
    'fillOpacity',
    'showPoints',
    'spanNulls',
    'axisSoftMax',
  ],
];

export const standard = () =>
  Object.entries(STANDARD).map(([id, process]) => ({
    id,
    path: id,
    name: id,
    process,
    override: () => null,
    editor: () => null,
    shouldApply: () => true,
  }));

export function custom(builder) {
  for (const path of CUSTOM) {
    builder.addCustomEditor({
      id: path,
      path,
      name: path,
      editor: () => null,
      override: () => null,
      process: data.identityOverrideProcessor,
      shouldApply: () => true,
    });
  }
}
