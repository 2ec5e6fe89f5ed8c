/** Where the values of parameters come from: a checkpoint, as far as models need to know it. */
import type { QuantFormat } from "../tensor/quantized.ts";
import type { Shape } from "../tensor/tensor.ts";

export interface WeightSource {
  /** What errors call it: the folder or file. */
  readonly where?: string;
  /** Names of everything stored. */
  names(): Iterable<string>;
  has(name: string): boolean;
  shape(name: string): Shape;
  /** The values in order, as consecutive chunks; `offset` in elements. */
  readF32(name: string): AsyncIterable<{ offset: number; values: Float32Array }>;
  /** Where the source holds quantized weights, how to get them without quantizing again. */
  readonly blocks?: BlockSource;
  readonly tiles?: TileSource;
}

/** Tensors stored as GGUF blocks of 32 values, row by row. */
export interface BlockSource {
  /** Block type of the rows of an official tensor; null if its rows are not stored as such blocks. */
  blockType(name: string): "Q4_0" | "Q8_0" | null;
  /** The blocks in row order, whole rows at a time; a stack of matrices counts the rows of all of them. */
  readBlocks(name: string): AsyncIterable<{ row: number; rows: number; bytes: Uint8Array }>;
  /** How to read any of these rows into memory of the caller; null if they do not lie one after another. */
  rowReader?(name: string): RowReader | null;
}

/** Fills `target` with the blocks of whole rows from `row` on, or rejects; several calls may be under way. */
export type RowReader = (row: number, target: Uint8Array) => Promise<void>;

/** Parameter groups stored as this package keeps them in memory (`tensor/quantized.ts`). */
export interface TileSource {
  /** Keys of the groups stored so. */
  keys(): Iterable<string>;
  /** Format of the group `key`; null if it is not stored so. */
  tileFormat(key: string): QuantFormat | null;
  /** The tiles in order, as consecutive chunks; `offset` in bytes. */
  readTiles(key: string): AsyncIterable<{ offset: number; bytes: Uint8Array }>;
  /** Fills `target` with the bytes from `offset` on; several calls may be under way. */
  readInto?(key: string, offset: number, target: Uint8Array): Promise<void>;
  /** Bytes that are stored for the group. */
  tileBytes(key: string): number;
  /** How a tensor is stored that lies beside the tiles; null if its values are not floats. Default: f32. */
  floatFormat?(name: string): "f32" | "bf16" | "f16" | null;
}

/**
 * A source that passes everything on to another one, for subclasses that change a part of it. A copy by spread would
 * lose the methods of a source that is a class.
 */
export class WrappedSource implements WeightSource {
  protected readonly inner: WeightSource;

  constructor(inner: WeightSource) {
    this.inner = inner;
  }

  get where(): string | undefined {
    return this.inner.where;
  }

  get blocks(): BlockSource | undefined {
    return this.inner.blocks;
  }

  get tiles(): TileSource | undefined {
    return this.inner.tiles;
  }

  names(): Iterable<string> {
    return this.inner.names();
  }

  has(name: string): boolean {
    return this.inner.has(name);
  }

  shape(name: string): Shape {
    return this.inner.shape(name);
  }

  readF32(name: string): AsyncIterable<{ offset: number; values: Float32Array }> {
    return this.inner.readF32(name);
  }
}

/** A source without its tiles, whose weights are read as floats or blocks. */
export class WithoutTiles extends WrappedSource {
  override get tiles(): undefined {
    return undefined;
  }
}
