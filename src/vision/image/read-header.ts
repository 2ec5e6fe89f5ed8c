/** Format and size of an image file, from its bytes alone: what is checked before a decoder sees them. */
import { gifHeader, isGif } from "./gif-file.ts";
import { ImageError } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";
import { isJpeg, jpegHeader } from "./jpeg-file.ts";
import { isPng, pngHeader } from "./png-file.ts";
import { isWebp, webpHeader } from "./webp-file.ts";

/** How files of formats that are not read begin. */
const others: readonly (readonly [string, ...string[]])[] = [
  ["BMP", "BM"],
  ["TIFF", "II*\0", "MM\0*"],
  ["JPEG XL", "\xff\x0a", "\0\0\0\x0cJXL "],
  ["JPEG 2000", "\0\0\0\x0cjP  ", "\xff\x4f\xff\x51"],
  ["ICO", "\0\0\x01\0"],
  ["PDF", "%PDF"],
  ["text, perhaps SVG or a web page", "<", "\xef\xbb\xbf<"],
];

/**
 * Reads the header and walks the structure to the file's end; allocates nothing. Sizes are not limited here.
 * @param file name for errors
 * @throws ImageError for other formats, damaged headers and truncated files
 */
export function readImageHeader(bytes: Uint8Array, file = "image"): ImageHeader {
  if (isPng(bytes)) return pngHeader(bytes, file);
  if (isJpeg(bytes)) return jpegHeader(bytes, file);
  if (isWebp(bytes)) return webpHeader(bytes, file);
  if (isGif(bytes)) return gifHeader(bytes, file);
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const known = others.find(([, ...starts]) => starts.some((text) => start.startsWith(text)))?.[0];
  const name = start.slice(4, 8) === "ftyp" ? "AVIF, HEIF or a film" : known;
  const found = bytes.length === 0 ? "an empty file" : (name ?? `bytes ${hex(bytes.subarray(0, 8))}`);
  throw new ImageError(file, "unknown format", "not an image that can be read", {
    expected: "PNG, JPEG, WebP or GIF",
    found,
  });
}

const hex = (bytes: Uint8Array) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
