/**
 * Pixels through the WebAssembly decoders of @jsquash: in browsers and their workers, and in Node without sharp. Each is
 * loaded with the first image of its format.
 */
import { isNode } from "../../tensor/cpu/host.ts";
import { nodeModule } from "../../tensor/cpu/node-module.ts";
import { filledImage, ImageError, pasteImage, type RgbImage } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";
import { checkPngData } from "./png-file.ts";
import { firstWebpFrame } from "./webp-file.ts";

/** What all three give back: an `ImageData`, four bytes for each pixel. */
interface Rgba {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}
type Decode = (bytes: ArrayBuffer) => Promise<Rgba>;
type Init = (module?: WebAssembly.Module | object, options?: object) => Promise<unknown>;

/** Warnings of the decoders, which they would write to standard error. */
const quiet = { print: () => {}, printErr: () => {} };

/** A fresh decoder. Package names are written out, for bundlers to find them by. */
const makers: Readonly<Record<string, () => Promise<Decode>>> = {
  png: async () => {
    const { init, decode } = await import("@jsquash/png/decode.js");
    await start(init as Init, "@jsquash/png/codec/pkg/squoosh_png_bg.wasm");
    return decode as Decode;
  },
  jpeg: async () => {
    const { init, default: decode } = await import("@jsquash/jpeg/decode.js");
    await start(init as Init, "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm");
    return decode as Decode;
  },
  webp: async () => {
    const { init, default: decode } = await import("@jsquash/webp/decode.js");
    await start(init as Init, "@jsquash/webp/codec/dec/webp_dec.wasm");
    return decode as Decode;
  },
};

/** In Node the decoders cannot fetch their code; in browsers they find it by themselves. */
async function start(init: Init, file: string): Promise<void> {
  if (!isNode()) {
    // The one of PNG takes an address here.
    await (file.endsWith("_bg.wasm") ? init() : init(quiet));
    return;
  }
  const { createRequire } = await nodeModule<typeof import("node:module")>("node:module");
  const { readFile } = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  // The decoders make one of these at the end.
  (globalThis as { ImageData?: unknown }).ImageData ??= class {
    readonly data: Uint8ClampedArray;
    readonly width: number;
    readonly height: number;
    constructor(data: Uint8ClampedArray, width: number, height: number) {
      this.data = data;
      this.width = width;
      this.height = height;
    }
  };
  const bytes = await readFile(createRequire(import.meta.url).resolve(file));
  await init(await WebAssembly.compile(bytes), quiet);
}

const running = new Map<string, Promise<Decode>>();

/** Pixels of a file of which only the size is still to be checked. Rejects with an error of the decoder. */
async function decodeStill(
  bytes: Uint8Array,
  format: string,
  width: number,
  height: number,
): Promise<RgbImage> {
  let decoder = running.get(format);
  if (decoder === undefined) {
    decoder = makers[format]();
    running.set(format, decoder);
  }
  let image: Rgba;
  try {
    image = await (await decoder)(bytes.slice().buffer);
  } catch (error) {
    // An instance that stopped in the middle is not used again.
    running.delete(format);
    throw error;
  }
  if (width !== image.width || height !== image.height) {
    throw new Error(`decoded as ${image.width} x ${image.height}`);
  }
  const { data } = image;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return { width, height, rgb };
}

/**
 * Pixels as stored, alpha dropped; gray of 16 bits gives its high bytes; an animation's first frame on black. Rejects with
 * an error of the decoder where the file is damaged. @throws ImageError for CMYK, which these decoders do not know
 */
export async function decodeWithWasm(
  bytes: Uint8Array,
  { format, width, height, samples, animated }: ImageHeader,
  file: string,
): Promise<RgbImage> {
  if (samples === "cmyk") {
    throw new ImageError(file, "unsupported", "a JPEG of four inks (CMYK)", {
      hint: "Install sharp next to this package, in Node, or convert the image to RGB",
    });
  }
  // The decoder stops on damaged data without freeing its memory, so that it sees none.
  if (format === "png") await checkPngData(bytes, file);
  if (!animated) return decodeStill(bytes, format, width, height);
  const frame = firstWebpFrame(bytes, file);
  if (frame.x + frame.width > width || frame.y + frame.height > height) {
    throw new ImageError(file, "bad header", "the first frame leaves the canvas", {
      expected: `within ${width} x ${height}`,
      found: `${frame.width} x ${frame.height} at (${frame.x}, ${frame.y})`,
    });
  }
  const image = await decodeStill(frame.bytes, format, frame.width, frame.height);
  if (frame.width === width && frame.height === height) return image;
  const canvas = filledImage(width, height, [0, 0, 0]);
  pasteImage(canvas, image, frame.x, frame.y);
  return canvas;
}
