/**
 * Quantized weights from floats and back, from GGUF's Q4_0 and Q8_0 blocks and back (bytes move, nothing is
 * rounded), and rows of a quantized table by number. Nothing here has a gradient.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import {
  formatCode,
  type QuantFormat,
  type QuantizedTensor,
  quantizedBytes,
  TILE_ROWS,
} from "../quantized.ts";
import type { Tensor } from "../tensor.ts";
import { decodeRow, formats, groupBytes, half, halfBits, placeOf } from "./quantized-reference.ts";

/** Bytes of a GGUF block of 32 values. */
const blockBytes: Readonly<Record<QuantFormat, number>> = { q4: 18, q8: 34 };
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

function write(format: number, w: Uint8Array, k: number, r: number, c: number, stored: number): void {
  const { byte, high } = placeOf(format, k, r, c);
  if (format === 1) w[byte] = stored;
  else w[byte] = high ? (w[byte] & 15) | ((stored + 8) << 4) : (w[byte] & 240) | (stored + 8);
}

/** The best of the candidates that the kernel knows, by squared error: f16 bits. */
function bestScale(format: number, block: readonly number[]): number {
  const signed = block.reduce((top, v) => (Math.abs(v) > Math.abs(top) ? v : top), 0);
  if (format === 1) return halfBits(Math.fround(Math.abs(signed) / 127));
  if (Math.abs(signed) < 1e-30) return 0;
  const round = (v: number, d: number) => Math.max(-8, Math.min(7, Math.round(v / d)));
  const reaches = [...range(9).map((t) => -(6.8 + 0.3 * t)), ...range(9).map((t) => 6.2 + 0.3 * t)];
  let best = 0;
  let most = 0;
  for (const reach of reaches) {
    const q = block.map((v) => round(v, signed / reach));
    const product = q.reduce((sum, n, i) => sum + n * block[i], 0);
    const square = q.reduce((sum, n) => sum + n * n, 0);
    if (square > 0 && product ** 2 / square > most) {
      most = product ** 2 / square;
      best = product / square;
    }
  }
  const error = (bits: number) => {
    const d = half(bits & 255, bits >> 8);
    if (d === 0) return Number.POSITIVE_INFINITY;
    return block.reduce((sum, v) => sum + (v - d * round(v, d)) ** 2, 0);
  };
  const plain = halfBits(signed / -8);
  const fitted = halfBits(best);
  return error(fitted) < error(plain) ? fitted : error(plain) < Number.POSITIVE_INFINITY ? plain : 0;
}

const quantizeKernel = defineKernel({
  name: "quantize_tiles",
  operands: { x: "in f32", w: "inout u8" },
  ints: ["format", "rows", "k"],
  work: ({ rows, k }) => rows * k * 8,
  reference: ({ x, w }, { format, rows, k }) => {
    w.fill(0, 0, quantizedBytes(formats[format], rows, k));
    const limit = format === 0 ? [-8, 7] : [-127, 127];
    for (let r = 0; r < rows; r++) {
      for (let begin = 0; begin < k; begin += 32) {
        const block = range(32).map((i) => (begin + i < k ? x[r * k + begin + i] : 0));
        const bits = bestScale(format, block);
        const { tile, row } = placeOf(format, k, r, begin);
        w[tile + 2 * row] = bits & 255;
        w[tile + 2 * row + 1] = bits >> 8;
        const d = half(bits & 255, bits >> 8);
        for (const i of range(32)) {
          const q = d === 0 ? 0 : Math.max(limit[0], Math.min(limit[1], Math.round(block[i] / d)));
          write(format, w, k, r, begin + i, q);
        }
      }
    }
  },
});

function moveBlocks(
  blocks: Uint8Array,
  w: Uint8Array,
  format: number,
  rows: number,
  k: number,
  back: boolean,
) {
  const step = blockBytes[formats[format]];
  if (!back) w.fill(0, 0, quantizedBytes(formats[format], rows, k));
  for (let r = 0; r < rows; r++) {
    for (let b = 0; b < k / 32; b++) {
      const block = (r * (k / 32) + b) * step;
      const { tile, row } = placeOf(format, k, r, 32 * b);
      const pairs = [
        [block, tile + 2 * row],
        [block + 1, tile + 2 * row + 1],
        ...range(step - 2).map((i) => [block + 2 + i, placeOf(format, k, r, 32 * b + i).byte]),
      ];
      for (const [inBlock, inTile] of pairs) {
        if (back) blocks[inBlock] = w[inTile];
        else w[inTile] = blocks[inBlock];
      }
    }
  }
}

const repackKernel = defineKernel({
  name: "repack_tiles",
  operands: { blocks: "in u8", w: "inout u8" },
  ints: ["format", "rows", "k"],
  work: ({ rows, k }) => rows * k,
  reference: ({ blocks, w }, { format, rows, k }) => moveBlocks(blocks, w, format, rows, k, false),
});

const unpackKernel = defineKernel({
  name: "unpack_tiles",
  operands: { blocks: "out u8", w: "in u8" },
  ints: ["format", "rows", "k"],
  work: ({ rows, k }) => rows * k,
  reference: ({ blocks, w }, { format, rows, k }) => moveBlocks(blocks, w, format, rows, k, true),
});

const dequantizeKernel = defineKernel({
  name: "dequantize_rows",
  operands: { w: "in u8", y: "out f32" },
  ints: ["format", "first", "rows", "k", "transpose"],
  work: ({ rows, k }) => rows * k,
  reference: ({ w, y }, { format, first, rows, k, transpose }) => {
    for (let r = 0; r < rows; r++) {
      decodeRow(format, w, 0, first + r, k).forEach((v, c) => {
        y[transpose ? c * rows + r : r * k + c] = v;
      });
    }
  },
});

const embeddingKernel = defineKernel({
  name: "quantized_embedding",
  operands: { w: "in u8", ids: "in i32", y: "out f32" },
  ints: ["format", "rows", "vocabulary", "k"],
  work: ({ rows, k }) => rows * k,
  reference: ({ w, ids, y }, { format, rows, vocabulary, k }) => {
    for (let r = 0; r < rows; r++) {
      const known = ids[r] >= 0 && ids[r] < vocabulary;
      const row = known ? decodeRow(format, w, 0, ids[r], k) : new Float64Array(k).fill(Number.NaN);
      y.set(row, r * k);
    }
  },
});

/** Runs `body` with the tiles of one matrix from the group of `row` on. @throws ShapeError */
function withTiles<T>(
  where: string,
  weight: QuantizedTensor,
  matrix: number,
  row: number,
  rows: number,
  body: (tiles: Tensor) => T,
): T {
  const shard = weight.shards.find(({ begin, end }) => matrix >= begin && matrix < end);
  if (!shard || row < 0 || rows < 0 || row + rows > weight.rows) {
    throw new ShapeError("rows reach beyond the matrix", {
      where,
      expected: weight.shape,
      found: `rows ${row} to ${row + rows} of matrix ${matrix}`,
    });
  }
  const { device, format, columns } = weight;
  const from = (matrix - shard.begin) * weight.matrixBytes;
  const begin = from + Math.floor(row / TILE_ROWS) * groupBytes(formatCode(format), columns);
  return device.unscoped(() => {
    using tiles = shard.tiles.slice(begin, from + weight.matrixBytes);
    return body(tiles);
  });
}

/** Rows that are written replace whole groups of tiles. @throws ShapeError */
function checkGroups(where: string, weight: QuantizedTensor, row: number, rows: number): void {
  if (row % TILE_ROWS === 0 && (rows % TILE_ROWS === 0 || row + rows === weight.rows)) return;
  throw new ShapeError("rows do not form whole groups", {
    where,
    expected: `multiples of ${TILE_ROWS}, or up to row ${weight.rows}`,
    found: `rows ${row} to ${row + rows}`,
  });
}

/**
 * Quantizes `values` [r, k] f32 as rows `row` to `row` + r of one matrix. `row` is a multiple of 8, and so is r
 * unless it ends the matrix. q4 searches the scale of each block for the least squared error; q8 takes the largest
 * magnitude / 127. Values must be finite, which the caller checks: a block with another becomes some finite block.
 * @throws ShapeError
 */
export function quantizeInto(target: QuantizedTensor, matrix: number, row: number, values: Tensor): void {
  const where = "quantizeInto";
  const { device, columns } = target;
  if (values.shape.length !== 2 || values.shape[1] !== columns) {
    throw new ShapeError("values do not have the columns of the matrix", {
      where,
      expected: `[r, ${columns}]`,
      found: values.shape,
    });
  }
  const rows = values.shape[0];
  checkGroups(where, target, row, rows);
  withTiles(where, target, matrix, row, rows, (w) =>
    quantizeKernel.run(device, { x: values, w }, { format: formatCode(target.format), rows, k: columns }),
  );
}

/** Checks that rows are whole GGUF blocks; their bytes. @throws ShapeError */
function blocksBytes(where: string, weight: QuantizedTensor, rows: number): number {
  const { columns, format } = weight;
  if (columns % 32 !== 0) {
    throw new ShapeError("columns do not form whole blocks", {
      where,
      expected: "a multiple of 32",
      found: columns,
    });
  }
  return rows * (columns / 32) * blockBytes[format];
}

/**
 * Writes GGUF blocks (u8; Q4_0 for q4, Q8_0 for q8) as rows `row` to `row` + `rows` of one matrix, without loss.
 * Rows as in `quantizeInto`. @throws ShapeError
 */
export function repackInto(
  target: QuantizedTensor,
  matrix: number,
  row: number,
  blocks: Tensor,
  rows: number,
): void {
  const where = "repackInto";
  const { device, columns } = target;
  const bytes = blocksBytes(where, target, rows);
  if (blocks.size !== bytes) {
    throw new ShapeError("block bytes do not fill the rows", { where, expected: bytes, found: blocks.size });
  }
  checkGroups(where, target, row, rows);
  withTiles(where, target, matrix, row, rows, (w) =>
    repackKernel.run(device, { blocks, w }, { format: formatCode(target.format), rows, k: columns }),
  );
}

/** Rows `row` (a multiple of 8) to `row` + `rows` of one matrix as GGUF blocks, [bytes] u8. @throws ShapeError */
export function unpackBlocks(source: QuantizedTensor, matrix: number, row: number, rows: number): Tensor {
  const where = "unpackBlocks";
  const { device, columns } = source;
  const bytes = blocksBytes(where, source, rows);
  if (row % TILE_ROWS !== 0) {
    throw new ShapeError("rows do not start at a group", {
      where,
      expected: `a multiple of ${TILE_ROWS}`,
      found: row,
    });
  }
  const blocks = device.empty([bytes], "u8");
  withTiles(where, source, matrix, row, rows, (w) =>
    unpackKernel.run(device, { blocks, w }, { format: formatCode(source.format), rows, k: columns }),
  );
  return blocks;
}

/**
 * Rows `row` to `row` + `rows` (any) of one matrix as f32, exact: [rows, k], or [k, rows] if `transpose`.
 * @throws ShapeError
 */
export function dequantizeRows(
  source: QuantizedTensor,
  matrix: number,
  row: number,
  rows: number,
  options: { readonly transpose?: boolean } = {},
): Tensor {
  const { device, columns: k } = source;
  const transpose = options.transpose ? 1 : 0;
  const y = device.empty(transpose ? [k, rows] : [rows, k]);
  const format = formatCode(source.format);
  withTiles("dequantizeRows", source, matrix, row, rows, (w) =>
    dequantizeKernel.run(device, { w, y }, { format, first: row % TILE_ROWS, rows, k, transpose }),
  );
  return y;
}

/**
 * Rows of a table [V, d] by id: i32 [..] -> f32 [.., d]. An id outside 0 to V - 1 gives a row of NaN; `checkIds`
 * finds it on the host. @throws ShapeError
 */
export function quantizedEmbedding(weight: QuantizedTensor, ids: Tensor): Tensor {
  if (weight.shape.length !== 2) {
    throw new ShapeError("an embedding table must be [V, d]", {
      where: "quantizedEmbedding",
      expected: "[V, d]",
      found: weight.shape,
    });
  }
  const { device, rows: vocabulary, columns: k } = weight;
  const y = device.empty([...ids.shape, k]);
  const format = formatCode(weight.format);
  withTiles("quantizedEmbedding", weight, 0, 0, vocabulary, (w) =>
    embeddingKernel.run(device, { w, ids, y }, { format, rows: ids.size, vocabulary, k }),
  );
  return y;
}
