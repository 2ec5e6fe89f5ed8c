/** From a decoder's pixels to a picture, for image tokenizers and autoencoders alike. */
import type { Tensor } from "../../tensor/tensor.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { pixelBytes } from "../../vision/pixels.ts";
import { inTurns, type Turn } from "./turns.ts";

/** The picture of pixels in [-1, 1], `[1, height, width, 3]`, that `decoding` makes convolution by convolution. @throws what `turn` throws */
export async function decodedPicture(decoding: Generator<void, Tensor, void>, turn: Turn): Promise<RgbImage> {
  using pixels = await inTurns(decoding, turn);
  const [, height, width] = pixels.shape;
  return { width, height, rgb: pixelBytes(await pixels.data()) };
}
