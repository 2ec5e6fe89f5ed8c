/**
 * Finds what stands out from the background of a picture: connected pixels that have enough of one of the world's colors.
 */

import type { RgbImage } from "../../vision/image/image.ts";
import { COLOR_VALUES, COLORS, type Rgb, type WorldColor } from "./names.ts";
import type { Box } from "./raster.ts";

/** Below half of a color's distance from the background a pixel belongs to the background. */
const LEAST_AMOUNT = 0.5;

export interface Component {
  /** Its number in `labels`. */
  readonly label: number;
  readonly pixels: number;
  readonly box: Box;
  readonly color: WorldColor;
}

export interface Foreground {
  /** For each pixel the number of its component from 1, or 0. */
  readonly labels: Int32Array;
  /** Those of at least the asked size, in the order of their first pixel. */
  readonly components: readonly Component[];
  /** How much of a color pixel `i` has: 0 as the background, 1 as the color. */
  amount(color: WorldColor, i: number): number;
}

/** Per channel the median of the pixels at the border. */
function backgroundOf({ width, height, rgb }: RgbImage): Rgb {
  const border: number[] = [];
  for (let x = 0; x < width; x++) border.push(x, (height - 1) * width + x);
  for (let y = 1; y < height - 1; y++) border.push(y * width, y * width + width - 1);
  const median = (channel: number) => {
    const values = Uint8Array.from(border, (pixel) => rgb[3 * pixel + channel]).sort();
    return values[values.length >> 1];
  };
  return [median(0), median(1), median(2)];
}

/** A color as seen from the background. */
interface Direction {
  readonly color: WorldColor;
  readonly vector: Rgb;
  readonly square: number;
}

/** Labels the 4-connected components of the foreground; `leastPixels` is what makes one an object. */
export function findComponents(image: RgbImage, leastPixels: number): Foreground {
  const { width, height, rgb } = image;
  const background = backgroundOf(image);
  const directions = COLORS.map((color): Direction => {
    const [r, g, b] = COLOR_VALUES[color];
    const vector = [r - background[0], g - background[1], b - background[2]] as const;
    return { color, vector, square: vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2 };
  });
  const along = ([r, g, b]: Rgb, i: number) =>
    (rgb[3 * i] - background[0]) * r +
    (rgb[3 * i + 1] - background[1]) * g +
    (rgb[3 * i + 2] - background[2]) * b;
  // A color that equals the background cannot be seen on it.
  const visible = directions.filter(({ square }) => square > 0);

  const pixels = width * height;
  const labels = new Int32Array(pixels);
  const foreground = new Uint8Array(pixels);
  for (let i = 0; i < pixels; i++) {
    for (const { vector, square } of visible) {
      if (along(vector, i) < LEAST_AMOUNT * square) continue;
      foreground[i] = 1;
      break;
    }
  }

  const components: Component[] = [];
  const queue = new Int32Array(pixels);
  let label = 0;
  for (let first = 0; first < pixels; first++) {
    if (foreground[first] === 0 || labels[first] !== 0) continue;
    label++;
    let filled = 0;
    const add = (i: number) => {
      if (foreground[i] === 0 || labels[i] !== 0) return;
      labels[i] = label;
      queue[filled++] = i;
    };
    add(first);
    let [x1, y1, x2, y2] = [width, height, 0, 0];
    const sum = [0, 0, 0];
    for (let done = 0; done < filled; done++) {
      const i = queue[done];
      const x = i % width;
      const y = (i - x) / width;
      [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
      for (let channel = 0; channel < 3; channel++) sum[channel] += rgb[3 * i + channel];
      if (x > 0) add(i - 1);
      if (x < width - 1) add(i + 1);
      if (y > 0) add(i - width);
      if (y < height - 1) add(i + width);
    }
    if (filled < leastPixels) continue;
    const deviation = sum.map((value, channel) => value / filled - background[channel]);
    // The length of the deviation is the same for all colors.
    const cosine = ({ vector, square }: Direction) =>
      vector.reduce((product, value, channel) => product + value * deviation[channel], 0) / Math.sqrt(square);
    const { color } = visible.reduce((best, other) => (cosine(other) > cosine(best) ? other : best));
    components.push({ label, pixels: filled, box: [x1, y1, x2, y2], color });
  }
  return {
    labels,
    components,
    amount(color, i) {
      const { vector, square } = directions[COLORS.indexOf(color)];
      return along(vector, i) / square;
    },
  };
}
