/** The font of the picture world: A to Z and 0 to 9 in 5 x 7 pixels. */
import { ConfigError } from "../../tensor/errors.ts";

export const GLYPH_WIDTH = 5;
export const GLYPH_HEIGHT = 7;
/** From one glyph to the next, in units of the scale. */
export const ADVANCE = 6;

export const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/** Seven rows from the top as two hexadecimal digits each; bit 4 is the leftmost pixel. */
const ROWS = `
A 0e11111f111111 B 1e11111e11111e C 0f10101010100f D 1e11111111111e E 1f10101e10101f F 1f10101e101010
G 0f10101711110f H 1111111f111111 I 0e04040404040e J 0702020202120c K 11121418141211 L 1010101010101f
M 111b1515111111 N 11191915131311 O 0e11111111110e P 1e11111e101010 Q 0e11111115120d R 1e11111e141211
S 0f10100e01011e T 1f040404040404 U 1111111111110e V 111111110a0a04 W 11111115151b11 X 11110a040a1111
Y 11110a04040404 Z 1f01020408101f 0 0e13151515190e 1 040c040404040e 2 0e11010608101f 3 1e01010e01011e
4 1212121f020202 5 1f101e0101110e 6 0e10101e11110e 7 1f010202040404 8 0e11110e11110e 9 0e11110f01010e`;

/** The pixels of a glyph that are set, as [x, y]. */
export type Glyph = readonly (readonly [x: number, y: number])[];

const GLYPHS: ReadonlyMap<string, Glyph> = new Map(
  Array.from(ROWS.matchAll(/(\S) (\S{14})/g), ([, char, rows]) => {
    const pixels: [number, number][] = [];
    for (let y = 0; y < GLYPH_HEIGHT; y++) {
      const bits = Number.parseInt(rows.slice(2 * y, 2 * y + 2), 16);
      for (let x = 0; x < GLYPH_WIDTH; x++) if ((bits >> (GLYPH_WIDTH - 1 - x)) & 1) pixels.push([x, y]);
    }
    return [char, pixels] as const;
  }),
);

/** @throws ConfigError for a character that the font lacks */
export function glyphOf(char: string): Glyph {
  const glyph = GLYPHS.get(char);
  if (glyph !== undefined) return glyph;
  throw new ConfigError("the font lacks a character", {
    where: "world font",
    expected: "A to Z, 0 to 9",
    found: char,
  });
}

/** Pixels from the first column of a text to the last, at a scale. */
export function textWidth(length: number, scale: number): number {
  return (ADVANCE * length - 1) * scale;
}
