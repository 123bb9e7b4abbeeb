/** The three kinds of panels, each drawn by the component of `@grafana/ui` that its plugin uses. */

import {
  FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  TimeRange,
  VizOrientation,
} from '@grafana/data';
import { LegendDisplayMode } from '@grafana/schema';
import {
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  TimeSeries,
  useTheme2,
  VizRepeater,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { Marks } from './marks';
import { Mark, Panel, PanelData } from './model';
import { hasNumbers } from './queries';

interface Props {
  panel: Panel;
  data: PanelData;
  marks: Mark[];
  range: TimeRange;
  width: number;
  height: number;
}

export function PanelBody(props: Props) {
  if (props.panel.type === 'stat') {
    return <Stat {...props} />;
  }
  if (!hasNumbers(props.data.frames)) {
    return <NoData text={props.panel.fieldConfig.defaults.noValue} />;
  }
  return props.panel.type === 'table' ? <Table {...props} /> : <Graph {...props} />;
}

function Graph({ panel, data, marks, range, width, height }: Props) {
  const legend = panel.options.legend ?? {
    showLegend: true,
    displayMode: LegendDisplayMode.List,
    placement: 'bottom' as const,
    calcs: [],
  };
  return (
    <TimeSeries
      frames={data.frames}
      timeRange={range}
      timeZone="utc"
      legend={legend}
      width={width}
      height={height}
    >
      {(config) => <Marks config={config} marks={marks} exemplars={data.exemplars} />}
    </TimeSeries>
  );
}

interface StatOptions {
  colorMode: BigValueColorMode;
  graphMode: BigValueGraphMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
  wideLayout: boolean;
  reduceOptions: { calcs: string[]; fields?: string; values?: boolean };
}

function Stat({ panel, data, width, height }: Props) {
  const theme = useTheme2();
  const options = panel.options as unknown as StatOptions;
  const values = getFieldDisplayValues({
    data: data.frames,
    fieldConfig: panel.fieldConfig,
    reduceOptions: options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  return (
    <VizRepeater<FieldDisplay, ReturnType<typeof getDisplayValueAlignmentFactors>>
      source={data}
      renderCounter={0}
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      orientation={VizOrientation.Auto}
      autoGrid
      itemSpacing={3}
      width={width}
      height={height}
      renderValue={({ value, alignmentFactors, count, width, height }) => (
        <div data-value={value.view ? value.display.text : ''}>
          <BigValue
            value={value.display}
            count={count}
            colorMode={options.colorMode}
            graphMode={options.graphMode}
            justifyMode={options.justifyMode}
            textMode={options.textMode}
            disableWideLayout={!options.wideLayout}
            alignmentFactors={alignmentFactors}
            theme={theme}
            width={width}
            height={height}
          />
        </div>
      )}
    />
  );
}

function Table({ panel, data, range, width, height }: Props) {
  const [frame] = data.frames;
  return frame ? (
    <TableNG
      data={frame}
      width={width}
      height={height}
      timeRange={range}
      fieldConfig={panel.fieldConfig}
      cellHeight={panel.options.cellHeight as never}
      noHeader={panel.options.showHeader === false}
    />
  ) : null;
}

function NoData({ text }: { text?: string }) {
  const theme = useTheme2();
  return (
    <div
      style={{
        display: 'grid',
        placeItems: 'center',
        height: '100%',
        color: theme.colors.text.secondary,
      }}
    >
      {text ?? 'No data'}
    </div>
  );
}
