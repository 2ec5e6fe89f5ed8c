/** The model that a run goes on with: its files, its template, and its weights as f32, which training needs. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type ChatTemplate, chatTemplate } from "../../chat/template.ts";
import { type ByteSource, type FileTree, readExactly } from "../../checkpoint/byte-source.ts";
import { companions } from "../../checkpoint/companions.ts";
import { changedConfig, isConfigText, setDtype, setMtpLayers } from "../../checkpoint/config-text.ts";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { ggufConfig, ggufWeights, openGgufFiles } from "../../checkpoint/gguf/index.ts";
import { configOf, modelFrom, modelWeights, namedDtype } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { type JsonObject, parseJsonObject } from "../../checkpoint/strict-json.ts";
import { type CausalLM, createModel } from "../../models/causal-lm.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { storedMtpLayers } from "../../models/load.ts";
import { isVisionConfig } from "../../models/vision-architectures.ts";
import type { StorageFormat } from "../../nn/storage.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { folderTemplate, ggufTemplate } from "../../pretrained/chat-template-source.ts";
import { readGenerationConfig } from "../../pretrained/generation-config.ts";
import { folderTokenizer } from "../../pretrained/load.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { ggufTokenizerFiles } from "../../tokenizer/gguf-tokenizer.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { TunedBase, TunedConfig } from "./config.ts";

/** Where a model's files are. */
export type BasePlace = Pick<TunedBase, "name" | "folder" | "gguf">;

/** What a run keeps of its model beside the weights: the texts of its files, by name. */
export type BaseFiles = Readonly<Record<string, string>>;

/** Weights and configuration, open. */
interface OpenedBase extends AsyncDisposable {
  readonly json: JsonObject;
  readonly weights: WeightSource;
  files(): Promise<Record<string, string>>;
}

const jsonText = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

async function openBase({ folder, gguf }: BasePlace): Promise<OpenedBase> {
  const tree = nodeFolder(folder);
  if (gguf === null) {
    const checkpoint = await openCheckpoint(tree);
    try {
      const json = configOf(checkpoint);
      return {
        ...{ json, weights: modelWeights(checkpoint) },
        async files() {
          const text = await tree.readText("config.json");
          return { ...(await companions(tree)), "config.json": isConfigText(text) ? text : jsonText(json) };
        },
        [Symbol.asyncDispose]: () => checkpoint.close(),
      };
    } catch (error) {
      await checkpoint.close();
      throw error;
    }
  }
  const file = await openGgufFiles(tree, gguf);
  const json = ggufConfig(file);
  return {
    ...{ json, weights: ggufWeights(file) },
    async files() {
      const template = ggufTemplate(file.metadata);
      const { tokenizer, config } = ggufTokenizerFiles(file);
      return {
        "config.json": jsonText(json),
        "tokenizer.json": jsonText(tokenizer),
        "tokenizer_config.json": jsonText(config),
        ...(typeof template === "string" && { "chat_template.jinja": template }),
      };
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

const SAMPLES = 16;
const SAMPLE_BYTES = 1 << 16;

async function sampled(source: ByteSource, hash: ReturnType<typeof createHash>): Promise<void> {
  hash.update(`${source.size}\n`);
  const length = Math.min(SAMPLE_BYTES, source.size);
  for (let i = 0; i < SAMPLES; i++) {
    const at = Math.floor(((source.size - length) * i) / (SAMPLES - 1));
    hash.update(await readExactly(source, at, length));
  }
}

/** A hash of a model's configuration, in the file `config`, and of samples all over its weight files. */
export async function fingerprintOf(
  tree: FileTree,
  { gguf }: Pick<BasePlace, "gguf">,
  config = "config.json",
): Promise<string> {
  const hash = createHash("sha256");
  const weights = gguf === null ? /\.(safetensors|bin|pth?)$/ : /\.gguf$/i;
  if (gguf === null) hash.update(await tree.readText(config));
  for (const name of (await tree.list()).filter((file) => weights.test(file))) {
    hash.update(`${name}\n`);
    const source = await tree.open(name);
    try {
      await sampled(source, hash);
    } finally {
      await source.close?.();
    }
  }
  return hash.digest("hex").slice(0, 32);
}

/** A model, described without its weights. */
export interface DescribedBase {
  readonly base: TunedBase;
  readonly json: JsonObject;
  readonly config: LanguageConfig;
  readonly files: BaseFiles;
  /** The dtype of its floats. */
  readonly dtype: TunedConfig["dtype"];
}

/** Reads what a run has to know of a model before it begins. @throws ConfigError, FormatError */
export async function describeBase(place: BasePlace): Promise<DescribedBase> {
  await using opened = await openBase(place);
  const { json } = opened;
  if (isVisionConfig(json)) {
    throw new ConfigError("a model that sees is trained on conversations with images", {
      where: place.name,
      hint: "Use deepseek-ts train --data.",
    });
  }
  const config = parseConfig(json);
  const mtpLayers = storedMtpLayers(config, opened.weights);
  const fingerprint = await fingerprintOf(nodeFolder(place.folder), place);
  const named = json.quantization_config === undefined ? namedDtype(json) : "bfloat16";
  const dtype = named === "bfloat16" ? "BF16" : named === "float16" ? "F16" : "F32";
  const files = await opened.files();
  return { base: { ...place, mtpLayers, fingerprint }, json, config: { ...config, mtpLayers }, files, dtype };
}

/** What reads rows of messages. */
export interface BaseReader {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | null;
  /** Tokens that end answers by the model's settings. */
  readonly endIds: readonly number[];
}

/** Tokenizer and chat template of a folder with a model's files beside its weights. @throws ConfigError, FormatError */
export async function baseReader(folder: string, name: string): Promise<BaseReader> {
  const tree = nodeFolder(folder);
  const config = parseConfig(parseJsonObject(await tree.readText("config.json"), `${folder}/config.json`));
  const tokenizer = await folderTokenizer(tree);
  if (tokenizer === null) {
    throw new ConfigError("the model has no tokenizer", {
      where: name,
      expected: "a tokenizer.json next to its weights",
    });
  }
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new ConfigError("the tokenizer has more tokens than the model", {
      ...{
        where: name,
        name: "vocab_size",
        expected: `at least ${tokenizer.vocabSize}`,
        found: config.vocabSize,
      },
    });
  }
  const generation = (await tree.has("generation_config.json"))
    ? parseJsonObject(await tree.readText("generation_config.json"), "generation_config.json")
    : null;
  const endIds = readGenerationConfig(generation, config.eosTokenIds).eosTokenIds;
  const source = await folderTemplate(tree);
  let template: ChatTemplate | null = null;
  try {
    template = chatTemplate(tokenizer, source, { modelType: config.modelType, name });
  } catch (error) {
    // Rows of plain text need none; those of messages are refused by what they say.
    if (source !== null || !(error instanceof ConfigError)) throw error;
  }
  return { tokenizer, template, endIds };
}

/** What names the model in an adapter's file: its name on the hub, or where it lies. */
export const basePath = ({ name, folder, gguf }: BasePlace): string =>
  name.includes("/") ? name : join(folder, gguf ?? "");

/** The model as it is before the first step. @throws FormatError if its files are others than at preparation */
export async function loadBase(
  base: TunedBase,
  device: Device,
  dtype: StorageFormat = "f32",
): Promise<CausalLM> {
  const found = await fingerprintOf(nodeFolder(base.folder), base);
  if (found !== base.fingerprint) {
    throw new FormatError("the model changed since the run was prepared", {
      where: join(base.folder, base.gguf ?? ""),
      ...{ expected: `contents with the fingerprint ${base.fingerprint}`, found },
      hint: "Restore its files, or begin a new run.",
    });
  }
  await using opened = await openBase(base);
  return await modelFrom(opened.json, opened.weights, device, { dtype });
}

/** The same model without weights, to be filled by a saved state. */
export function emptyBase(files: BaseFiles, { mtpLayers }: TunedBase, device: Device): CausalLM {
  return createModel(parseJsonObject(files["config.json"], "config.json"), device, {
    dtype: "f32",
    mtpLayers,
  });
}

/** The texts of a folder with a model's files beside its weights. */
export async function readBaseFiles(folder: string): Promise<BaseFiles> {
  const tree = nodeFolder(folder);
  return { ...(await companions(tree)), "config.json": await tree.readText("config.json") };
}

const TORCH = { F32: "float32", BF16: "bfloat16", F16: "float16" } as const;

/** The text of `config.json` for weights that are saved as floats. */
export function savedConfigText(
  files: BaseFiles,
  { dtype, model }: Pick<TunedConfig, "dtype" | "model">,
): string {
  return changedConfig(files["config.json"], (config) => {
    setDtype(config, TORCH[dtype]);
    config.delete("quantization_config");
    if (config.has("num_nextn_predict_layers")) setMtpLayers(config, model.mtpLayers);
  });
}
