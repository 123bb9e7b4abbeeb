/** All that a panel draws: its queries' answers as frames, transformed and configured. */

import { DataFrame, dateTime, FieldType, GrafanaTheme2, rangeUtil } from '@grafana/data';
import { configured } from './fields';
import { isFinite, seriesFrames, tableFrame } from './frames';
import { Annotation, Exemplar, Mark, Panel, PanelData, Target } from './model';
import { leastStep, Prometheus, Series } from './prometheus';
import { transformed } from './transformations';
import { Variables } from './variables';

interface Answered {
  frames: DataFrame[];
  exemplars: Exemplar[];
  series: Series[];
}

export async function panelData(
  panel: Panel,
  variables: Variables,
  prometheus: Prometheus,
  theme: GrafanaTheme2,
  points: number
): Promise<PanelData> {
  const targets = panel.targets ?? [];
  const asked = await Promise.allSettled(
    targets.map((target) => answered(target, targets.length, variables, prometheus, points))
  );
  const found = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const errors = asked.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
  const data = { frames: [] as DataFrame[], exemplars: found.flatMap((one) => one.exemplars) };
  try {
    const frames = await transformed(
      panel.transformations ?? [],
      found.flatMap((one) => one.frames)
    );
    data.frames = configured(panel, frames, theme, 'utc', (text) => variables.inText(text));
  } catch (error) {
    errors.push(String(error));
  }
  const finite = found.flatMap((one) => one.series).filter(isFinite).length;
  return { ...data, errors, expected: panel.type === 'table' ? Math.min(finite, 1) : finite };
}

async function answered(
  target: Target,
  queries: number,
  variables: Variables,
  prometheus: Prometheus,
  points: number
): Promise<Answered> {
  const step = prometheus.step(points, leastStep(target));
  const query = variables.inQuery(target.expr, prometheus.builtIn(step));
  if (target.instant) {
    const series = await prometheus.instant(query);
    const frames =
      target.format === 'table'
        ? [tableFrame(target, series, queries)]
        : seriesFrames(target, series, 0);
    return { frames, series, exemplars: [] };
  }
  const [series, exemplars] = await Promise.all([
    prometheus.range(query, step),
    target.exemplar ? prometheus.exemplars(query, step) : [],
  ]);
  return {
    series,
    exemplars: highest(exemplars, step),
    frames: seriesFrames(target, series, step),
  };
}

/** The slowest of each step: all of them would hide the graph. */
function highest(exemplars: Exemplar[], step: number): Exemplar[] {
  const kept = new Map<number, Exemplar>();
  for (const one of exemplars) {
    const bucket = Math.floor(one.time / step);
    if (one.value > (kept.get(bucket)?.value ?? -Infinity)) {
      kept.set(bucket, one);
    }
  }
  return [...kept.values()];
}

/** The first sample of each series: the time at which what it says began. */
export async function marks(
  annotation: Annotation,
  variables: Variables,
  prometheus: Prometheus
): Promise<Mark[]> {
  const step = rangeUtil.intervalToMs(annotation.step);
  const series = await prometheus.range(
    variables.inQuery(annotation.expr, prometheus.builtIn(step)),
    step
  );
  return series.flatMap(({ values: [first] }) =>
    first ? [{ time: first[0] * 1000, color: annotation.iconColor }] : []
  );
}

export function timeRange(prometheus: Prometheus) {
  const [from, to] = [dateTime(prometheus.request.from), dateTime(prometheus.request.to)];
  return { from, to, raw: { from, to } };
}

export function hasNumbers(frames: DataFrame[]): boolean {
  return frames.some((frame) =>
    frame.fields.some((field) => field.type === FieldType.number && field.values.length > 0)
  );
}
