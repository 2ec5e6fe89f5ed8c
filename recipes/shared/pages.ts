/** Views of 64 x 64 pixels with the glyphs in them, of the world's pages and of nothing but text: what a tower learns small text from. */
import { ADVANCE, ALPHABET, GLYPH_HEIGHT, GLYPH_WIDTH } from "../../src/data/world/font.ts";
import { WorldRandom } from "../../src/data/world/generator.ts";
import { COLOR_VALUES } from "../../src/data/world/names.ts";
import { addNoise, FAINT_GRAY, INKS, type PageStream, type PageText } from "../../src/data/world/pages.ts";
import { Canvas } from "../../src/data/world/raster.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { drawBackground } from "../../src/data/world/scene.ts";
import { cropImage, type RgbImage } from "../../src/vision/image/image.ts";
import { resizeImage } from "../../src/vision/image/resize.ts";

/** A glyph and its center, in pixels of the view. */
export interface SeenGlyph {
  readonly glyph: number;
  readonly x: number;
  readonly y: number;
}

export interface PageView {
  readonly image: RgbImage;
  readonly glyphs: readonly SeenGlyph[];
}

export const VIEW = 64;
export const PAGE = 192;

/** Stream of the numbers that views are drawn from; the world has 1 to 6, and 19 to 21 for noise. */
const VIEW_STREAM = 64;

/** The centers of all glyphs of a page, in its own pixels. */
function centers(texts: readonly PageText[]): SeenGlyph[] {
  return texts.flatMap(({ text, x, y, scale }) =>
    Array.from(text, (char, i) => ({
      glyph: ALPHABET.indexOf(char),
      x: x + (6 * i + 2.5) * scale,
      y: y + 3.5 * scale,
    })),
  );
}

/**
 * What views are of. Tower training begins with `filled`, lines of random glyphs from edge to edge: forty glyphs a view where
 * pages have ten teach as much in a quarter of the time. `all` has views of pages too: text, tables, charts, clean and faint,
 * and whole pages reduced to a third.
 */
export type ViewKind = "filled" | "all";

/** How often a view is filled, faint, of a page with text or a table, or a whole page reduced; in ten. */
const [FILLED, FAINT, TEXT, TABLES, REDUCED] = [4, 3, 6, 2, 3];

/** Sizes of glyphs in filled views: as many lines of each fit as leave the largest enough glyphs. */
const SCALES = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3];
/** Filled views are drawn with a border, which glyphs at the edge reach into. */
const BORDER = 24;

/** Lines of glyphs and gaps that fill a picture, cut off at its edges. */
function filledView(random: WorldRandom, faint: boolean, side = VIEW): PageView {
  const canvas = new Canvas(side + 2 * BORDER, drawBackground(random));
  const glyphs: SeenGlyph[] = [];
  for (let y = -random.int(7); y < side; ) {
    const scale = random.pick(SCALES);
    const ink = faint ? FAINT_GRAY : COLOR_VALUES[random.pick(INKS)];
    for (let x = -random.int(GLYPH_WIDTH * scale); x < side; x += ADVANCE * scale) {
      if (random.int(6) === 0) continue;
      const glyph = random.int(ALPHABET.length);
      canvas.text(ALPHABET[glyph], BORDER + x, BORDER + y, scale, ink);
      glyphs.push({ glyph, x: x + 2.5 * scale, y: y + 3.5 * scale });
    }
    y += GLYPH_HEIGHT * scale + 1 + random.int(3);
  }
  const image = cropImage(canvas, BORDER, BORDER, side, side);
  if (faint) addNoise(image, random);
  return { image, glyphs: within(glyphs, side) };
}

function within(glyphs: readonly SeenGlyph[], side = VIEW): SeenGlyph[] {
  const inside = (value: number) => value >= 0 && value < side;
  return glyphs.filter(({ x, y }) => inside(x) && inside(y));
}

/** View `index` of a seed. */
export function pageView(seed: number, index: number, kind: ViewKind = "all"): PageView {
  const random = new WorldRandom(seed, VIEW_STREAM, index);
  const [filled, noise, drawn, size] = [random.int(10), random.int(10), random.int(10), random.int(10)];
  const faint = noise < FAINT;
  if (kind === "filled" || filled < FILLED) return filledView(random, faint);
  const stream: PageStream = drawn < TEXT ? "text" : drawn < TEXT + TABLES ? "tables" : "charts";
  const { image, texts } = worldSample(stream, seed, index, { faint });
  const glyphs = centers(texts!);
  if (size < REDUCED) {
    return { image: resizeImage(image!, VIEW, VIEW), glyphs: scaled(glyphs, VIEW / PAGE) };
  }
  const { x, y } = glyphs[random.int(glyphs.length)];
  const place = (center: number) =>
    Math.max(0, Math.min(PAGE - VIEW, Math.floor(center) - 4 - random.int(VIEW - 8)));
  const [left, top] = [place(x), place(y)];
  return {
    image: cropImage(image!, left, top, VIEW, VIEW),
    glyphs: within(glyphs.map((each) => ({ ...each, x: each.x - left, y: each.y - top }))),
  };
}

const scaled = (glyphs: readonly SeenGlyph[], by: number) =>
  glyphs.map(({ glyph, x, y }): SeenGlyph => ({ glyph, x: x * by, y: y * by }));

/** Stream of the numbers that pages are drawn from. */
const PAGE_STREAM = 71;

/** Of ten pages: filled from edge to edge, a filled view enlarged as towers for pages see it, the world's own. */
const [WHOLE, ENLARGED] = [5, 3];

/** Page `index` of a seed, 192 x 192 pixels: what a tower for whole pages learns small text from. */
export function fullPage(seed: number, index: number): PageView {
  const random = new WorldRandom(seed, PAGE_STREAM, index);
  const [kind, noise, drawn] = [random.int(10), random.int(10), random.int(TEXT + TABLES)];
  const faint = noise < FAINT;
  if (kind < WHOLE) return filledView(random, faint, PAGE);
  if (kind < WHOLE + ENLARGED) {
    const { image, glyphs } = filledView(random, faint);
    return { image: resizeImage(image, PAGE, PAGE), glyphs: scaled(glyphs, PAGE / VIEW) };
  }
  const { image, texts } = worldSample(drawn < TEXT ? "text" : "tables", seed, index, { faint });
  return { image: image!, glyphs: centers(texts!) };
}
