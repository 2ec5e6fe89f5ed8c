/**
 * Samples of the picture world: each is a function of its stream, seed and index, drawn in well under a millisecond when
 * training asks for it and never stored. Two programs in other languages agree with this one byte for byte
 * (test/fixtures/world).
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { type CaptionCategory, drawCaption } from "./captions.ts";
import { WORLD_STREAMS, WorldRandom, type WorldStream } from "./generator.ts";
import { drawLanguage, type LanguageTask } from "./language.ts";
import { drawPage, type GlyphScale, type PageTask, type PageText } from "./pages.ts";
import { drawQuestion, type QuestionTask } from "./questions.ts";
import type { WorldObject } from "./scene.ts";

export type WorldTask = QuestionTask | CaptionCategory | PageTask | LanguageTask;

export interface WorldOptions {
  /** Side of the picture: for scenes a multiple of 64 (default 64), for pages at least 128 (default 192). */
  readonly size?: number;
  /** Pages only: gray glyphs under noise, for claims about resolution. */
  readonly faint?: boolean;
}

export interface WorldSample {
  readonly stream: WorldStream;
  /** What is asked; of a caption its category. */
  readonly task: WorldTask;
  /** Null in the stream `language`. */
  readonly image: RgbImage | null;
  /** The question, or the caption of a picture to draw. */
  readonly question: string;
  /** "" for captions: the picture is the answer. */
  readonly answer: string;
  /** Of scenes: what is there, in the order of drawing. */
  readonly objects?: readonly WorldObject[];
  /** Of pages: how large the glyphs are that hold the answer. */
  readonly glyphScale?: GlyphScale;
  /** Of pages: everything that is written on them. */
  readonly texts?: readonly PageText[];
}

const SCENE_SIZE = 64;
const PAGE_SIZE = 192;

function refuse(stream: WorldStream, option: string, value: unknown): never {
  throw new ConfigError("the stream has no such option", {
    where: `world ${stream}`,
    name: option,
    found: value,
    hint: "Sizes are of pictures; faint pages are in text, charts and tables",
  });
}

/** The sample of a stream. @throws ConfigError for an unknown stream, a size that it does not have, or other options */
export function worldSample(
  stream: WorldStream,
  seed: number,
  index: number,
  { size, faint = false }: WorldOptions = {},
): WorldSample {
  const paged = stream === "text" || stream === "charts" || stream === "tables";
  if (faint && !paged) refuse(stream, "faint", faint);
  if (paged) return { stream, ...drawPage(stream, seed, index, size ?? PAGE_SIZE, faint) };
  if (!Object.hasOwn(WORLD_STREAMS, stream)) {
    const expected = Object.keys(WORLD_STREAMS);
    throw new ConfigError("unknown stream", { where: "worldSample", expected, found: stream });
  }
  const random = new WorldRandom(seed, WORLD_STREAMS[stream], index);
  switch (stream) {
    case "questions":
      return { stream, ...drawQuestion(random, size ?? SCENE_SIZE) };
    case "captions": {
      const { category, caption, image, objects } = drawCaption(random, size ?? SCENE_SIZE);
      return { stream, task: category, image, question: caption, answer: "", objects };
    }
    case "language":
      if (size !== undefined) refuse(stream, "size", size);
      return { stream, image: null, ...drawLanguage(random) };
  }
}
