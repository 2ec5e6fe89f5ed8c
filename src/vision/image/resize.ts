/**
 * Pillow's bicubic resize of 8-bit images, to the bit (`ImagingResample` of Pillow 12): two passes of integer arithmetic,
 * each rounded to bytes. All DeepSeek processors resize so.
 */
import { resample } from "../../tensor/ops/resample.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { RgbImage } from "./image.ts";
import { bicubicTaps } from "./resample-taps.ts";

type Pass = "rows" | "columns";

/**
 * The passes to make. Rows come first, except in images over 100 times as high as wide that become lower, as in Pillow: the
 * order shows in the bytes. A side that stays is not filtered.
 */
function passes(image: RgbImage, width: number, height: number): Pass[] {
  const order: Pass[] =
    image.height > 100 * image.width && height < image.height ? ["columns", "rows"] : ["rows", "columns"];
  return order.filter((pass) => (pass === "rows" ? width !== image.width : height !== image.height));
}

const tapsOf = (pass: Pass, image: RgbImage, width: number, height: number) =>
  pass === "rows" ? bicubicTaps(image.width, width) : bicubicTaps(image.height, height);

/** The image in another size of at least 1 x 1, on this thread. The pixels may be those of `image` if it has that size. */
export function resizeImage(image: RgbImage, width: number, height: number): RgbImage {
  let { rgb } = image;
  const size: [number, number] = [image.height, image.width];
  for (const pass of passes(image, width, height)) {
    rgb = resample.bytes(rgb, size, pass, tapsOf(pass, image, width, height));
    size[pass === "rows" ? 1 : 0] = pass === "rows" ? width : height;
  }
  return { width, height, rgb };
}

/** Pixels that are filtered along their rows at once: tens of milliseconds. */
const BAND_PIXELS = 2 ** 20;

/**
 * Rows filtered band by band: each row stands for itself. The device holds one band, and others get a turn after each.
 * @returns `[H, width, 3]`
 */
async function filteredRows(
  device: Device,
  { width: from, height, rgb }: RgbImage,
  width: number,
  turn: Turn,
): Promise<Uint8Array> {
  const taps = bicubicTaps(from, width);
  const band = Math.max(1, Math.floor(BAND_PIXELS / from));
  const filtered = new Uint8Array(height * width * 3);
  for (let row = 0; row < height; row += band) {
    if (row > 0) await turn?.();
    const rows = Math.min(band, height - row);
    const part = rgb.subarray(row * from * 3, (row + rows) * from * 3);
    using resized = device.inference(() =>
      resample(device.tensor(part, [rows, from, 3], "u8"), "rows", taps),
    );
    filtered.set((await resized.raw()) as Uint8Array, row * width * 3);
  }
  return filtered;
}

/** Lets others run between two pieces of work; may throw to end it. */
export type Turn = (() => Promise<void>) | undefined;

/** `resizeImage` on a device, with all its threads: the same bytes, sooner, and with turns for others in large images. */
export async function resizeImageOn(
  device: Device,
  image: RgbImage,
  width: number,
  height: number,
  turn?: Turn,
): Promise<RgbImage> {
  let { rgb } = image;
  const size: [number, number] = [image.height, image.width];
  for (const pass of passes(image, width, height)) {
    if (rgb !== image.rgb) await turn?.();
    if (pass === "rows") {
      rgb = await filteredRows(device, { height: size[0], width: size[1], rgb }, width, turn);
      size[1] = width;
      continue;
    }
    const taps = bicubicTaps(image.height, height);
    using resized = device.inference(() => resample(device.tensor(rgb, [...size, 3], "u8"), pass, taps));
    rgb = (await resized.raw()) as Uint8Array;
    size[0] = height;
  }
  return { width, height, rgb };
}
