/**
 * Products in a format of fewer bits, emulated: both sides of each of the three products of a linear layer are rounded to what that
 * format holds, and multiplied and added in f32 (DeepSeek-V3, arXiv 2412.19437, section 3.3). Where the format needs scales, a tile of
 * 128 values along the axis that is summed over shares one, and a block of 128 x 128 of a weight.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { columnSums } from "./column-sums.ts";
import { inputGradient, weightGradient } from "./linear.ts";
import { checkBias, matmulInto } from "./matmul.ts";

/** 8 bits with 3 or 2 of them behind the point, and scales; 16 bits without. */
export type RoundedFormat = "e4m3" | "e5m2" | "bf16";

/** Values that share a scale: so many rows and columns; 0: all. */
export interface ScaleTile {
  readonly rows: number;
  readonly columns: number;
}

/** How the sides of products are rounded. */
export interface ProductRounding {
  /** Of inputs and weights. */
  readonly format: RoundedFormat;
  /** Of gradients of results. */
  readonly gradients: RoundedFormat;
  /** What shares a scale: `tiles` of 128 along the axis that is summed over, and blocks of a weight; or the whole `tensor`. */
  readonly scales: "tiles" | "tensor";
  /** Whether gradients of results have the blocks of weights in place of tiles. */
  readonly gradientBlocks?: boolean;
}

const TILE = 128;
const FORMATS: readonly RoundedFormat[] = ["e4m3", "e5m2", "bf16"];
/** Bits of the mantissa and least exponent of normal numbers; largest value of those with scales. */
const SHAPES = [
  { mantissa: 3, least: -6, top: 448 },
  { mantissa: 2, least: -14, top: 57_344 },
  { mantissa: 7, least: -126, top: null },
];
/** A tile with no larger magnitude counts as zeros; kernels/rounding.ts has the same number. */
const TINY = Math.fround(1e-30);

function halfToEven(x: number): number {
  const below = Math.floor(Math.abs(x));
  const rest = Math.abs(x) - below;
  const up = rest === 0.5 ? below % 2 === 1 : rest > 0.5;
  const size = up ? below + 1 : below;
  // Of zeros too.
  return x < 0 || Object.is(x, -0) ? -size : size;
}

const roundKernel = defineKernel({
  name: "round_tiles",
  operands: { x: "in f32", y: "out f32" },
  ints: ["rows", "n", "tileRows", "tileColumns", "format"],
  work: ({ rows, n }) => 4 * rows * n,
  // In f32 step by step: what lies between two values of the format must fall to the same one in every backend.
  reference: ({ x, y }, { rows, n, tileRows, tileColumns, format }) => {
    const { mantissa, least, top } = SHAPES[format];
    for (let r0 = 0; r0 < rows; r0 += tileRows) {
      for (let c0 = 0; c0 < n; c0 += tileColumns) {
        const places: number[] = [];
        for (let r = r0; r < Math.min(rows, r0 + tileRows); r++) {
          for (let c = c0; c < Math.min(n, c0 + tileColumns); c++) places.push(r * n + c);
        }
        const most = places.reduce((most, i) => Math.max(most, Math.abs(x[i])), 0);
        const scale = top === null ? 1 : Math.fround(most / top);
        for (const i of places) {
          const v = Math.fround(x[i] / scale);
          const power = Math.max(least, Math.floor(Math.log2(Math.abs(v))));
          const step = 2 ** (power - mantissa);
          y[i] = top !== null && most < TINY ? 0 : Math.fround(halfToEven(v / step) * step * scale);
        }
      }
    }
  },
});

/** x [.., n] f32 as `format` holds it, with a scale for each tile of its rows and columns; no gradient. @throws ShapeError */
export function roundTiles(x: Tensor, format: RoundedFormat, { rows, columns }: ScaleTile): Tensor {
  const n = x.shape.at(-1);
  if (n === undefined || x.dtype !== "f32") {
    throw new ShapeError("only matrices of f32 can be rounded", {
      where: "roundTiles",
      expected: "[.., n] f32",
      found: `[${x.shape}] ${x.dtype}`,
    });
  }
  const y = x.device.empty(x.shape);
  if (x.size === 0) return y;
  const count = x.size / n;
  const tile = { tileRows: rows === 0 ? count : rows, tileColumns: columns === 0 ? n : columns };
  roundKernel.run(x.device, { x, y }, { rows: count, n, ...tile, format: FORMATS.indexOf(format) });
  return y;
}

const WHOLE: ScaleTile = { rows: 0, columns: 0 };
const BLOCK: ScaleTile = { rows: TILE, columns: TILE };
/** Where products sum over columns, and where over rows. */
const ALONG: ScaleTile = { rows: 1, columns: TILE };
const ACROSS: ScaleTile = { rows: TILE, columns: 1 };

/**
 * x W^T + bias with both sides of the product rounded, and those of both products of its gradients: x [.., k] f32, weight [n, k] f32,
 * bias [n] f32 or none, result [.., n]. Gradients reach x and the weight as if nothing had been rounded (straight through).
 * @throws ShapeError
 */
export function roundedLinear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  { format, gradients, scales, gradientBlocks = false }: ProductRounding,
): Tensor {
  const k = x.shape.at(-1);
  if (weight.shape.length !== 2 || k !== weight.shape[1] || weight.dtype !== "f32") {
    throw new ShapeError("weight and input differ in their last axis, or the weight is not f32", {
      where: "roundedLinear",
      expected: `[n, ${k}] f32`,
      found: `[${weight.shape}] ${weight.dtype}`,
    });
  }
  const n = weight.shape[0];
  if (bias) checkBias("roundedLinear", bias, n);
  const { device } = x;
  const m = x.size / k;
  const tileOf = (tile: ScaleTile) => (scales === "tensor" ? WHOLE : tile);
  const ofGradients = (tile: ScaleTile) => tileOf(gradientBlocks ? BLOCK : tile);
  // Read again for the gradient of x.
  const w = roundTiles(weight, format, tileOf(BLOCK));
  const y = device.empty([...x.shape.slice(0, -1), n]);
  {
    using input = device.unscoped(() => roundTiles(x, format, tileOf(ALONG)));
    const sides = [
      { tensor: input, row: k },
      { tensor: w, row: 1, column: k },
    ] as const;
    matmulInto(device, { m, n, k }, ...sides, { tensor: y, row: n }, 0, { bias, activation: null });
  }
  record([y], bias ? [x, weight, bias] : [x, weight], ([dy], grads) => {
    if (grads.wants(0)) {
      using d = device.unscoped(() => roundTiles(dy!, gradients, ofGradients(ALONG)));
      inputGradient(d, w, grads.target(0));
    }
    if (grads.wants(1)) {
      using d = device.unscoped(() => roundTiles(dy!, gradients, ofGradients(ACROSS)));
      using input = device.unscoped(() => roundTiles(x, format, tileOf(ACROSS)));
      weightGradient(d, input, grads.target(1));
    }
    if (!bias || !grads.wants(2)) return;
    const { tensor, accumulate } = grads.target(2);
    columnSums(dy!, tensor, accumulate);
  });
  return y;
}
