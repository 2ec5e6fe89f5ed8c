/**
 * `deepseek-ts convert`: a model from one file format to another, streaming, without loading it: to a GGUF file for
 * llama.cpp, or from one to a folder in the Hugging Face layout; PyTorch files to safetensors.
 */

import { Command, Option } from "commander";
import type { FileTree } from "../../checkpoint/byte-source.ts";
import {
  changedConfig,
  isConfigText,
  setDtype,
  setMtpLayers,
  setTokenIds,
  type TorchDtype,
} from "../../checkpoint/config-text.ts";
import { type Checkpoint, openCheckpoint } from "../../checkpoint/folder.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { exportGguf, type GgufModel } from "../../checkpoint/gguf/export.ts";
import { originalConfig } from "../../checkpoint/gguf/original-config.ts";
import { isOwnExport } from "../../checkpoint/gguf/own-export.ts";
import type { WritableType } from "../../checkpoint/gguf/quantize.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import type { GgufMetadata } from "../../checkpoint/gguf/types.ts";
import { ggufWeights } from "../../checkpoint/gguf/weights.ts";
import { checkpointConfig, loadModel, modelWeights } from "../../checkpoint/model.ts";
import { f32Entry, type SafetensorsEntry } from "../../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { isObject, type JsonObject, parseJsonObject } from "../../checkpoint/strict-json.ts";
import { TILED } from "../../checkpoint/tiles.ts";
import { nodeFileSink } from "../../files/file-sink.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { checkFilePlace, checkFolderPlace, type FilePlaceOptions, realPlace } from "../../files/place.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { checkStored } from "../../models/load.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { storageRule } from "../../nn/storage.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { folderTemplate } from "../../pretrained/chat-template-source.ts";
import { readGenerationConfig } from "../../pretrained/generation-config.ts";
import type { ModelPlace } from "../../pretrained/node-load.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes, plural } from "../../text/units.ts";
import { ggufTokenizerFiles, ggufTokenizerMetadata } from "../../tokenizer/gguf-tokenizer.ts";
import { flowing } from "../help.ts";
import { ProgressLine } from "../progress-line.ts";
import { MODEL_ARGUMENT, type ModelFlags, noticeOnStderr, openPlace, withHub } from "./open-model.ts";
import { type NamedRule, namedRules, usageError } from "./options.ts";
import { torchFileToSafetensors, torchFolderToSafetensors, weightFileFormat } from "./weight-file.ts";

const examples = `
Examples:
  deepseek-ts convert runs/demo-1 demo.gguf
  deepseek-ts convert ./DeepSeek-V2-Lite v2-lite.gguf --type q4_0
  deepseek-ts convert ./model mixed.gguf --type q4_0 --keep "attn_.*=q8_0" --keep "^output=f16"
  deepseek-ts convert model-Q4_0.gguf ./model --type bf16
  deepseek-ts convert deepseek-ai/deepseek-llm-7b-chat ./llm-7b              PyTorch files to safetensors
  deepseek-ts convert pytorch_model.bin model.safetensors`;

const TYPES: Readonly<Record<string, WritableType>> = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  q8_0: "Q8_0",
  q4_0: "Q4_0",
};

interface Flags extends Omit<ModelFlags, "dtype"> {
  readonly type?: string;
  readonly keep: readonly NamedRule<WritableType>[];
  readonly force?: boolean;
}

/** A model's files, opened. */
interface Source {
  readonly config: JsonObject;
  /** The text of its `config.json`; null if it came without one. */
  readonly configText: string | null;
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
}: Pick<Source, "language" | "weights" | "companions">): string | null {
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

async function openFolder({ tree }: ModelPlace): Promise<Source> {
  const checkpoint = await openCheckpoint(tree, { onNotice: noticeOnStderr });
  try {
    const { json, config } = checkpointConfig(checkpoint, noticeOnStderr);
    return await folderSource(tree, checkpoint, json, config);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

async function folderSource(
  tree: FileTree,
  checkpoint: Checkpoint,
  config: JsonObject,
  language: LanguageConfig,
): Promise<Source> {
  // A vocabulary's size is used before its tensor is read.
  const stored = modelWeights(checkpoint);
  if (!stored.tiles) checkStored(language, stored, storageRule("f32"));
  const { weights, close } = await folderWeights(tree, checkpoint);
  const optional = async (path: string) => ((await tree.has(path)) ? await tree.readText(path) : null);
  const generation = await optional("generation_config.json");
  const advised =
    generation === null ? null : parseJsonObject(generation, `${tree.name}/generation_config.json`);
  const { eosTokenIds } = readGenerationConfig(advised, language.eosTokenIds);
  const configText = await tree.readText("config.json");
  return {
    config,
    configText: isConfigText(configText) ? configText : null,
    language: { ...language, eosTokenIds },
    weights,
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
    close,
  };
}

/** The weights of a folder; saved tiles are opened as a model, which knows their blocks. */
async function folderWeights(
  tree: FileTree,
  checkpoint: Checkpoint,
): Promise<{ weights: WeightSource; close: () => Promise<void> }> {
  const weights = modelWeights(checkpoint);
  if (!weights.tiles) return { weights, close: () => checkpoint.close() };
  await checkpoint.close();
  const device = await createCpuDevice();
  const model = await loadModel(tree, device, { dtype: "auto" });
  const close = async () => {
    model[Symbol.dispose]();
    await device[Symbol.asyncDispose]();
  };
  return { weights: weightsOf(model), close };
}

async function openGgufPlace({ tree, gguf }: ModelPlace): Promise<Source> {
  const file = await openGgufFiles(tree, gguf!);
  try {
    const config = ggufConfig(file);
    const text = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
    return {
      config,
      configText: originalConfig(file),
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
function storedType({ torch_dtype: dtype, quantization_config: quantized }: JsonObject): WritableType {
  if (isObject(quantized) && quantized.quant_method === TILED) return "Q8_0";
  return dtype === "bfloat16" ? "BF16" : dtype === "float16" ? "F16" : "F32";
}

async function toGguf(
  source: Source,
  out: string,
  name: string,
  flags: Flags,
  place: FilePlaceOptions,
): Promise<number> {
  const type = flags.type === undefined ? storedType(source.config) : TYPES[flags.type];
  const line = new ProgressLine(process.stderr);
  const model: GgufModel = {
    weights: source.weights,
    config: source.language,
    tokenizer: await source.tokenizer(),
    name,
    ...(source.configText === null ? {} : { configText: source.configText }),
  };
  try {
    return await exportGguf(await nodeFileSink(out, place), model, {
      type,
      perTensor: (tensor) => flags.keep.find(({ pattern }) => pattern.test(tensor))?.value,
      onProgress: ({ written, total }) => line.update({ stage: "load", done: written, total }),
    });
  } finally {
    line.clear();
  }
}

/** `config.json` of a folder made of a GGUF file: what the model had before, or what the file's metadata say. */
function folderConfig({ config, configText, language }: Source, dtype: TorchDtype): JsonObject | string {
  if (configText === null) return { ...config, torch_dtype: dtype };
  return changedConfig(configText, (written) => {
    setDtype(written, dtype);
    setMtpLayers(written, language.mtpLayers);
    setTokenIds(written, language);
    written.delete("quantization_config");
  });
}

async function toFolder(source: Source, out: string, flags: Flags, place: FilePlaceOptions): Promise<number> {
  const { weights } = source;
  const type = (flags.type === undefined ? storedType(source.config) : TYPES[flags.type]) as
    | "F32"
    | "BF16"
    | "F16";
  const line = new ProgressLine(process.stderr);
  const width = type === "F32" ? 4 : 2;
  const sizes = [...weights.names()].map((name) => weights.shape(name).reduce((a, b) => a * b, width));
  const total = sizes.reduce((a, b) => a + b, 0);
  let done = 0;
  const entries: SafetensorsEntry[] = [...weights.names()].map((name) =>
    f32Entry(name, weights.shape(name), async function* () {
      for await (const { values } of weights.readF32(name)) {
        yield values;
        done += values.length * width;
        line.update({ stage: "load", done, total });
      }
    }),
  );
  const torch = ({ F32: "float32", BF16: "bfloat16", F16: "float16" } as const)[type];
  try {
    const files = await source.files();
    const { totalSize } = await saveCheckpoint(await nodeFolderSink(out, place), entries, {
      config: folderConfig(source, torch),
      dtype: type,
      keepF32: (name) => name.endsWith("e_score_correction_bias"),
      files,
    });
    return totalSize;
  } finally {
    line.clear();
  }
}

/** One file of torch, as it is: no configuration is needed. */
async function fileToSafetensors(path: string, out: string, flags: Flags): Promise<number> {
  if ((await weightFileFormat(path)) !== "pytorch") {
    throw new ConfigError("only a single PyTorch file can be converted to a .safetensors file", {
      where: out,
      expected: "a .bin, .pt or .pth file",
      found: path,
      hint: "Convert a whole model to a folder or a .gguf file.",
    });
  }
  if (flags.type !== undefined) {
    throw new ConfigError("a single file is converted as it is", {
      where: out,
      name: "--type",
      found: flags.type,
    });
  }
  const place = { force: flags.force, sources: [path] };
  await checkFilePlace(await realPlace(out), place);
  return torchFileToSafetensors(path, out, place);
}

/** A folder of PyTorch files. @throws ConfigError for one that is safetensors already */
async function folderToFolder({ tree, source }: ModelPlace, out: string, flags: Flags): Promise<number> {
  const checkpoint = await openCheckpoint(tree, { onNotice: noticeOnStderr });
  try {
    checkpointConfig(checkpoint, noticeOnStderr);
    if (checkpoint.format !== "pytorch") {
      throw new ConfigError("a folder of safetensors can only be converted to GGUF", {
        where: out,
        expected: "NAME.gguf",
        found: out,
      });
    }
    const place = { force: flags.force, sources: [source.path] };
    await checkFolderPlace(await realPlace(out), place);
    const type = flags.type === undefined ? undefined : TYPES[flags.type];
    return await torchFolderToSafetensors(checkpoint, out, type as "F32" | "BF16" | "F16", place);
  } finally {
    await checkpoint.close();
  }
}

async function convert(path: string, out: string, flags: Flags): Promise<void> {
  const saved = (bytes: number) => process.stdout.write(`saved       ${out}: ${formatBytes(bytes)}\n`);
  if (/\.safetensors$/i.test(out)) {
    saved(await fileToSafetensors(path, out, flags));
    return;
  }
  const model = await openPlace(path, flags);
  const toFile = /\.gguf$/i.test(out);
  if (model.gguf === null && !toFile) {
    saved(await folderToFolder(model, out, flags));
    return;
  }
  if (model.gguf !== null && toFile && flags.type === undefined) {
    throw new ConfigError("GGUF to GGUF requires --type", { where: out });
  }
  const place = { force: flags.force, sources: [model.source.path], isOurs: isOwnExport };
  // Before the work rather than after it.
  await (toFile ? checkFilePlace : checkFolderPlace)(await realPlace(out), place);
  const source = await (model.gguf === null ? openFolder(model) : openGgufPlace(model));
  try {
    const bytes = await (toFile
      ? toGguf(source, out, model.name, flags, place)
      : toFolder(source, out, flags, place));
    saved(bytes);
    const lost = toFile ? lostInGguf(source) : null;
    if (lost !== null) noticeOnStderr(lost);
  } finally {
    await source.close();
  }
}

export function convertCommand(): Command {
  const command = new Command("convert")
    .summary("convert between GGUF, PyTorch files and safetensors")
    .description(
      "Converts a model to a GGUF file for llama.cpp, a GGUF file to a folder in the Hugging Face layout, and PyTorch " +
        "files (a folder with pytorch_model*.bin, or a single file) to safetensors. Weights are streamed; blocks of the " +
        "same type are copied unchanged. GGUF has no place for multi-token-prediction layers: they are left out.",
    )
    .argument("<model>", `${MODEL_ARGUMENT}; or a single PyTorch file`)
    .argument("<out>", "output file (NAME.gguf, NAME.safetensors) or folder")
    .addOption(
      new Option("--type <type>", "weight format")
        .choices(Object.keys(TYPES))
        .default(undefined, "unchanged; to a folder, quantized weights as f32"),
    )
    .option(
      "--keep <pattern=type>",
      "type for tensors whose GGUF name matches; may be repeated, the first match wins",
      namedRules("TYPE", TYPES),
      [],
    )
    .option("--force", "replace existing output, if this program wrote it");
  return withHub(command)
    .addHelpText("after", flowing(examples))
    .action(async (path: string, out: string, flags: Flags) => {
      const toFile = /\.gguf$/i.test(out);
      const block = flags.type === "q8_0" || flags.type === "q4_0";
      if (!toFile && (block || flags.keep.length > 0)) {
        usageError(
          command,
          "a folder holds f32, f16 or bf16; quantized ones are written by `deepseek-ts quantize`",
        );
      }
      await convert(path, out, flags);
    });
}
