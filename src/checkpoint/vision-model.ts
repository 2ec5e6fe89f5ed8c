/** Models that see, from checkpoints with the original names or those of the transformers ports, and back. */
import {
  hasPool,
  withOriginalLanguageNames,
  withOriginalNames,
  withPortNames,
} from "../models/deepseek_vl/port-names.ts";
import { withJanusNames, withJanusPortNames } from "../models/janus/port-names.ts";
import type { LanguageConfig } from "../models/language-config.ts";
import { checkCounts } from "../models/load.ts";
import { parseVisionConfig, visionArchitecture } from "../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../models/vision-config.ts";
import { VisionLanguageModel } from "../models/vision-language.ts";
import { checkGroups } from "../nn/loading.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { allocateModule, describeModule, type ParameterScope } from "../nn/scope.ts";
import { plannedGroups, resolveStorage, storageRule } from "../nn/storage.ts";
import { type WeightSource, WithoutTiles } from "../nn/weight-source.ts";
import type { Device } from "../tensor/tensor.ts";
import type { FileTree } from "./byte-source.ts";
import { openCheckpoint } from "./folder.ts";
import { LanguagePart } from "./language-part.ts";
import { configOf, filled, type LoadOptions, modelWeights, storedRule } from "./model.ts";
import { f32Entry, type SafetensorsEntry } from "./safetensors-writer.ts";
import type { JsonObject } from "./strict-json.ts";

const isPort = ({ modelType }: VisionLanguageConfig) =>
  modelType === "deepseek_vl" || modelType === "deepseek_vl_hybrid" || modelType === "janus";

const isHybrid = ({ tower }: VisionLanguageConfig) => tower.kind === "hybrid";

/** Unused parts that the source has: they are kept, so that a file saved again is whole. */
function storedConfig(config: VisionLanguageConfig, source: WeightSource): VisionLanguageConfig {
  const { tower } = config;
  const pool = (root: string) =>
    source.has(`${root}attn_pool.latent`) ||
    (isPort(config) && config.generation === null && hasPool(source));
  if (tower.kind === "siglip") {
    const { parts } = visionArchitecture(config);
    const root = config.tiling === null ? `${parts.tower}.vision_tower.` : `${parts.tower}.`;
    return { ...config, tower: { ...tower, pool: pool(root) } };
  }
  const low = { ...tower.low, pool: pool("vision_model.vision_tower_low.vision_tower.") };
  return { ...config, tower: { ...tower, low, norms: source.has("vision_model.high_layer_norm.weight") } };
}

/**
 * The configuration of a checkpoint with the unused parts that it holds, its counts compared with what the files hold.
 * @throws ConfigError, FormatError
 */
export function visionCheckpointConfig(configJson: JsonObject, source: WeightSource): VisionLanguageConfig {
  const config = storedConfig(parseVisionConfig(configJson), source);
  const counted = isPort(config) ? withOriginalLanguageNames(source) : source;
  checkCounts(config.language, counted, `${visionArchitecture(config).parts.language}.`);
  return config;
}

/** A checkpoint of this configuration under the names of the originals. @throws FormatError, ShapeError */
function officialWeights(config: VisionLanguageConfig, source: WeightSource): WeightSource {
  if (!isPort(config)) return source;
  const { parameters } = describeModule((scope) => new VisionLanguageModel(scope, config));
  if (config.modelType === "janus") return withJanusNames(source, parameters.named());
  return withOriginalNames(source, parameters.named(), isHybrid(config));
}

/** The language model inside a checkpoint, as one of its own. @throws ConfigError, FormatError, ShapeError */
export function languagePart(
  configJson: JsonObject,
  source: WeightSource,
): { readonly config: LanguageConfig; readonly weights: WeightSource } {
  const config = visionCheckpointConfig(configJson, source);
  const prefix = `${visionArchitecture(config).parts.language}.`;
  return { config: config.language, weights: new LanguagePart(officialWeights(config, source), prefix) };
}

/** All of a checkpoint under the names of the originals, and its configuration. @throws ConfigError, FormatError, ShapeError */
export function officialVision(
  configJson: JsonObject,
  source: WeightSource,
): { readonly config: VisionLanguageConfig; readonly weights: WeightSource } {
  const config = visionCheckpointConfig(configJson, source);
  return { config, weights: officialWeights(config, source) };
}

export interface VisionLoadOptions extends LoadOptions {
  /** Ids that end a text, in place of those that the configuration names. */
  readonly eosTokenIds?: readonly number[];
  /** Whether a model that draws gets what it draws with; default true. */
  readonly drawing?: boolean;
}

/**
 * Makes a model of a `config.json` and fills it from `source`; `storage` and `dtype` as for language models.
 * @throws ConfigError, FormatError, ShapeError
 */
export async function visionModelFrom(
  configJson: JsonObject,
  source: WeightSource,
  device: Device,
  options: VisionLoadOptions = {},
): Promise<VisionLanguageModel> {
  const { dtype = "f32", progress, eosTokenIds, drawing } = options;
  if (source.tiles && (dtype !== "auto" || options.storage)) {
    // Tiles are read as they are; another storage is made from a model that has them.
    using tiled = await visionModelFrom(configJson, source, device, { dtype: "auto", drawing });
    const stored = new WithoutTiles(weightsOf(tiled));
    return await visionModelFrom(configJson, stored, device, { ...options, dtype });
  }
  const stored = visionCheckpointConfig(configJson, source);
  const config = { ...stored, language: { ...stored.language, ...(eosTokenIds && { eosTokenIds }) } };
  const make = (scope: ParameterScope) => new VisionLanguageModel(scope, config, { drawing });
  const describe = () => describeModule(make).parameters;
  const official = officialWeights(config, source);
  const storage =
    options.storage ?? (dtype === "auto" ? storedRule(configJson, official) : storageRule(dtype));
  // What the files hold is compared before memory is taken for it.
  const groups = [...describe().groups()];
  checkGroups([...plannedGroups(groups, resolveStorage(groups, storage))], official);
  return await filled(allocateModule(device, storage, make), official, progress);
}

/** Loads a model from a folder in the Hugging Face layout. @throws ConfigError, FormatError, ShapeError */
export async function loadVisionModel(
  tree: FileTree,
  device: Device,
  options: VisionLoadOptions = {},
): Promise<VisionLanguageModel> {
  const checkpoint = await openCheckpoint(tree, options);
  try {
    return await visionModelFrom(configOf(checkpoint), modelWeights(checkpoint), device, options);
  } finally {
    await checkpoint.close();
  }
}

/** The tensors of a model as floats, ready to be saved, under the names that its `model_type` has. */
export function* visionEntries(model: VisionLanguageModel): Generator<SafetensorsEntry> {
  const { config } = model;
  const own = weightsOf(model);
  const official = [...own.names()].map((name) => ({ name, shape: own.shape(name) }));
  const source = !isPort(config)
    ? own
    : config.modelType === "janus"
      ? withJanusPortNames(own, official)
      : withPortNames(own, official, isHybrid(config));
  for (const name of source.names()) {
    yield f32Entry(name, source.shape(name), async function* () {
      for await (const { values } of source.readF32(name)) yield values;
    });
  }
}
