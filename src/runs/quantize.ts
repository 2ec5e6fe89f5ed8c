/**
 * Quantizes a model while reading it, tensor by tensor, into a folder that opens at once, and measures what that costs:
 * perplexity and divergence on a text, before and after, and of a model that sees on pictures.
 */
import { companions } from "../checkpoint/companions.ts";
import { isConfigText } from "../checkpoint/config-text.ts";
import { originalConfig } from "../checkpoint/gguf/original-config.ts";
import { openGgufFiles } from "../checkpoint/gguf/reader.ts";
import { pieces, type SafetensorsEntry } from "../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { tiledConfig, tiledConfigText, tiledEntries } from "../checkpoint/tiles.ts";
import { type Divergence, divergence, type TextLogits, textLogits } from "../engine/divergence.ts";
import { nodeFolderSink } from "../files/folder-sink.ts";
import { checkFolderPlace, realPlace } from "../files/place.ts";
import type { TokenModel } from "../models/token-model.ts";
import { type StorageFormat, type StorageRule, storageRule } from "../nn/storage.ts";
import type { DownloadProgress } from "../pretrained/hub.ts";
import type { LoadedModel, LoadProgress } from "../pretrained/load.ts";
import { type LoadOptions, load, locateModel, type ModelPlace } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import { plural } from "../text/units.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type ImageReport,
  MOST_PICTURES,
  type PictureBefore,
  type PictureProgress,
  type PicturesOptions,
  picturesAfter,
  picturesBefore,
  picturesIn,
} from "./image-report.ts";

/** A format for weights whose name matches `pattern`, a regular expression. */
export interface FormatException {
  readonly pattern: string;
  readonly format: StorageFormat;
}

export interface QuantizeTask {
  /** A folder in the Hugging Face layout, a GGUF file, or a name on the hub. */
  readonly model: string;
  /** Of a model on the hub: branch, tag or commit. */
  readonly revision?: string;
  /** Which GGUF file of several. */
  readonly file?: string;
  /** Use only what is in the hub's cache. */
  readonly offline?: boolean;
  /** The folder to write, new or empty; with `force` also a model that this program wrote there. */
  readonly out: string;
  readonly force?: boolean;
  readonly dtype: "q4" | "q8";
  /** Exceptions from the usual rule of `dtype`; the first that matches counts. */
  readonly keep?: readonly FormatException[];
  /** Of a model that sees, format of the linear layers of towers and projector; default: q8. */
  readonly vision?: StorageFormat;
  /**
   * Measures what it costs on at most `tokens` tokens of `text`, and on answers to a question about the `pictures` of a
   * folder; default: nothing is measured.
   */
  readonly report?: {
    readonly text: string;
    readonly tokens: number;
    readonly pictures?: PicturesOptions;
  };
  /** Threads to compute with; default: the machine's cores. */
  readonly threads?: number;
}

/** `loaded`: a model is open, so that no more progress of loading comes. */
export type QuantizeEvent =
  | {
      readonly type: "picture";
      readonly when: "before" | "after";
      readonly picture: number;
      readonly of: number;
    }
  | { readonly type: "progress"; readonly progress: DownloadProgress | LoadProgress }
  | { readonly type: "notice"; readonly text: string }
  | { readonly type: "loaded" };

export interface QuantizeResult {
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** Null where nothing was measured. */
  readonly divergence: Divergence | null;
  /** Null without pictures. */
  readonly images: ImageReport | null;
}

/** The rule of a dtype with exceptions by name of a weight; the first that matches counts. */
export function ruleWith(
  dtype: StorageFormat,
  exceptions: readonly FormatException[],
  vision?: StorageFormat,
): StorageRule {
  const rule = storageRule(dtype, vision);
  const compiled = exceptions.map(({ pattern, format }) => ({ pattern: new RegExp(pattern), format }));
  return (spec) => {
    const names = [spec.key, ...spec.parts.slice(0, 3).map(({ name }) => name)];
    return compiled.find(({ pattern }) => names.some((name) => pattern.test(name)))?.format ?? rule(spec);
  };
}

function measured(
  model: TokenModel,
  tokenizer: Tokenizer,
  { text, tokens }: NonNullable<QuantizeTask["report"]>,
): Promise<TextLogits> {
  const ids = tokenizer.encode(text, { parseSpecial: false });
  return textLogits(model, ids.slice(0, Math.min(tokens, model.config.maxPositions)));
}

/** The same entries, ended by the signal between two pieces. */
function* stoppable(entries: Iterable<SafetensorsEntry>, signal?: AbortSignal): Generator<SafetensorsEntry> {
  for (const entry of entries) {
    yield {
      ...entry,
      async *data() {
        for await (const piece of pieces(entry.data())) {
          signal?.throwIfAborted();
          yield piece;
        }
      },
    };
  }
}

/** The model's own `config.json`; null if it came without one. */
async function configTextOf({ tree, gguf }: ModelPlace): Promise<string | null> {
  if (gguf === null) {
    const text = await tree.readText("config.json");
    return isConfigText(text) ? text : null;
  }
  const file = await openGgufFiles(tree, gguf);
  try {
    return originalConfig(file);
  } finally {
    await file.close();
  }
}

/**
 * Does what `task` says. Nothing is left in `out` where it fails.
 * @throws ConfigError, FormatError, HubError, FileError, the signal's reason
 */
export async function quantizeModel(
  task: QuantizeTask,
  onEvent: (event: QuantizeEvent) => void = () => {},
  signal?: AbortSignal,
): Promise<QuantizeResult> {
  await using device = await createCpuDevice({ threads: task.threads });
  const { model: path, revision, file, offline, out, force, report } = task;
  const place = await locateModel(path, { revision, file, offline, download: true });
  const target = { force, sources: [place.source.path] };
  // Before the work rather than after it.
  await checkFolderPlace(await realPlace(out), target);
  const pictures = report?.pictures ? (await picturesIn(report.pictures.folder)).length : 0;
  if (pictures > MOST_PICTURES) {
    const text = `${plural(pictures, "picture")} in the folder: the first ${MOST_PICTURES} by name are looked at`;
    onEvent({ type: "notice", text });
  }
  const files = await companions(place.tree);
  const original = await configTextOf(place);
  const open = (options: Pick<LoadOptions, "dtype" | "storage" | "drawing">): Promise<LoadedModel> =>
    load(place.source.path, {
      ...{ ...options, device, signal },
      onProgress: (progress) => onEvent({ type: "progress", progress }),
      onNotice: (text) => onEvent({ type: "notice", text }),
    }).finally(() => onEvent({ type: "loaded" }));
  const looking =
    (when: "before" | "after"): PictureProgress =>
    (picture, of) =>
      onEvent({ type: "picture", when, picture, of });
  let before: TextLogits | null = null;
  let saw: PictureBefore[] = [];
  if (report !== undefined) {
    await using source = await open({ dtype: "auto" });
    if (source.tokenizer === null) throw new ConfigError("a report requires a tokenizer", { where: path });
    if (report.pictures) saw = await picturesBefore(source, report.pictures, looking("before"), signal);
    before = await measured(source.model, source.tokenizer, report);
  }
  await using loaded = await open({
    storage: ruleWith(task.dtype, task.keep ?? [], task.vision),
    drawing: true,
  });
  const { model, vision, tokenizer } = loaded;
  if (vision === null && task.vision !== undefined) {
    throw new ConfigError("the model has no image tower", {
      where: path,
      name: "vision",
      found: task.vision,
    });
  }
  const whole = vision?.model ?? model;
  const sink = await nodeFolderSink(out, target);
  const { totalSize } = await saveCheckpoint(sink, stoppable(tiledEntries(whole), signal), {
    config: original === null ? tiledConfig(whole) : tiledConfigText(whole, original),
    files,
  });
  const found = before && tokenizer && report && divergence(before, await measured(model, tokenizer, report));
  const images =
    report?.pictures && (await picturesAfter(loaded, saw, report.pictures, looking("after"), signal));
  return {
    bytes: totalSize,
    bitsPerWeight: (8 * totalSize) / whole.parameters.count,
    divergence: found ?? null,
    images: images ?? null,
  };
}
