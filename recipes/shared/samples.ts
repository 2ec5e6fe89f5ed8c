/**
 * What a model of pictures learns from, sample by sample: a picture with questions and answers. A page is asked more than once,
 * since it costs more to see than to answer; the first question is always of the world's own form.
 */
import { ADVANCE, ALPHABET, GLYPH_HEIGHT, textWidth } from "../../src/data/world/font.ts";
import { WorldRandom } from "../../src/data/world/generator.ts";
import { COLOR_VALUES } from "../../src/data/world/names.ts";
import { addNoise, FAINT_GRAY, type GlyphScale, INKS, type PageText } from "../../src/data/world/pages.ts";
import { describeObjects } from "../../src/data/world/questions.ts";
import { Canvas } from "../../src/data/world/raster.ts";
import { type WorldSample, worldSample } from "../../src/data/world/sample.ts";
import { drawBackground } from "../../src/data/world/scene.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { PAGE, VIEW } from "./pages.ts";

export type Turn = Pick<WorldSample, "question" | "answer">;

export interface Asked {
  readonly image: RgbImage | null;
  readonly turns: readonly Turn[];
}

/** Kinds of samples; each step of training takes one kind. */
export type SampleKind =
  | "lines"
  | "short"
  | "describe"
  | "text-128"
  | "text"
  | "charts"
  | "tables"
  | "questions"
  | "language";

/** Stream of the numbers that further questions are drawn from. */
const TURN_STREAM = 65;
/** Of views of lines, and of pages with a short one. */
const LINES_STREAM = 68;
const SHORT_STREAM = 69;

const shuffled = <T>(list: readonly T[], random: WorldRandom): T[] =>
  random.distinct(list.length, list.length).map((i) => list[i]);

/** Every line of a page of text, in random order. */
function readLines(texts: readonly PageText[], random: WorldRandom): Turn[] {
  if (texts.length === 1) return [{ question: "read the text .", answer: texts[0].text }];
  const turns = texts.map(({ text }, i) => ({ question: `read line ${i + 1} .`, answer: text }));
  return shuffled(turns, random);
}

/** Letters below bars and their values alternate. */
function readBars(texts: readonly PageText[], random: WorldRandom): Turn[] {
  const bars = Array.from({ length: texts.length / 2 }, (_, i) => [texts[2 * i].text, texts[2 * i + 1].text]);
  const turns = bars.map(([letter, value]) => ({
    question: `what is the value of bar ${letter} ?`,
    answer: value,
  }));
  const highest = bars
    .map(([, value]) => value)
    .sort()
    .at(-1)!;
  const top = bars.filter(([, value]) => value === highest);
  if (top.length === 1) turns.push({ question: "which bar is the highest ?", answer: top[0][0] });
  return shuffled(turns, random).slice(0, 3);
}

/** The head of a table, then its rows: a number and the values. */
function readCells(texts: readonly PageText[], random: WorldRandom): Turn[] {
  const columns = texts.findIndex(({ text }) => text === "1");
  const cells: Turn[] = [];
  for (let row = 0, at = columns; at < texts.length; row++, at += columns + 1) {
    for (let column = 0; column < columns; column++) {
      const question = `what is in row ${row + 1} column ${texts[column].text} ?`;
      cells.push({ question, answer: texts[at + 1 + column].text });
    }
  }
  return shuffled(cells, random).slice(0, 4);
}

/** Least length of a string in `linesView`; those of pages have 3 to 6 glyphs. */
const SHORTEST = 1;

interface Drawn {
  readonly image: RgbImage;
  readonly turns: readonly Turn[];
  /** Of the last line. */
  readonly scale: GlyphScale;
}

/**
 * A picture with up to three lines, each of which is asked: of a view of a page one line could be asked, and most of what a step
 * costs is seeing. Strings begin with single glyphs, of which there is no order to learn.
 */
function linesView(
  random: WorldRandom,
  side: number,
  { faint, lines, glyphs }: { readonly faint: boolean; readonly lines: number; readonly glyphs: number },
): Drawn {
  const canvas = new Canvas(side, drawBackground(random));
  const count = 1 + random.int(lines);
  const band = Math.floor(side / count);
  let scale: GlyphScale = 1;
  const turns = Array.from({ length: count }, (_, i): Turn => {
    scale = (1 + random.int(Math.min(3, Math.floor(band / GLYPH_HEIGHT)))) as GlyphScale;
    const most = Math.min(glyphs, Math.floor((side / scale + 1) / ADVANCE));
    const length = SHORTEST + random.int(most - SHORTEST + 1);
    const text = Array.from({ length }, () => ALPHABET[random.int(ALPHABET.length)]).join("");
    const ink = faint ? FAINT_GRAY : COLOR_VALUES[random.pick(INKS)];
    const x = random.int(side - textWidth(length, scale) + 1);
    canvas.text(text, x, band * i + random.int(band - GLYPH_HEIGHT * scale + 1), scale, ink);
    return { question: count === 1 ? "read the text ." : `read line ${i + 1} .`, answer: text };
  });
  if (faint) addNoise(canvas, random);
  const { width, height, rgb } = canvas;
  return { image: { width, height, rgb }, turns: shuffled(turns, random), scale };
}

/** Most glyphs of a short string. */
const SHORT = 2;

/**
 * A page with one string of one or two glyphs: what can be read of a page is decided on it long before a small model reads lines
 * of six.
 */
const shortPage = (seed: number, index: number, faint: boolean): Drawn =>
  linesView(new WorldRandom(seed, SHORT_STREAM, index), PAGE, { faint, lines: 1, glyphs: SHORT });

/** A short page as an exam asks it. */
export function shortSample(seed: number, index: number, faint: boolean): WorldSample {
  const { image, turns, scale } = shortPage(seed, index, faint);
  return { stream: "text", task: "text", image, ...turns[0], glyphScale: scale };
}

export interface SampleOptions {
  /** How many in ten pages are faint; default 0. */
  readonly faint?: number;
  /** Most lines of a view of lines, and glyphs of each; default 3 and 6. */
  readonly lines?: number;
  readonly glyphs?: number;
}

/** Sample `index` of a kind. */
export function askedSample(
  kind: SampleKind,
  seed: number,
  index: number,
  { faint: share = 0, lines = 3, glyphs = 6 }: SampleOptions = {},
): Asked {
  const random = new WorldRandom(seed, TURN_STREAM, index);
  const faint = random.int(10) < share;
  switch (kind) {
    case "lines":
      return linesView(new WorldRandom(seed, LINES_STREAM, index), VIEW, { faint, lines, glyphs });
    case "short":
      return shortPage(seed, index, faint);
    case "describe": {
      const { image, objects } = worldSample("questions", seed, index);
      return { image, turns: [{ question: "describe the image .", answer: describeObjects(objects!) }] };
    }
    case "text-128":
    case "text": {
      const size = kind === "text" ? 192 : 128;
      const { image, texts } = worldSample("text", seed, index, { faint, size });
      return { image, turns: readLines(texts!, random) };
    }
    case "charts": {
      const { image, texts } = worldSample("charts", seed, index, { faint });
      return { image, turns: readBars(texts!, random) };
    }
    case "tables": {
      const { image, texts } = worldSample("tables", seed, index, { faint });
      return { image, turns: readCells(texts!, random) };
    }
    default: {
      const { image, question, answer } = worldSample(kind, seed, index);
      return { image, turns: [{ question, answer }] };
    }
  }
}
