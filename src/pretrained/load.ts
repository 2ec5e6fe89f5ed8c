/**
 * From files to something that generates: model, what it sees with, tokenizer, chat template and the settings its makers
 * advise, out of a folder in the Hugging Face layout or a GGUF file. Runs in browsers too; names, paths and the hub are in
 * node-load.ts.
 */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { ggufConfig } from "../checkpoint/gguf/config.ts";
import { openGgufFiles } from "../checkpoint/gguf/reader.ts";
import { ggufWeights } from "../checkpoint/gguf/weights.ts";
import { checkpointConfig, configOf, modelFrom, modelWeights } from "../checkpoint/model.ts";
import { type JsonObject, parseJsonObject } from "../checkpoint/strict-json.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import type { SftFormat } from "../models/deepseek_vl/processor.ts";
import { isVisionConfig, parseVisionConfig } from "../models/vision-architectures.ts";
import type { StorageFormat, StorageRule } from "../nn/storage.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { ggufTokenizer } from "../tokenizer/gguf-tokenizer.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ChatTemplateSource, folderTemplate, ggufTemplate } from "./chat-template-source.ts";
import { type GenerationConfig, readGenerationConfig } from "./generation-config.ts";
import type { LoadedAdapter } from "./load-adapter.ts";
import type { LoadedDrawing, VaeSource } from "./load-drawing.ts";
import type { LoadedVision, ProcessorFiles } from "./load-vision.ts";

/** Storage of the matrices; `auto` keeps what the files hold. */
export type LoadDtype = StorageFormat | "auto";

export interface LoadProgress {
  readonly stage: "load";
  /** Bytes in memory that hold their values, and in total. */
  readonly done: number;
  readonly total: number;
}

export interface LoadFilesOptions {
  /** Default `auto`. */
  readonly dtype?: LoadDtype;
  /** Storage of each matrix, in place of `dtype`. */
  readonly storage?: StorageRule;
  /** Whether a model that draws gets what it draws with, which nothing else needs; default false. */
  readonly drawing?: boolean;
  /**
   * With `drawing`: the autoencoder that JanusFlow draws with, a folder or what finds it when it is wanted. Default: the
   * folder `vae` beside the model. Without one the model is opened all the same, and sees.
   */
  readonly vae?: VaeSource;
  /**
   * Template of Janus' prompts, in place of the one that `processor_config.json` names: `deepseek` with the roles of Janus-Pro,
   * `deepseek_old` with those of Janus' first release, whose old files have the wrong name.
   */
  readonly sftFormat?: SftFormat;
  /**
   * A folder with a low-rank adapter of the language model (PEFT's layout). It is merged into weights that are floats, and
   * kept beside quantized ones.
   */
  readonly adapter?: FileTree;
  /** Default: its own CPU device, which `dispose` closes. */
  readonly device?: Device;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Called with oddities of the files that do not stop the loading, in one line each. */
  readonly onNotice?: (text: string) => void;
}

/** Where a model came from. */
export interface ModelOrigin {
  readonly kind: "folder" | "gguf" | "hub";
  /** The folder, or the GGUF file. */
  readonly path: string;
  readonly repo?: string;
  readonly revision?: string;
  readonly commit?: string;
  /** The folder of the adapter that was put to it. */
  readonly adapter?: string;
}

export interface LoadedModel extends AsyncDisposable {
  /** The language model; of a model that sees, its language part. */
  readonly model: CausalLM;
  /** What a model sees with; null for language models. */
  readonly vision: LoadedVision | null;
  /** What a model draws with; null for models that do not, and where `drawing` did not ask for it. */
  readonly drawing: LoadedDrawing | null;
  /** Null if none was asked for. */
  readonly adapter: LoadedAdapter | null;
  /** Null if the files hold none. */
  readonly tokenizer: Tokenizer | null;
  /** Jinja source of the chat template, several by name, or null. */
  readonly chatTemplate: ChatTemplateSource;
  readonly generationConfig: GenerationConfig;
  /** What to call the model. */
  readonly name: string;
  readonly source: ModelOrigin;
  readonly device: Device;
  /** Frees the model, and the device if `load` made it. */
  dispose(): Promise<void>;
}

/** The same source, stopping between chunks and before reads in place once the signal says so. */
function stoppable(source: WeightSource, signal: AbortSignal): WeightSource {
  const watch = <T>(chunks: AsyncIterable<T>): AsyncIterable<T> => ({
    async *[Symbol.asyncIterator]() {
      for await (const chunk of chunks) {
        signal.throwIfAborted();
        yield chunk;
      }
    },
  });
  const guard =
    <A extends readonly unknown[]>(read: (...args: A) => Promise<void>) =>
    async (...args: A) => {
      signal.throwIfAborted();
      await read(...args);
    };
  const { blocks, tiles } = source;
  return {
    where: source.where,
    names: () => source.names(),
    has: (name) => source.has(name),
    shape: (name) => source.shape(name),
    readF32: (name) => watch(source.readF32(name)),
    ...(blocks && {
      blocks: {
        blockType: (name: string) => blocks.blockType(name),
        readBlocks: (name: string) => watch(blocks.readBlocks(name)),
        rowReader: (name: string) => {
          const read = blocks.rowReader?.(name) ?? null;
          return read && guard(read);
        },
      },
    }),
    ...(tiles && {
      tiles: {
        keys: () => tiles.keys(),
        tileFormat: (key: string) => tiles.tileFormat(key),
        tileBytes: (key: string) => tiles.tileBytes(key),
        readTiles: (key: string) => watch(tiles.readTiles(key)),
        ...(tiles.floatFormat && { floatFormat: (name: string) => tiles.floatFormat!(name) }),
        ...(tiles.readInto && {
          readInto: guard((key: string, offset: number, target: Uint8Array) =>
            tiles.readInto!(key, offset, target),
          ),
        }),
      },
    }),
  };
}

/** What the two kinds of files come down to. */
interface Parts {
  readonly config: JsonObject;
  readonly weights: WeightSource;
  readonly generation: unknown;
  readonly tokenizer: () => Promise<Tokenizer | null>;
  readonly chatTemplate: () => Promise<ChatTemplateSource>;
  /** The image processor's files; null for files that hold a language model only. */
  readonly processor: (() => Promise<ProcessorFiles>) | null;
  /** Finds the autoencoder beside them. */
  readonly vae: () => Promise<FileTree | null>;
}

/** A model with what it sees and draws with, and how all is freed. */
interface OpenedParts extends Pick<LoadedModel, "model" | "vision" | "drawing"> {
  readonly whole: Disposable;
}

async function assemble(
  parts: Parts,
  identity: Pick<LoadedModel, "name" | "source">,
  options: LoadFilesOptions,
): Promise<LoadedModel> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const sees = parts.processor !== null && isVisionConfig(parts.config);
  const { eosTokenIds } = sees ? parseVisionConfig(parts.config).language : parseConfig(parts.config);
  const generationConfig = readGenerationConfig(parts.generation, eosTokenIds);
  const tokenizer = await parts.tokenizer();
  // An adapter was trained with a template, which may be another one.
  const beside = options.adapter ? await folderTemplate(options.adapter) : null;
  const chatTemplate = beside ?? (await parts.chatTemplate());
  // Generation ends where the configuration says, so it has to say all of it.
  const named = "model_type" in parts.config;
  const config = named ? { ...parts.config, eos_token_id: generationConfig.eosTokenIds } : parts.config;
  const device = options.device ?? (await createCpuDevice());
  try {
    const weights = signal ? stoppable(parts.weights, signal) : parts.weights;
    const settings = {
      dtype: options.dtype ?? "auto",
      storage: options.storage,
      onNotice: options.onNotice,
      progress: (done: number, total: number) => onProgress?.({ stage: "load", done, total }),
    };
    const open = async (): Promise<OpenedParts> => {
      if (!sees) {
        const model = await modelFrom(config, weights, device, settings);
        return { model, vision: null, drawing: null, whole: model };
      }
      const files = await parts.processor!();
      // Pages that load language models do without the towers' code.
      const { visionModelFrom } = await import("../checkpoint/vision-model.ts");
      const { visionNotices, visionOf } = await import("./load-vision.ts");
      const whole = await visionModelFrom(parts.config, weights, device, {
        ...settings,
        eosTokenIds: generationConfig.eosTokenIds,
        drawing: options.drawing ?? false,
      });
      const vision = visionOf(whole, files, tokenizer, options.sftFormat);
      const { onNotice = () => {} } = options;
      for (const notice of visionNotices(whole, files)) onNotice(notice);
      if (!options.drawing) return { model: whole.language, vision, drawing: null, whole };
      const { drawingOf, loadedVae } = await import("./load-drawing.ts");
      try {
        signal?.throwIfAborted();
        const vae = await loadedVae(whole, options.vae ?? parts.vae, device);
        const drawing = drawingOf(whole, files, tokenizer, onNotice, vae);
        const both = {
          [Symbol.dispose]() {
            vae?.model[Symbol.dispose]();
            whole[Symbol.dispose]();
          },
        };
        return { model: whole.language, vision, drawing, whole: both };
      } catch (error) {
        whole[Symbol.dispose]();
        throw error;
      }
    };
    const { model, vision, drawing, whole } = await open();
    let adapter: LoadedAdapter | null = null;
    if (options.adapter) {
      try {
        signal?.throwIfAborted();
        const { adapterText, loadAdapter } = await import("./load-adapter.ts");
        adapter = await loadAdapter(options.adapter, model);
        options.onNotice?.(adapterText(adapter));
      } catch (error) {
        whole[Symbol.dispose]();
        throw error;
      }
    }
    let live = true;
    const dispose = async () => {
      if (!live) return;
      live = false;
      adapter?.[Symbol.dispose]();
      whole[Symbol.dispose]();
      if (!options.device) await device[Symbol.asyncDispose]();
    };
    const rest = { tokenizer, chatTemplate, generationConfig, device, dispose };
    const source = { ...identity.source, ...(adapter && { adapter: adapter.path }) };
    return { ...identity, source, model, vision, drawing, adapter, ...rest, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    if (!options.device) await device[Symbol.asyncDispose]();
    throw error;
  }
}

const optionalText = async (tree: FileTree, path: string) =>
  (await tree.has(path)) ? tree.readText(path) : null;

const optionalJson = async (tree: FileTree, path: string) => {
  const text = await optionalText(tree, path);
  return text === null ? null : parseJsonObject(text, `${tree.name}/${path}`);
};

/** The tokenizer in a folder, or null. @throws FormatError, ConfigError */
export async function folderTokenizer(tree: FileTree): Promise<Tokenizer | null> {
  const text = await optionalText(tree, "tokenizer.json");
  if (text === null) return null;
  return loadTokenizer(text, (await optionalText(tree, "tokenizer_config.json")) ?? undefined);
}

/** Loads a folder in the Hugging Face layout. @throws ConfigError, FormatError, ShapeError, the signal's reason */
export async function loadFolder(
  tree: FileTree,
  options: LoadFilesOptions = {},
  identity: Pick<LoadedModel, "name" | "source"> = folderIdentity(tree),
): Promise<LoadedModel> {
  const checkpoint = await openCheckpoint(tree, options);
  try {
    const json = configOf(checkpoint);
    if (!isVisionConfig(json)) checkpointConfig(checkpoint);
    const parts: Parts = {
      config: json,
      weights: modelWeights(checkpoint),
      generation: await optionalJson(tree, "generation_config.json"),
      tokenizer: () => folderTokenizer(tree),
      chatTemplate: () => folderTemplate(tree),
      processor: async () => (await import("./load-vision.ts")).processorFiles(tree),
      vae: async () => (await import("../checkpoint/vae.ts")).vaeBeside(tree),
    };
    return await assemble(parts, identity, options);
  } finally {
    await checkpoint.close();
  }
}

/** The tokenizer in a GGUF file, or null: files of tests and of some converters carry no vocabulary. */
const tokenizerIn = (file: Awaited<ReturnType<typeof openGgufFiles>>): Tokenizer | null =>
  file.metadata.has("tokenizer.ggml.tokens") ? ggufTokenizer(file) : null;

/**
 * The tokenizer of a model whose weights are elsewhere, or null. @param gguf the file of the tree that is the model, if it is one
 * @throws FormatError, ConfigError
 */
export async function treeTokenizer(tree: FileTree, gguf: string | null): Promise<Tokenizer | null> {
  if (gguf === null) return await folderTokenizer(tree);
  const file = await openGgufFiles(tree, gguf);
  try {
    return tokenizerIn(file);
  } finally {
    await file.close();
  }
}

/** Loads a GGUF file of a folder, with the other parts of a split one. @throws as `loadFolder` */
export async function loadGguf(
  tree: FileTree,
  path: string,
  options: LoadFilesOptions = {},
  identity: Pick<LoadedModel, "name" | "source"> = ggufIdentity(tree, path),
): Promise<LoadedModel> {
  const file = await openGgufFiles(tree, path);
  try {
    const parts: Parts = {
      config: ggufConfig(file),
      weights: ggufWeights(file),
      generation: null,
      tokenizer: async () => tokenizerIn(file),
      chatTemplate: async () => ggufTemplate(file.metadata),
      processor: null,
      vae: async () => null,
    };
    return await assemble(parts, identity, options);
  } finally {
    await file.close();
  }
}

/** The last part of a path, without `.gguf`. */
export function nameOf(path: string): string {
  const last = path.replace(/[/\\]+$/, "").split(/[/\\]/);
  return (last.at(-1) || path).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "");
}

const folderIdentity = (tree: FileTree) => ({
  name: nameOf(tree.name),
  source: { kind: "folder" as const, path: tree.name },
});

const ggufIdentity = (tree: FileTree, path: string) => ({
  name: nameOf(path),
  source: { kind: "gguf" as const, path: `${tree.name}/${path}` },
});
