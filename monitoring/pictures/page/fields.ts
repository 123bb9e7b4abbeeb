/**
 * Field configuration: units, thresholds, colors and what overrides say.
 *
 * `applyFieldOverrides` applies only what its registry has, and the packages leave it empty: Grafana
 * itself and its panel plugins fill it.
 */

import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  DataFrame,
  Field,
  FieldConfigOptionsRegistry,
  FieldConfigPropertyItem,
  FieldConfigSource,
  FieldType,
  GrafanaTheme2,
  identityOverrideProcessor,
} from '@grafana/data';
import { Panel } from './model';

const STANDARD = ['displayName', 'unit', 'noValue', 'color', 'thresholds', 'mappings', 'links'];
const OF_NUMBERS = ['min', 'max', 'decimals'];

/** What a panel's plugin adds to a field, with its defaults. */
const CUSTOM: Record<string, Record<string, unknown>> = {
  timeseries: {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    lineWidth: 1,
    lineStyle: { fill: 'solid' },
    fillOpacity: 0,
    gradientMode: 'none',
    showPoints: 'auto',
    pointSize: 5,
    spanNulls: false,
    stacking: { mode: 'none', group: 'A' },
    axisPlacement: 'auto',
    axisLabel: '',
    axisSoftMax: undefined,
    axisBorderShow: false,
    axisColorMode: 'text',
    axisCenteredZero: false,
    scaleDistribution: { type: 'linear' },
    barAlignment: 0,
    hideFrom: { tooltip: false, viz: false, legend: false },
    thresholdsStyle: { mode: 'off' },
  },
  stat: {},
  table: {
    align: 'auto',
    cellOptions: { type: 'auto' },
    inspect: false,
  },
};

const PALETTE = { mode: 'palette-classic' };

/** Frames with the panel's field configuration. Fails where it has something unknown. */
export function configured(
  panel: Panel,
  frames: DataFrame[],
  theme: GrafanaTheme2,
  timeZone: string,
  replace: (text: string) => string
): DataFrame[] {
  const custom = CUSTOM[panel.type] ?? {};
  const known = registry(Object.keys(custom));
  const fieldConfig = withDefaults(panel, custom);
  for (const id of used(panel.fieldConfig)) {
    if (!known.getIfExists(id)) {
      throw new Error(`fields.ts does not know the property ${id}`);
    }
  }
  const drawn = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: known,
    replaceVariables: (text) => replace(text),
    theme,
    timeZone,
  });
  cacheFieldDisplayNames(drawn);
  return drawn;
}

/** A threshold from minus infinity has no value in JSON. */
export function thresholds<T>(json: T): T {
  const text = JSON.stringify(json);
  return JSON.parse(text, (key, value) =>
    key === 'steps' && Array.isArray(value)
      ? value.map((step) => ({ ...step, value: step.value ?? -Infinity }))
      : value
  );
}

function withDefaults(panel: Panel, custom: Record<string, unknown>): FieldConfigSource {
  const { defaults, overrides } = panel.fieldConfig;
  const options = Object.entries(custom).filter(([, value]) => value !== undefined);
  return {
    defaults: {
      ...(panel.type === 'timeseries' ? { color: PALETTE } : {}),
      ...defaults,
      custom: { ...Object.fromEntries(options), ...defaults.custom },
    },
    overrides,
  };
}

function* used(source: FieldConfigSource): Generator<string> {
  for (const [name, value] of Object.entries(source.defaults)) {
    if (name !== 'custom') {
      yield name;
    } else {
      yield* Object.keys(value ?? {}).map((one) => `custom.${one}`);
    }
  }
  for (const { properties } of source.overrides) {
    yield* properties.map(({ id }) => id);
  }
}

function registry(custom: string[]): FieldConfigOptionsRegistry {
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((id) => item(id, id, false, () => true)),
    ...OF_NUMBERS.map((id) => item(id, id, false, (field) => field.type === FieldType.number)),
    ...custom.map((name) =>
      item(`custom.${name}`, name, true, (field) => field.type !== FieldType.time)
    ),
  ]);
}

function item(
  id: string,
  path: string,
  isCustom: boolean,
  shouldApply: (field: Field) => boolean
): FieldConfigPropertyItem {
  const editor = () => null;
  return {
    id,
    path,
    name: id,
    isCustom,
    shouldApply,
    process: identityOverrideProcessor,
    editor,
    override: editor,
  };
}
