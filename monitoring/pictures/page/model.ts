/** The part of a dashboard's JSON that pictures need, and what the page is asked to draw. */

import { DataFrame, DataTransformerConfig, FieldConfigSource } from '@grafana/data';
import { VizLegendOptions } from '@grafana/schema';

export interface GridPos {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  format?: 'time_series' | 'table';
  instant?: boolean;
  exemplar?: boolean;
  interval?: string;
}

export interface Panel {
  id: number;
  type: 'row' | 'timeseries' | 'stat' | 'table';
  title: string;
  description?: string;
  gridPos: GridPos;
  collapsed?: boolean;
  repeat?: string;
  maxPerRow?: number;
  links?: Array<{ title: string }>;
  targets?: Target[];
  fieldConfig: FieldConfigSource;
  options: Record<string, unknown> & { legend?: VizLegendOptions };
  transformations?: DataTransformerConfig[];
}

export interface Variable {
  name: string;
  label?: string;
  type: 'datasource' | 'query' | 'constant';
  query: string | { query: string };
  /** 2: on no account. */
  hide?: number;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string;
}

export interface Annotation {
  name: string;
  expr: string;
  step: string;
  iconColor: string;
}

export interface Dashboard {
  title: string;
  panels: Panel[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
}

/** In the page's address; times are in milliseconds since 1970. */
export interface Request {
  dashboard: string;
  from: number;
  to: number;
  /** Of Prometheus, such as 15s: the `timeInterval` of Grafana's data source. */
  scrapeInterval: string;
  /** Chosen values of variables, by name. */
  chosen: Record<string, string>;
}

/** A time at which something is marked in a graph. */
export interface Mark {
  time: number;
  color: string;
}

export interface Exemplar {
  time: number;
  value: number;
}

export interface PanelData {
  frames: DataFrame[];
  exemplars: Exemplar[];
  errors: string[];
  /** Series or, of a table, rows that have a finite sample. */
  expected: number;
}

/** What came of a panel, for the program that takes the picture. */
export interface Outcome {
  title: string;
  type: string;
  expected: number;
  /** Series, values or rows that are on the page. */
  shown: number;
  errors: string[];
}
