/** The model of a run in stages: what some stage trains as f32, the rest as it is to be stored; and the files it leaves. */
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { configOf, modelWeights, storedRule } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { isKnownDtype } from "../../checkpoint/safetensors-dtype.ts";
import type { SafetensorsEntry } from "../../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import type { JsonObject } from "../../checkpoint/strict-json.ts";
import { isTiled } from "../../checkpoint/tiles.ts";
import { visionEntries, visionModelFrom } from "../../checkpoint/vision-model.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { isVisionConfig, parseVisionConfig } from "../../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import { VisionLanguageModel } from "../../models/vision-language.ts";
import type { GroupSpec } from "../../nn/parameter-group.ts";
import { allocateModule, describeModule } from "../../nn/scope.ts";
import { type StorageFormat, type StorageRule, storageRule } from "../../nn/storage.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { folderTokenizer } from "../../pretrained/load.ts";
import { processorFiles, visionOf } from "../../pretrained/load-vision.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import type { Device } from "../../tensor/tensor.ts";
import { groupRates } from "../../train/rates.ts";
import type { StagedConfig } from "./config.ts";
import type { Reader } from "./lessons.ts";

/** The stored form of a spec's official tensor. */
const officialKey = ({ key, layout }: GroupSpec) => layout?.official.key ?? key;

/** The files of a model beside its weights, by name. */
const FILES =
  /^(([^/]*config|tokenizer[^/]*|special_tokens_map|added_tokens|chat_template)\.json|chat_template\.jinja)$/;

export async function modelFiles(folder: string): Promise<Record<string, string>> {
  const tree = nodeFolder(folder);
  const files: Record<string, string> = {};
  for (const name of await tree.list()) if (FILES.test(name)) files[name] = await tree.readText(name);
  return files;
}

/** The configuration of the folder's model. @throws ConfigError if it is none that sees */
export async function folderConfig(folder: string): Promise<JsonObject> {
  const { "config.json": text } = await modelFiles(folder);
  if (text === undefined) {
    throw new ConfigError("the folder has no config.json", {
      where: folder,
      hint: "Give the folder of a model that sees: config.json, tokenizer.json, the processor's files.",
    });
  }
  const json = JSON.parse(text) as JsonObject;
  if (isVisionConfig(json)) return json;
  throw new ConfigError("not a model that sees", {
    where: folder,
    name: "model_type",
    expected: "multi_modality or deepseek_vl_v2",
    found: json.model_type,
    hint: "A language model is trained on a folder of text: deepseek-ts train FOLDER.",
  });
}

/** Keys of the groups that some stage trains. @throws ConfigError for a part that the model does not have */
export function trainedKeys(model: VisionLanguageModel, { stages }: StagedConfig): Set<string> {
  const keys = new Set<string>();
  for (const stage of stages) {
    const rates = groupRates(model, stage, { where: `stage ${stage.name}` });
    for (const group of model.parameters.groups()) {
      if (group.trained && rates(group) > 0) keys.add(officialKey(group));
    }
  }
  return keys;
}

/** A model without memory. */
export function describedModel(config: VisionLanguageConfig): VisionLanguageModel {
  return describeModule((scope) => new VisionLanguageModel(scope, config)).module;
}

/** Storage of a model's groups: f32 where a stage trains, else as the settings say. */
export function stagedStorage(
  trained: ReadonlySet<string>,
  frozen: StagedConfig["model"]["frozen"],
  stored: StorageRule,
): StorageRule {
  const rest = frozen === "auto" ? stored : storageRule(frozen as StorageFormat);
  return (spec) => (trained.has(officialKey(spec)) ? "f32" : rest(spec));
}

export interface StagedModel extends Disposable {
  readonly model: VisionLanguageModel;
  readonly reader: Reader;
  /** Groups that some stage trains. */
  readonly trained: ReadonlySet<string>;
}

/** Tokenizer and processor of a folder. @throws ConfigError */
export async function folderReader(
  folder: string,
  model: VisionLanguageModel,
  sequenceLength: number,
): Promise<Reader> {
  const tree = nodeFolder(folder);
  const tokenizer = await folderTokenizer(tree);
  if (tokenizer === null) {
    throw new ConfigError("the model has no tokenizer", {
      where: folder,
      expected: "tokenizer.json",
      hint: "Copy tokenizer.json and tokenizer_config.json from the model's page.",
    });
  }
  const { vocabSize } = model.config.language;
  if (tokenizer.vocabSize > vocabSize) {
    throw new ConfigError("the tokenizer has more tokens than the model", {
      where: folder,
      name: "vocab_size",
      expected: `at least ${tokenizer.vocabSize}`,
      found: vocabSize,
    });
  }
  return { vision: visionOf(model, await processorFiles(tree), tokenizer), tokenizer, sequenceLength };
}

/** Makes the model as it is before the first step. @throws ConfigError, FormatError, ShapeError */
export async function beginModel(
  config: StagedConfig,
  device: Device,
  onProgress?: (done: number, total: number) => void,
): Promise<StagedModel> {
  const { folder, start, frozen, initStd } = config.model;
  const json = await folderConfig(folder);
  const parsed = parseVisionConfig(json);
  const trained = trainedKeys(describedModel(parsed), config);
  let model: VisionLanguageModel;
  if (start === "random") {
    const storage = stagedStorage(trained, frozen, () => "f32");
    // The pool that checkpoints keep beside a tower is none of a model that begins here.
    model = allocateModule(device, storage, (scope) => new VisionLanguageModel(scope, withoutUnused(parsed)));
    model.parameters.initialize(new Random(config.seed, 1), initStd);
  } else {
    const checkpoint = await openCheckpoint(nodeFolder(folder));
    try {
      const weights: WeightSource = modelWeights(checkpoint);
      const storage = stagedStorage(trained, frozen, storedRule(configOf(checkpoint), weights));
      model = await visionModelFrom(json, weights, device, { storage, progress: onProgress });
    } finally {
      await checkpoint.close();
    }
  }
  try {
    const reader = await folderReader(folder, model, config.sequenceLength);
    return { model, reader, trained, [Symbol.dispose]: () => model[Symbol.dispose]() };
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
}

function withoutUnused(config: VisionLanguageConfig): VisionLanguageConfig {
  const { tower } = config;
  if (tower.kind === "siglip") return { ...config, tower: { ...tower, pool: false } };
  return { ...config, tower: { ...tower, low: { ...tower.low, pool: false }, norms: false } };
}

/**
 * Writes the trained model in the layout of the folder it began with: what no stage trained is copied as it is there, the
 * rest has the floats of the file. @throws ConfigError if something else is at `out`
 */
export async function saveStagedModel(
  { model, trained }: StagedModel,
  config: StagedConfig,
  out: string,
  files: Readonly<Record<string, string>>,
  beside: Readonly<Record<string, Uint8Array>> = {},
): Promise<void> {
  const { "config.json": text, ...named } = files;
  const others = { ...named, ...beside };
  const sink = await nodeFolderSink(out, { force: true });
  if (config.model.start === "random") {
    const json = { ...JSON.parse(text), torch_dtype: "float32" };
    await saveCheckpoint(sink, visionEntries(model), { config: json, files: others });
    return;
  }
  const checkpoint = await openCheckpoint(nodeFolder(config.model.folder));
  try {
    const names = [...checkpoint.names()];
    const tiled = names.some(isTiled);
    const own = visionEntries(model);
    if (tiled) {
      // Tiles cannot stand beside floats in one folder: all of it becomes floats.
      const { quantization_config: _, ...json } = JSON.parse(text);
      const plain = { ...json, torch_dtype: "bfloat16" };
      await saveCheckpoint(sink, own, { config: plain, dtype: "BF16", files: others });
      return;
    }
    const changed = officialNames(model, trained);
    const entries = function* (): Generator<SafetensorsEntry> {
      for (const entry of own) {
        const info = checkpoint.has(entry.name) ? checkpoint.info(entry.name) : null;
        if (changed.has(entry.name) || info === null || !isKnownDtype(info.dtype)) yield entry;
        else {
          const { dtype, shape } = info;
          yield { name: entry.name, dtype, shape, data: () => checkpoint.readRaw(entry.name) };
        }
      }
    };
    const floats = { bfloat16: "BF16", float16: "F16", float32: "F32" } as const;
    const json = JSON.parse(text) as { torch_dtype?: keyof typeof floats };
    const dtype = floats[json.torch_dtype ?? "float32"] ?? "F32";
    const keepF32 = (name: string) => checkpoint.has(name) && checkpoint.info(name).dtype === "F32";
    await saveCheckpoint(sink, entries(), { config: text, dtype, keepF32, files: others });
  } finally {
    await checkpoint.close();
  }
}

/** Names of the tensors that training may have changed, balancing of experts included. */
function officialNames(model: VisionLanguageModel, trained: ReadonlySet<string>): Set<string> {
  const names = new Set<string>();
  for (const group of model.parameters.groups()) {
    const official = group.layout?.official ?? group;
    if (!trained.has(officialKey(group)) && !group.key.endsWith("e_score_correction_bias")) continue;
    for (const { name } of official.parts) names.add(name);
  }
  return names;
}
