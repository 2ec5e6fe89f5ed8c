import { expect, test } from "vitest";
import { ALPHABET } from "../../src/data/world/font.ts";
import { PAGE_NAMES, PageBatches } from "./high-tower.ts";
import { fullPage, PAGE } from "./pages.ts";

const CLIP = { mean: [0.48, 0.46, 0.41], std: [0.27, 0.26, 0.28] } as const;
/** Pixels of a token's square, and of a place for a glyph in it: the smallest glyphs are 6 apart and their lines 8. */
const [CELL, WIDTH, HEIGHT] = [24, 6, 8];

test("names each glyph of a page in its token and place", async () => {
  const seed = 3;
  const { names, pixels } = await new PageBatches(seed, CLIP, 1).next(3);
  expect(pixels).toHaveLength(3 * PAGE * PAGE * 3);
  for (let page = 0; page < 3; page++) {
    const { glyphs } = fullPage(seed, 1 + page);
    const own = names.slice(page * 64 * PAGE_NAMES, (page + 1) * 64 * PAGE_NAMES);
    const expected = new Set(
      glyphs.map(({ glyph, x, y }) => {
        const token = Math.floor(y / CELL) * 8 + Math.floor(x / CELL);
        const place = Math.floor((y % CELL) / HEIGHT) * 4 + Math.floor((x % CELL) / WIDTH);
        return token * PAGE_NAMES + place * ALPHABET.length + glyph;
      }),
    );
    expect(glyphs.length).toBeGreaterThan(2);
    expect(new Set(own.flatMap((named, at) => (named ? [at] : [])))).toEqual(expected);
  }
});

test("names the color, shape and size of each object of a scene at its center", async () => {
  const { names } = await new PageBatches(1, CLIP, 0).next(1);
  const named = names.flatMap((yes, at) => (yes ? [at % PAGE_NAMES] : []));
  expect(named.length % 3).toBe(0);
  expect(named.every((name) => name >= 12 * ALPHABET.length)).toBe(true);
});

test("goes on where it was stopped", async () => {
  const whole = new PageBatches(1, CLIP);
  await whole.next(2);
  const rest = new PageBatches(1, CLIP);
  rest.restore(whole.state());
  expect(await rest.next(1)).toEqual(await whole.next(1));
});
