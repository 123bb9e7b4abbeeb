/** Data frames of what Prometheus answers. */

import { createDataFrame, DataFrame, FieldType } from '@grafana/data';
import { Target } from './model';
import { Series } from './prometheus';

/** A frame for each series. `step` tells gaps from neighbours; 0 for an instant query. */
export function seriesFrames(target: Target, series: Series[], step: number): DataFrame[] {
  return series.map(({ metric, values }) => {
    const { __name__: name, ...labels } = metric;
    return createDataFrame({
      refId: target.refId,
      fields: [
        {
          name: 'Time',
          type: FieldType.time,
          values: values.map(([time]) => time * 1000),
          config: step ? { interval: step } : {},
        },
        {
          name: 'Value',
          type: FieldType.number,
          labels,
          values: values.map(([, value]) => (step ? finite(value) : number(value))),
          config: { displayNameFromDS: seriesName(target, name, labels) },
        },
      ],
    });
  });
}

/** One frame for all series: a column for each label and one for the value. */
export function tableFrame(target: Target, series: Series[], queries: number): DataFrame {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const rows = series.flatMap(({ metric, values }) =>
    values.map(([time, value]) => ({ metric, time: time * 1000, value: number(value) }))
  );
  return createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map(({ time }) => time) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: rows.map(({ metric }) => metric[label] ?? ''),
      })),
      {
        name: queries > 1 ? `Value #${target.refId}` : 'Value',
        type: FieldType.number,
        values: rows.map(({ value }) => value),
      },
    ],
  });
}

export function isFinite(series: Series): boolean {
  return series.values.some(([, value]) => Number.isFinite(number(value)));
}

function number(value: string): number {
  return value.endsWith('Inf') ? (value.startsWith('-') ? -Infinity : Infinity) : Number(value);
}

/** A gap where a quantile or a ratio has nothing to divide, as the graph's plugin has it. */
function finite(value: string): number | null {
  const read = number(value);
  return Number.isFinite(read) ? read : null;
}

/** A label that the series does not have is left out, as the data source's server does. */
function legend(format: string, labels: Record<string, string>): string {
  return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => labels[label] ?? '');
}

function seriesName(target: Target, name: string | undefined, labels: Record<string, string>) {
  if (target.legendFormat) {
    return legend(target.legendFormat, labels);
  }
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return name || pairs.length ? `${name ?? ''}${pairs.length ? `{${pairs.join(', ')}}` : ''}` : target.expr;
}
