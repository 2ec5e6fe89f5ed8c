/**
 * Export of a model to a GGUF file that llama.cpp loads (gguf.md): official tensors are renamed, experts stacked,
 * `kv_b_proj` split and transposed for the absorbed form, and all is encoded and written as it streams by. Norms,
 * routers and vectors stay float32. Stored blocks of the wanted type are copied, not encoded again. Left out:
 * multi-token-prediction layers, which llama.cpp has no place for, and importance-weighted types.
 */

import type { LanguageConfig } from "../../models/config.ts";
import { describeDecoder } from "../../models/decoder.ts";
import type { Layout, PartSpec } from "../../nn/parameter-group.ts";
import { eachUnit, inUnits } from "../../nn/units.ts";
import type { BlockSource, WeightSource } from "../../nn/weight-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { ByteSink } from "../byte-source.ts";
import { encoded, FILE_TYPES, inOrder } from "./encode.ts";
import { ggufArchitecture, ggufModelMetadata } from "./metadata.ts";
import { ggufName, interleavedRows, ROPE_FACTORS, reorderHeads } from "./names.ts";
import { ORIGINAL_CONFIG } from "./original-config.ts";
import type { WritableType } from "./quantize.ts";
import { ropeFactors } from "./rope-factors.ts";
import { type GgufMetadata, type GgufValue, ggmlTypes, text, u32 } from "./types.ts";
import { type GgufEntry, ggufEntryBytes, writeGguf } from "./writer.ts";

/** Metadata key that tells this program's files from others. */
export const EXPORT_MARK = "deepseek_ts.export";

export interface GgufModel {
  /** Official names. Where the source has `blocks` of the wanted type, they are copied. */
  readonly weights: WeightSource;
  readonly config: LanguageConfig;
  /** Tokenizer metadata; without them the file is marked as having no vocabulary. */
  readonly tokenizer?: GgufMetadata;
  /** `general.name`. */
  readonly name?: string;
  /** The text of the model's `config.json`, kept for a way back (original-config.ts). */
  readonly configText?: string;
}

export interface ExportProgress {
  /** Tensor being written. */
  readonly tensor: string;
  readonly written: number;
  readonly total: number;
}

export interface ExportOptions {
  /** Storage of matrices. Rows that are not a multiple of 32 are stored as F16 if this is Q8_0 or Q4_0. */
  readonly type: WritableType;
  /** Another type for some tensors, by GGUF name; not asked for norms, routers and vectors. */
  readonly perTensor?: (name: string, shape: readonly number[]) => WritableType | undefined;
  readonly onProgress?: (progress: ExportProgress) => void;
}

interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of which layout it is a piece, derived from the official tensor `name` if the source does not hold it. */
  readonly mapped: { readonly layout: Layout; readonly piece: number } | null;
  /** Rows of a head if they are to be interleaved, else 0. */
  readonly headRows: number;
  /** The tensor that newer transformers saves instead of single experts, and this one's place in it. */
  readonly stacked: { readonly name: string; readonly offset: number } | null;
}

interface Planned {
  readonly name: string;
  readonly shape: readonly number[];
  /** Norms, routers and vectors. */
  readonly plain: boolean;
  readonly parts: readonly Part[];
}

function nameOf(part: Pick<PartSpec, "name" | "expert">): string {
  const name = ggufName(part);
  if (name !== null) return name;
  throw new FormatError("GGUF cannot store this tensor", { where: "exportGguf", name: part.name });
}

/** Tensors of the file in order, with the official tensors that they are made of. */
function plan(config: LanguageConfig): Planned[] {
  const architecture = ggufArchitecture(config);
  const planned = new Map<string, Planned>();
  for (const spec of describeDecoder(config).mainParameters.groups()) {
    const { layout, stackedName, routed, alwaysF32: plain } = spec;
    if (layout) {
      for (const [piece, { key, shape }] of layout.pieces.entries()) {
        const official = { name: layout.official.key, shape: layout.official.shape };
        const part = { ...official, mapped: { layout, piece }, headRows: 0, stacked: null };
        const name = nameOf({ name: key });
        planned.set(name, { name, shape, plain, parts: [part] });
      }
      continue;
    }
    for (const each of spec.parts) {
      const { name, shape, offset, expert } = each;
      const headRows = interleavedRows(architecture, each);
      const stacked = stackedName === undefined ? null : { name: stackedName, offset };
      const part: Part = { name, shape, mapped: null, headRows, stacked };
      const tensor = nameOf(each);
      const whole = expert === undefined ? shape : [routed!.experts, ...shape];
      const parts = [...(planned.get(tensor)?.parts ?? []), part];
      planned.set(tensor, { name: tensor, shape: whole, plain, parts });
    }
  }
  return [...planned.values()];
}

/** Consecutive values of the ranges `[begin, begin + length)`, which ascend. */
async function* select(
  values: AsyncIterable<Float32Array>,
  begins: readonly number[],
  length: number,
): AsyncGenerator<Float32Array> {
  let at = 0;
  let range = 0;
  for await (const chunk of values) {
    const end = at + chunk.length;
    while (range < begins.length && begins[range] < end) {
      const from = Math.max(begins[range], at);
      const to = Math.min(begins[range] + length, end);
      if (to > from) yield chunk.slice(from - at, to - at);
      if (begins[range] + length > end) break;
      range++;
    }
    at = end;
  }
}

class Exporter {
  readonly #model: GgufModel;

  constructor(model: GgufModel) {
    this.#model = model;
  }

  /** The bytes of a planned tensor in `type`. */
  async *data({ name, parts }: Planned, type: WritableType): AsyncGenerator<Uint8Array> {
    const { weights } = this.#model;
    const { stacked } = parts[0];
    if (stacked && !weights.has(parts[0].name) && weights.has(stacked.name)) {
      const count = parts[0].shape.reduce((a, b) => a * b, 1);
      const begins = parts.map((part) => part.stacked!.offset);
      yield* encoded(select(inOrder(weights, stacked.name), begins, count), type, name);
      return;
    }
    for (const part of parts) {
      const stored = this.#storedName(part);
      if (stored !== null && weights.blocks?.blockType(stored) === type) {
        yield* this.#blocks(part, weights.blocks, stored);
      } else {
        yield* encoded(this.#values(part), type, name);
      }
    }
  }

  /** Under which name the source has this part in the form in which it is written, or null. */
  #storedName({ name, mapped }: Part): string | null {
    const stored = mapped === null ? name : mapped.layout.pieces[mapped.piece].key;
    return this.#model.weights.has(stored) ? stored : null;
  }

  async *#blocks({ headRows }: Part, blocks: BlockSource, stored: string): AsyncGenerator<Uint8Array> {
    // Heads are reordered whole, whatever chunks the source gives.
    let rest = new Uint8Array(0);
    for await (const { rows, bytes } of blocks.readBlocks(stored)) {
      if (headRows === 0) {
        yield bytes;
        continue;
      }
      const width = bytes.length / rows;
      const joined = new Uint8Array(rest.length + bytes.length);
      joined.set(rest);
      joined.set(bytes, rest.length);
      const whole = joined.length - (joined.length % (headRows * width));
      if (whole > 0) yield reorderHeads(joined.subarray(0, whole), width, headRows, "gguf");
      rest = joined.slice(whole);
    }
    if (rest.length > 0) yield rest;
  }

  async *#values(part: Part): AsyncGenerator<Float32Array> {
    const { weights } = this.#model;
    const { name, shape, mapped, headRows } = part;
    const stored = this.#storedName(part);
    if (stored !== null) {
      const values = inOrder(weights, stored);
      if (headRows === 0) yield* values;
      else {
        const width = shape[1];
        for await (const heads of inUnits(values, headRows * width)) {
          yield reorderHeads(heads, width, headRows, "gguf");
        }
      }
      return;
    }
    if (mapped === null || !weights.has(name)) {
      throw new FormatError("the model lacks a tensor", { where: "exportGguf", name, expected: shape });
    }
    const { layout, piece } = mapped;
    const unit = shape.reduce((a, b) => a * b, 1) / layout.units;
    for await (const values of eachUnit(inOrder(weights, name), unit)) yield layout.split(values, piece);
  }
}

/** The type a planned tensor is written in. */
function typeOf({ name, shape, plain }: Planned, { type, perTensor }: ExportOptions): WritableType {
  if (plain || shape.length === 1) return "F32";
  const wanted = perTensor?.(name, shape) ?? type;
  return shape[shape.length - 1] % ggmlTypes[wanted].values === 0 ? wanted : "F16";
}

function metadataOf(model: GgufModel, type: WritableType): Map<string, GgufValue> {
  const metadata = ggufModelMetadata(model.config, model.tokenizer);
  metadata.set("general.name", text(model.name ?? model.config.modelType));
  metadata.set("general.file_type", u32(FILE_TYPES[type]));
  if (ggmlTypes[type].values > 1) metadata.set("general.quantization_version", u32(2));
  metadata.set(EXPORT_MARK, u32(1));
  if (model.configText !== undefined) metadata.set(ORIGINAL_CONFIG, text(model.configText));
  if (!model.tokenizer) metadata.set("tokenizer.ggml.model", text("none"));
  for (const [key, value] of model.tokenizer ?? []) if (!metadata.has(key)) metadata.set(key, value);
  return metadata;
}

/**
 * Writes a model as one GGUF file and commits the sink; on any error aborts it. Returns the file's size in bytes.
 * @throws ConfigError for a model that GGUF or llama.cpp cannot express, FormatError for missing tensors and values
 * that the type cannot hold, ShapeError for tensors of other sizes
 */
export async function exportGguf(sink: ByteSink, model: GgufModel, options: ExportOptions): Promise<number> {
  let entries: GgufEntry[];
  let metadata: GgufMetadata;
  try {
    metadata = metadataOf(model, options.type);
    const exporter = new Exporter(model);
    const planned = plan(model.config).map((tensor) => ({ tensor, type: typeOf(tensor, options) }));
    const total = planned.reduce((sum, { tensor, type }) => sum + ggufEntryBytes({ ...tensor, type }), 0);
    let written = 0;
    const { attention, rope } = model.config;
    const factors = attention.kind === "mha" ? ropeFactors(rope, attention.headDim) : null;
    const setting: GgufEntry[] =
      factors === null
        ? []
        : [
            {
              name: ROPE_FACTORS,
              shape: [factors.length],
              type: "F32",
              async *data() {
                yield new Uint8Array(factors.buffer);
              },
            },
          ];
    const weights = planned.map(({ tensor, type }) => ({
      name: tensor.name,
      shape: tensor.shape,
      type,
      async *data() {
        for await (const piece of exporter.data(tensor, type)) {
          yield piece;
          written += piece.length;
          options.onProgress?.({ tensor: tensor.name, written, total });
        }
      },
    }));
    entries = [...setting, ...weights];
  } catch (error) {
    await sink.abort();
    throw error;
  }
  return writeGguf(sink, { metadata, tensors: entries });
}
