/**
 * Quantized weights in safetensors files, as this package keeps them in memory (`tensor/quantized.ts`): the group
 * `KEY` is a U8 tensor `KEY.q4_tiles` or `KEY.q8_tiles` of shape `[matrices, bytes]`. Opening such a folder copies
 * bytes and quantizes nothing. `config.json` says so in `quantization_config`.
 */
import { fromPlain } from "../json/index.ts";
import { toConfigJson } from "../models/config.ts";
import type { Json } from "../models/config-reader.ts";
import type { LanguageConfig } from "../models/language-config.ts";
import { visionConfigJson } from "../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../models/vision-config.ts";
import { weightsOf } from "../nn/model-weights.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { TileSource } from "../nn/weight-source.ts";
import { FormatError } from "../tensor/errors.ts";
import { isQuantized, type QuantFormat, TILE_COLUMNS, TILE_ROWS } from "../tensor/quantized.ts";
import { changedConfig, setDtype, setMtpLayers } from "./config-text.ts";
import { modelEntries } from "./entries.ts";
import type { Checkpoint } from "./folder.ts";
import type { SafetensorsEntry } from "./safetensors-writer.ts";

/** `quant_method` in the `quantization_config` of folders saved by this package. */
export const TILED = "deepseek-ts";

const SUFFIX = /\.(q[48])_tiles$/;
const FLOATS: Readonly<Record<string, "f32" | "bf16" | "f16">> = { F32: "f32", BF16: "bf16", F16: "f16" };
/** Bytes read at once. */
const CHUNK = 1 << 22;

/** Whether a tensor of a checkpoint holds tiles. */
export function isTiled(name: string): boolean {
  return SUFFIX.test(name);
}

/** The tiles in a checkpoint; null if it has none. @throws FormatError */
export function tilesOf(checkpoint: Checkpoint): TileSource | null {
  const stored = new Map<string, { name: string; format: QuantFormat; bytes: number }>();
  for (const name of checkpoint.names()) {
    const match = SUFFIX.exec(name);
    if (!match) continue;
    const { dtype, bytes } = checkpoint.info(name);
    const key = name.slice(0, match.index);
    const where = checkpoint.tree.name;
    if (dtype !== "U8")
      throw new FormatError("tiles must be stored as bytes", { where, name, expected: "U8", found: dtype });
    if (stored.has(key)) throw new FormatError("weight is stored in two formats", { where, name });
    stored.set(key, { name, format: match[1] as QuantFormat, bytes });
  }
  if (stored.size === 0) return null;
  return {
    keys: () => stored.keys(),
    tileFormat: (key) => stored.get(key)?.format ?? null,
    tileBytes: (key) => stored.get(key)?.bytes ?? 0,
    floatFormat: (name) => FLOATS[checkpoint.has(name) ? checkpoint.info(name).dtype : ""] ?? null,
    async readInto(key, offset, target) {
      const { name } = stored.get(key)!;
      const bytes = await checkpoint.readRange(name, offset, target.length, target);
      if (bytes.buffer !== target.buffer) target.set(bytes);
    },
    async *readTiles(key) {
      const { name, bytes } = stored.get(key)!;
      for (let offset = 0; offset < bytes; offset += CHUNK) {
        yield { offset, bytes: await checkpoint.readRange(name, offset, Math.min(CHUNK, bytes - offset)) };
      }
    },
  };
}

/**
 * The tensors of a quantized model as they are saved: tiles, and what is not quantized under its official name, in the
 * floats that it is stored in.
 */
export function* tiledEntries(model: { readonly parameters: Parameters }): Generator<SafetensorsEntry> {
  const weights = weightsOf(model);
  for (const { key, weight } of model.parameters.groups()) {
    if (!isQuantized(weight)) continue;
    const data = async function* () {
      for await (const { bytes } of weights.tiles!.readTiles(key)) yield bytes;
    };
    const shape = [weight.count, weight.matrixBytes];
    yield { name: `${key}.${weight.format}_tiles`, dtype: "U8", shape, data };
  }
  yield* modelEntries(model, ({ weight }) => !isQuantized(weight));
}

const quantizationConfig = () => ({
  quant_method: TILED,
  version: 1,
  tile: [TILE_ROWS, TILE_COLUMNS],
});

/** A model that is saved: a language model, or one that sees. */
export interface Saved {
  readonly config: LanguageConfig | VisionLanguageConfig;
}

/** The `config.json` of a folder with such tensors, for a model that came without one. */
export function tiledConfig({ config }: Saved): Json {
  const json = "language" in config ? visionConfigJson(config, "float32") : toConfigJson(config, "float32");
  return { ...json, quantization_config: quantizationConfig() };
}

/** The same for a model whose `config.json` is `original`: its text, with what has changed. */
export function tiledConfigText({ config }: Saved, original: string): string {
  return changedConfig(original, (json) => {
    setDtype(json, "float32");
    if (!("language" in config)) setMtpLayers(json, config.mtpLayers);
    json.set("quantization_config", fromPlain(quantizationConfig()));
  });
}
