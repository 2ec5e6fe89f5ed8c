/** Pixels through sharp (libvips), if it is installed next to this package. */
import type Sharp from "sharp";
import { isNode } from "../../tensor/cpu/host.ts";
import { cmykToRgb } from "./cmyk.ts";
import type { RgbImage } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";

let loaded: Promise<typeof Sharp | null> | undefined;

/** sharp, or null if it is not installed, does not work on this system, or this is a browser. */
export function loadSharp(): Promise<typeof Sharp | null> {
  if (!isNode()) return Promise.resolve(null);
  // No literal: bundlers would look for a package that need not be there.
  const name: string = "sharp";
  loaded ??= import(/* @vite-ignore */ /* webpackIgnore: true */ name).then(
    ({ default: sharp }) => sharp as typeof Sharp,
    () => null,
  );
  return loaded;
}

/**
 * Pixels as stored: no rotation, no color management, alpha dropped. Gray of 16 bits gives its high bytes. Rejects
 * with an error of libvips if the file is damaged.
 */
export async function decodeWithSharp(
  sharp: typeof Sharp,
  bytes: Uint8Array,
  { width, height, samples }: ImageHeader,
): Promise<RgbImage> {
  const image = sharp(bytes, {
    ignoreIcc: true,
    // As Pillow does: what a decoder merely warns of is an image still.
    failOn: "error",
    limitInputPixels: width * height,
  });
  if (samples === "cmyk") {
    // Both: without the first, the inks go to RGB and back.
    const inks = image.pipelineColourspace("cmyk").toColourspace("cmyk");
    const { data } = await inks.raw().toBuffer({ resolveWithObject: true });
    return { width, height, rgb: cmykToRgb(data) };
  }
  if (samples === "gray16") {
    const gray = image.removeAlpha().toColourspace("grey16").raw({ depth: "ushort" });
    const { data } = await gray.toBuffer({ resolveWithObject: true });
    const rgb = new Uint8Array(width * height * 3);
    // Samples are in the machine's order, which is little-endian wherever Node runs.
    for (let i = 0; i < width * height; i++) rgb.fill(data[2 * i + 1], 3 * i, 3 * i + 3);
    return { width, height, rgb };
  }
  const { data, info } = await image
    .removeAlpha()
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.width !== width || info.height !== height || info.channels !== 3) {
    throw new Error(`decoded as ${info.width} x ${info.height} with ${info.channels} channels`);
  }
  return { width, height, rgb: new Uint8Array(data.buffer, data.byteOffset, data.length) };
}
