/** A model's files opened to be written in another format: configuration, weights as they are stored, tokenizer. Node only. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { companions } from "../checkpoint/companions.ts";
import { isConfigText } from "../checkpoint/config-text.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/folder.ts";
import { ggufConfig } from "../checkpoint/gguf/config.ts";
import type { GgufModel } from "../checkpoint/gguf/export.ts";
import type { MmprojModel } from "../checkpoint/gguf/mmproj.ts";
import { originalConfig } from "../checkpoint/gguf/original-config.ts";
import type { WritableType } from "../checkpoint/gguf/quantize.ts";
import { openGgufFiles } from "../checkpoint/gguf/reader.ts";
import type { GgufMetadata } from "../checkpoint/gguf/types.ts";
import { ggufWeights } from "../checkpoint/gguf/weights.ts";
import { checkpointConfig, configOf, loadModel, modelWeights, namedDtype } from "../checkpoint/model.ts";
import { isObject, type JsonObject, parseJsonObject } from "../checkpoint/strict-json.ts";
import { TILED } from "../checkpoint/tiles.ts";
import { languagePart, loadVisionModel, officialVision } from "../checkpoint/vision-model.ts";
import { type LanguageConfig, parseConfig, toConfigJson } from "../models/config.ts";
import { readNormalization } from "../models/deepseek_vl/processor.ts";
import { checkStored } from "../models/load.ts";
import { isVisionConfig } from "../models/vision-architectures.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { storageRule } from "../nn/storage.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import { plural } from "../text/units.ts";
import { ggufTokenizerFiles, ggufTokenizerMetadata } from "../tokenizer/gguf-tokenizer.ts";
import { folderTemplate } from "./chat-template-source.ts";
import { readGenerationConfig } from "./generation-config.ts";
import { processorFiles } from "./load-vision.ts";
import type { ModelPlace } from "./node-load.ts";

/** Takes oddities of the files, in one line each. */
type Notice = (text: string) => void;

/** Types that a GGUF file is written in, by the names that people give. */
export const GGUF_TYPES = {
  ...{ f32: "F32", f16: "F16", bf16: "BF16", q8_0: "Q8_0", q4_0: "Q4_0" },
} as const satisfies Readonly<Record<string, WritableType>>;

/** A model's files, opened. */
export interface ModelSource {
  readonly config: JsonObject;
  /** The text of its `config.json`; null if it came without one. */
  readonly configText: string | null;
  /** The type nearest to how the weights are stored now. */
  readonly stored: WritableType;
  readonly language: LanguageConfig;
  readonly weights: WeightSource;
  /** Tokenizer metadata for a GGUF file of the model. */
  tokenizer(): Promise<GgufMetadata | undefined>;
  /** Tokenizer files for a folder of the model. */
  files(): Promise<Record<string, string>>;
  /** Files beside the weights that say how to use the model and have no place in GGUF. */
  readonly companions: readonly string[];
  close(): Promise<void>;
}

/** What a GGUF file of the model will lack, in words; null if that is nothing. */
export function lostInGguf({
  language,
  weights,
  companions,
}: Pick<ModelSource, "language" | "weights" | "companions">): string | null {
  const extra = [...weights.names()].filter((name) => {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    return layer !== undefined && Number(layer) >= language.layers;
  });
  const parts = [...companions];
  if (extra.length > 0) parts.unshift(`multi-token-prediction layers (${plural(extra.length, "tensor")})`);
  return parts.length === 0
    ? null
    : `left out    ${parts.join(", ")}: GGUF has no place for ${parts.length > 1 || extra.length > 0 ? "them" : "it"}`;
}

/** What a GGUF file of the model holds. @param name of the model in the file */
export async function ggufModelOf(source: ModelSource, name: string): Promise<GgufModel> {
  return {
    ...{ weights: source.weights, config: source.language, tokenizer: await source.tokenizer(), name },
    ...(source.configText === null ? {} : { configText: source.configText }),
  };
}

/** @param part the language model alone, of a model that sees */
export async function openFolder(
  { tree }: ModelPlace,
  part: "language" | undefined,
  onNotice: Notice,
): Promise<ModelSource> {
  const checkpoint = await openCheckpoint(tree, { onNotice });
  try {
    const sees = isVisionConfig(configOf(checkpoint));
    if (part !== undefined) return await languageSource(tree, checkpoint, sees);
    if (sees) {
      throw new ConfigError("GGUF has no place for the image tower of this model", {
        where: tree.name,
        hint: "Add `--part language` for its language model alone; `deepseek-ts quantize MODEL FOLDER` keeps all of it in 4 or 8 bits.",
      });
    }
    const { json, config } = checkpointConfig(checkpoint, onNotice);
    return await folderSource(tree, checkpoint, json, config);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** What a model sees with, opened for a GGUF file of it. */
export interface SeeingSource {
  readonly model: Pick<MmprojModel, "weights" | "config" | "mean" | "std">;
  readonly stored: WritableType;
  close(): Promise<void>;
}

/** Tower and aligner of a model that sees. @throws ConfigError for a language model, and without the processor's file */
export async function openSeeingPart({ tree }: ModelPlace, onNotice: Notice): Promise<SeeingSource> {
  const checkpoint = await openCheckpoint(tree, { onNotice });
  let close = () => checkpoint.close();
  try {
    const json = configOf(checkpoint);
    if (!isVisionConfig(json)) refuseParts(tree.name);
    const opened = await folderWeights(tree, checkpoint, true);
    close = opened.close;
    const { preprocessor } = await processorFiles(tree);
    if (preprocessor === null) {
      throw new ConfigError("the folder does not say how the model's images are prepared", {
        where: tree.name,
        expected: "preprocessor_config.json",
        hint: "Copy it from the model's page.",
      });
    }
    const { mean, std } = readNormalization(preprocessor) ?? { mean: [0, 0, 0], std: [1, 1, 1] };
    const model = { ...officialVision(json, opened.weights), mean, std };
    return { model, stored: storedType(json), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function folderSource(
  tree: FileTree,
  checkpoint: Checkpoint,
  config: JsonObject,
  language: LanguageConfig,
): Promise<ModelSource> {
  // A vocabulary's size is used before its tensor is read.
  const stored = modelWeights(checkpoint);
  if (!stored.tiles) checkStored(language, stored, storageRule("f32"));
  const { weights, close } = await folderWeights(tree, checkpoint, false);
  const configText = await tree.readText("config.json");
  return {
    ...{ config, weights, close, stored: storedType(config) },
    configText: isConfigText(configText) ? configText : null,
    ...(await beside(tree, language)),
  };
}

function refuseParts(where: string): never {
  throw new ConfigError("the model has no parts", {
    where,
    name: "--part",
    found: "a language model",
    hint: "Leave --part out.",
  });
}

/** The language model of a model that sees. @throws ConfigError for a language model */
async function languageSource(tree: FileTree, checkpoint: Checkpoint, sees: boolean): Promise<ModelSource> {
  if (!sees) refuseParts(tree.name);
  const json = configOf(checkpoint);
  const { weights, close } = await folderWeights(tree, checkpoint, true);
  try {
    const part = languagePart(json, weights);
    checkStored(part.config, part.weights, storageRule("f32"));
    const config = { ...toConfigJson(part.config), torch_dtype: namedDtype(json) ?? "float32" } as JsonObject;
    const texts = await companions(tree);
    const files = Object.entries(texts).filter(([name]) => !/processor_config/.test(name));
    return {
      ...{ config, weights: part.weights, close, stored: storedType({ ...json, ...config }) },
      configText: `${JSON.stringify(config, null, 2)}\n`,
      ...(await beside(tree, part.config)),
      files: async () => Object.fromEntries(files),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What lies beside the weights of a folder, for a GGUF file of it. */
async function beside(
  tree: FileTree,
  language: LanguageConfig,
): Promise<Pick<ModelSource, "language" | "tokenizer" | "files" | "companions">> {
  const optional = async (path: string) => ((await tree.has(path)) ? await tree.readText(path) : null);
  const generation = await optional("generation_config.json");
  const advised =
    generation === null ? null : parseJsonObject(generation, `${tree.name}/generation_config.json`);
  const { eosTokenIds } = readGenerationConfig(advised, language.eosTokenIds);
  return {
    language: { ...language, eosTokenIds },
    async tokenizer() {
      const json = await optional("tokenizer.json");
      if (json === null) return undefined;
      const settings = JSON.parse((await optional("tokenizer_config.json")) ?? "{}") as JsonObject;
      const found = await folderTemplate(tree);
      const named = typeof found === "string" ? { default: found } : (found ?? {});
      const templates = Object.entries(named).map(([name, template]) => ({ name, template }));
      return ggufTokenizerMetadata(json, { ...settings, chat_template: templates }, language.vocabSize);
    },
    files: async () => ({}),
    companions: generation === null ? [] : ["generation_config.json"],
  };
}

/** The weights of a folder; saved tiles are opened as a model, which knows their blocks. */
async function folderWeights(
  tree: FileTree,
  checkpoint: Checkpoint,
  sees: boolean,
): Promise<{ weights: WeightSource; close: () => Promise<void> }> {
  const weights = modelWeights(checkpoint);
  if (!weights.tiles) return { weights, close: () => checkpoint.close() };
  await checkpoint.close();
  const device = await createCpuDevice();
  const model = await (sees ? loadVisionModel : loadModel)(tree, device, { dtype: "auto" });
  const close = async () => {
    model[Symbol.dispose]();
    await device[Symbol.asyncDispose]();
  };
  return { weights: weightsOf(model), close };
}

export async function openGgufPlace({ tree, gguf }: ModelPlace): Promise<ModelSource> {
  const file = await openGgufFiles(tree, gguf!);
  try {
    const config = ggufConfig(file);
    const text = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
    return {
      config,
      configText: originalConfig(file),
      stored: storedType(config),
      language: parseConfig(config),
      weights: ggufWeights(file),
      // Also a tokenizer that is not understood here stays what it is.
      tokenizer: async () => new Map([...file.metadata].filter(([key]) => key.startsWith("tokenizer."))),
      async files(): Promise<Record<string, string>> {
        if (!file.metadata.has("tokenizer.ggml.tokens")) return {};
        const { tokenizer, config: settings } = ggufTokenizerFiles(file);
        return { "tokenizer.json": text(tokenizer), "tokenizer_config.json": text(settings) };
      },
      companions: [],
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The type nearest to how the weights are stored now. */
function storedType(config: JsonObject): WritableType {
  const { quantization_config: quantized } = config;
  const dtype = namedDtype(config);
  if (isObject(quantized) && quantized.quant_method === TILED) return "Q8_0";
  return dtype === "bfloat16" ? "BF16" : dtype === "float16" ? "F16" : "F32";
}
