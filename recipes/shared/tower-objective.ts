/**
 * What the tower's pre-training minimizes: SigLIP's loss between scenes and captions, and the same loss between the tokens of
 * pages and the names of glyphs. The second stands for the text in the pictures that SigLIP saw: from captions of whole
 * scenes alone a tower of this size does not learn glyphs.
 */
import type { ImageTextModel } from "../../src/models/image-text.ts";
import { weightedSum } from "../../src/tensor/ops/reduce.ts";
import { reshape, split } from "../../src/tensor/ops/reshape.ts";
import { pairwiseSigmoidLoss, sigmoidLoss, unitRows } from "../../src/train/objectives/pairwise-sigmoid.ts";
import { VIEW } from "./pages.ts";
import type { TowerBatch } from "./tower-data.ts";

/** A view has about ten glyphs, each of which counts as much as a scene's caption does otherwise. */
const GLYPH_WEIGHT = 0.3;

export function towerObjective(model: ImageTextModel, { batch, pixels, captions, ends, names }: TowerBatch) {
  const { device } = model;
  const scenes = ends.length;
  const tokens = model.tower.forward(device.tensor(pixels, [batch, VIEW, VIEW, 3])); // [batch, N, C]
  const [, N, width] = tokens.shape;
  const counts = [scenes, batch - scenes];
  const [first, rest] = split(
    reshape(tokens, [1, batch * N * width]),
    counts.map((count) => count * N * width),
  ).map((part, i) => reshape(part, [counts[i], N, width]));
  const u = unitRows(model.pooled(first));
  const v = unitRows(model.captions(captions, ends));
  const pairs = pairwiseSigmoidLoss(u, v, model.comparison);
  const glyphs = sigmoidLoss(model.named(rest), names, batch - scenes);
  return { loss: weightedSum([pairs, glyphs], [1, GLYPH_WEIGHT]), terms: { pairs, glyphs } };
}
