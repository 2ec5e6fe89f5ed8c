/**
 * Writes a checkpoint folder in the Hugging Face layout, so that transformers loads it: `config.json`,
 * `model.safetensors` or shards `model-0000X-of-0000Y.safetensors` with their index. Data are streamed one tensor
 * at a time and converted on the way. Saving to FP8 is left to the caller (fp8.ts makes the two tensors).
 */

import { type FolderSink, writeWhole } from "../files/sink.ts";
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import { f32ToBf16, f32ToF16 } from "../tensor/float-formats.ts";
import { decodeFloats } from "./folder.ts";
import { safetensorsDtypes } from "./safetensors-dtype.ts";
import { entryBytes, pieces, type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";

export interface SaveOptions {
  /** `config.json` as it is to be written, or its text; the caller sets `torch_dtype`. */
  config: Record<string, unknown> | string;
  /** Largest size of a shard's tensors, 5 GB by default; one larger tensor gets its own shard. */
  maxShardBytes?: number;
  /** Float tensors (F32, BF16, F16) are stored in this dtype; by default as they come. Others stay as they are. */
  dtype?: "F32" | "BF16" | "F16";
  /** Float tensors stored in F32 whatever `dtype` says, such as `e_score_correction_bias`. */
  keepF32?: (name: string) => boolean;
  /** Metadata of each weight file; `format: "pt"` is added, which transformers asks for. */
  metadata?: Record<string, string>;
  /** Further files, such as `tokenizer.json`; an existing folder is replaced whole. */
  files?: Record<string, string | Uint8Array>;
}

export interface SaveResult {
  /** Weight files in order. */
  readonly files: string[];
  /** Bytes of all tensors. */
  readonly totalSize: number;
}

const DEFAULT_SHARD = 5_000_000_000;
const PIECE_BYTES = 1 << 22;
type FloatDtype = "F32" | "BF16" | "F16";

/** Splits and joins pieces so that each holds whole elements of `width` bytes and at most 4 MiB. */
async function* regroup(data: AsyncIterable<Uint8Array>, width: number): AsyncGenerator<Uint8Array> {
  let rest = new Uint8Array(0);
  for await (const piece of data) {
    let at = 0;
    if (rest.length > 0) {
      const missing = Math.min(width - rest.length, piece.length);
      const joined = new Uint8Array(rest.length + missing);
      joined.set(rest);
      joined.set(piece.subarray(0, missing), rest.length);
      at = missing;
      rest = joined;
      if (rest.length < width) continue;
      yield rest;
      rest = new Uint8Array(0);
    }
    const whole = piece.length - ((piece.length - at) % width);
    for (; at < whole; at += PIECE_BYTES) yield piece.subarray(at, Math.min(at + PIECE_BYTES, whole));
    rest = piece.slice(whole);
  }
  // An incomplete element is passed on: the writer then sees that the data do not fill the shape.
  if (rest.length > 0) yield rest;
}

function encode(values: Float32Array, to: FloatDtype): Uint8Array {
  const stored = to === "F32" ? values : to === "BF16" ? f32ToBf16(values) : f32ToF16(values);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}

function convert(entry: SafetensorsEntry, from: FloatDtype, to: FloatDtype): SafetensorsEntry {
  const width = safetensorsDtypes[from];
  return {
    name: entry.name,
    dtype: to,
    shape: entry.shape,
    data: async function* () {
      for await (const piece of regroup(pieces(entry.data()), width)) {
        if (piece.length % width !== 0) {
          throw new ShapeError("data end in the middle of an element", {
            where: "saveCheckpoint",
            name: entry.name,
            expected: `a multiple of ${width} bytes`,
            found: `${piece.length} left over`,
          });
        }
        yield encode(decodeFloats(from, piece)!, to);
      }
    },
  };
}

function target(entry: SafetensorsEntry, options: SaveOptions): SafetensorsEntry {
  const { dtype } = entry;
  if (dtype !== "F32" && dtype !== "BF16" && dtype !== "F16") return entry;
  const to = options.keepF32?.(entry.name) ? "F32" : (options.dtype ?? dtype);
  return to === dtype ? entry : convert(entry, dtype, to);
}

/** Fills shards in the given order. */
function split(entries: SafetensorsEntry[], maxBytes: number): SafetensorsEntry[][] {
  const shards: SafetensorsEntry[][] = [[]];
  let used = 0;
  for (const entry of entries) {
    const bytes = entryBytes(entry);
    if (used > 0 && used + bytes > maxBytes) {
      shards.push([]);
      used = 0;
    }
    shards[shards.length - 1].push(entry);
    used += bytes;
  }
  return shards;
}

/** Keys of `config.json` that are real numbers, nested ones included. */
const REAL_KEYS = [
  "attention_dropout",
  "attention_factor",
  "aux_loss_alpha",
  "beta_fast",
  "beta_slow",
  "factor",
  "high_freq_factor",
  "initializer_range",
  "low_freq_factor",
  "mscale",
  "mscale_all_dim",
  "rms_norm_eps",
  "rope_theta",
  "routed_scaling_factor",
];
// Indented JSON has each key on its own line, and no string holds a line break.
const WHOLE_REAL = new RegExp(`^( *"(?:${REAL_KEYS.join("|")})": -?\\d+)(,?)$`, "gm");

/** The text of `config.json`. transformers refuses `4` if its class declares a float, so it reads `4.0`. */
function configText(config: Record<string, unknown> | string): string {
  if (typeof config === "string") return config;
  return `${JSON.stringify(config, null, 2).replace(WHOLE_REAL, "$1.0$2")}\n`;
}

/**
 * Saves a checkpoint into `sink` and commits it; on any error aborts, so that an earlier folder stays (what happens
 * to an existing target is described at `nodeFolderSink`). @throws ConfigError, ShapeError or FormatError.
 */
export async function saveCheckpoint(
  sink: FolderSink,
  tensors: Iterable<SafetensorsEntry>,
  options: SaveOptions,
): Promise<SaveResult> {
  try {
    const maxBytes = options.maxShardBytes ?? DEFAULT_SHARD;
    if (!(maxBytes > 0)) {
      throw new ConfigError("invalid maxShardBytes", { where: sink.name, expected: "> 0", found: maxBytes });
    }
    const entries = [...tensors].map((entry) => target(entry, options));
    const shards = split(entries, maxBytes);
    const metadata = { ...options.metadata, format: "pt" };
    await writeWhole(await sink.file("config.json"), configText(options.config));
    for (const [path, content] of Object.entries(options.files ?? {})) {
      await writeWhole(await sink.file(path), content);
    }

    const digits = (n: number) => String(n).padStart(5, "0");
    const nameOf = (i: number) =>
      shards.length === 1
        ? "model.safetensors"
        : `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`;
    const map = new Map<string, string>();
    let totalSize = 0;
    for (const [i, shard] of shards.entries()) {
      for (const entry of shard) {
        if (map.has(entry.name)) {
          throw new ConfigError("duplicate tensor name", { where: sink.name, name: entry.name });
        }
        map.set(entry.name, nameOf(i));
        totalSize += entryBytes(entry);
      }
      await writeSafetensors(await sink.file(nameOf(i)), shard, metadata);
    }
    if (shards.length > 1) {
      const sorted = Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
      const index = { metadata: { total_size: totalSize }, weight_map: sorted };
      const text = `${JSON.stringify(index, null, 2)}\n`;
      await writeWhole(await sink.file("model.safetensors.index.json"), text);
    }
    await sink.commit();
    return { files: shards.map((_, i) => nameOf(i)), totalSize };
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
