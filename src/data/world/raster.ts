/** Draws shapes, rectangles and text into RGB bytes by integer arithmetic, the same on every machine. */
import type { RgbImage } from "../../vision/image/image.ts";
import type { Coverage } from "./coverage.ts";
import { ADVANCE, glyphOf } from "./font.ts";
import type { Rgb } from "./names.ts";

/** x1, y1, x2, y2 in pixels; column x2 and row y2 lie outside. */
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

/** A square picture under work. What is drawn must lie inside. */
export class Canvas implements RgbImage {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;

  constructor(size: number, gray: number) {
    this.width = size;
    this.height = size;
    this.rgb = new Uint8Array(3 * size * size).fill(gray);
  }

  /** Blends a shape whose center is the corner (x, y) of a pixel; returns the box of its pixels. */
  shape({ left, top, width, height, counts }: Coverage, x: number, y: number, [red, green, blue]: Rgb): Box {
    const { rgb } = this;
    for (let row = 0, i = 0; row < height; row++) {
      let at = 3 * ((y + top + row) * this.width + x + left);
      for (let column = 0; column < width; column++, i++, at += 3) {
        const count = counts[i];
        if (count === 0) continue;
        // A shift rounds down, for negative differences too.
        rgb[at] += ((red - rgb[at]) * count + 8) >> 4;
        rgb[at + 1] += ((green - rgb[at + 1]) * count + 8) >> 4;
        rgb[at + 2] += ((blue - rgb[at + 2]) * count + 8) >> 4;
      }
    }
    return [x + left, y + top, x + left + width, y + top + height];
  }

  /** Fills columns x1 to x2 - 1 of rows y1 to y2 - 1. */
  rectangle(x1: number, y1: number, x2: number, y2: number, [red, green, blue]: Rgb): void {
    const { rgb, width } = this;
    for (let y = y1; y < y2; y++) {
      for (let at = 3 * (y * width + x1), end = 3 * (y * width + x2); at < end; at += 3) {
        rgb[at] = red;
        rgb[at + 1] = green;
        rgb[at + 2] = blue;
      }
    }
  }

  /** Writes a text whose first glyph begins at (x, y), each pixel of the font as `scale` x `scale`. */
  text(text: string, x: number, y: number, scale: number, color: Rgb): void {
    for (const char of text) {
      for (const [column, row] of glyphOf(char)) {
        const [x1, y1] = [x + column * scale, y + row * scale];
        this.rectangle(x1, y1, x1 + scale, y1 + scale, color);
      }
      x += ADVANCE * scale;
    }
  }
}
