/** An image as processors take it, and the error that every refusal of one is. */
import { DeepseekError, type ErrorDetail } from "../../tensor/errors.ts";

/** Pixels as bytes, row by row from the top left, red, green and blue for each. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** `[height, width, 3]`. */
  readonly rgb: Uint8Array;
}

/** Why an image was refused. */
export type ImageFault =
  | "unknown format"
  | "bad header"
  | "truncated"
  | "checksum"
  | "damaged"
  | "pixel limit"
  | "byte limit"
  | "unsupported";

/** An image that is damaged, too large or of a kind that is not read. Its message begins with the file's name. */
export class ImageError extends DeepseekError {
  override name = "ImageError";
  readonly fault: ImageFault;

  constructor(file: string, fault: ImageFault, message: string, detail: Omit<ErrorDetail, "where"> = {}) {
    super(`${fault}: ${message}`, { where: file, ...detail });
    this.fault = fault;
  }
}

/** An image of one color. @param color red, green and blue, 0 to 255 */
export function filledImage(
  width: number,
  height: number,
  [red, green, blue]: readonly [number, number, number],
): RgbImage {
  const rgb = new Uint8Array(width * height * 3);
  if (red === green && green === blue) rgb.fill(red);
  else {
    for (let i = 0; i < rgb.length; i += 3) {
      rgb[i] = red;
      rgb[i + 1] = green;
      rgb[i + 2] = blue;
    }
  }
  return { width, height, rgb };
}

/** Copies all of `image` into `canvas`, its top left corner at (x, y), where it must lie within. */
export function pasteImage(canvas: RgbImage, image: RgbImage, x: number, y: number): void {
  const row = image.width * 3;
  for (let i = 0; i < image.height; i++) {
    canvas.rgb.set(image.rgb.subarray(i * row, (i + 1) * row), ((y + i) * canvas.width + x) * 3);
  }
}

/** A copy of the part of `image` that begins at (x, y), where it must lie within. */
export function cropImage(image: RgbImage, x: number, y: number, width: number, height: number): RgbImage {
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < height; i++) {
    const at = ((y + i) * image.width + x) * 3;
    rgb.set(image.rgb.subarray(at, at + width * 3), i * width * 3);
  }
  return { width, height, rgb };
}
