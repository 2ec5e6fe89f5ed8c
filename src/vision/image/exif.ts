/** The orientation in Exif data (TIFF 6.0, tag 274), and turning an image by it. */
import type { RgbImage } from "./image.ts";

/** 1: as stored; 2 to 8 as in the TIFF specification (3 upside down, 6 and 8 on a side, the others mirrored). */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/** Orientation of a TIFF block; 1 if the block does not say, or is damaged. */
export function exifOrientation(tiff: Uint8Array): Orientation {
  if (tiff.length < 14) return 1;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return 1;
  const little = order === 0x4949;
  if (view.getUint16(2, little) !== 42) return 1;
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return 1;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= tiff.length; i++, at += 12) {
    if (view.getUint16(at, little) !== 274) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? (value as Orientation) : 1;
  }
  return 1;
}

/** The image as it is meant to be seen. */
export function uprightImage(image: RgbImage, orientation: Orientation): RgbImage {
  if (orientation === 1) return image;
  const { width: w, height: h } = image;
  const turned = orientation >= 5;
  const [width, height] = turned ? [h, w] : [w, h];
  // Where pixel (0, 0) of the result lies in the stored image, and the steps to its right and lower neighbors.
  const [start, right, down] = (
    {
      2: [w - 1, -1, w],
      3: [w * h - 1, -1, -w],
      4: [w * (h - 1), 1, -w],
      5: [0, w, 1],
      6: [w * (h - 1), -w, 1],
      7: [w * h - 1, -w, -1],
      8: [w - 1, w, -1],
    } as const
  )[orientation];
  const rgb = new Uint8Array(image.rgb.length);
  let to = 0;
  for (let y = 0; y < height; y++) {
    let from = (start + y * down) * 3;
    for (let x = 0; x < width; x++, to += 3, from += right * 3) {
      rgb[to] = image.rgb[from];
      rgb[to + 1] = image.rgb[from + 1];
      rgb[to + 2] = image.rgb[from + 2];
    }
  }
  return { width, height, rgb };
}
