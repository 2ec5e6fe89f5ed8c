/**
 * The order of an image's tokens in DeepSeek-VL2 (`prepare_inputs_embeds` of deepseek-ai/DeepSeek-VL2): rows of the whole
 * view, each with a newline, a separator, and rows across all tiles side by side, each with a newline.
 */
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { ShapeError } from "../tensor/errors.ts";
import { embedding } from "../tensor/ops/embedding.ts";
import { concat, reshape } from "../tensor/ops/reshape.ts";
import type { Tensor } from "../tensor/tensor.ts";

export class TileLayout {
  readonly parameters: Parameters;
  readonly #newline: ParameterGroup;
  readonly #separator: ParameterGroup;
  readonly #globalFirst: boolean;

  /** Declares `image_newline` and `view_seperator`, spelled as in the checkpoints. */
  constructor(scope: ParameterScope, width: number, globalFirst: boolean) {
    const own = scope.part();
    this.#globalFirst = globalFirst;
    this.#newline = own.vector("image_newline", width, { initial: "normal" });
    this.#separator = own.vector("view_seperator", width, { initial: "normal" });
    this.parameters = own.parameters;
  }

  /**
   * Tokens of the views of one image, the whole one first and then the tiles row by row, `[1 + across down, side^2, d]`, in
   * order, `[n, d]`. @throws ShapeError for another number of views
   */
  forward(views: Tensor, [across, down]: readonly [across: number, down: number]): Tensor {
    const [count, area, width] = views.shape;
    const side = Math.sqrt(area);
    if (count !== 1 + across * down || !Number.isInteger(side)) {
      throw new ShapeError("the views of another image", {
        where: "TileLayout",
        expected: `${1 + across * down} views of n x n tokens for ${across} x ${down} tiles`,
        found: views.shape,
      });
    }
    const newline = count * area;
    const whole: number[] = [];
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) whole.push(y * side + x);
      whole.push(newline);
    }
    const tiles: number[] = [];
    for (let y = 0; y < down * side; y++) {
      for (let x = 0; x < across * side; x++) {
        const tile = 1 + Math.floor(y / side) * across + Math.floor(x / side);
        tiles.push(tile * area + (y % side) * side + (x % side));
      }
      tiles.push(newline);
    }
    const separator = newline + 1;
    const order = this.#globalFirst ? [...whole, separator, ...tiles] : [...tiles, separator, ...whole];
    const { device } = views;
    return device.tidy(() => {
      const rows = [
        reshape(views, [1, count * area * width]),
        reshape(this.#newline.tensor, [1, width]),
        reshape(this.#separator.tensor, [1, width]),
      ];
      const table = reshape(concat(rows), [count * area + 2, width]);
      return embedding(table, device.tensor(Int32Array.from(order), [order.length], "i32")); // [n, d]
    });
  }
}
