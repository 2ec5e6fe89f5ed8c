/**
 * The canvas of DeepSeek-VL, Janus and JanusFlow: an image scaled until its longer side fits, on a square of one color
 * (`VLMImageProcessor` of deepseek-ai/DeepSeek-VL).
 */
import type { Device } from "../tensor/tensor.ts";
import { filledImage, pasteImage, type RgbImage } from "./image/image.ts";
import { resizeImage, resizeImageOn, type Turn } from "./image/resize.ts";
import type { PerChannel } from "./pixels.ts";

export interface CanvasSettings {
  /** Side of the canvas, in pixels. */
  readonly imageSize: number;
  /** Least pixels of the shorter side, at most `imageSize`. */
  readonly minSize: number;
  /** Red, green and blue around the image, 0 to 255. */
  readonly background: PerChannel;
}

/** Where an image comes to lie on a canvas. */
export interface Placement {
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
}

/** The image's place on its canvas. Sizes are cut to integers, the ratio computed first, as in the reference. */
export function canvasPlacement(
  { imageSize, minSize }: Pick<CanvasSettings, "imageSize" | "minSize">,
  width: number,
  height: number,
): Placement {
  const longer = Math.max(width, height);
  const scaled = (side: number) => Math.max(Math.trunc((side / longer) * imageSize), minSize);
  const [w, h] = [scaled(width), scaled(height)];
  return { width: w, height: h, x: Math.floor((imageSize - w) / 2), y: Math.floor((imageSize - h) / 2) };
}

/** The image at `place` on a canvas. @param device resizes on its threads, with the same bytes */
export async function placedImage(
  image: RgbImage,
  place: Placement,
  canvas: readonly [width: number, height: number],
  background: PerChannel,
  device?: Device,
  turn?: Turn,
): Promise<RgbImage> {
  const { width, height, x, y } = place;
  const resized =
    device === undefined
      ? resizeImage(image, width, height)
      : await resizeImageOn(device, image, width, height, turn);
  if (width === canvas[0] && height === canvas[1]) return resized;
  const filled = filledImage(...canvas, background);
  pasteImage(filled, resized, x, y);
  return filled;
}

/** The canvas of an image, `imageSize` pixels square. @param device resizes on its threads, with the same bytes */
export function canvasImage(
  image: RgbImage,
  settings: CanvasSettings,
  device?: Device,
  turn?: Turn,
): Promise<RgbImage> {
  const { imageSize, background } = settings;
  const place = canvasPlacement(settings, image.width, image.height);
  return placedImage(image, place, [imageSize, imageSize], background, device, turn);
}
