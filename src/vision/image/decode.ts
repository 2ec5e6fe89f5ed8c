/**
 * Image files to RGB bytes, as the reference sees them: Pillow's `Image.open(file).convert("RGB")`, pixels as stored, no
 * color management, alpha dropped. One difference: gray of 16 bits gives its high bytes, where Pillow cuts at 255 and
 * shows almost everything white.
 */
import { dataUrlBytes, isDataUrl } from "./data-url.ts";
import { uprightImage } from "./exif.ts";
import { decodeGif } from "./gif-file.ts";
import { ImageError, type RgbImage } from "./image.ts";
import { checkPngData } from "./png-file.ts";
import { readImageHeader } from "./read-header.ts";
import { decodeWithSharp, loadSharp } from "./sharp-decoder.ts";
import { decodeWithWasm } from "./wasm-decoder.ts";

/** Pixels of the largest image that Pillow opens without a warning. */
export const PIXEL_LIMIT = 89_478_485;
/** Bytes of the largest image file. */
export const BYTE_LIMIT = 256 * 1024 * 1024;

export interface DecodeOptions {
  /** The file's name, for errors. */
  readonly name?: string;
  /** Most pixels, checked in the header. Default `PIXEL_LIMIT`. */
  readonly maxPixels?: number;
  /** Most bytes of the file. Default `BYTE_LIMIT`. */
  readonly maxBytes?: number;
  /** Whether to turn the image as its Exif data say. The reference does not. Default false. */
  readonly rotate?: boolean;
  /**
   * What decodes PNG, JPEG and WebP: `sharp` (Node, if it is installed) or `wasm`. Both give the same bytes; `wasm` refuses
   * CMYK. Default: sharp if it can be loaded.
   */
  readonly decoder?: "sharp" | "wasm";
}

/**
 * Decodes a PNG, JPEG, WebP or the first frame of a GIF. Sizes are checked before anything is allocated from them.
 * @param source bytes of a file, or a `data:image/..;base64,` address
 * @throws ImageError for files that are damaged, truncated, too large or of another format
 */
export async function decodeImage(
  source: Uint8Array | string,
  options: DecodeOptions = {},
): Promise<RgbImage> {
  const { name: file = "image", maxPixels = PIXEL_LIMIT, maxBytes = BYTE_LIMIT, rotate = false } = options;
  if (typeof source === "string" && !isDataUrl(source)) {
    throw new ImageError(file, "unknown format", "not a data URL", {
      expected: "bytes, or data:image/..;base64,..",
      found: source.slice(0, 40),
    });
  }
  const given = typeof source === "string" ? dataUrlBytes(source, file, maxBytes) : source;
  // Node's buffers are arrays whose `slice` does not copy.
  const bytes = new Uint8Array(given.buffer, given.byteOffset, given.length);
  if (bytes.length > maxBytes) {
    throw new ImageError(file, "byte limit", "the file is too large", {
      expected: `at most ${maxBytes} bytes`,
      found: bytes.length,
    });
  }
  const header = readImageHeader(bytes, file);
  const { width, height, orientation, format } = header;
  if (width * height > maxPixels) {
    throw new ImageError(file, "pixel limit", "the image is too large", {
      expected: `at most ${maxPixels} pixels`,
      found: `${width} x ${height} = ${width * height}`,
      hint: "Scale it down, or raise maxPixels",
    });
  }
  let image: RgbImage;
  if (format === "gif") image = decodeGif(bytes, file);
  else {
    const sharp = options.decoder === "wasm" ? null : await loadSharp();
    if (sharp === null && options.decoder === "sharp") {
      throw new ImageError(file, "unsupported", "sharp is not installed", { hint: "npm install sharp" });
    }
    try {
      image =
        sharp === null
          ? await decodeWithWasm(bytes, header, file)
          : await decodeWithSharp(sharp, bytes, header);
    } catch (cause) {
      if (cause instanceof ImageError) throw cause;
      // A checksum or missing rows say more than the decoder's words.
      if (format === "png") await checkPngData(bytes, file);
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ImageError(file, "damaged", `the image data cannot be decoded (${reason})`, { cause });
    }
  }
  return rotate ? uprightImage(image, orientation) : image;
}
