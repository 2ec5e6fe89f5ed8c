/** From bytes to what towers read: scaled to [0, 1] and, if the checkpoint says so, normalized by channel. */
import type { RgbImage } from "./image/image.ts";

/** One value for each of red, green and blue. */
export type PerChannel = readonly [number, number, number];

export interface Normalization {
  /** What bytes are multiplied by; null divides them by 255, which can differ in the last bit. */
  readonly rescale: number | null;
  /** Subtracted after scaling, then divided by; null leaves values in [0, 1]. */
  readonly meanAndStd: { readonly mean: PerChannel; readonly std: PerChannel } | null;
}

/** The value of each byte in each channel, rounded to f32 after each step as the reference does: `[3, 256]`. */
function valuesOf({ rescale, meanAndStd }: Normalization): Float32Array {
  const values = new Float32Array(3 * 256);
  for (let channel = 0; channel < 3; channel++) {
    for (let byte = 0; byte < 256; byte++) {
      let value = Math.fround(rescale === null ? byte / 255 : byte * rescale);
      if (meanAndStd !== null) {
        const [mean, std] = [Math.fround(meanAndStd.mean[channel]), Math.fround(meanAndStd.std[channel])];
        value = Math.fround(Math.fround(value - mean) / std);
      }
      values[channel * 256 + byte] = value;
    }
  }
  return values;
}

/** Pixels of images of one size: `[images, height, width, 3]` f32. */
export function pixelValues(images: readonly RgbImage[], normalization: Normalization): Float32Array {
  const values = valuesOf(normalization);
  const pixels = new Float32Array(images.reduce((sum, { rgb }) => sum + rgb.length, 0));
  let to = 0;
  for (const { rgb } of images) {
    for (let from = 0; from < rgb.length; from += 3, to += 3) {
      pixels[to] = values[rgb[from]];
      pixels[to + 1] = values[256 + rgb[from + 1]];
      pixels[to + 2] = values[512 + rgb[from + 2]];
    }
  }
  return pixels;
}

/** Bytes of pixels in [-1, 1], as the drawing models' programs write them: values beyond are cut, fractions dropped. */
export function pixelBytes(values: ArrayLike<number>): Uint8Array {
  return Uint8Array.from({ length: values.length }, (_, i) =>
    Math.trunc(Math.min(255, Math.max(0, ((values[i] + 1) / 2) * 255))),
  );
}
