/**
 * `deepseek-ts convert`: a model from one file format to another, streaming, without loading it: to a GGUF file for
 * llama.cpp, or from one to a folder in the Hugging Face layout; PyTorch files to safetensors.
 */

import { Command, Option } from "commander";
import { openAdapters } from "../../checkpoint/adapters.ts";
import type { FileTree } from "../../checkpoint/byte-source.ts";
import { companions } from "../../checkpoint/companions.ts";
import {
  changedConfig,
  setDtype,
  setMtpLayers,
  setTokenIds,
  type TorchDtype,
} from "../../checkpoint/config-text.ts";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { exportGguf } from "../../checkpoint/gguf/export.ts";
import { exportMmproj } from "../../checkpoint/gguf/mmproj.ts";
import { isOwnExport } from "../../checkpoint/gguf/own-export.ts";
import type { WritableType } from "../../checkpoint/gguf/quantize.ts";
import { checkpointConfig, configOf, loadModel, modelWeights } from "../../checkpoint/model.ts";
import { f32Entry, type SafetensorsEntry } from "../../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import type { JsonObject } from "../../checkpoint/strict-json.ts";
import { loadVisionModel, visionCheckpointConfig, visionEntries } from "../../checkpoint/vision-model.ts";
import { nodeFileSink } from "../../files/file-sink.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { checkFilePlace, checkFolderPlace, type FilePlaceOptions, realPlace } from "../../files/place.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { describeDecoder } from "../../models/decoder.ts";
import { isVisionConfig } from "../../models/vision-architectures.ts";
import { VisionLanguageModel } from "../../models/vision-language.ts";
import { MergedSource } from "../../nn/merged-source.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { folderTemplate } from "../../pretrained/chat-template-source.ts";
import {
  GGUF_TYPES,
  ggufModelOf,
  lostInGguf,
  type ModelSource,
  openFolder,
  openGgufPlace,
  openSeeingPart,
} from "../../pretrained/model-source.ts";
import { adapterFolder, type ModelPlace } from "../../pretrained/node-load.ts";
import { givenAdapter } from "../../runs/model-path.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes } from "../../text/units.ts";
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
  deepseek-ts convert ./deepseek-vl2-small vl2-small.gguf --part language --type q4_0
  deepseek-ts convert ./Janus-Pro-1B mmproj.gguf --part vision --type f16
  deepseek-ts convert ./vl2-tiny-q4 ./vl2-tiny-bf16 --type bf16              quantized weights back to floats
  deepseek-ts convert ./model ./merged --adapter ./my-adapter                a LoRA adapter merged into the weights
  deepseek-ts convert ./model merged.gguf --adapter ./my-adapter --type q4_0
  deepseek-ts convert pytorch_model.bin model.safetensors`;

const TYPES: Readonly<Record<string, WritableType>> = GGUF_TYPES;

const TORCH = { F32: "float32", BF16: "bfloat16", F16: "float16" } as const;

interface Flags extends Omit<ModelFlags, "dtype"> {
  readonly type?: string;
  readonly part?: "language" | "vision";
  readonly adapter?: string;
  readonly keep: readonly NamedRule<WritableType>[];
  readonly force?: boolean;
}

async function toGguf(
  source: ModelSource,
  out: string,
  name: string,
  flags: Flags,
  place: FilePlaceOptions,
): Promise<number> {
  const type = flags.type === undefined ? source.stored : TYPES[flags.type];
  const line = new ProgressLine(process.stderr);
  const model = await ggufModelOf(source, name);
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

/** What a model sees with, as llama.cpp reads it. */
async function toMmproj(
  place: ModelPlace,
  out: string,
  flags: Flags,
  options: FilePlaceOptions,
): Promise<number> {
  const { model, stored, close } = await openSeeingPart(place, noticeOnStderr);
  const line = new ProgressLine(process.stderr);
  try {
    return await exportMmproj(
      await nodeFileSink(out, options),
      { ...model, name: place.name },
      {
        type: flags.type === undefined ? stored : TYPES[flags.type],
        onProgress: ({ written, total }) => line.update({ stage: "load", done: written, total }),
      },
    );
  } finally {
    line.clear();
    await close();
  }
}

/** `config.json` of a folder made of a GGUF file: what the model had before, or what the file's metadata say. */
function folderConfig({ config, configText, language }: ModelSource, dtype: TorchDtype): JsonObject | string {
  if (configText === null) return { ...config, torch_dtype: dtype };
  return changedConfig(configText, (written) => {
    setDtype(written, dtype);
    setMtpLayers(written, language.mtpLayers);
    setTokenIds(written, language);
    written.delete("quantization_config");
  });
}

async function toFolder(
  source: ModelSource,
  out: string,
  flags: Flags,
  place: FilePlaceOptions,
): Promise<number> {
  const { weights } = source;
  const wanted = flags.type === undefined ? source.stored : TYPES[flags.type];
  // Quantized weights become f32.
  const type = wanted === "BF16" || wanted === "F16" ? wanted : "F32";
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
  try {
    const files = await source.files();
    const { totalSize } = await saveCheckpoint(await nodeFolderSink(out, place), entries, {
      config: folderConfig(source, TORCH[type]),
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

/** A folder of this program's with quantized weights, as one of floats under official names. */
async function tilesToFolder(
  { tree, source }: ModelPlace,
  sees: boolean,
  out: string,
  flags: Flags,
): Promise<number> {
  const place = { force: flags.force, sources: [source.path] };
  await checkFolderPlace(await realPlace(out), place);
  await using device = await createCpuDevice();
  const line = new ProgressLine(process.stderr);
  const open = {
    dtype: "auto",
    progress: (done: number, total: number) => line.update({ stage: "load", done, total }),
  } as const;
  try {
    using model = await (sees ? loadVisionModel : loadModel)(tree, device, open);
    const type = (flags.type === undefined ? "F32" : TYPES[flags.type]) as "F32" | "BF16" | "F16";
    const { totalSize } = await saveCheckpoint(await nodeFolderSink(out, place), floatEntries(model), {
      config: changedConfig(await tree.readText("config.json"), (config) => {
        setDtype(config, TORCH[type]);
        config.delete("quantization_config");
      }),
      dtype: type,
      keepF32: (name) => name.endsWith("e_score_correction_bias"),
      files: await companions(tree),
    });
    return totalSize;
  } finally {
    line.clear();
  }
}

function floatEntries(model: CausalLM | VisionLanguageModel): Iterable<SafetensorsEntry> {
  if (model instanceof VisionLanguageModel) return visionEntries(model);
  const weights = weightsOf(model);
  return Array.from(weights.names(), (name) =>
    f32Entry(name, weights.shape(name), async function* () {
      for await (const { values } of weights.readF32(name)) yield values;
    }),
  );
}

/** What goes with a merged model: the files of the model, with the template that the adapter was trained with. */
async function templateOf(
  adapter: FileTree,
  model: ModelPlace,
  base: ModelSource,
): Promise<Pick<ModelSource, "tokenizer" | "files">> {
  const found = await folderTemplate(adapter);
  const template = typeof found === "string" ? found : null;
  return {
    async tokenizer() {
      const metadata = await base.tokenizer();
      if (template === null || metadata === undefined) return metadata;
      return new Map(metadata).set("tokenizer.chat_template", { type: "string", value: template });
    },
    async files() {
      const files = await (model.gguf === null ? companions(model.tree) : base.files());
      return template === null ? files : { ...files, "chat_template.jinja": template };
    },
  };
}

/** A model with an adapter merged into its weights, as a folder or a GGUF file. */
async function mergedModel(
  model: ModelPlace,
  out: string,
  flags: Flags & { readonly adapter: string },
  place: FilePlaceOptions,
): Promise<number> {
  const tree = await adapterFolder((await givenAdapter(flags)) ?? flags.adapter);
  const toFile = /\.gguf$/i.test(out);
  const sources = [...(place.sources ?? []), flags.adapter];
  await (toFile ? checkFilePlace : checkFolderPlace)(await realPlace(out), { ...place, sources });
  const base = await (model.gguf === null
    ? openFolder(model, undefined, noticeOnStderr)
    : openGgufPlace(model));
  try {
    await using device = await createCpuDevice();
    using adapters = await openAdapters(tree, device, describeDecoder(base.language).mainParameters);
    const source = {
      ...base,
      ...(await templateOf(tree, model, base)),
      weights: new MergedSource(base.weights, adapters),
    };
    const bytes = await (toFile
      ? toGguf(source, out, model.name, flags, { ...place, sources })
      : toFolder(source, out, flags, { ...place, sources }));
    const lost = toFile ? lostInGguf(source) : null;
    if (lost !== null) noticeOnStderr(lost);
    return bytes;
  } finally {
    await base.close();
  }
}

/** A folder of PyTorch files, or of quantized weights. @throws ConfigError for one that is safetensors already */
async function folderToFolder(model: ModelPlace, out: string, flags: Flags): Promise<number> {
  const { tree, source } = model;
  const checkpoint = await openCheckpoint(tree, { onNotice: noticeOnStderr });
  try {
    const json = configOf(checkpoint);
    const sees = isVisionConfig(json);
    const weights = modelWeights(checkpoint);
    if (sees) visionCheckpointConfig(json, weights);
    else checkpointConfig(checkpoint, noticeOnStderr);
    if (weights.tiles) return await tilesToFolder(model, sees, out, flags);
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
  const place = { force: flags.force, sources: [model.source.path], isOurs: isOwnExport };
  if (flags.adapter !== undefined) {
    saved(await mergedModel(model, out, { ...flags, adapter: flags.adapter }, place));
    return;
  }
  if (flags.part !== undefined && model.gguf !== null) {
    throw new ConfigError("a GGUF file holds one part only", {
      where: path,
      name: "--part",
      found: flags.part,
    });
  }
  if (model.gguf === null && !toFile && flags.part === undefined) {
    saved(await folderToFolder(model, out, flags));
    return;
  }
  if (model.gguf !== null && toFile && flags.type === undefined) {
    throw new ConfigError("GGUF to GGUF requires --type", { where: out });
  }
  if (flags.part === "vision") {
    await checkFilePlace(await realPlace(out), place);
    saved(await toMmproj(model, out, flags, place));
    return;
  }
  // Before the work rather than after it.
  await (toFile ? checkFilePlace : checkFolderPlace)(await realPlace(out), place);
  const source = await (model.gguf === null
    ? openFolder(model, flags.part, noticeOnStderr)
    : openGgufPlace(model));
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
        "files (a folder with pytorch_model*.bin, or a single file) to safetensors; a folder of quantize becomes one of " +
        "floats. Weights are streamed; blocks of the " +
        "same type are copied unchanged. GGUF has no place for multi-token-prediction layers: they are left out; models that see " +
        "give their parts one by one.",
    )
    .argument("<model>", `${MODEL_ARGUMENT}; or a single PyTorch file`)
    .argument("<out>", "output file (NAME.gguf, NAME.safetensors) or folder")
    .addOption(
      new Option("--type <type>", "weight format")
        .choices(Object.keys(TYPES))
        .default(undefined, "unchanged; to a folder, quantized weights as f32"),
    )
    .addOption(
      new Option(
        "--part <part>",
        "of a model that sees, the language model alone, or (Janus) what it sees with, for llama.cpp's --mmproj",
      ).choices(["language", "vision"]),
    )
    .option(
      "--keep <pattern=type>",
      "type for tensors whose GGUF name matches; may be repeated, the first match wins",
      namedRules("TYPE", TYPES),
      [],
    )
    .option(
      "--adapter <folder>",
      "low-rank adapter (LoRA) to merge into the weights: a folder in PEFT's layout, or a run that trains one",
    )
    .option("--force", "replace existing output, if this program wrote it");
  return withHub(command)
    .addHelpText("after", flowing(examples))
    .action(async (path: string, out: string, flags: Flags) => {
      const toFile = /\.gguf$/i.test(out);
      if (flags.part !== undefined && /\.safetensors$/i.test(out)) {
        usageError(command, "--part needs a whole model: the output is a folder or a .gguf file");
      }
      if (flags.adapter !== undefined && (flags.part !== undefined || /\.safetensors$/i.test(out))) {
        usageError(
          command,
          "--adapter merges into a whole language model: a folder or a .gguf file, without --part",
        );
      }
      const block = flags.type === "q8_0" || flags.type === "q4_0";
      if (!toFile && (block || flags.keep.length > 0)) {
        usageError(
          command,
          "a folder holds f32, f16 or bf16; quantized ones are written by `deepseek-ts quantize`",
        );
      }
      if (flags.part === "vision" && (!toFile || flags.keep.length > 0)) {
        usageError(command, "--part vision writes a .gguf file, and takes no --keep");
      }
      await convert(path, out, flags);
    });
}
