/** The part of a picture that models which draw learn to make: its middle, as large as it goes, at their size. */
import type { Device } from "../tensor/tensor.ts";
import { cropImage, type RgbImage } from "./image/image.ts";
import { resizeImage, resizeImageOn } from "./image/resize.ts";

/**
 * The square in the middle of `image`, `side` pixels wide. It is cut before it is resized: a strip of one pixel would become
 * millions wide. @param device resizes on its threads, with the same bytes
 */
export async function squareImage(image: RgbImage, side: number, device?: Device): Promise<RgbImage> {
  const { width, height } = image;
  const shorter = Math.min(width, height);
  const square =
    width === height
      ? image
      : cropImage(image, (width - shorter) >> 1, (height - shorter) >> 1, shorter, shorter);
  if (shorter === side) return square;
  if (device === undefined) return resizeImage(square, side, side);
  return await resizeImageOn(device, square, side, side);
}
