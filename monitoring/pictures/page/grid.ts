/** Where panels stand: Grafana's grid of 24 columns, with repeated panels. */

import { GridPos, Panel } from './model';
import { Variables } from './variables';

const COLUMNS = 24;
const ROW_HEIGHT = 30;
const GAP = 8;

/** A panel at its place, with the variables of its repetition. */
export interface Placed {
  key: string;
  panel: Panel;
  variables: Variables;
  place: GridPos;
}

/** All panels, repeated ones for each value of their variable; those beneath them move down. */
export function placed(panels: Panel[], variables: Variables): Placed[] {
  const found: Placed[] = [];
  let moved = 0;
  for (const panel of panels) {
    const place = { ...panel.gridPos, y: panel.gridPos.y + moved };
    if (!panel.repeat) {
      found.push({ key: String(panel.id), panel, variables, place });
      continue;
    }
    const name = panel.repeat;
    const values = variables.values(name);
    const columns = Math.max(1, Math.min(panel.maxPerRow ?? 4, values.length));
    const width = place.w / columns;
    values.forEach((value, number) => {
      found.push({
        key: `${panel.id}-${value}`,
        panel,
        variables: variables.with(name, value),
        place: {
          w: width,
          h: place.h,
          x: place.x + (number % columns) * width,
          y: place.y + Math.floor(number / columns) * place.h,
        },
      });
    });
    moved += (Math.max(1, Math.ceil(values.length / columns)) - 1) * place.h;
  }
  return found;
}

/** In pixels, on a page of this width. */
export function pixels(place: GridPos, width: number) {
  const column = (width + GAP) / COLUMNS;
  return {
    left: Math.round(place.x * column),
    top: place.y * (ROW_HEIGHT + GAP),
    width: Math.round(place.w * column - GAP),
    height: place.h * (ROW_HEIGHT + GAP) - GAP,
  };
}

export function height(all: Placed[]): number {
  return Math.max(...all.map(({ place }) => place.y + place.h)) * (ROW_HEIGHT + GAP);
}
