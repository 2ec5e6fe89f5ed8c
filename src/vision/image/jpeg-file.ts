/**
 * The structure of JPEG files (ITU-T T.81, annex B): markers up to the end of the image, which truncated files lack.
 * Decoders silently fill what is missing with gray. Pixels are left to a decoder.
 */
import { exifOrientation, type Orientation } from "./exif.ts";
import { ImageError } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";

export const isJpeg = (bytes: Uint8Array) => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;

/**
 * Most scans of a file. Progressive files have a dozen; each visits all blocks, however few bytes it has, so that
 * thousands in a small file would keep a processor busy for hours.
 */
const MOST_SCANS = 100;

const isFrame = (marker: number) =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
const isRestart = (marker: number) => marker >= 0xd0 && marker <= 0xd7;
const startsWith = (bytes: Uint8Array, text: string) =>
  bytes.length >= text.length && [...text].every((c, i) => bytes[i] === c.charCodeAt(0));

/** @throws ImageError */
export function jpegHeader(bytes: Uint8Array, file: string): ImageHeader & { readonly format: "jpeg" } {
  const truncated = (what: string): never => {
    throw new ImageError(file, "truncated", `the file ends ${what}`);
  };
  let frame: { width: number; height: number; components: number } | null = null;
  let orientation: Orientation = 1;
  let scans = 0;
  for (let at = 2; ; ) {
    // Bytes between segments are skipped, as decoders do.
    at = bytes.indexOf(0xff, at);
    if (at < 0) truncated("before its end-of-image marker");
    while (bytes[at] === 0xff) at++;
    if (at >= bytes.length) truncated("before its end-of-image marker");
    const marker = bytes[at++];
    if (marker === 0 || marker === 1 || isRestart(marker)) continue;
    if (marker === 0xd9) break;
    if (at + 2 > bytes.length) truncated("inside a marker");
    const length = (bytes[at] << 8) | bytes[at + 1];
    if (length < 2) throw new ImageError(file, "bad header", "a segment is shorter than its length field");
    if (at + length > bytes.length) truncated("inside a segment");
    const segment = bytes.subarray(at + 2, at + length);
    at += length;
    if (isFrame(marker)) {
      if (frame) throw new ImageError(file, "unsupported", "several frames in one image");
      if (segment.length < 6) throw new ImageError(file, "bad header", "the frame header is too short");
      const height = (segment[1] << 8) | segment[2];
      const width = (segment[3] << 8) | segment[4];
      const components = segment[5];
      if (width === 0 || height === 0) {
        throw new ImageError(file, "bad header", "the size is not valid", { found: `${width} x ${height}` });
      }
      if (segment[0] !== 8) {
        throw new ImageError(file, "unsupported", "samples are not of 8 bits", { found: segment[0] });
      }
      if (components !== 1 && components !== 3 && components !== 4) {
        throw new ImageError(file, "unsupported", "neither gray, RGB nor CMYK", {
          found: `${components} components`,
        });
      }
      if (segment.length !== 6 + 3 * components) {
        throw new ImageError(file, "bad header", "the frame header has a wrong length");
      }
      frame = { width, height, components };
    } else if (marker === 0xe1 && startsWith(segment, "Exif\0\0")) {
      orientation = exifOrientation(segment.subarray(6));
    } else if (marker === 0xda) {
      if (!frame) throw new ImageError(file, "bad header", "a scan comes before the frame header");
      if (++scans > MOST_SCANS) {
        throw new ImageError(file, "unsupported", `more than ${MOST_SCANS} scans`, {
          hint: "Save it again with an image program",
        });
      }
    }
  }
  if (!frame || scans === 0) throw new ImageError(file, "bad header", "the file has no image data");
  const samples = frame.components === 4 ? "cmyk" : "rgb";
  return { format: "jpeg", width: frame.width, height: frame.height, orientation, samples };
}
