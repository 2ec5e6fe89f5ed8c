/** The samples of mixtures: conversations of a file, rows of a text, streams of the picture world. */
import { basename } from "node:path";
import {
  captionOf,
  type ImageConversation,
  type ImageSource,
  imagesOf,
  loadImages,
} from "../../data/conversations/messages.ts";
import type { ImageFolder } from "../../data/conversations/node-conversations.ts";
import { openConversations } from "../../data/conversations/node-conversations.ts";
import type { ConversationStore } from "../../data/conversations/store.ts";
import { hashHex } from "../../data/hash.ts";
import type { MixedSource } from "../../data/mixture.ts";
import { Permutation } from "../../data/permutation.ts";
import { worldConversation } from "../../data/world/conversation.ts";
import { type WorldSplit, worldIndex } from "../../data/world/generator.ts";
import { type WorldSample, worldSample } from "../../data/world/sample.ts";
import { readTextFile } from "../../files/text-file.ts";
import { ConfigError, DeepseekError, FormatError } from "../../tensor/errors.ts";
import type { Lesson } from "../../train/image-rows.ts";
import { decodeImage } from "../../vision/image/decode.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { readImageHeader } from "../../vision/image/read-header.ts";
import type { LearnedText, SourceConfig } from "./config.ts";
import type { DrawingLesson } from "./drawing.ts";
import type { LessonMaker } from "./lessons.ts";

/** A source that samples can be read of. */
export interface LessonSource extends MixedSource {
  read(index: number, loss: LearnedText): Promise<StagedSample>;
}

/** What is learned of a sample: an answer, or a picture that is drawn. */
export type StagedSample = Lesson | DrawingLesson;

/** A source of a mixture: images and text alone apart, and how they share its weight. */
export interface OpenedSource extends AsyncDisposable {
  /** A hash of its data, so that a run can tell whether it goes on with the same. */
  readonly fingerprint: string;
  readonly parts: readonly { readonly source: LessonSource; readonly share: number }[];
  /** Samples that are scored and never learned. */
  readonly heldOut: readonly HeldOutSample[];
}

export type HeldOutSample = (loss: LearnedText) => Promise<StagedSample>;

export interface OpenSourceOptions {
  readonly lessons: LessonMaker;
  readonly seed: number;
  /** Most samples that are held out. */
  readonly heldOut: number;
  /** Whether the length of every conversation is checked before anything is trained. */
  readonly checkLengths: boolean;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** Conversations between two lines of progress. */
const PROGRESS = 500;

/** Names a source in states. */
export function sourceKey(config: SourceConfig): string {
  if ("world" in config) {
    const { world, faint, draw, size } = config;
    return ["world", world, ...(faint ? ["faint"] : []), ...(draw ? ["drawn"] : []), size ?? ""].join(":");
  }
  if (!("data" in config)) return `text:${config.text}`;
  return `data:${config.data}${config.draw === undefined ? "" : config.draw ? ":drawn" : ":seen"}`;
}

/** @throws ConfigError for a model that does not draw */
function checkDraws(lessons: LessonMaker, key: string): void {
  if (lessons.draws) return;
  throw new ConfigError("the model does not draw", {
    where: key,
    name: "draw",
    expected: "false, or a model of Janus or JanusFlow",
    found: true,
  });
}

/** Of a caption the picture is shown, and the caption is the answer. */
function worldLesson(sample: WorldSample): ImageConversation<RgbImage> {
  const { stream, image, question } = sample;
  if (stream !== "captions" || image === null) return worldConversation(sample);
  return {
    messages: [
      { role: "user", content: [{ type: "image", image }] },
      { role: "assistant", content: question },
    ],
  };
}

function openWorld(
  config: Extract<SourceConfig, { readonly world: unknown }>,
  { lessons, seed, heldOut }: OpenSourceOptions,
): OpenedSource {
  const { world, faint, size, draw: drawn = false } = config;
  const key = sourceKey(config);
  if (drawn) checkDraws(lessons, key);
  const options = { ...(faint && { faint }), ...(size !== undefined && { size }) };
  const draw = (index: number, split: WorldSplit = "training") =>
    worldSample(world, seed, worldIndex(split, index), options);
  // What the stream does not have is refused now.
  draw(0);
  const learn = async (sample: WorldSample, loss: LearnedText, name: string): Promise<StagedSample> =>
    drawn && sample.image !== null
      ? await lessons.draw(sample.image, sample.question, name, name)
      : await lessons.make(worldLesson(sample), loss, name);
  const held = (_: unknown, index: number) => async (loss: LearnedText) =>
    learn(draw(index, "validation"), loss, `${key} validation sample ${index}`);
  const source: LessonSource = {
    ...{ key, modality: world === "language" ? "text" : drawn ? "drawing" : "images", size: null },
    read: (index, loss) => learn(draw(index), loss, `${key} sample ${index}`),
  };
  return {
    ...{ fingerprint: key, parts: [{ source, share: 1 }], heldOut: Array.from({ length: heldOut }, held) },
    async [Symbol.asyncDispose]() {},
  };
}

/** Of so many samples of a file at most one is held out. */
const LEARNED_FOR_EACH = 10;
/** The stream of a seed that says which these are. */
const HELD_OUT_STREAM = 7;

/** Places 0 to n - 1 in two parts: those that are learned, in their order, and those that are held out. */
export function splitPlaces(n: number, most: number, seed: number): { learned: number[]; held: number[] } {
  const count = Math.min(most, Math.floor(n / LEARNED_FOR_EACH));
  if (count === 0) return { learned: Array.from({ length: n }, (_, i) => i), held: [] };
  const order = new Permutation(n, seed, HELD_OUT_STREAM);
  const held = Array.from({ length: count }, (_, i) => order.at(i)).sort((a, b) => a - b);
  const out = new Set(held);
  return { learned: Array.from({ length: n }, (_, i) => i).filter((i) => !out.has(i)), held };
}

/** Largest text file. */
const MAX_TEXT = 64 << 20;

async function openText(
  { text: path }: Extract<SourceConfig, { readonly text: unknown }>,
  { lessons, heldOut, seed }: OpenSourceOptions,
): Promise<OpenedSource> {
  const text = await readTextFile(path);
  if (text.length > MAX_TEXT) {
    throw new ConfigError("the text file is too large to be held in memory", {
      where: path,
      expected: `at most ${MAX_TEXT} characters`,
      found: text.length,
      hint: "Divide it, or train the language model on it alone: deepseek-ts train FOLDER.",
    });
  }
  const rows = lessons.rows(text);
  if (rows.length === 0) throw new FormatError("no text to learn", { where: path });
  const { learned, held } = splitPlaces(rows.length, heldOut, seed);
  const source: LessonSource = {
    ...{ key: sourceKey({ text: path }), modality: "text", size: learned.length },
    read: async (index) => rows[learned[index]],
  };
  return {
    ...{ fingerprint: hashHex(text), parts: [{ source, share: 1 }] },
    heldOut: held.map((row) => async () => rows[row]),
    async [Symbol.asyncDispose]() {},
  };
}

/** Sizes of a conversation's images, from their headers. */
async function sizesOf(images: readonly ImageSource[], folder: ImageFolder) {
  const sizes: { width: number; height: number }[] = [];
  for (const image of images) {
    const bytes = await folder.read(image);
    const name = "path" in image ? image.path : "data URL";
    if (typeof bytes === "string") {
      const { width, height } = await decodeImage(bytes, { name });
      sizes.push({ width, height });
    } else sizes.push(readImageHeader(bytes, name));
  }
  return sizes;
}

async function checkLengths(
  store: ConversationStore,
  images: ImageFolder,
  { lessons, onProgress, signal }: OpenSourceOptions,
  drawn: boolean,
): Promise<void> {
  for (let i = 0; i < store.size; i++) {
    signal?.throwIfAborted();
    const where = `${store.name} line ${store.lineOf(i)}`;
    const conversation = await store.read(i);
    try {
      if (drawn && store.captioned[i]) lessons.countDrawing(captionOf(conversation).caption, where);
      else lessons.count(conversation, await sizesOf(imagesOf(conversation), images), where);
    } catch (cause) {
      if (!(cause instanceof DeepseekError) || cause.message.includes(where)) throw cause;
      throw new FormatError(cause.message, { where, cause });
    }
    if ((i + 1) % PROGRESS === 0 || i + 1 === store.size) {
      onProgress?.(`${basename(store.name)}: ${i + 1} of ${store.size} conversations checked`);
    }
  }
}

async function openData(
  config: Extract<SourceConfig, { readonly data: unknown }>,
  options: OpenSourceOptions,
): Promise<OpenedSource> {
  const { data: path, images: folder, allowAbsolute } = config;
  const { lessons, checkLengths: checked, heldOut, seed, signal } = options;
  const key = sourceKey(config);
  const { draw: drawn = lessons.draws } = config;
  if (drawn) checkDraws(lessons, key);
  const { conversations: store, images } = await openConversations(path, {
    ...(folder !== undefined && { folder }),
    ...(allowAbsolute !== undefined && { allowAbsolute }),
    ...{ checkImages: checked, signal },
  });
  try {
    if (checked) await checkLengths(store, images, options, drawn);
  } catch (error) {
    await store.close();
    throw error;
  }
  const isDrawn = (place: number) => drawn && store.captioned[place];
  const read = async (place: number, loss: LearnedText) => {
    const where = `${store.name} line ${store.lineOf(place)}`;
    const conversation = await loadImages(await store.read(place), async (image) => {
      try {
        return await decodeImage(await images.read(image), {
          name: "path" in image ? image.path : "data URL",
        });
      } catch (cause) {
        if (!(cause instanceof DeepseekError)) throw cause;
        throw new FormatError(cause.message, { where, cause });
      }
    });
    if (!isDrawn(place)) return lessons.make(conversation, loss, where);
    const { image, caption } = captionOf(conversation);
    return await lessons.draw(image, caption, `${key} ${place}`, where);
  };
  const { learned, held } = splitPlaces(store.size, heldOut, seed);
  const part = (modality: MixedSource["modality"], places: readonly number[]) => ({
    source: {
      ...{ key: `${key}:${modality}`, modality, size: places.length },
      read: (index: number, loss: LearnedText) => read(places[index], loss),
    },
    share: places.length / learned.length,
  });
  const pictures = learned.filter(isDrawn);
  const seen = learned.filter((i) => store.imageCounts[i] > 0 && !isDrawn(i));
  const texts = learned.filter((i) => store.imageCounts[i] === 0);
  return {
    fingerprint: store.fingerprint,
    heldOut: held.map((place) => (loss) => read(place, loss)),
    parts: [
      ...(seen.length > 0 ? [part("images", seen)] : []),
      ...(texts.length > 0 ? [part("text", texts)] : []),
      ...(pictures.length > 0 ? [part("drawing", pictures)] : []),
    ],
    [Symbol.asyncDispose]: () => store.close(),
  };
}

/** Opens a source. @throws FormatError naming file, line and image; ConfigError */
export async function openSource(config: SourceConfig, options: OpenSourceOptions): Promise<OpenedSource> {
  if ("world" in config) return openWorld(config, options);
  return "data" in config ? openData(config, options) : openText(config, options);
}
