/**
 * The structure of PNG files (W3C PNG, third edition): the header, the chunks and their checksums, and whether the
 * compressed data holds all rows. Pixels are left to a decoder.
 */
import { crc32 } from "./crc32.ts";
import { exifOrientation, type Orientation } from "./exif.ts";
import { ImageError } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

export const isPng = (bytes: Uint8Array) => SIGNATURE.every((byte, i) => bytes[i] === byte);

/** Channels of each color type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

export interface PngChunk {
  readonly type: string;
  /** Offset of the data in the file, and its length in bytes. */
  readonly at: number;
  readonly length: number;
}

/** All chunks up to IEND. @throws ImageError if the file ends inside one, or has none */
export function* pngChunks(bytes: Uint8Array, file: string): Generator<PngChunk> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 8; ; ) {
    if (at + 12 > bytes.length)
      throw new ImageError(file, "truncated", "the file ends before its IEND chunk");
    const length = view.getUint32(at);
    const name = bytes.subarray(at + 4, at + 8);
    if (name.some((c) => !((c >= 65 && c <= 90) || (c >= 97 && c <= 122)))) {
      throw new ImageError(file, "damaged", "a chunk has no valid name", { found: `offset ${at + 4}` });
    }
    const type = String.fromCharCode(...name);
    if (at + 12 + length > bytes.length) {
      throw new ImageError(file, "truncated", `the file ends inside chunk ${type}`, {
        expected: `${length} bytes`,
        found: `${Math.max(0, bytes.length - at - 8)} bytes`,
      });
    }
    yield { type, at: at + 8, length };
    if (type === "IEND") return;
    at += 12 + length;
  }
}

/** @throws ImageError */
export function pngHeader(bytes: Uint8Array, file: string): ImageHeader & { readonly format: "png" } {
  const bad = (message: string, found?: unknown): never => {
    throw new ImageError(file, "bad header", message, found === undefined ? {} : { found });
  };
  if (bytes.length < 33) throw new ImageError(file, "truncated", "the file ends inside its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(8) !== 13 || view.getUint32(12) !== 0x49484452) bad("the first chunk is not IHDR");
  if (crc32(bytes.subarray(12, 29)) !== view.getUint32(29)) {
    throw new ImageError(file, "checksum", "the checksum of IHDR does not match");
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [depth, color, compression, filter, interlace] = bytes.subarray(24, 29);
  if (width === 0 || height === 0 || width > 0x7fffffff || height > 0x7fffffff) {
    bad("the size is not valid", `${width} x ${height}`);
  }
  if (!DEPTHS[color]?.includes(depth)) bad("no such color type and depth", `${color}, ${depth} bits`);
  if (compression !== 0 || filter !== 0 || interlace > 1) {
    bad("no such compression, filter or interlacing", `${compression}, ${filter}, ${interlace}`);
  }
  let data = false;
  let palette = false;
  let orientation: Orientation = 1;
  for (const { type, at, length } of pngChunks(bytes, file)) {
    if (type === "IDAT") data = true;
    else if (type === "PLTE") palette = true;
    else if (type === "eXIf") orientation = exifOrientation(bytes.subarray(at, at + length));
    else if (type === "acTL" && !data) {
      throw new ImageError(file, "unsupported", "animated PNG", { hint: "Convert it to a still image" });
    }
  }
  if (!data) throw new ImageError(file, "truncated", "the file has no image data");
  if (color === 3 && !palette) bad("an image of palette colors has no palette");
  const wide = depth === 16 && (color === 0 || color === 4);
  return { format: "png", width, height, orientation, samples: wide ? "gray16" : "rgb" };
}

/** The rows of the decompressed data: for each pass, how many, and the bytes of each with its filter byte. */
function passes(bytes: Uint8Array): { count: number; length: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const bits = bytes[24] * CHANNELS[bytes[25]];
  // Adam7: where each pass begins, and its steps.
  const grids =
    bytes[28] === 0
      ? [[0, 0, 1, 1]]
      : [
          [0, 0, 8, 8],
          [4, 0, 8, 8],
          [0, 4, 4, 8],
          [2, 0, 4, 4],
          [0, 2, 2, 4],
          [1, 0, 2, 2],
          [0, 1, 1, 2],
        ];
  const steps = (size: number, from: number, step: number) => Math.max(0, Math.ceil((size - from) / step));
  return grids.map(([x, y, dx, dy]) => {
    const columns = steps(width, x, dx);
    return { count: columns === 0 ? 0 : steps(height, y, dy), length: 1 + Math.ceil((columns * bits) / 8) };
  });
}

/** Offsets of the filter bytes in the decompressed data. */
function* rowStarts(bytes: Uint8Array): Generator<number, undefined> {
  let at = 0;
  for (const { count, length } of passes(bytes)) {
    for (let row = 0; row < count; row++, at += length) yield at;
  }
}

/** Bytes of compressed data that are decompressed at a time. */
const PIECE = 16_384;

/** Most decompressed bytes behind the last row: decoders read them all, a thousand for each byte of the file. */
const MOST_SURPLUS = 2 ** 20;

/** The data of all IDAT chunks in pieces of one size: a file may have millions of empty chunks, or a single large one. */
function* compressedPieces(bytes: Uint8Array, file: string): Generator<Uint8Array<ArrayBuffer>, undefined> {
  let piece = new Uint8Array(PIECE);
  let filled = 0;
  for (const { type, at, length } of pngChunks(bytes, file)) {
    if (type !== "IDAT") continue;
    for (let from = at; from < at + length; ) {
      const taken = Math.min(PIECE - filled, at + length - from);
      piece.set(bytes.subarray(from, from + taken), filled);
      from += taken;
      filled += taken;
      if (filled < PIECE) continue;
      yield piece;
      piece = new Uint8Array(PIECE);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/**
 * Checks what the header's walk leaves out: checksums of chunks, and that the image data decompresses to all rows, each
 * with a known filter, and to little more.
 * Holds a piece of the data at a time. @throws ImageError
 */
export async function checkPngData(bytes: Uint8Array, file: string): Promise<void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const { type, at, length } of pngChunks(bytes, file)) {
    if (crc32(bytes.subarray(at - 4, at + length)) !== view.getUint32(at + length)) {
      throw new ImageError(file, "checksum", `the checksum of chunk ${type} does not match`);
    }
  }
  const wanted = passes(bytes).reduce((sum, pass) => sum + pass.count * pass.length, 0);
  const starts = rowStarts(bytes);
  let start = starts.next();
  let count = 0;
  const data = compressedPieces(bytes, file);
  const stream = new ReadableStream<BufferSource>({
    pull(controller) {
      const { done, value } = data.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  }).pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  try {
    while (count <= wanted + MOST_SURPLUS) {
      const { done, value } = await reader.read();
      if (done) break;
      for (; !start.done && start.value < count + value.length; start = starts.next()) {
        const filter = value[start.value - count];
        if (filter > 4) throw new ImageError(file, "damaged", "a row has no known filter", { found: filter });
      }
      count += value.length;
    }
  } catch (cause) {
    // Streams that stop early reject instead of ending.
    if (cause instanceof ImageError) throw cause;
    if (count < wanted) {
      throw new ImageError(file, "damaged", "the image data does not decompress to all rows", {
        expected: `${wanted} bytes`,
        found: `${count} bytes`,
        cause,
      });
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (count > wanted + MOST_SURPLUS) {
    throw new ImageError(file, "damaged", "the image data goes on far behind the last row", {
      expected: `${wanted} bytes`,
      found: `more than ${wanted + MOST_SURPLUS} bytes`,
    });
  }
  if (count < wanted) {
    throw new ImageError(file, "truncated", "the image data ends before the last row", {
      expected: `${wanted} bytes`,
      found: `${count} bytes`,
    });
  }
}
