/**
 * How much of each pixel a shape covers: 16 samples a pixel on a grid of 1/8 pixel, in integers. The same table serves the
 * scenes, whose centers are whole pixels, and the checker, which moves its templates by quarters.
 */
import type { WorldShape } from "./names.ts";

/** Counts of a shape around its center. `left` and `top` are the first column and row, relative to the center's pixel corner. */
export interface Coverage {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /** Samples inside the shape, 0 to 16, row by row; no row or column at the edge is empty. */
  readonly counts: Uint8Array;
}

type Inside = (dx: number, dy: number) => boolean;

/** Whether a sample at a distance from the center, in eighths of a pixel as the radius, lies in the shape. */
const INSIDE: Readonly<Record<WorldShape, (r: number) => Inside>> = {
  circle: (r) => (dx, dy) => dx * dx + dy * dy <= r * r,
  square: (r) => {
    const a = Math.floor((7 * r) / 8);
    return (dx, dy) => Math.abs(dx) <= a && Math.abs(dy) <= a;
  },
  triangle: (r) => {
    const b = Math.floor((3 * r) / 4);
    return (dx, dy) => -r <= dy && dy <= b && Math.abs(dx) * (r + b) <= (dy + r) * r;
  },
  diamond: (r) => (dx, dy) => Math.abs(dx) + Math.abs(dy) <= r,
  cross: (r) => {
    const a = Math.floor((3 * r) / 8);
    return (dx, dy) => {
      const [x, y] = [Math.abs(dx), Math.abs(dy)];
      return (x <= a && y <= r) || (y <= a && x <= r);
    };
  },
  ring: (r) => (dx, dy) => {
    const square = dx * dx + dy * dy;
    return r * r <= 4 * square && square <= r * r;
  },
};

/**
 * The coverage of a shape whose center lies `shiftX`, `shiftY` eighths of a pixel from the corner that it is relative to.
 * `radius` is in eighths of a pixel.
 */
export function coverageOf(shape: WorldShape, radius: number, shiftX = 0, shiftY = 0): Coverage {
  const inside = INSIDE[shape](radius);
  const [firstX, lastX] = [Math.floor((shiftX - radius) / 8), Math.floor((shiftX + radius) / 8)];
  const [firstY, lastY] = [Math.floor((shiftY - radius) / 8), Math.floor((shiftY + radius) / 8)];
  const span = lastX - firstX + 1;
  const all = new Uint8Array(span * (lastY - firstY + 1));
  let [left, top, right, bottom] = [lastX, lastY, firstX, firstY];
  for (let y = firstY; y <= lastY; y++) {
    for (let x = firstX; x <= lastX; x++) {
      let hits = 0;
      for (let j = 0; j < 4; j++) {
        const dy = 8 * y + 1 + 2 * j - shiftY;
        for (let i = 0; i < 4; i++) if (inside(8 * x + 1 + 2 * i - shiftX, dy)) hits++;
      }
      if (hits === 0) continue;
      all[(y - firstY) * span + x - firstX] = hits;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  const [width, height] = [right - left + 1, bottom - top + 1];
  const counts = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = (top - firstY + y) * span + left - firstX;
    counts.set(all.subarray(from, from + width), y * width);
  }
  return { left, top, width, height, counts };
}
