/** From files to models: a checkpoint as the weights of a model. */
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { type LanguageConfig, parseConfig, toConfigJson } from "../models/config.ts";
import { absentMtpText, checkCounts, checkStored, storedMtpLayers } from "../models/load.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { type ParameterGroup, storedBytes } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import { type StorageFormat, type StorageRule, storageRule } from "../nn/storage.ts";
import { type WeightSource, WithoutTiles } from "../nn/weight-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import type { FileTree } from "./byte-source.ts";
import { type Checkpoint, openCheckpoint } from "./folder.ts";
import { isObject, type JsonObject } from "./strict-json.ts";
import { isTiled, tilesOf } from "./tiles.ts";

/** A checkpoint as models read it, also one saved without the head's class around it, whose names lack `model.`. */
export function modelWeights(checkpoint: Checkpoint): WeightSource {
  const tiles = tilesOf(checkpoint);
  const first = "embed_tokens.weight";
  const bare = checkpoint.has(first) && !checkpoint.has(`model.${first}`);
  const stored = (name: string) => (bare && name.startsWith("model.") ? name.slice("model.".length) : name);
  const official = (name: string) => (bare && !name.startsWith("lm_head.") ? `model.${name}` : name);
  return {
    where: checkpoint.tree.name,
    *names() {
      for (const name of checkpoint.names()) if (!isTiled(name)) yield official(name);
    },
    has: (name) => checkpoint.has(stored(name)),
    shape: (name) => checkpoint.info(stored(name)).shape,
    readF32: (name) => checkpoint.readF32(stored(name)),
    ...(tiles && { tiles }),
  };
}

export interface LoadOptions {
  /**
   * Storage of the matrices. `q4` and `q8` quantize while reading, `q4` with the exceptions of
   * `nn/storage.ts`; `auto` keeps what is stored, f32 for FP8; default f32.
   */
  readonly dtype?: StorageFormat | "auto";
  /** Storage of each matrix, in place of `dtype`. */
  readonly storage?: StorageRule;
  /** Called with the bytes in memory, filled and in total, after every group of tensors. */
  readonly progress?: (done: number, total: number) => void;
  /** Called with what the files lack without need, in one line each. */
  readonly onNotice?: (text: string) => void;
}

/** The dtype that a configuration names; of models that see, some files say it of the language model only. */
export function namedDtype(configJson: JsonObject): unknown {
  const inner = configJson.language_config ?? configJson.text_config;
  const named = [configJson, ...(isObject(inner) ? [inner] : [])].map(
    (json) => json.torch_dtype ?? json.dtype,
  );
  return named.find((each) => each !== undefined);
}

/** What `auto` stands for: tiles and blocks as they are, else the dtype that the configuration names. */
export function storedRule(configJson: JsonObject, { tiles, blocks }: WeightSource): StorageRule {
  const dtype = namedDtype(configJson);
  const plain = dtype === "bfloat16" ? "bf16" : dtype === "float16" ? "f16" : "f32";
  const float = configJson.quantization_config === undefined ? plain : "f32";
  return ({ key, parts, layout }) => {
    const format = tiles?.tileFormat(key);
    if (format) return format;
    if (tiles) {
      const names =
        layout && !tiles.floatFormat?.(key) ? [layout.official.key] : parts.map(({ name }) => name);
      const formats = new Set(names.map((name) => tiles.floatFormat?.(name)));
      return (formats.size === 1 && [...formats][0]) || "f32";
    }
    const types = new Set(parts.map(({ name }) => blocks?.blockType(name) ?? null));
    if (types.size === 1 && types.has("Q4_0")) return "q4";
    return blocks && !types.has(null) ? "q8" : float;
  };
}

/** A configuration whose counts the source bears out; of prediction layers those that are there. @throws */
function storedConfig(
  configJson: JsonObject,
  source: WeightSource,
  onNotice: LoadOptions["onNotice"],
): LanguageConfig {
  const config = parseConfig(configJson);
  checkCounts(config, source);
  const mtpLayers = storedMtpLayers(config, source);
  if (mtpLayers < config.mtpLayers) onNotice?.(absentMtpText(config.mtpLayers, mtpLayers));
  return { ...config, mtpLayers };
}

/** A folder's `config.json`. @throws ConfigError if there is none */
export function configOf({ config, tree }: Checkpoint): JsonObject {
  if (config !== null) return config;
  throw new ConfigError("the folder has no config.json", {
    where: tree.name,
    hint: "Copy it from the model's page.",
  });
}

/**
 * The configuration of a checkpoint, its counts compared with what the files hold; of prediction layers it names those
 * that are there, with a notice if they are fewer. @throws ConfigError if there is none, FormatError
 */
export function checkpointConfig(
  checkpoint: Checkpoint,
  onNotice?: (text: string) => void,
): { readonly config: LanguageConfig; readonly json: JsonObject } {
  const json = configOf(checkpoint);
  return { config: storedConfig(json, modelWeights(checkpoint), onNotice), json };
}

/** What loading needs of a model. */
interface Loadable extends Disposable {
  readonly parameters: Parameters;
  load(source: WeightSource, progress: (group: ParameterGroup) => void): Promise<void>;
}

/** `model` with its weights from `source`; freed if they cannot be read. @throws FormatError, ShapeError */
export async function filled<M extends Loadable>(
  model: M,
  source: WeightSource,
  progress: LoadOptions["progress"],
): Promise<M> {
  try {
    const total = model.parameters.bytes;
    let done = 0;
    await model.load(source, (group) => {
      done += storedBytes(group);
      progress?.(done, total);
    });
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
  return model;
}

/** Makes a model of an official `config.json` and fills it from `source`. @throws ConfigError, FormatError, ShapeError */
export async function modelFrom(
  configJson: JsonObject,
  source: WeightSource,
  device: Device,
  options: LoadOptions = {},
): Promise<CausalLM> {
  const { dtype = "f32", progress, onNotice } = options;
  const auto = storedRule(configJson, source);
  if (source.tiles && (dtype !== "auto" || options.storage)) {
    // Tiles are read as they are; another storage is made from a model that has them.
    using tiled = await modelFrom(configJson, source, device, { dtype: "auto" });
    const stored = new WithoutTiles(weightsOf(tiled));
    return await modelFrom(toConfigJson(tiled.config), stored, device, { ...options, dtype });
  }
  const storage = options.storage ?? (dtype === "auto" ? auto : storageRule(dtype));
  const config = storedConfig(configJson, source, onNotice);
  checkStored(config, source, storage);
  const model = createModel(configJson, device, { storage, mtpLayers: config.mtpLayers });
  return await filled(model, source, progress);
}

/** Loads a model from a folder in the Hugging Face layout. @throws ConfigError, FormatError, ShapeError */
export async function loadModel(
  tree: FileTree,
  device: Device,
  options: LoadOptions = {},
): Promise<CausalLM> {
  const checkpoint = await openCheckpoint(tree, options);
  try {
    const { json } = checkpointConfig(checkpoint);
    return await modelFrom(json, modelWeights(checkpoint), device, options);
  } finally {
    await checkpoint.close();
  }
}
