/**
 * Export of a model to a GGUF file that llama.cpp loads (gguf.md): official tensors are renamed, experts stacked,
 * `kv_b_proj` split and transposed for the absorbed form, and all is encoded and written as it streams by. Norms,
 * routers and vectors stay float32. Stored blocks of the wanted type are copied, not encoded again. Left out:
 * multi-token-prediction layers, which llama.cpp has no place for, and importance-weighted types.
 */

import type { LanguageConfig } from "../../models/config.ts";
import { transposed } from "../../models/latent-weights.ts";
import { mainSpecs } from "../../models/specs.ts";
import type { MlaConfig } from "../../nn/mla.ts";
import type { BlockSource, WeightSource } from "../../nn/weight-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { ByteSink } from "../byte-source.ts";
import { ggufArchitecture, ggufModelMetadata } from "./metadata.ts";
import { ggufPlace, isInterleaved, ROPE_FACTORS, reorderHeads } from "./names.ts";
import { quantize, type WritableType } from "./quantize.ts";
import { ropeFactors } from "./rope-factors.ts";
import { type GgufMetadata, type GgufValue, ggmlTypes, text, u32 } from "./types.ts";
import { type GgufEntry, ggufEntryBytes, writeGguf } from "./writer.ts";

/** `general.file_type` of files that are mostly of one type. */
const FILE_TYPES: Readonly<Record<WritableType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };

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
}

export interface ExportProgress {
  /** Tensor being written. */
  readonly tensor: string;
  readonly written: number;
  readonly total: number;
}

export interface ExportOptions {
  /** Storage of matrices. Rows that are no multiple of 32 are stored as F16 where this is Q8_0 or Q4_0. */
  readonly type: WritableType;
  /** Another type for some tensors, by GGUF name; not asked for norms, routers and vectors. */
  readonly perTensor?: (name: string, shape: readonly number[]) => WritableType | undefined;
  readonly onProgress?: (progress: ExportProgress) => void;
}

/** Part of an official tensor's head: the transposed keys or the values of `kv_b_proj`. */
type Half = "k_b_proj" | "v_b_proj";

interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly half: Half | null;
  /** Rows of a head where they are to be interleaved, else 0. */
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

/** Tensors of the file in order, with the official tensors that they are made of. */
function plan(config: LanguageConfig): Planned[] {
  const architecture = ggufArchitecture(config);
  const { attention, moe } = config;
  const planned = new Map<string, Planned>();
  for (const spec of mainSpecs(config)) {
    for (const { name, shape, offset } of spec.parts) {
      const place = ggufPlace(name);
      if (!place) throw new FormatError("GGUF has no place for a tensor", { where: "exportGguf", name });
      const plain = spec.kind !== "matrix";
      if (name.endsWith(".kv_b_proj.weight")) {
        const { heads: H, latentRank: C, nopeDim: N, valueDim: V } = attention as MlaConfig;
        for (const half of ["k_b_proj", "v_b_proj"] as const) {
          const tensor = ggufPlace(name.replace("kv_b_proj", half))!.tensor;
          const part = { name, shape, half, headRows: 0, stacked: null };
          planned.set(tensor, {
            name: tensor,
            shape: half === "k_b_proj" ? [H, C, N] : [H, V, C],
            plain,
            parts: [part],
          });
        }
        continue;
      }
      const headRows = isInterleaved(architecture, name) && attention.kind === "mha" ? attention.headDim : 0;
      const stacked = spec.stackedName === undefined ? null : { name: spec.stackedName, offset };
      const part: Part = { name, shape, half: null, headRows, stacked };
      const whole = place.expert === null ? shape : [moe!.experts, ...shape];
      const parts = [...(planned.get(place.tensor)?.parts ?? []), part];
      planned.set(place.tensor, { name: place.tensor, shape: whole, plain, parts });
    }
  }
  return [...planned.values()];
}

/** Consecutive values in pieces that are multiples of `unit`; what is left at the end comes as it is. */
async function* inUnits(values: AsyncIterable<Float32Array>, unit: number): AsyncGenerator<Float32Array> {
  const held = new Float32Array(unit);
  let count = 0;
  for await (const chunk of values) {
    let at = 0;
    if (count > 0) {
      at = Math.min(unit - count, chunk.length);
      held.set(chunk.subarray(0, at), count);
      count += at;
      if (count < unit) continue;
      yield held.slice();
      count = 0;
    }
    const end = chunk.length - ((chunk.length - at) % unit);
    if (end > at) yield chunk.subarray(at, end);
    held.set(chunk.subarray(end));
    count = chunk.length - end;
  }
  if (count > 0) yield held.subarray(0, count);
}

/** The values of a tensor in order; FormatError when its source skips or repeats some. */
async function* inOrder(weights: WeightSource, name: string): AsyncGenerator<Float32Array> {
  let at = 0;
  for await (const { offset, values } of weights.readF32(name)) {
    if (offset !== at) {
      throw new FormatError("chunks out of order", {
        where: "exportGguf",
        name,
        expected: at,
        found: offset,
      });
    }
    yield values;
    at += values.length;
  }
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

/** Values encoded at once. */
const CHUNK = 1 << 20;

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
      yield* this.#encode(select(inOrder(weights, stacked.name), begins, count), type, name);
      return;
    }
    for (const part of parts) {
      const stored = this.#storedName(part);
      if (stored !== null && weights.blocks?.blockType(stored) === type) {
        yield* this.#blocks(part, weights.blocks, stored);
      } else {
        yield* this.#encode(this.#values(part), type, name);
      }
    }
  }

  /** Under which name the source has this part in the form in which it is written, or null. */
  #storedName({ name, half }: Part): string | null {
    const stored = half === null ? name : name.replace("kv_b_proj", half);
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
    const { weights, config } = this.#model;
    const { name, shape, half, headRows } = part;
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
    if (half === null || !weights.has(name)) {
      throw new FormatError("the model lacks a tensor", { where: "exportGguf", name, expected: shape });
    }
    const { latentRank: C, nopeDim: N, valueDim: V } = config.attention as MlaConfig;
    const size = (N + V) * C;
    for await (const heads of inUnits(inOrder(weights, name), size)) {
      for (let at = 0; at + size <= heads.length; at += size) {
        yield half === "k_b_proj" ? transposed(heads, at, N, C) : heads.subarray(at + N * C, at + size);
      }
    }
  }

  async *#encode(
    values: AsyncIterable<Float32Array>,
    type: WritableType,
    name: string,
  ): AsyncGenerator<Uint8Array> {
    for await (const chunk of inUnits(values, ggmlTypes[type].values)) {
      for (let at = 0; at < chunk.length; at += CHUNK) {
        yield quantize(type, chunk.subarray(at, at + CHUNK), name);
      }
    }
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
