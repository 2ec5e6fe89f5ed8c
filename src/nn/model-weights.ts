/** A model's weights as a checkpoint would give them: official names, floats or the blocks and tiles they are stored in. */

import { dequantizeRows, unpackBlocks } from "../tensor/ops/quantize.ts";
import { isQuantized, type QuantizedTensor, TILE_COLUMNS, TILE_ROWS } from "../tensor/quantized.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { withOfficial } from "./layouts.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import type { Parameters } from "./parameters.ts";
import type { WeightSource } from "./weight-source.ts";

/** Values or bytes given at once, about. */
const CHUNK = 1 << 20;

interface RowRange {
  readonly matrix: number;
  /** First row inside the matrix. */
  readonly row: number;
  readonly rows: number;
  /** First row counted over all matrices of the part. */
  readonly done: number;
}

/** Cuts the rows from `first` on, counted over all matrices, into pieces that stay inside a matrix. */
function* ranges(weight: QuantizedTensor, first: number, count: number): Generator<RowRange> {
  const most = Math.max(TILE_ROWS, Math.floor(CHUNK / weight.columns / TILE_ROWS) * TILE_ROWS);
  for (let done = 0; done < count; ) {
    const matrix = Math.floor((first + done) / weight.rows);
    const row = (first + done) % weight.rows;
    const rows = Math.min(most, count - done, weight.rows - row);
    yield { matrix, row, rows, done };
    done += rows;
  }
}

function quantizedOf({ weight }: ParameterGroup): QuantizedTensor | null {
  return isQuantized(weight) ? weight : null;
}

/** The stored weights under the names they are stored by. */
function storedWeights(parameters: Parameters): WeightSource {
  const rowsOf = (name: string) => {
    const { group, offset, shape } = parameters.place(name);
    const weight = quantizedOf(group);
    if (weight === null) return null;
    return { weight, first: offset / weight.columns, count: sizeOf(shape) / weight.columns };
  };
  const groupOf = (key: string) => quantizedOf(parameters.group(key));
  return {
    *names() {
      for (const { name } of parameters.named()) yield name;
    },
    has: (name) => parameters.has(name),
    shape: (name) => parameters.place(name).shape,
    async *readF32(name) {
      const stored = rowsOf(name);
      if (stored === null) {
        const tensor = parameters.get(name);
        using flat = tensor.device.unscoped(() => tensor.view([tensor.size]));
        for (let offset = 0; offset < tensor.size; offset += CHUNK) {
          const end = Math.min(tensor.size, offset + CHUNK);
          using piece = tensor.device.unscoped(() => flat.slice(offset, end));
          yield { offset, values: (await piece.data()) as Float32Array };
        }
        return;
      }
      const { weight, first, count } = stored;
      for (const { matrix, row, rows, done } of ranges(weight, first, count)) {
        using piece = weight.device.unscoped(() => dequantizeRows(weight, matrix, row, rows));
        yield { offset: done * weight.columns, values: (await piece.data()) as Float32Array };
      }
    },
    blocks: {
      blockType(name) {
        const stored = parameters.has(name) ? rowsOf(name) : null;
        // Blocks do not reach over the end of a row, and whole row groups are unpacked.
        if (stored === null || stored.weight.columns % TILE_COLUMNS !== 0 || stored.first % TILE_ROWS !== 0)
          return null;
        return stored.weight.format === "q4" ? "Q4_0" : "Q8_0";
      },
      async *readBlocks(name) {
        const { weight, first, count } = rowsOf(name)!;
        for (const { matrix, row, rows, done } of ranges(weight, first, count)) {
          using piece = weight.device.unscoped(() => unpackBlocks(weight, matrix, row, rows));
          yield { row: done, rows, bytes: (await piece.data()) as Uint8Array };
        }
      },
    },
    tiles: {
      *keys() {
        for (const group of parameters.groups()) if (quantizedOf(group) !== null) yield group.key;
      },
      tileFormat: (key) => (parameters.hasGroup(key) ? (groupOf(key)?.format ?? null) : null),
      tileBytes: (key) => groupOf(key)?.bytes ?? 0,
      async *readTiles(key) {
        const weight = groupOf(key)!;
        for (const { begin, tiles } of weight.shards) {
          const base = begin * weight.matrixBytes;
          for (let offset = 0; offset < tiles.size; offset += 4 * CHUNK) {
            const end = Math.min(tiles.size, offset + 4 * CHUNK);
            using piece = weight.device.unscoped(() => tiles.slice(offset, end));
            yield { offset: base + offset, bytes: (await piece.data()) as Uint8Array };
          }
        }
      },
    },
  };
}

/** The weights of a module under official names; nothing is copied before it is read. */
export function weightsOf({ parameters }: { readonly parameters: Parameters }): WeightSource {
  return withOfficial(storedWeights(parameters), parameters.groups());
}
