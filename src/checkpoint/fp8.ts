/**
 * Block scales of FP8 weights (language-models.md §7): a weight [rows, cols] of e4m3 codes has one float32
 * multiplier per block of 128x128, stored as `<weight>_scale_inv` of [ceil(rows/128), ceil(cols/128)]. Blocks at
 * the edges are partial and keep their own scale. Activation quantization belongs to the kernels.
 */
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { e4m3ToF32, f32ToE4m3 } from "../tensor/float-formats.ts";

/** Rows and columns that share one scale. */
export type BlockSize = readonly [rows: number, cols: number];

/** Block size of the released FP8 checkpoints. */
export const defaultBlock: BlockSize = [128, 128];

const E4M3_LARGEST = 448;
const SMALLEST_SCALE = 2 ** -126;

/** Shape of the scales of a [rows, cols] weight. */
export function scaleShape(rows: number, cols: number, block: BlockSize = defaultBlock): [number, number] {
  return [Math.ceil(rows / block[0]), Math.ceil(cols / block[1])];
}

/**
 * Decodes consecutive elements of a blockwise FP8 weight of `cols` columns: `codes` are the elements from flat
 * index `start` (row-major), `scales` all scales of the weight. Returns as many float32 as there are codes.
 */
export function dequantizeBlocks(
  codes: Uint8Array,
  scales: Float32Array,
  cols: number,
  block: BlockSize = defaultBlock,
  start = 0,
  dst: Float32Array = new Float32Array(codes.length),
): Float32Array {
  const [blockRows, blockCols] = block;
  const scaleCols = Math.ceil(cols / blockCols);
  const lastRow = codes.length === 0 ? -1 : Math.floor((start + codes.length - 1) / cols);
  const needed = lastRow < 0 ? 0 : (Math.floor(lastRow / blockRows) + 1) * scaleCols;
  if (scales.length < needed) {
    throw new ShapeError("too few block scales", {
      where: "dequantizeBlocks",
      expected: `at least ${needed}`,
      found: scales.length,
    });
  }
  e4m3ToF32(codes, dst);
  let at = 0;
  while (at < codes.length) {
    const row = Math.floor((start + at) / cols);
    const col = (start + at) % cols;
    const blockCol = Math.floor(col / blockCols);
    const width = Math.min((blockCol + 1) * blockCols, cols) - col;
    const end = Math.min(at + width, codes.length);
    const scale = scales[Math.floor(row / blockRows) * scaleCols + blockCol];
    for (; at < end; at++) dst[at] *= scale;
  }
  return dst;
}

export interface QuantizedBlocks {
  /** e4m3 codes, [rows, cols]. */
  readonly codes: Uint8Array;
  /** Multipliers that undo the quantization, of `scaleShape`. */
  readonly scales: Float32Array;
  readonly scaleShape: [number, number];
}

/**
 * Quantizes a row-major float32 matrix [rows, cols] to e4m3 with one scale per block, the largest magnitude of the
 * block over 448 (1 for a block of zeros). @throws FormatError on values that are not finite.
 */
export function quantizeBlocks(
  values: Float32Array,
  rows: number,
  cols: number,
  block: BlockSize = defaultBlock,
): QuantizedBlocks {
  if (values.length !== rows * cols) {
    throw new ShapeError("values do not fill the matrix", {
      where: "quantizeBlocks",
      expected: `${rows} x ${cols} = ${rows * cols}`,
      found: values.length,
    });
  }
  const [blockRows, blockCols] = block;
  const shape = scaleShape(rows, cols, block);
  const largest = new Float32Array(shape[0] * shape[1]);
  const blockOf = (row: number, col: number) =>
    Math.floor(row / blockRows) * shape[1] + Math.floor(col / blockCols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const size = Math.abs(values[row * cols + col]);
      if (!Number.isFinite(size)) {
        throw new FormatError("only finite weights can be quantized", {
          where: "quantizeBlocks",
          name: `row ${row}, column ${col}`,
          found: values[row * cols + col],
        });
      }
      const b = blockOf(row, col);
      if (size > largest[b]) largest[b] = size;
    }
  }
  // The floor keeps a block of subnormal weights from dividing by a scale that has lost its bits.
  const scales = largest.map((size) => (size === 0 ? 1 : Math.max(size / E4M3_LARGEST, SMALLEST_SCALE)));
  const scaled = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      scaled[row * cols + col] = values[row * cols + col] / scales[blockOf(row, col)];
    }
  }
  return { codes: f32ToE4m3(scaled), scales, scaleShape: shape };
}
