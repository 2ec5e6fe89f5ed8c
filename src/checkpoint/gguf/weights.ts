/**
 * A GGUF file as the weights of a model: official names and shapes, rows in the official order, experts one by one,
 * `kv_b_proj` put together from its two halves. Besides float32 it hands out the stored blocks of tensors whose rows
 * are Q4_0 or Q8_0, in the official order of rows, so that quantized models load them unchanged.
 */

import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { describeDecoder } from "../../models/decoder.ts";
import type { GroupSpec, Layout, PartSpec } from "../../nn/parameter-group.ts";
import type { BlockSource, RowReader, WeightSource } from "../../nn/weight-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import { checkRange } from "../byte-source.ts";
import { dequantize } from "./blocks.ts";
import { architectureOf, ggufConfig } from "./config.ts";
import { ggufName, interleavedRows, mergedExperts, ROPE_FACTORS, reorderHeads } from "./names.ts";
import type { GgufFile, GgufTensor } from "./reader.ts";
import { readType } from "./types.ts";

/** Weights of a GGUF file, with the virtual `k_b_proj` and `v_b_proj` of latent attention besides `names()`. */
export type GgufWeights = WeightSource & Required<BlockSource> & { readonly blocks: BlockSource };

/** Values decoded at once. */
const CHUNK = 1 << 20;

/** Rows of a stored tensor: `count` groups of `size` rows, `stride` rows apart. */
interface RowsEntry {
  readonly kind: "rows";
  readonly shape: readonly number[];
  readonly tensor: GgufTensor;
  readonly first: number;
  readonly count: number;
  readonly size: number;
  readonly stride: number;
  /** Rows of a head if they are interleaved, else 0. */
  readonly headRows: number;
}

/** An official tensor from its pieces, or one piece of a whole one. */
interface MappedEntry {
  readonly kind: "joined" | "piece";
  readonly shape: readonly number[];
  readonly layout: Layout;
  /** The pieces, or the whole tensor. */
  readonly tensors: readonly GgufTensor[];
  /** Which piece is wanted. */
  readonly piece: number;
}

type Entry = RowsEntry | MappedEntry;

const withoutOnes = (sizes: readonly number[]) => {
  let length = sizes.length;
  while (length > 1 && sizes[length - 1] === 1) length--;
  return sizes.slice(0, length);
};

/** The tensor `name` if its sizes are `shape` in official order; leading ones may be missing. */
function tensorOf(file: GgufFile, name: string, shape: readonly number[], official: string): GgufTensor {
  const tensor = file.tensors.get(name);
  if (!tensor) {
    throw new FormatError("the file lacks a tensor", {
      where: file.name,
      name,
      expected: shape,
      hint: official,
    });
  }
  const expected = withoutOnes([...shape].reverse());
  const found = withoutOnes(tensor.ne);
  if (expected.length !== found.length || expected.some((n, i) => n !== found[i])) {
    throw new FormatError(`sizes do not fit ${official}`, {
      where: file.name,
      name,
      expected,
      found: tensor.ne,
    });
  }
  // Before anything is loaded.
  readType(file.name, name, tensor.type);
  return tensor;
}

function wholeRows(tensor: GgufTensor, shape: readonly number[], headRows = 0): RowsEntry {
  const count = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  return { kind: "rows", shape, tensor, first: 0, count: 1, size: count, stride: count, headRows };
}

class GgufWeightSource implements WeightSource, BlockSource {
  readonly where: string;
  readonly blocks: BlockSource = this;
  readonly #file: GgufFile;
  readonly #official = new Map<string, Entry>();
  readonly #virtual = new Map<string, Entry>();

  constructor(file: GgufFile, config: LanguageConfig) {
    this.#file = file;
    this.where = file.name;
    const architecture = architectureOf(file);
    // Part of the configuration if llama.cpp reads it.
    const used = new Set(architecture === "llama" ? [ROPE_FACTORS] : []);
    for (const spec of describeDecoder(config).mainParameters.groups()) {
      for (const part of spec.parts) this.#add(part, spec, architecture, used);
    }
    this.#checkUnused(config, used);
  }

  #add(part: PartSpec, { layout, routed }: GroupSpec, architecture: string, used: Set<string>): void {
    const file = this.#file;
    const { name, shape, expert } = part;
    const find = (tensor: string, sizes: readonly number[]) => {
      used.add(tensor);
      return tensorOf(file, tensor, sizes, name);
    };
    const own = this.#nameOf(part);
    if (layout) {
      this.#addLayout(layout, own, find);
    } else if (expert === undefined) {
      const headRows = interleavedRows(architecture, part);
      this.#official.set(name, wholeRows(find(own, shape), shape, headRows));
    } else {
      const [rows, columns] = shape;
      const merged = file.tensors.has(own) ? null : mergedExperts(own);
      const both = merged !== null && file.tensors.has(merged.name) ? merged : null;
      const stride = both ? 2 * rows : rows;
      const tensor = find(both?.name ?? own, [routed!.experts, stride, columns]);
      const first = expert * stride + (both?.half ?? 0) * rows;
      const entry = {
        kind: "rows",
        shape,
        tensor,
        first,
        count: 1,
        size: rows,
        stride,
        headRows: 0,
      } as const;
      this.#official.set(name, entry);
    }
  }

  #nameOf(part: Pick<PartSpec, "name" | "expert">): string {
    const name = ggufName(part);
    if (name !== null) return name;
    throw new FormatError("GGUF cannot store this tensor", { where: this.#file.name, name: part.name });
  }

  /** An official tensor that the file holds whole, under `own`, or in pieces; either way it is given as both. */
  #addLayout(
    layout: Layout,
    own: string,
    find: (tensor: string, sizes: readonly number[]) => GgufTensor,
  ): void {
    const { official, pieces, units, plainRows } = layout;
    const { key: name, shape } = official;
    if (!this.#file.tensors.has(own)) {
      const tensors = pieces.map(({ key, shape }) => find(this.#nameOf({ name: key }), shape));
      this.#official.set(name, { kind: "joined", shape, layout, tensors, piece: 0 });
      for (const [i, { key, shape }] of pieces.entries())
        this.#virtual.set(key, wholeRows(tensors[i], shape));
      return;
    }
    const tensor = find(own, shape);
    this.#official.set(name, wholeRows(tensor, shape));
    for (const [piece, { key, shape: sizes }] of pieces.entries()) {
      const plain = plainRows[piece];
      if (plain === null) {
        this.#virtual.set(key, { kind: "piece", shape: sizes, layout, tensors: [tensor], piece });
        continue;
      }
      const { first, count: size } = plain;
      const rows = { first, count: units, size, stride: shape[0] / units, headRows: 0 };
      this.#virtual.set(key, { kind: "rows", shape: sizes, tensor, ...rows });
    }
  }

  /** Refuses tensors that no part of the model reads; those of layers after the main ones are left out knowingly. */
  #checkUnused({ layers }: LanguageConfig, used: ReadonlySet<string>): void {
    for (const name of this.#file.tensors.keys()) {
      const layer = /^blk\.(\d+)\./.exec(name);
      if (used.has(name) || (layer && Number(layer[1]) >= layers)) continue;
      throw new FormatError("the file has a tensor that the model does not use", {
        where: this.#file.name,
        name,
        found: this.#file.tensor(name).ne,
      });
    }
  }

  names(): Iterable<string> {
    return this.#official.keys();
  }

  has(name: string): boolean {
    return this.#official.has(name) || this.#virtual.has(name);
  }

  #entry(name: string): Entry {
    const entry = this.#official.get(name) ?? this.#virtual.get(name);
    if (entry) return entry;
    throw new FormatError("no such tensor in the file", { where: this.#file.name, name });
  }

  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  async *readF32(name: string): AsyncGenerator<{ offset: number; values: Float32Array }> {
    const entry = this.#entry(name);
    let offset = 0;
    const parts = entry.kind === "rows" ? this.#floats(entry) : this.#mapped(entry);
    for await (const values of parts) {
      yield { offset, values };
      offset += values.length;
    }
  }

  blockType(name: string): "Q4_0" | "Q8_0" | null {
    const entry = this.#entry(name);
    if (entry.kind !== "rows") return null;
    const { type } = entry.tensor;
    return type === "Q4_0" || type === "Q8_0" ? type : null;
  }

  async *readBlocks(name: string): AsyncGenerator<{ row: number; rows: number; bytes: Uint8Array }> {
    const entry = this.#entry(name);
    if (this.blockType(name) === null || entry.kind !== "rows") {
      const found = entry.kind === "rows" ? entry.tensor.type : "rows that are put together";
      throw new FormatError("rows are not stored blocks", {
        where: this.#file.name,
        name,
        expected: "Q4_0 or Q8_0",
        found,
      });
    }
    let row = 0;
    for await (const bytes of this.#rows(entry)) {
      const rows = bytes.length / entry.tensor.rowBytes;
      yield { row, rows, bytes };
      row += rows;
    }
  }

  rowReader(name: string): RowReader | null {
    const entry = this.#entry(name);
    if (this.blockType(name) === null || entry.kind !== "rows") return null;
    const { tensor, first, count, size, headRows } = entry;
    if (count !== 1 || headRows !== 0) return null;
    return async (row, target) => {
      checkRange(`${this.#file.name}: ${name}`, size * tensor.rowBytes, row * tensor.rowBytes, target.length);
      const bytes = await this.#file.read(tensor, (first + row) * tensor.rowBytes, target.length, target);
      if (bytes.buffer !== target.buffer) target.set(bytes);
    };
  }

  /** Stored rows in the official order, in chunks of whole rows. */
  async *#rows({ tensor, first, count, size, stride, headRows }: RowsEntry): AsyncGenerator<Uint8Array> {
    const unit = Math.max(1, headRows);
    const step = Math.max(1, Math.floor(CHUNK / (tensor.ne[0] * unit))) * unit;
    for (let group = 0; group < count; group++) {
      for (let row = 0; row < size; row += step) {
        const rows = Math.min(step, size - row);
        const start = (first + group * stride + row) * tensor.rowBytes;
        const bytes = await this.#file.read(tensor, start, rows * tensor.rowBytes);
        yield headRows === 0 ? bytes : reorderHeads(bytes, tensor.rowBytes, headRows, "official");
      }
    }
  }

  #dequantize({ name, type }: GgufTensor, bytes: Uint8Array): Float32Array {
    return dequantize(readType(this.#file.name, name, type), bytes);
  }

  async *#floats(entry: RowsEntry): AsyncGenerator<Float32Array> {
    for await (const bytes of this.#rows(entry)) yield this.#dequantize(entry.tensor, bytes);
  }

  /** Unit `index` of the `units` of a tensor. */
  async #unit(tensor: GgufTensor, index: number, units: number): Promise<Float32Array> {
    const rows = tensor.ne.slice(1).reduce((a, b) => a * b, 1);
    const bytes = (rows / units) * tensor.rowBytes;
    return this.#dequantize(tensor, await this.#file.read(tensor, index * bytes, bytes));
  }

  /** Unit by unit through the layout, which holds both directions of the mapping. */
  async *#mapped({ kind, layout, tensors, piece }: MappedEntry): AsyncGenerator<Float32Array> {
    for (let unit = 0; unit < layout.units; unit++) {
      const read: Float32Array[] = [];
      for (const tensor of tensors) read.push(await this.#unit(tensor, unit, layout.units));
      yield kind === "joined" ? layout.join(read) : layout.split(read[0], piece);
    }
  }
}

/**
 * The weights of `file` under their official names. `config` is the parsed `ggufConfig` by default. @throws
 * ConfigError for an architecture or metadata that are not supported, FormatError for a tensor that is missing,
 * misshapen or has no place in the model
 */
export function ggufWeights(
  file: GgufFile,
  config: LanguageConfig = parseConfig(ggufConfig(file)),
): GgufWeights {
  return new GgufWeightSource(file, config);
}
