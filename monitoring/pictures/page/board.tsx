/** A whole dashboard: its title and variables, the rows' titles, and the panels in their frames. */

import { TimeRange } from '@grafana/data';
import { ErrorBoundary, Icon, PanelChrome, useTheme2 } from '@grafana/ui';
import { CSSProperties } from 'react';
import { pixels, Placed } from './grid';
import { Mark, PanelData } from './model';
import { PanelBody } from './panels';

export interface Drawn extends Placed {
  title: string;
  size: ReturnType<typeof pixels>;
  data: PanelData;
}

interface Props {
  title: string;
  variables: Array<[string, string]>;
  period: string;
  panels: Drawn[];
  height: number;
  margin: number;
  marks: Mark[];
  range: TimeRange;
  onError: (key: string, error: Error) => void;
}

export function Board(props: Props) {
  const theme = useTheme2();
  return (
    <div style={{ background: theme.colors.background.canvas, padding: props.margin }}>
      <Head {...props} />
      <div style={{ position: 'relative', height: props.height }}>
        {props.panels.map((one) => (
          <div key={one.key} data-panel={one.key} style={{ position: 'absolute', ...one.size }}>
            {one.panel.type === 'row' ? <RowTitle title={one.title} /> : <Framed {...props} one={one} />}
          </div>
        ))}
      </div>
    </div>
  );
}

function Head({ title, variables, period }: Props) {
  const theme = useTheme2();
  const box: CSSProperties = {
    border: `1px solid ${theme.components.input.borderColor}`,
    borderRadius: theme.shape.radius.default,
    background: theme.components.input.background,
    padding: theme.spacing(0.5, 1),
  };
  return (
    <header style={{ display: 'flex', gap: 16, alignItems: 'center', marginBottom: 16 }}>
      <h1 style={{ ...theme.typography.h4, margin: 0 }}>{title}</h1>
      {variables.map(([name, value]) => (
        <span key={name} style={{ display: 'flex', gap: 8, alignItems: 'center' }}>
          <span style={{ color: theme.colors.text.secondary }}>{name}</span>
          <span style={box}>{value}</span>
        </span>
      ))}
      <span style={{ ...box, marginLeft: 'auto', display: 'flex', gap: 8, alignItems: 'center' }}>
        <Icon name="clock-nine" />
        {period}
      </span>
    </header>
  );
}

function RowTitle({ title }: { title: string }) {
  const theme = useTheme2();
  return (
    <div style={{ ...theme.typography.h5, display: 'flex', gap: 8, alignItems: 'center', height: '100%' }}>
      <Icon name="angle-down" />
      {title}
    </div>
  );
}

function Framed({ one, marks, range, onError }: Props & { one: Drawn }) {
  const { panel, data, size, title } = one;
  return (
    <PanelChrome
      title={title}
      description={panel.description}
      width={size.width}
      height={size.height}
      padding={panel.type === 'stat' ? 'none' : 'md'}
      statusMessage={data.errors[0]}
    >
      {(width, height) => (
        <ErrorBoundary onError={(error) => onError(one.key, error)} errorLogger={() => undefined}>
          {({ error }) =>
            error ? (
              <pre>{String(error)}</pre>
            ) : (
              <PanelBody
                panel={panel}
                data={data}
                marks={marks}
                range={range}
                width={width}
                height={height}
              />
            )
          }
        </ErrorBoundary>
      )}
    </PanelChrome>
  );
}
