/** Systems as exams ask them: how they see, and the conversation's ids around the picture. */
import { type ImageToken, worldTokenizer } from "../../src/data/world/vocabulary.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import {
  encodedImages,
  type SeenImages,
  type TrainableImageModel,
} from "../../src/train/objectives/images.ts";
import type { See } from "./image-batches.ts";
import { type Around, EOS, IMAGE, promptRow } from "./rows.ts";
import type { ScoredSystem } from "./score.ts";

/** Puts the tiles of each picture in another order; the whole view stays first. */
export function reorderTiles(
  { pixels, tiles, order: before }: SeenImages,
  reordered: (tiles: number) => readonly number[],
): SeenImages {
  const places = tiles.reduce((sum, [across, down]) => sum + 1 + across * down, 0);
  const views = before ?? Int32Array.from({ length: places }, (_, i) => i);
  const order = views.slice();
  let at = 0;
  for (const [across, down] of tiles) {
    reordered(across * down).forEach((tile, i) => {
      order[at + 1 + i] = views[at + 1 + tile];
    });
    at += 1 + across * down;
  }
  return { pixels, tiles, order };
}

/** A model that answers questions about pictures; where pictures are in tiles it says so. */
export type AskedModel = TrainableImageModel & Pick<VisionLanguageModel, "tiles">;

export function scoredSystem(model: AskedModel, see: See, around?: Around): ScoredSystem {
  const image: ImageToken = model.tiles === null ? "<image_placeholder>" : "<image>";
  const { tokenizer: file, config } = worldTokenizer({ image });
  const tokenizer = loadTokenizer(file as never, config as never);
  return {
    model,
    stopIds: [EOS],
    decode: (ids) => tokenizer.decode([...ids], { skipSpecialTokens: false }),
    prompt: (sample) => {
      const ids = promptRow(sample, sample.image === null ? 0 : 1, around);
      const at = ids.indexOf(IMAGE);
      return at < 0 ? { before: ids, after: [] } : { before: ids.slice(0, at), after: ids.slice(at + 1) };
    },
    async encode(samples) {
      const images = samples.flatMap(({ image }) => (image === null ? [] : [image]));
      if (images.length === 0) return samples.map(() => null);
      const seen = await see(images);
      const encoded = model.device.inference(() => encodedImages(model, seen));
      let next = 0;
      return samples.map(({ image }) => (image === null ? null : encoded[next++]));
    },
  };
}
