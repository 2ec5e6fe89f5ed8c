/**
 * Patches of an image as tokens: a convolution whose stride is its size, computed as one product. The official weight
 * `[out, 3, p, p]` is the matrix of patches whose channels come first, so it is stored as it is.
 */

import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { linear } from "../tensor/ops/linear.ts";
import { permute } from "../tensor/ops/permute.ts";
import { reshape, split } from "../tensor/ops/reshape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Width of the last axis cut to its first `size` values. */
function cut(x: Tensor, size: number): Tensor {
  const width = x.shape.at(-1)!;
  return width === size ? x : split(x, [size, width - size])[0];
}

export class PatchEmbedding {
  readonly #weight: ParameterGroup;
  readonly #bias: ParameterGroup;
  readonly #patchSize: number;

  /** Declares `weight` and `bias`. @param patchSize in pixels @param width of the tokens */
  constructor(scope: ParameterScope, patchSize: number, width: number) {
    this.#patchSize = patchSize;
    const parts = [{ name: "weight", shape: [width, 3, patchSize, patchSize], offset: 0 }];
    const shape = [width, 3 * patchSize ** 2];
    this.#weight = scope.declare({ key: "weight", shape, parts, role: "filter" });
    this.#bias = scope.vector("bias", width, { initial: "zeros" });
  }

  /**
   * pixels `[B, height, width, 3]` to `[B, rows columns, width]`, row by row. What remains at the bottom and on the right
   * is not read.
   */
  forward(pixels: Tensor): Tensor {
    const p = this.#patchSize;
    const [B, height, width] = pixels.shape;
    const [rows, columns] = [Math.floor(height / p), Math.floor(width / p)];
    const narrow = cut(reshape(pixels, [B, height, width * 3]), columns * p * 3); // [B, height, columns p 3]
    const whole = cut(reshape(narrow, [B, height * columns * p * 3]), rows * columns * p * p * 3);
    const byPatch = permute(reshape(whole, [B, rows, p, columns, p, 3]), [0, 1, 3, 5, 2, 4]);
    const patches = reshape(byPatch, [B, rows * columns, 3 * p * p]);
    return linear(patches, this.#weight.weight, this.#bias.tensor); // [B, rows columns, width]
  }
}
