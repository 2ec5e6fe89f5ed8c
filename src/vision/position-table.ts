/** Learned positions of a grid: one vector for each patch, added to its token. */
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { embedding } from "../tensor/ops/embedding.ts";
import { type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

export class PositionTable {
  readonly #table: ParameterGroup;

  /** Declares `pos_embed`, `[1, grid.., width]`. */
  constructor(scope: ParameterScope, grid: Shape, width: number) {
    this.#table = scope.declare({
      key: "pos_embed",
      shape: [sizeOf(grid), width],
      parts: [{ name: "pos_embed", shape: [1, ...grid, width], offset: 0 }],
      ...{ decay: false, alwaysF32: true },
    });
  }

  /** The table for each of `batch` images, `[batch, positions, width]`. */
  forward(batch: number): Tensor {
    const { tensor } = this.#table;
    const [positions] = tensor.shape;
    const ids = Int32Array.from({ length: batch * positions }, (_, i) => i % positions);
    return embedding(tensor, tensor.device.tensor(ids, [batch, positions], "i32"));
  }
}
