/** The transformations that dashboards use. Grafana registers all of them; its packages none. */

import {
  DataFrame,
  DataTransformerConfig,
  DataTransformerInfo,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

const USED: DataTransformerInfo[] = [
  standardTransformers.mergeTransformer,
  standardTransformers.organizeFieldsTransformer,
  standardTransformers.sortByTransformer,
];

standardTransformersRegistry.setInit(() =>
  USED.map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation: () => Promise.resolve(transformation),
    editor: () => null,
    imageDark: '',
    imageLight: '',
  }))
);

export function transformed(
  configs: DataTransformerConfig[],
  frames: DataFrame[]
): Promise<DataFrame[]> {
  for (const { id } of configs) {
    if (!standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`transformations.ts does not know ${id}`);
    }
  }
  return lastValueFrom(transformDataFrame(configs, frames, { interpolate: (text) => text }));
}
