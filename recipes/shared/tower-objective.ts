/**
 * What the tower's pre-training minimizes: SigLIP's loss between scenes and captions, and the same loss between single tokens and
 * the names of what lies there: glyphs, and objects' colors, shapes and sizes. The second stands for the billions of captions
 * that SigLIP saw: from captions of whole scenes alone a tower learns neither glyphs nor shapes in the minutes that there are.
 */
import type { ImageTextModel } from "../../src/models/image-text.ts";
import { weightedSum } from "../../src/tensor/ops/reduce.ts";
import { reshape, split } from "../../src/tensor/ops/reshape.ts";
import { pairwiseSigmoidLoss, sigmoidLoss, unitRows } from "../../src/train/objectives/pairwise-sigmoid.ts";
import { VIEW } from "./pages.ts";
import type { TowerBatch } from "./tower-data.ts";

/** A caption tells a few words about a picture, its tokens' names up to eighty. */
const CAPTION_WEIGHT = 0.2;

export function towerObjective(model: ImageTextModel, { batch, pixels, captions, ends, names }: TowerBatch) {
  const { device } = model;
  const scenes = ends.length;
  const tokens = model.tower.forward(device.tensor(pixels, [batch, VIEW, VIEW, 3])); // [batch, N, C]
  const [, N, width] = tokens.shape;
  const [first] = split(reshape(tokens, [1, batch * N * width]), [
    scenes * N * width,
    (batch - scenes) * N * width,
  ]);
  const u = unitRows(model.pooled(reshape(first, [scenes, N, width])));
  const v = unitRows(model.captions(captions, ends));
  const pairs = pairwiseSigmoidLoss(u, v, model.comparison);
  const named = sigmoidLoss(model.named(tokens), names, batch * N);
  return { loss: weightedSum([pairs, named], [CAPTION_WEIGHT, 1]), terms: { pairs, names: named } };
}
