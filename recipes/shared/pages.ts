/** Views of 64 x 64 pixels of the world's pages, with the glyphs in them: what a tower learns small text from. */
import { ALPHABET } from "../../src/data/world/font.ts";
import { WorldRandom } from "../../src/data/world/generator.ts";
import type { PageStream, PageText } from "../../src/data/world/pages.ts";
import { worldSample } from "../../src/data/world/sample.ts";
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
const PAGE = 192;

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
 * What views are of. Tower training begins with `large`, pages whose lines all have glyphs of 10 or 15 pixels, clean and at full
 * size; `text` has the smallest too, `all` tables, charts, noise and reduced pages besides.
 */
export type ViewKind = "large" | "text" | "all";

/** Of so many pages that are looked at for a view of kind `large`, one in 19 thousand has none that fits. */
const CANDIDATES = 16;

/** How often a view of kind `all` is of which pages, faint, or a whole page reduced to a third; in ten. */
const [TEXT, TABLES, FAINT, REDUCED] = [6, 2, 3, 3];

/** View `index` of a seed: a square around a glyph of a page, or the whole page reduced. */
export function pageView(seed: number, index: number, kind: ViewKind = "all"): PageView {
  const random = new WorldRandom(seed, VIEW_STREAM, index);
  const [drawn, noise, size] = [random.int(10), random.int(10), random.int(10)];
  const all = kind === "all";
  const stream: PageStream = !all || drawn < TEXT ? "text" : drawn < TEXT + TABLES ? "tables" : "charts";
  const draw = (page: number) => worldSample(stream, seed, page, { faint: all && noise < FAINT });
  let page = draw(index);
  if (kind === "large") {
    const small = () => page.texts!.some(({ scale }) => scale < 2);
    for (let i = 0; small() && i < CANDIDATES; i++) page = draw((index * CANDIDATES + i) >>> 0);
  }
  const { image, texts } = page;
  const glyphs = centers(texts!);
  if (all && size < REDUCED) {
    const scale = VIEW / PAGE;
    const seen = glyphs.map(({ glyph, x, y }) => ({ glyph, x: x * scale, y: y * scale }));
    return { image: resizeImage(image!, VIEW, VIEW), glyphs: seen };
  }
  const { x, y } = glyphs[random.int(glyphs.length)];
  const place = (center: number) =>
    Math.max(0, Math.min(PAGE - VIEW, Math.floor(center) - 4 - random.int(VIEW - 8)));
  const [left, top] = [place(x), place(y)];
  const within = (value: number) => value >= 0 && value < VIEW;
  return {
    image: cropImage(image!, left, top, VIEW, VIEW),
    glyphs: glyphs
      .map((each) => ({ ...each, x: each.x - left, y: each.y - top }))
      .filter((each) => within(each.x) && within(each.y)),
  };
}
