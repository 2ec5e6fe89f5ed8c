/** The next token of texts with images in them, for models that see. */
import type { TrainableModel } from "../../models/token-model.ts";
import { embedding } from "../../tensor/ops/embedding.ts";
import { reshape } from "../../tensor/ops/reshape.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Batch } from "../batches.ts";
import { nextTokenLoss } from "./next-token.ts";
import type { Objective, Trainable } from "./objective.ts";

/** Images as a model sees them. */
export interface SeenImages {
  /** `[views, side, side, 3]`: of each image its one view, or the whole view and its tiles. */
  readonly pixels: Float32Array;
  /** Which of these views stand in each place for one, where some stand in several; default: each once, in order. */
  readonly order?: Int32Array;
  /** Tiles of each image across and down, `[0, 0]` for one view. */
  readonly tiles: readonly (readonly [across: number, down: number])[];
}

/** Sequences with images, padded on the right to one length. */
export interface ImageBatch extends Batch {
  /** [batch * length]; where an image's tokens stand, `imageId`. */
  readonly ids: Int32Array;
  /** [batch * length] the token after each; negative if it is not to be learned. */
  readonly targets: Int32Array;
  /** Targets to be learned. */
  readonly weight: number;
  readonly imageId: number;
  /** Of all sequences, in the order of their places; null for text alone. */
  readonly images: SeenImages | null;
}

/** What the objective needs of a model that sees. */
export interface TrainableImageModel extends Trainable {
  readonly language: TrainableModel;
  readonly imageSize: number;
  encodeViews(pixels: Tensor): Tensor;
  arrange(views: Tensor, tiles: readonly (readonly [number, number])[]): Tensor[];
  inputs(
    ids: ArrayLike<number>,
    shape: readonly [number, number],
    images: readonly Tensor[],
    imageId: number,
  ): Tensor;
}

/** Views in their places, `[n, N, d]`, of the different ones. */
function placed(views: Tensor, order: Int32Array | undefined): Tensor {
  if (order === undefined) return views;
  const [count, tokens, width] = views.shape;
  const table = reshape(views, [count, tokens * width]);
  const all = embedding(table, views.device.tensor(order, [order.length], "i32"));
  return reshape(all, [order.length, tokens, width]);
}

/** Images as the language model reads them, `[n, d]` each. */
export function encodedImages(model: TrainableImageModel, { pixels, tiles, order }: SeenImages): Tensor[] {
  const { device, imageSize: side } = model;
  const views = pixels.length / (3 * side ** 2);
  const tokens = model.encodeViews(device.tensor(pixels, [views, side, side, 3])); // [views, N, d]
  return model.arrange(placed(tokens, order), tiles);
}

/** The next token, through towers and projector as far as they are trained. @throws ShapeError */
export const imageObjective: Objective<TrainableImageModel, ImageBatch> = (model, batch, options) => {
  const { batch: sequences, length, ids, targets, imageId, images } = batch;
  const inputs =
    images === null
      ? undefined
      : () => model.inputs(ids, [sequences, length], encodedImages(model, images), imageId);
  return nextTokenLoss(model.language, { sequences, ids, targets, ...(inputs && { inputs }) }, options);
};
