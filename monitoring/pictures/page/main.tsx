/** Draws the dashboard that the page's address asks for, and says in `window.outcomes` what came of it. */

import { createTheme, dateTime, locationUtil, ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { flushSync } from 'react-dom';
import { Board, Drawn } from './board';
import { thresholds } from './fields';
import { height, pixels, Placed, placed } from './grid';
import { Dashboard, Outcome, Request } from './model';
import { Prometheus } from './prometheus';
import { marks, panelData, timeRange } from './queries';
import { Variables } from './variables';

declare global {
  interface Window {
    outcomes?: Outcome[];
    failure?: string;
    __grafana_public_path__: string;
  }
}

const MARGIN = 16;

async function main() {
  window.__grafana_public_path__ = '/public/';
  await initPluginTranslations('pictures');
  locationUtil.initialize({
    config: { appSubUrl: '' } as never,
    getVariablesUrlParams: () => ({}),
    getTimeRangeForUrl: () => ({ from: String(request.from), to: String(request.to) }),
  });
  const request = JSON.parse(new URLSearchParams(location.search).get('request') ?? '') as Request;
  const theme = createTheme({ colors: { mode: 'light' } });
  const prometheus = new Prometheus('/api/v1', request);
  const answer = await fetch(`/dashboards/${request.dashboard}.json`);
  const dashboard = thresholds((await answer.json()) as Dashboard);
  const variables = await Variables.resolve(dashboard, request, prometheus);
  const width = document.documentElement.clientWidth - 2 * MARGIN;
  const lines = await Promise.all(
    dashboard.annotations.list.map((one) => marks(one, variables, prometheus))
  );
  const draw = async (one: Placed): Promise<Drawn> => {
    const size = pixels(one.place, width);
    const data = await panelData(one.panel, one.variables, prometheus, theme, size.width);
    return { ...one, size, data, title: one.variables.inText(one.panel.title) };
  };
  const all = placed(dashboard.panels, variables);
  const drawn = await Promise.all(all.map(draw));
  const failed = new Map<string, string[]>();
  const root = createRoot(document.body.appendChild(document.createElement('main')));
  flushSync(() => root.render(<GlobalStyles />));
  // Plots measure their texts once, and do not wait for fonts.
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 12px Inter`)));
  flushSync(() =>
    root.render(
      <ThemeContext.Provider value={theme}>
        <GlobalStyles />
        <Board
          title={dashboard.title}
          variables={variables.shown()}
          period={`${shown(request.from)} to ${shown(request.to)} UTC`}
          panels={drawn}
          height={height(all)}
          margin={MARGIN}
          marks={lines.flat()}
          range={timeRange(prometheus)}
          onError={(key, error) => failed.set(key, [String(error)])}
        />
      </ThemeContext.Provider>
    )
  );
  await settled();
  window.outcomes = drawn
    .filter(({ panel }) => panel.type !== 'row')
    .map(({ key, panel, title, data }) => ({
      title,
      type: panel.type,
      expected: data.expected,
      shown: onPage(key, panel.type),
      errors: [...data.errors, ...(failed.get(key) ?? []), ...outside(key), ...notANumber(key)],
    }));
}

/** What a reader sees of a panel: lines of a graph's legend, values, or rows of a table. */
function onPage(key: string, type: string): number {
  const selector = {
    timeseries: 'table tbody tr',
    stat: '[data-value]:not([data-value=""])',
    table: '[role=row]:not(:has([role=columnheader]))',
  }[type];
  const panel = document.querySelector(`[data-panel="${key}"]`);
  return selector && panel ? panel.querySelectorAll(selector).length : 0;
}

/** A plot that is not within its panel hides what is beside it: a style sheet is missing. */
function outside(key: string): string[] {
  const panel = document.querySelector(`[data-panel="${key}"]`);
  const bottom = panel?.getBoundingClientRect().bottom ?? 0;
  const plots = [...(panel?.querySelectorAll('canvas') ?? [])];
  return plots.every((plot) => plot.getBoundingClientRect().bottom <= bottom)
    ? []
    : ['the plot is not within its panel'];
}

function notANumber(key: string): string[] {
  const values = document.querySelectorAll(`[data-panel="${key}"] [data-value="NaN"]`);
  return values.length ? ['shows NaN: the query should have no sample instead'] : [];
}

/** Effects, and the plots, which are drawn in the frame after. */
async function settled() {
  for (let frame = 0; frame < 3; frame++) {
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}

function shown(time: number): string {
  return dateTime(time).utc().format('YYYY-MM-DD HH:mm:ss');
}

main().catch((error: unknown) => {
  window.failure = String(error);
  throw error;
});
