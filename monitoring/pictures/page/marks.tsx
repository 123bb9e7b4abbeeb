/** Roll-outs and exemplars in a graph: Grafana draws both with plugins of its own. */

import { GrafanaTheme2 } from '@grafana/data';
import { UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type uPlot from 'uplot';
import { Exemplar, Mark } from './model';

interface Props {
  config: UPlotConfigBuilder;
  marks: Mark[];
  exemplars: Exemplar[];
}

export function Marks({ config, marks, exemplars }: Props) {
  const theme = useTheme2();
  // Before the chart makes its plot, which it does in a later effect.
  useLayoutEffect(() => {
    config.addHook('draw', (plot) => {
      plot.ctx.save();
      plot.ctx.beginPath();
      plot.ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
      plot.ctx.clip();
      marks.forEach((mark) => drawMark(plot, mark, theme));
      exemplars.forEach((exemplar) => drawExemplar(plot, exemplar, theme));
      plot.ctx.restore();
    });
  }, [config, marks, exemplars, theme]);
  return null;
}

function drawMark(plot: uPlot, mark: Mark, theme: GrafanaTheme2) {
  const { ctx, bbox } = plot;
  const x = plot.valToPos(mark.time, 'x', true);
  ctx.strokeStyle = theme.visualization.getColorByName(mark.color);
  ctx.lineWidth = 2;
  ctx.setLineDash([5, 5]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
}

function drawExemplar(plot: uPlot, exemplar: Exemplar, theme: GrafanaTheme2) {
  const scale = plot.series[1]?.scale;
  if (!scale) {
    return;
  }
  const { ctx, bbox } = plot;
  const x = plot.valToPos(exemplar.time, 'x', true);
  // One beyond the axis stays at its end.
  const y = Math.max(plot.valToPos(exemplar.value, scale, true), bbox.top);
  ctx.fillStyle = theme.visualization.getColorByName('dark-blue');
  ctx.beginPath();
  ctx.moveTo(x, y - 4);
  ctx.lineTo(x + 4, y);
  ctx.lineTo(x, y + 4);
  ctx.lineTo(x - 4, y);
  ctx.fill();
}
