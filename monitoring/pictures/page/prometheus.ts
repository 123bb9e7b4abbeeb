/** Prometheus' HTTP API, asked as Grafana's data source asks it. */

import { rangeUtil } from '@grafana/data';
import { Exemplar, Request, Target } from './model';

/** What a query may not exceed: Prometheus refuses more. */
const MOST_POINTS = 11_000;

export interface Series {
  metric: Record<string, string>;
  /** Seconds since 1970, and the value as text. */
  values: Array<[number, string]>;
}

interface Answer<T> {
  status: 'success' | 'error';
  data: T;
  error?: string;
}

interface Result {
  result: Array<{ metric: Record<string, string>; value?: [number, string]; values?: Series['values'] }>;
}

export class Prometheus {
  private readonly scrapeInterval: number;

  constructor(
    private readonly url: string,
    readonly request: Request
  ) {
    this.scrapeInterval = rangeUtil.intervalToMs(request.scrapeInterval);
  }

  /** Milliseconds between the points of a graph. */
  step(points: number, least = 0): number {
    const { from, to } = this.request;
    const fitting = rangeUtil.roundInterval((to - from) / points);
    return Math.max(fitting, least || this.scrapeInterval, Math.ceil((to - from) / MOST_POINTS));
  }

  /** Grafana's own variables in a query. */
  builtIn(step: number): Record<string, string> {
    const { from, to } = this.request;
    const rate = Math.max(step + this.scrapeInterval, 4 * this.scrapeInterval);
    const range = Math.round((to - from) / 1000);
    return {
      __interval: duration(step),
      __interval_ms: String(step),
      __rate_interval: duration(rate),
      __rate_interval_ms: String(rate),
      __range: `${range}s`,
      __range_s: String(range),
      __range_ms: String(to - from),
    };
  }

  async range(query: string, step: number): Promise<Series[]> {
    const [start, end] = this.aligned(step);
    const data = await this.ask<Result>('query_range', { query, start, end, step: step / 1000 });
    return data.result.map(({ metric, values = [] }) => ({ metric, values }));
  }

  async instant(query: string): Promise<Series[]> {
    const data = await this.ask<Result>('query', { query, time: this.request.to / 1000 });
    return data.result.map(({ metric, value }) => ({ metric, values: value ? [value] : [] }));
  }

  async exemplars(query: string, step: number): Promise<Exemplar[]> {
    const [start, end] = this.aligned(step);
    const data = await this.ask<Array<{ exemplars: Array<{ value: string; timestamp: number }> }>>(
      'query_exemplars',
      { query, start, end }
    );
    return data.flatMap(({ exemplars }) =>
      exemplars.map(({ value, timestamp }) => ({ time: timestamp * 1000, value: Number(value) }))
    );
  }

  async labelValues(series: string, label: string): Promise<string[]> {
    const { from, to } = this.request;
    const parameters = new URLSearchParams({
      'match[]': series,
      start: String(from / 1000),
      end: String(to / 1000),
    });
    const answer = await fetch(`${this.url}/label/${label}/values?${parameters}`);
    return (await read<string[]>(answer)).sort();
  }

  private aligned(step: number): [number, number] {
    const { from, to } = this.request;
    return [(Math.floor(from / step) * step) / 1000, (Math.floor(to / step) * step) / 1000];
  }

  private async ask<T>(path: string, parameters: Record<string, string | number>): Promise<T> {
    const body = new URLSearchParams(
      Object.entries(parameters).map(([name, value]) => [name, String(value)])
    );
    return read<T>(await fetch(`${this.url}/${path}`, { method: 'POST', body }));
  }
}

/** The step of a target's own `interval`; 0 where it has none. */
export function leastStep(target: Pick<Target, 'interval'>): number {
  return target.interval ? rangeUtil.intervalToMs(target.interval) : 0;
}

function duration(milliseconds: number): string {
  return milliseconds % 1000 ? `${milliseconds}ms` : `${milliseconds / 1000}s`;
}

async function read<T>(response: Response): Promise<T> {
  const answer = (await response.json()) as Answer<T>;
  if (answer.status !== 'success') {
    throw new Error(answer.error ?? `HTTP ${response.status}`);
  }
  return answer.data;
}
