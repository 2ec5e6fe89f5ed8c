/**
 * The model that a run begins with: any language model that `load` opens. Configuration, tokenizer and template are copied into
 * the run, weights are read where they lie, at the first step and for a reference.
 */

import { type ChatTemplate, chatTemplate } from "../../chat/template.ts";
import { companions } from "../../checkpoint/companions.ts";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { checkpointConfig, configOf } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { isVisionConfig } from "../../models/vision-architectures.ts";
import { folderTemplate } from "../../pretrained/chat-template-source.ts";
import { readGenerationConfig } from "../../pretrained/generation-config.ts";
import { folderTokenizer, type LoadDtype, type LoadedModel } from "../../pretrained/load.ts";
import { type LoadOptions, load, type ModelPlace } from "../../pretrained/node-load.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { ggufTokenizerFiles } from "../../tokenizer/gguf-tokenizer.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";

/** A model by what `load` takes. */
export interface BaseModel {
  /** A folder or file by its full path, or `org/name@commit`. */
  readonly path: string;
  /** GGUF file of a folder or repository. */
  readonly gguf?: string;
}

/** What is known of a model before its weights are read. */
export interface BaseFiles {
  readonly name: string;
  readonly config: LanguageConfig;
  /** Texts of the files beside the weights, by name. */
  readonly files: Readonly<Record<string, string>>;
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

function refuseSeeing(where: string): never {
  throw new ConfigError("a model that sees", {
    ...{ where, expected: "a language model" },
    hint: "Rewards train language models; models that see are trained by `deepseek-ts train --data`.",
  });
}

/** Reads configuration and files of a model. @throws ConfigError, FormatError; ConfigError for a model that sees */
export async function readBase({ tree, gguf, name }: ModelPlace): Promise<BaseFiles> {
  if (gguf !== null) {
    const file = await openGgufFiles(tree, gguf);
    try {
      const { tokenizer, config } = ggufTokenizerFiles(file);
      const files = { "tokenizer.json": json(tokenizer), "tokenizer_config.json": json(config) };
      return { name, config: parseConfig(ggufConfig(file)), files };
    } finally {
      await file.close();
    }
  }
  const checkpoint = await openCheckpoint(tree);
  try {
    if (isVisionConfig(configOf(checkpoint))) refuseSeeing(tree.name);
    const { config } = checkpointConfig(checkpoint);
    const files = await companions(tree);
    const generation = files["generation_config.json"];
    const advised = generation === undefined ? null : JSON.parse(generation);
    const { eosTokenIds } = readGenerationConfig(advised, config.eosTokenIds);
    return { name, config: { ...config, eosTokenIds }, files };
  } finally {
    await checkpoint.close();
  }
}

export interface BaseText {
  readonly tokenizer: Tokenizer;
  /** Made when it is asked for: not every model has one. @throws ConfigError */
  template(): ChatTemplate;
}

/** Tokenizer and chat template of the files that a run keeps in `folder`. @throws ConfigError if there is no tokenizer */
export async function baseText(
  folder: string,
  { name, config }: Pick<BaseFiles, "name" | "config">,
): Promise<BaseText> {
  const tree = nodeFolder(folder);
  const tokenizer = await folderTokenizer(tree);
  if (tokenizer === null) {
    throw new ConfigError("the model has no tokenizer", {
      ...{ where: name, expected: "a tokenizer.json next to its weights" },
    });
  }
  const source = await folderTemplate(tree);
  let made: ChatTemplate | null = null;
  const template = () => (made ??= chatTemplate(tokenizer, source, { modelType: config.modelType, name }));
  return { tokenizer, template };
}

/** Loads the weights. @throws as `load`; ConfigError for a model that sees */
export async function loadBase(
  { path, gguf }: BaseModel,
  device: Device,
  dtype: LoadDtype,
  options: Pick<LoadOptions, "signal" | "onNotice" | "onProgress"> = {},
): Promise<LoadedModel> {
  const loaded = await load(path, { ...options, device, dtype, ...(gguf !== undefined && { file: gguf }) });
  if (loaded.vision === null) return loaded;
  await loaded.dispose();
  return refuseSeeing(path);
}
