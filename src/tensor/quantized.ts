/**
 * Weights in blocks of 32 with one scale each: 4 bits (`q4`, the values of GGUF's Q4_0) and 8 bits (`q8`, those of
 * Q8_0). They are read-only: no gradients.
 *
 * Storage is cut in tiles of 8 rows by 32 columns, so that kernels compute eight rows at once; a row group's tiles
 * lie one after another. A tile is eight f16 scales (row 0 to 7), then the values:
 *   q4, 144 bytes: 4 pieces of 8 rows by 4 bytes; byte b of piece p holds columns 4p + b (low half) and 16 + 4p + b
 *       (high half), each stored as value + 8, so that value = scale (stored - 8);
 *   q8, 272 bytes: 16 pieces of 8 rows by 2 columns, signed bytes; value = scale stored.
 * Rows and columns are padded with zeros to whole tiles. Each of stacked experts begins a row group.
 */
import { ShapeError } from "./errors.ts";
import type { Device, Shape, Tensor } from "./tensor.ts";

export type QuantFormat = "q4" | "q8";

/** Rows and columns of a tile. */
export const TILE_ROWS = 8;
export const TILE_COLUMNS = 32;
/** Bytes of a tile. */
export const tileBytes: Readonly<Record<QuantFormat, number>> = { q4: 144, q8: 272 };

/** Code of a format as kernels take it in an integer argument. */
export function formatCode(format: QuantFormat): number {
  return format === "q4" ? 0 : 1;
}

/** Bytes of one matrix of `rows` by `columns`. */
export function quantizedBytes(format: QuantFormat, rows: number, columns: number): number {
  return Math.ceil(rows / TILE_ROWS) * Math.ceil(columns / TILE_COLUMNS) * tileBytes[format];
}

/** Consecutive matrices of a stack, in one buffer. */
export interface QuantizedShard {
  /** First matrix and the one after the last. */
  readonly begin: number;
  readonly end: number;
  /** The tiles, `[bytes]` u8. */
  readonly tiles: Tensor;
}

/** Most bytes of one shard: stacks beyond it are spread, so that they may lie in several memories. */
const SHARD_BYTES = 2 ** 30;

/** A quantized matrix `[rows, columns]`, or a stack of them `[count, rows, columns]`. */
export class QuantizedTensor implements Disposable {
  readonly device: Device;
  readonly format: QuantFormat;
  readonly shape: Shape;
  readonly shards: readonly QuantizedShard[];

  /** Allocates without values. @throws ShapeError unless `shape` has two or three axes */
  constructor(device: Device, format: QuantFormat, shape: Shape, shardBytes = SHARD_BYTES) {
    if (shape.length !== 2 && shape.length !== 3) {
      throw new ShapeError("must be a matrix or a stack of matrices", {
        where: "QuantizedTensor",
        found: shape,
      });
    }
    this.device = device;
    this.format = format;
    this.shape = shape;
    const each = this.matrixBytes;
    const perShard = Math.max(1, Math.floor(shardBytes / Math.max(1, each)));
    const shards: QuantizedShard[] = [];
    for (let begin = 0; begin < this.count; begin += perShard) {
      const end = Math.min(this.count, begin + perShard);
      const tiles = device.unscoped(() => device.empty([(end - begin) * each], "u8", true));
      shards.push({ begin, end, tiles });
    }
    this.shards = shards;
  }

  /** Matrices in the stack; 1 for a single matrix. */
  get count(): number {
    return this.shape.length === 3 ? this.shape[0] : 1;
  }

  get rows(): number {
    return this.shape[this.shape.length - 2];
  }

  get columns(): number {
    return this.shape[this.shape.length - 1];
  }

  /** Bytes of one matrix. */
  get matrixBytes(): number {
    return quantizedBytes(this.format, this.rows, this.columns);
  }

  get bytes(): number {
    return this.count * this.matrixBytes;
  }

  [Symbol.dispose](): void {
    for (const { tiles } of this.shards) tiles.dispose();
  }
}

/** What a layer multiplies with: a float tensor, or a quantized one. */
export type Weight = Tensor | QuantizedTensor;

export function isQuantized(weight: Weight): weight is QuantizedTensor {
  return weight instanceof QuantizedTensor;
}
