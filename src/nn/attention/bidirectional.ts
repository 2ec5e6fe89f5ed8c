/**
 * Multi-head attention of vision towers, without a mask: SigLIP's over all patches (timm's `Attention`), and SAM's inside
 * windows or over the whole grid with decomposed relative positions (`Attention` of sam.py).
 */

import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { attentionBidirectional } from "../../tensor/ops/attention-bidirectional.ts";
import { reshape } from "../../tensor/ops/reshape.ts";
import { resize } from "../../tensor/ops/resize.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Linear } from "../linear.ts";
import type { ParameterGroup } from "../parameter-group.ts";
import type { ParameterScope } from "../scope.ts";

/** Rows and columns of tokens. */
export type Grid = readonly [height: number, width: number];

export interface BidirectionalConfig {
  readonly heads: number;
  /** Side of the windows that tokens attend within; default: every token attends to all. */
  readonly window?: number;
  /** What the relative positions were made for: the window, or the grid if there is none. Default: no such positions. */
  readonly relative?: Grid;
}

/** A table of relative positions `[n, D]` stretched to `rows` rows: linear, as torch's interpolate. @throws ShapeError */
export function stretchTable(table: Tensor, rows: number): Tensor {
  const [n, D] = table.shape;
  if (n === rows) return table;
  return reshape(resize(reshape(table, [1, n, 1, D]), [rows, 1], "bilinear"), [rows, D]);
}

/** Attention of one block over `x: [B, T, hidden]` (already normed), with the residual left to the caller. */
export class BidirectionalAttention {
  readonly #hidden: number;
  readonly #config: BidirectionalConfig;
  readonly #qkv: Linear;
  readonly #output: Linear;
  readonly #relative: { readonly rows: ParameterGroup; readonly columns: ParameterGroup } | null;

  /**
   * Declares `qkv`, `proj`, and `rel_pos_h` and `rel_pos_w` if there are relative positions.
   * @param hidden width of `x` and of the result, a multiple of the heads @throws ConfigError
   */
  constructor(scope: ParameterScope, hidden: number, config: BidirectionalConfig) {
    if (hidden % config.heads !== 0) {
      throw new ConfigError("the width is not a multiple of the heads", {
        where: "BidirectionalAttention",
        name: scope.prefix,
        expected: `a multiple of ${config.heads}`,
        found: hidden,
      });
    }
    this.#hidden = hidden;
    this.#config = config;
    this.#qkv = new Linear(scope.child("qkv"), hidden, 3 * hidden, { bias: true });
    this.#output = new Linear(scope.child("proj"), hidden, hidden, { bias: true });
    const table = (name: string, size: number) => {
      const options = { initial: "zeros", decay: false, alwaysF32: true } as const;
      return scope.matrix(name, 2 * size - 1, hidden / config.heads, options);
    };
    const { relative } = config;
    this.#relative = relative
      ? { rows: table("rel_pos_h", relative[0]), columns: table("rel_pos_w", relative[1]) }
      : null;
  }

  /**
   * `x: [B, T, hidden]` to the same shape. Tables of relative positions made for another size are stretched.
   * @param grid rows and columns of tokens, row by row in `x`; needed with windows or relative positions
   * @throws ShapeError
   */
  forward(x: Tensor, grid?: Grid): Tensor {
    const { heads } = this.#config;
    const [B, T] = x.shape;
    if (grid === undefined && (this.#config.window !== undefined || this.#relative !== null)) {
      throw new ShapeError("windows and relative positions need the grid of tokens", {
        where: "BidirectionalAttention",
        expected: `rows and columns of ${T} tokens`,
        found: grid,
      });
    }
    const side = this.#config.window;
    const window: Grid | undefined = side === undefined ? grid : [side, side];
    const qkv = reshape(this.#qkv.forward(x), [B, T, 3, heads, this.#hidden / heads]); // [B, T, 3, H, D]
    const relative = this.#relative && {
      rows: stretchTable(this.#relative.rows.tensor, 2 * window![0] - 1),
      columns: stretchTable(this.#relative.columns.tensor, 2 * window![1] - 1),
    };
    const mixed = attentionBidirectional(qkv, {
      scale: (this.#hidden / heads) ** -0.5,
      // What windows reach beyond the grid is a projection of zeros.
      padding: this.#qkv.bias!,
      ...(grid && { grid }),
      ...(window && { window }),
      ...(relative && { relative }),
    }); // [B, T, H, D]
    return this.#output.forward(reshape(mixed, [B, T, this.#hidden]));
  }
}
