/** A dashboard's variables: their values, and texts in which they are filled in. */

import { Dashboard, Request, Variable } from './model';
import { Prometheus } from './prometheus';

const ALL = '$__all';
const REFERENCE = /\$\{(\w+)(?:\.[^:}]*)?(?::\w+)?\}|\$(\w+)/g;
const LABEL_VALUES = /^label_values\((.+),\s*(\w+)\)$/s;

export class Variables {
  private constructor(
    private readonly current: ReadonlyMap<string, string>,
    private readonly options: ReadonlyMap<string, string[]>,
    private readonly declared: readonly Variable[]
  ) {}

  /** Chosen values where the request has them, else All or the first value, as Grafana does. */
  static async resolve(dashboard: Dashboard, request: Request, prometheus: Prometheus) {
    const current = new Map<string, string>();
    const options = new Map<string, string[]>();
    const declared = dashboard.templating.list;
    for (const variable of declared) {
      const query = typeof variable.query === 'string' ? variable.query : variable.query.query;
      const chosen = request.chosen[variable.name];
      if (variable.type !== 'query') {
        current.set(variable.name, variable.type === 'datasource' ? 'prometheus' : query);
        continue;
      }
      const [, series, label] = LABEL_VALUES.exec(query) ?? [];
      if (!series || !label) {
        throw new Error(`cannot read the variable ${variable.name}: ${query}`);
      }
      // Those before it are set already, and its query may name them.
      const known = new Variables(current, options, declared);
      const offered = await prometheus.labelValues(known.inQuery(series), label);
      options.set(variable.name, offered);
      current.set(variable.name, chosen ?? (variable.includeAll ? ALL : offered[0] ?? ''));
    }
    return new Variables(current, options, declared);
  }

  /** The same, with one value for `name`: for a repeated panel. */
  with(name: string, value: string): Variables {
    const current = new Map(this.current).set(name, value);
    return new Variables(current, this.options, this.declared);
  }

  /** Values that a panel is repeated for. */
  values(name: string): string[] {
    const value = this.current.get(name);
    return value === ALL || value === undefined ? this.options.get(name) ?? [] : [value];
  }

  /** Names and values to show above the panels. */
  shown(): Array<[string, string]> {
    return this.declared
      .filter((variable) => variable.hide !== 2)
      .map((variable) => [variable.label ?? variable.name, this.text(variable.name)]);
  }

  inText(text: string): string {
    return text.replace(REFERENCE, (whole, braced?: string, bare?: string) => {
      const name = braced ?? bare ?? '';
      return this.current.has(name) ? this.text(name) : whole;
    });
  }

  /** As the Prometheus data source does: values of multi-value variables are regular expressions. */
  inQuery(expression: string, builtIn: Readonly<Record<string, string>> = {}): string {
    return expression.replace(REFERENCE, (whole, braced?: string, bare?: string) => {
      const name = braced ?? bare ?? '';
      return builtIn[name] ?? this.quoted(name) ?? whole;
    });
  }

  private text(name: string): string {
    const value = this.current.get(name) ?? '';
    return value === ALL ? 'All' : value;
  }

  private quoted(name: string): string | undefined {
    const value = this.current.get(name);
    const variable = this.declared.find((one) => one.name === name);
    if (value === undefined || variable === undefined) {
      return undefined;
    }
    if (value === ALL) {
      return variable.allValue ?? `(${this.values(name).map(regularExpression).join('|')})`;
    }
    return variable.multi ? regularExpression(value) : value.replace(/[\\"]/g, '\\$&');
  }
}

/** A value as a regular expression within a string of PromQL. */
function regularExpression(value: string): string {
  return value.replace(/[\\^$*+?.()|[\]{}"]/g, (found) => (found === '"' ? '\\"' : `\\\\${found}`));
}
