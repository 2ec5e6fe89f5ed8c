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

/** `resizeImage` on a device, with all its threads: the same bytes, sooner. */
export async function resizeImageOn(
  device: Device,
  image: RgbImage,
  width: number,
  height: number,
): Promise<RgbImage> {
  const steps = passes(image, width, height);
  if (steps.length === 0) return { width, height, rgb: image.rgb };
  const resized = device.inference(() =>
    steps.reduce(
      (tensor, pass) => resample(tensor, pass, tapsOf(pass, image, width, height)),
      device.tensor(image.rgb, [image.height, image.width, 3], "u8"),
    ),
  );
  try {
    return { width, height, rgb: (await resized.raw()) as Uint8Array };
  } finally {
    resized.dispose();
  }
}
