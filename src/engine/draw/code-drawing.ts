/**
 * Drawing with Janus: the sampler's codes, the image tokenizer at the end. Images that are drawn together share the passes of
 * the language model; how many are depends on memory only, and changes none of them.
 */
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import type { CacheDtype } from "../../nn/cache.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { vqFactor } from "../../vision/vq.ts";
import type { GuestPlace } from "../guests.ts";
import { step } from "../step.ts";
import {
  CodeSampler,
  type CodeSettings,
  codeCacheBytes,
  codeGrid,
  codeRoom,
  codeRows,
  codesOf,
} from "./code-sampler.ts";
import { decodedPicture } from "./decoded-picture.ts";
import type { DrawEvent, DrawRequest } from "./events.ts";
import { inTurns, pause, type Turn, turnsOf } from "./turns.ts";

/** Bytes of caches up to which images are drawn together. */
const MOST_CACHE_BYTES = 2 ** 31;

/** Gray of what is not yet drawn in a preview. */
const NOT_DRAWN = 127;

/** Side of the images that a model draws, in pixels. */
export function codeImageSide(model: VisionLanguageModel): number {
  return codeGrid(model) * vqFactor(codesOf(model).tokenizer.config);
}

/** The picture of an image's first rows of codes, at least one; gray below. @throws what `turn` throws */
export async function codePicture(
  model: VisionLanguageModel,
  codes: readonly number[],
  turn: Turn,
): Promise<RgbImage> {
  const { device } = model;
  const { tokenizer } = codesOf(model);
  const side = codeGrid(model);
  // Where codes are missing the last row again is nearer to what will come than any one code.
  const whole = Int32Array.from(
    { length: side ** 2 },
    (_, i) => codes[i] ?? codes[codes.length - side + (i % side)],
  );
  using ids = device.unscoped(() => device.tensor(whole, [1, side, side], "i32"));
  const picture = await decodedPicture(tokenizer.decodeByConv(ids), turn);
  const rows = Math.floor(codes.length / side) * vqFactor(tokenizer.config);
  picture.rgb.fill(NOT_DRAWN, rows * picture.width * 3);
  return picture;
}

/** What is asked of a drawing with Janus. `cacheDtype`: default that of the place. */
export interface CodeRequest extends Omit<DrawRequest, "prompt" | "steps" | "solver"> {
  readonly cacheDtype?: CacheDtype;
}

/** Images of a prompt that are drawn together at most. */
export function codesTogether(
  model: VisionLanguageModel,
  settings: Pick<CodeSettings, "ids" | "guidance" | "cacheDtype">,
): number {
  return Math.max(1, Math.floor(MOST_CACHE_BYTES / codeCacheBytes(model, settings)));
}

/** Where drawings with Janus run. */
export type CodePlace = Omit<GuestPlace, "long">;

/** Passes that nobody shares. */
function alone({ language }: VisionLanguageModel, signal?: AbortSignal): CodePlace {
  const turn = turnsOf(signal);
  return {
    cacheDtype: "f32",
    most: () => Number.POSITIVE_INFINITY,
    enter: async () => ({ [Symbol.dispose]() {} }),
    async pass(guest) {
      await pause(turn);
      await step(language, [], { guests: [guest], between: turn });
    },
    turn,
  };
}

/**
 * Draws the images of a request. @param ids the prompt's, with the token that begins an image at its end
 * @throws ConfigError and ShapeError at once; later LogitsError, the signal's reason
 */
export function drawCodes(
  model: VisionLanguageModel,
  ids: readonly number[],
  padId: number | null,
  { count = 1, first = 0, previews = 0, signal, ...rest }: CodeRequest,
  place: CodePlace = alone(model, signal),
): AsyncGenerator<DrawEvent, void, void> {
  const settings = { cacheDtype: place.cacheDtype, ...rest, ids, padId };
  codeRows(model, settings);
  const image = codeRoom(model, settings);
  const together = Math.min(codesTogether(model, settings), place.most(image));
  return (async function* () {
    for (let begin = 0; begin < count; begin += together) {
      const images = { first: first + begin, count: Math.min(together, count - begin) };
      const room = { rows: images.count * image.rows, tokens: images.count * image.tokens };
      using _room = await place.enter(room);
      using sampler = new CodeSampler(model, { ...settings, ...images });
      const { seed = 0 } = rest;
      const promptTokens = ids.length;
      yield* drawTogether(model, sampler, place, { first: images.first, seed, previews, promptTokens });
    }
  })();
}

interface Together {
  readonly first: number;
  readonly seed: number;
  readonly previews: number;
  readonly promptTokens: number;
}

async function* drawTogether(
  model: VisionLanguageModel,
  sampler: CodeSampler,
  place: CodePlace,
  { first, seed, previews, promptTokens }: Together,
): AsyncGenerator<DrawEvent, void, void> {
  const side = codeGrid(model);
  const { turn } = place;
  while (!sampler.finished) {
    const before = sampler.done;
    await place.pass(sampler);
    if (sampler.failure !== null) throw sampler.failure;
    const grown = sampler.done !== before && sampler.done > 0;
    if (!grown || sampler.done % side !== 0) continue;
    const done = sampler.done / side;
    const shown = previews > 0 && done % previews === 0 && done < side;
    for (const [i, codes] of sampler.codes.entries()) {
      await pause(turn);
      const preview = shown ? await codePicture(model, codes, turn) : undefined;
      const at = { image: first + i, done, of: side, unit: "row" } as const;
      yield { type: "progress", ...at, ...(preview && { preview }) };
    }
  }
  for (const [i, codes] of sampler.codes.entries()) {
    const usage = { promptTokens, imageTokens: codes.length };
    yield { type: "image", image: first + i, seed, picture: await codePicture(model, codes, turn), usage };
  }
}

/** What the image tokenizer makes of pixels in [-1, 1], `[1, height, width, 3]`. @throws ShapeError, what `turn` throws */
export async function reconstructCodes(
  model: VisionLanguageModel,
  pixels: Tensor,
  turn: Turn,
): Promise<RgbImage> {
  const { tokenizer } = codesOf(model);
  using ids = await inTurns(tokenizer.encodeByConv(pixels), turn);
  return await decodedPicture(tokenizer.decodeByConv(ids), turn);
}
