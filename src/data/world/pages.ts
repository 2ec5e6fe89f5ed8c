/**
 * Pages to read: lines of text, bar charts and tables. The faint variant writes all glyphs in gray and adds noise, so
 * that what is lost by shrinking a page cannot be recovered from exact gray levels.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { ALPHABET, GLYPH_HEIGHT, textWidth } from "./font.ts";
import { NOISE_STREAM, WORLD_STREAMS, WorldRandom } from "./generator.ts";
import { COLOR_VALUES, COLORS, type Rgb, type WorldColor } from "./names.ts";
import type { Question } from "./questions.ts";
import { Canvas } from "./raster.ts";
import { drawBackground } from "./scene.ts";

export type PageStream = "text" | "charts" | "tables";
export type PageTask = "text" | "chart-max" | "chart-value" | "table";

/** Size of a glyph: 5, 10 or 15 pixels wide. */
export type GlyphScale = 1 | 2 | 3;

/** A text on a page: its first glyph begins at (x, y), each pixel of the font is `scale` x `scale`. */
export interface PageText {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

export interface Page extends Question<PageTask> {
  readonly image: RgbImage;
  /** Everything that is written on the page, in the order of drawing. */
  readonly texts: readonly PageText[];
  /** How large the glyphs are that hold the answer. */
  readonly glyphScale: GlyphScale;
}

const [SMALLEST, LARGEST] = [128, 1024];
const BLACK = COLOR_VALUES.black;
export const INKS: readonly WorldColor[] = ["black", "blue", "red", "green"];
export const FAINT_GRAY: Rgb = [128, 128, 128];
/** Noise of faint pages goes from -64 to 64. */
const NOISE = 64;

/** A page under work. */
class Paper extends Canvas {
  readonly texts: PageText[] = [];
  readonly #faint: boolean;

  constructor(size: number, gray: number, faint: boolean) {
    super(size, gray);
    this.#faint = faint;
  }

  override text(text: string, x: number, y: number, scale: number, color: Rgb): void {
    this.texts.push({ text, x, y, scale });
    super.text(text, x, y, scale, this.#faint ? FAINT_GRAY : color);
  }
}

/** What is drawn on a page, and afterwards the question, from the same random numbers. */
type Draw = (random: WorldRandom, paper: Paper) => () => Question<PageTask> & { glyphScale: GlyphScale };

const drawText: Draw = (random, paper) => {
  const size = paper.width;
  const count = 1 + random.int(3);
  const band = Math.floor(size / count);
  const lines = Array.from({ length: count }, (_, i) => {
    const scale = (1 + random.int(3)) as GlyphScale;
    const length = 3 + random.int(4);
    const text = Array.from({ length }, () => ALPHABET[random.int(ALPHABET.length)]).join("");
    const ink = COLOR_VALUES[random.pick(INKS)];
    const y = band * i + random.int(band - GLYPH_HEIGHT * scale + 1);
    const x = random.int(size - textWidth(length, scale) + 1);
    paper.text(text, x, y, scale, ink);
    return { text, scale };
  });
  return () => {
    const asked = count > 1 ? random.int(count) : 0;
    const { text, scale } = lines[asked];
    const question = count > 1 ? `read line ${asked + 1} .` : "read the text .";
    return { task: "text", question, answer: text, glyphScale: scale };
  };
};

const drawChart: Draw = (random, paper) => {
  const size = paper.width;
  const count = 3 + random.int(3);
  const unit = Math.floor((size - 44) / 9);
  const pitch = Math.floor((size - 32) / count);
  const width = Math.floor((3 * pitch) / 5);
  const base = size - 20;
  paper.rectangle(16, base, size - 16, base + 1, BLACK);
  const values: number[] = [];
  for (let i = 0; i < count; i++) {
    const value = 1 + random.int(9);
    const color = COLOR_VALUES[random.pick(COLORS)];
    const x = 16 + i * pitch + Math.floor((pitch - width) / 2);
    const top = base - value * unit;
    const label = x + Math.floor((width - 5) / 2);
    paper.rectangle(x, top, x + width, base, color);
    paper.text(ALPHABET[i], label, size - 16, 1, BLACK);
    paper.text(String(value), label, top - 9, 1, BLACK);
    values.push(value);
  }
  return () => {
    const highest = Math.max(...values);
    const single = values.filter((value) => value === highest).length === 1;
    if (random.int(2) === 0 && single) {
      const answer = ALPHABET[values.indexOf(highest)];
      return { task: "chart-max", question: "which bar is the highest ?", answer, glyphScale: 1 };
    }
    const i = random.int(count);
    const question = `what is the value of bar ${ALPHABET[i]} ?`;
    return { task: "chart-value", question, answer: String(values[i]), glyphScale: 1 };
  };
};

const drawTable: Draw = (random, paper) => {
  const size = paper.width;
  const rows = 2 + random.int(3);
  const columns = 2 + random.int(2);
  const width = Math.floor((size - 16) / (columns + 1));
  const height = Math.floor((size - 16) / (rows + 1));
  const values = Array.from({ length: rows }, () =>
    Array.from({ length: columns }, () => String(10 + random.int(90))),
  );
  const [right, bottom] = [8 + (columns + 1) * width, 8 + (rows + 1) * height];
  for (let r = 0; r <= rows + 1; r++) {
    paper.rectangle(8, 8 + r * height, right + 1, 9 + r * height, BLACK);
  }
  for (let c = 0; c <= columns + 1; c++) paper.rectangle(8 + c * width, 8, 9 + c * width, bottom + 1, BLACK);
  const write = (text: string, r: number, c: number) =>
    paper.text(text, 8 + c * width + 4, 8 + r * height + Math.floor((height - GLYPH_HEIGHT) / 2), 1, BLACK);
  for (let c = 1; c <= columns; c++) write(ALPHABET[c - 1], 0, c);
  for (let r = 1; r <= rows; r++) {
    write(String(r), r, 0);
    for (let c = 1; c <= columns; c++) write(values[r - 1][c - 1], r, c);
  }
  return () => {
    const r = random.int(rows);
    const c = random.int(columns);
    const question = `what is in row ${r + 1} column ${ALPHABET[c]} ?`;
    return { task: "table", question, answer: values[r][c], glyphScale: 1 };
  };
};

const DRAWS: Readonly<Record<PageStream, Draw>> = { text: drawText, charts: drawChart, tables: drawTable };

/** What faint pages have: one number for the three channels of each pixel, row by row. */
export function addNoise({ rgb }: RgbImage, random: WorldRandom): void {
  for (let at = 0; at < rgb.length; at += 3) {
    const noise = random.int(2 * NOISE + 1) - NOISE;
    for (let channel = at; channel < at + 3; channel++) {
      const value = rgb[channel] + noise;
      rgb[channel] = Math.max(0, Math.min(255, value));
    }
  }
}

/** A page of a stream with its question. @throws ConfigError for a size that pages do not have */
export function drawPage(
  stream: PageStream,
  seed: number,
  index: number,
  size: number,
  faint: boolean,
): Page {
  if (!(Number.isInteger(size) && size >= SMALLEST && size <= LARGEST)) {
    throw new ConfigError("no size of a page", {
      where: `world ${stream}`,
      expected: `${SMALLEST} to ${LARGEST} pixels`,
      found: size,
    });
  }
  const random = new WorldRandom(seed, WORLD_STREAMS[stream], index);
  const paper = new Paper(size, drawBackground(random), faint);
  const ask = DRAWS[stream](random, paper);
  if (faint) addNoise(paper, new WorldRandom(seed, WORLD_STREAMS[stream] + NOISE_STREAM, index));
  const { width, height, rgb, texts } = paper;
  return { ...ask(), image: { width, height, rgb }, texts };
}
