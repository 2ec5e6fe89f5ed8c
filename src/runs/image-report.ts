/**
 * What another storage of the weights costs a model that sees, measured on pictures: how far tokens of images move, by the
 * tower and by the projector alone and by both, and how far the predictions along its own answers move, by the language
 * model alone, by the pictures alone and by all.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { modelTemplate } from "../chat/model-template.ts";
import {
  type Divergence,
  divergence,
  type TextLogits,
  textLogits,
  VectorComparison,
  type VectorDivergence,
} from "../engine/divergence.ts";
import { generate } from "../engine/generate.ts";
import type { PromptPart } from "../engine/prompt.ts";
import { yieldToEventLoop } from "../engine/yield-to-event-loop.ts";
import type { LoadedModel } from "../pretrained/load.ts";
import type { LoadedVision } from "../pretrained/load-vision.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { decodeImage } from "../vision/image/decode.ts";
import type { TowerOutput } from "../vision/projector.ts";

/** Pictures that are looked at: states of towers are kept, some tens of megabytes of each. */
export const MOST_PICTURES = 8;
/** Tokens of an answer. */
const ANSWER = 32;
const PICTURE = /\.(png|jpe?g|webp|gif)$/i;

export interface ImageReport {
  /** Pictures, and the views of them that the tower saw. */
  readonly images: number;
  readonly views: number;
  /** States after the tower; tokens after the new projector behind the old tower; tokens after both. */
  readonly tower: VectorDivergence;
  readonly projector: VectorDivergence;
  readonly tokens: VectorDivergence;
  /** Predictions along the old model's answers: the new language model behind old tokens; old and new tokens before the new one; both. */
  readonly language: Divergence;
  readonly pictures: Divergence;
  readonly answers: Divergence;
}

export interface PicturesOptions {
  /** Folder of pictures. */
  readonly folder: string;
  readonly question: string;
}

/** Called before each picture. */
export type PictureProgress = (picture: number, of: number) => void;

/** A model that sees, with what its prompts need. */
interface Seeing extends LoadedModel {
  readonly vision: LoadedVision;
}

/** What the model as it was made of one picture. */
export interface PictureBefore {
  readonly name: string;
  /** Of each view the states of the tower, or of its two. */
  readonly states: readonly (readonly Float32Array[])[];
  readonly widths: readonly number[];
  /** Tokens of the views, one after another. */
  readonly tokens: Float32Array;
  readonly tiles: readonly [number, number];
  readonly views: number;
  /** Ids before and behind the picture, and the answer. */
  readonly prompt: { readonly before: readonly number[]; readonly ids: readonly number[] };
  readonly logits: TextLogits;
}

const statesOf = (output: TowerOutput): readonly Tensor[] =>
  "high" in output ? [output.high, output.low] : [output];

/** The pictures of a folder in the order of their names. @throws ConfigError if there are none */
export async function picturesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new ConfigError("the folder of pictures cannot be read", { where: folder, cause });
  });
  const found = names.filter((name) => PICTURE.test(name) && !name.startsWith(".")).sort();
  if (found.length > 0) return found;
  throw new ConfigError("the folder has no pictures", {
    where: folder,
    expected: "files ending in .png, .jpg, .jpeg, .webp or .gif",
    found: `${names.length} other files`,
  });
}

/** The model with its tower. @throws ConfigError for a language model */
function seeing(loaded: LoadedModel, where: string): Seeing {
  if (loaded.vision !== null) return loaded as Seeing;
  throw new ConfigError("the model has no image tower: pictures measure nothing", {
    where,
    found: "a language model",
    hint: "Leave --images out.",
  });
}

/** Views of a picture as the tower reads them, one at a time. */
async function* viewsOf({ vision, device }: Seeing, folder: string, name: string) {
  const path = join(folder, name);
  const image = await decodeImage(await readFile(path), { name: path });
  const processor = vision.imageProcessor();
  const choice = { images: 1 };
  const views = await processor.views(image, choice, device);
  const tiles = processor.tiles(image.width, image.height, choice);
  for (const view of views) {
    yield { tiles, pixels: processor.pixels(view), shape: [1, view.height, view.width, 3] };
  }
}

async function dataOf(tensors: readonly Tensor[]): Promise<Float32Array[]> {
  const values: Float32Array[] = [];
  for (const each of tensors) {
    values.push((await each.data()) as Float32Array);
    each.dispose();
  }
  return values;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Tokens of a picture's views in the order of the prompt, `[n, d]`. */
function arranged(
  { vision, device }: Seeing,
  tokens: Float32Array,
  { tiles, views }: Pick<PictureBefore, "tiles" | "views">,
) {
  const { model } = vision;
  const d = model.config.language.hiddenSize;
  return device.inference(
    () => model.arrange(device.tensor(tokens, [views, tokens.length / d / views, d]), [tiles])[0],
  );
}

/** Ids that a picture stands between: those of the conversation that asks `question` about it. */
function placed(loaded: Seeing, question: string): { before: number[]; after: number[] } {
  const { tokenizer } = loaded;
  if (tokenizer === null)
    throw new ConfigError("a report requires a tokenizer", { where: loaded.source.path });
  // A picture of one pixel: only its place counts.
  const image = { width: 1, height: 1, rgb: new Uint8Array(3) };
  const content = [{ type: "image", image } as const, { type: "text", text: question } as const];
  const template = modelTemplate(loaded, tokenizer);
  const { ids, places } = template.prompt([{ role: "user", content }]);
  return { before: ids.slice(0, places[0]), after: ids.slice(places[0] + 1) };
}

/** What a picture and its answer look like to the model as it was. */
async function seen(
  loaded: Seeing,
  name: string,
  { folder, question }: PicturesOptions,
  signal: AbortSignal | undefined,
): Promise<PictureBefore> {
  const { vision, model, device, generationConfig } = loaded;
  const { tower, projector } = vision.model;
  const states: Float32Array[][] = [];
  const tokens: Float32Array[] = [];
  let tiles: PictureBefore["tiles"] = [0, 0];
  let widths: number[] = [];
  for await (const view of viewsOf(loaded, folder, name)) {
    await yieldToEventLoop();
    signal?.throwIfAborted();
    const all = device.inference(() => {
      const output = tower.forward(device.tensor(view.pixels, view.shape));
      return [...statesOf(output), projector.forward(output)];
    });
    widths = all.map(({ shape }) => shape.at(-1)!);
    const values = await dataOf(all);
    tokens.push(values.pop()!);
    states.push(values);
    tiles = view.tiles;
  }
  const { before, after } = placed(loaded, question);
  const picture = { tokens: joined(tokens), tiles, views: states.length };
  using embeddings = arranged(loaded, picture.tokens, picture);
  const part = { embeddings, hash: name, placeholderId: 0 };
  const answer: number[] = [];
  const options = { maxTokens: ANSWER, stopIds: generationConfig.eosTokenIds, temperature: 0, signal };
  for await (const { id } of generate(model, [before, part, after], options)) answer.push(id);
  signal?.throwIfAborted();
  const ids = [...after, ...answer];
  const prefix: PromptPart[] = [before, part, after.slice(0, -1)];
  const logits = await textLogits(model, [after.at(-1)!, ...answer], { prefix, signal });
  return { name, states, widths, ...picture, prompt: { before, ids }, logits };
}

/** All rows of several answers as one text's. */
function together(texts: readonly TextLogits[]): TextLogits {
  return {
    ids: [0, ...texts.flatMap(({ ids }) => ids.slice(1))],
    rows: texts.flatMap(({ rows }) => rows),
  };
}

/** Looks at the pictures with the model as it was. @throws ConfigError, ImageError, FileError, the signal's reason */
export async function picturesBefore(
  loaded: LoadedModel,
  options: PicturesOptions,
  progress: PictureProgress,
  signal?: AbortSignal,
): Promise<PictureBefore[]> {
  const model = seeing(loaded, loaded.source.path);
  const names = (await picturesIn(options.folder)).slice(0, MOST_PICTURES);
  const found: PictureBefore[] = [];
  for (const [i, name] of names.entries()) {
    progress(i + 1, names.length);
    found.push(await seen(model, name, options, signal));
  }
  return found;
}

/** Looks at the same pictures with the model as it is now, and compares. @throws as `picturesBefore` */
export async function picturesAfter(
  loaded: LoadedModel,
  before: readonly PictureBefore[],
  { folder }: PicturesOptions,
  progress: PictureProgress,
  signal?: AbortSignal,
): Promise<ImageReport> {
  const model = seeing(loaded, loaded.source.path);
  const { vision, device } = model;
  const { tower, projector } = vision.model;
  const d = vision.model.config.language.hiddenSize;
  const [states, alone, tokens] = [new VectorComparison(), new VectorComparison(), new VectorComparison()];
  const [ownTokens, newTokens]: TextLogits[][] = [[], []];
  for (const [i, old] of before.entries()) {
    progress(i + 1, before.length);
    const [made, behind]: Float32Array[][] = [[], []];
    let view = 0;
    for await (const { pixels, shape } of viewsOf(model, folder, old.name)) {
      await yieldToEventLoop();
      signal?.throwIfAborted();
      const oldStates = old.states[view++];
      const all = device.inference(() => {
        const output = tower.forward(device.tensor(pixels, shape));
        const [high, low] = statesOf(output).map((state, k) => device.tensor(oldStates[k], state.shape));
        const oldOutput = "high" in output ? { high, low } : high;
        return [...statesOf(output), projector.forward(output), projector.forward(oldOutput)];
      });
      const values = await dataOf(all);
      behind.push(values.pop()!);
      made.push(values.pop()!);
      for (const [k, each] of values.entries()) states.add(oldStates[k], each, old.widths[k]);
    }
    const now = joined(made);
    alone.add(old.tokens, joined(behind), d);
    tokens.add(old.tokens, now, d);
    for (const [list, values] of [
      [ownTokens, old.tokens],
      [newTokens, now],
    ] as const) {
      using embeddings = arranged(model, values, old);
      const part = { embeddings, hash: old.name, placeholderId: 0 };
      const cut = old.prompt.ids.length - old.logits.rows.length - 1;
      const prefix: PromptPart[] = [old.prompt.before, part, old.prompt.ids.slice(0, cut)];
      list.push(await textLogits(loaded.model, old.prompt.ids.slice(cut), { prefix, signal }));
    }
  }
  const [was, own, now] = [before.map(({ logits }) => logits), ownTokens, newTokens].map(together);
  return {
    images: before.length,
    views: before.reduce((sum, { views }) => sum + views, 0),
    ...{ tower: states.result, projector: alone.result, tokens: tokens.result },
    language: divergence(was, own),
    pictures: divergence(own, now),
    answers: divergence(was, now),
  };
}
