/**
 * GIF (GIF89a specification): structure, and pixels of the first frame. The decoder is our own because libraries leave
 * transparent pixels black or empty, where Pillow's `convert("RGB")` shows their palette color.
 */

import { ImageError, type RgbImage } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";

export const isGif = (bytes: Uint8Array) => /^GIF8[79]a/.test(String.fromCharCode(...bytes.subarray(0, 6)));

interface GifFrame {
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
  readonly interlaced: boolean;
  /** Red, green and blue of each index. */
  readonly palette: Uint8Array;
  readonly transparent: number | null;
  /** Offset of the byte with the LZW code size. */
  readonly data: number;
}

/** Offset behind the data blocks at `at`. @throws ImageError if the file ends inside them */
function skipBlocks(bytes: Uint8Array, at: number, file: string): number {
  while (at < bytes.length) {
    const length = bytes[at++];
    if (length === 0) return at;
    at += length;
  }
  throw new ImageError(file, "truncated", "the file ends inside a data block");
}

/** Palette of 2^(bits) colors; indices beyond it are gray, as Pillow fills them up. */
function readPalette(bytes: Uint8Array, at: number, flags: number): Uint8Array {
  const palette = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  if (flags & 0x80) palette.set(bytes.subarray(at, at + paletteBytes(flags)));
  return palette;
}

const paletteBytes = (flags: number) => (flags & 0x80 ? 3 * (2 << (flags & 7)) : 0);

/** Walks to the first frame and past its data. */
function firstFrame(bytes: Uint8Array, file: string): { screen: [number, number]; frame: GifFrame } {
  const word = (at: number) => bytes[at] | (bytes[at + 1] << 8);
  const need = (end: number) => {
    if (end > bytes.length) throw new ImageError(file, "truncated", "the file ends before its first frame");
  };
  need(13);
  const screen: [number, number] = [word(6), word(8)];
  const flags = bytes[10];
  let at = 13 + paletteBytes(flags);
  need(at);
  let transparent: number | null = null;
  for (;;) {
    need(at + 1);
    const kind = bytes[at++];
    if (kind === 0x21) {
      need(at + 6);
      if (bytes[at] === 0xf9 && bytes[at + 1] === 4) transparent = bytes[at + 2] & 1 ? bytes[at + 5] : null;
      at = skipBlocks(bytes, at + 1, file);
    } else if (kind === 0x2c) {
      need(at + 9);
      const [x, y, width, height] = [word(at), word(at + 2), word(at + 4), word(at + 6)];
      const own = bytes[at + 8];
      at += 9;
      const data = at + paletteBytes(own);
      need(data + 1);
      const palette = own & 0x80 ? readPalette(bytes, at, own) : readPalette(bytes, 13, flags);
      skipBlocks(bytes, data + 1, file);
      return {
        screen,
        frame: { width, height, x, y, interlaced: (own & 0x40) !== 0, palette, transparent, data },
      };
    } else if (kind === 0x3b) {
      throw new ImageError(file, "bad header", "the file has no frame");
    } else {
      throw new ImageError(file, "damaged", "a block of no known kind", { found: kind });
    }
  }
}

/** @throws ImageError */
export function gifHeader(bytes: Uint8Array, file: string): ImageHeader & { readonly format: "gif" } {
  const { screen, frame } = firstFrame(bytes, file);
  const [width, height] = screen;
  const expected = `within ${width} x ${height}`;
  const found = `${frame.width} x ${frame.height} at (${frame.x}, ${frame.y})`;
  if (width === 0 || height === 0 || frame.width === 0 || frame.height === 0) {
    throw new ImageError(file, "bad header", "the size is not valid", { found });
  }
  if (frame.x + frame.width > width || frame.y + frame.height > height) {
    throw new ImageError(file, "unsupported", "the first frame leaves the screen", { expected, found });
  }
  return { format: "gif", width, height, orientation: 1, samples: "rgb" };
}

/** Indices of `count` pixels. @throws ImageError */
function inflateLzw(bytes: Uint8Array, start: number, count: number, file: string): Uint8Array {
  const size = bytes[start];
  if (size < 1 || size > 11) throw new ImageError(file, "damaged", "no such LZW code size", { found: size });
  const clear = 1 << size;
  const prefix = new Uint16Array(4096);
  const suffix = new Uint8Array(4096);
  const lengths = new Uint16Array(4096).fill(1, 0, clear);
  for (let i = 0; i < clear; i++) suffix[i] = i;
  const out = new Uint8Array(count);
  let written = 0;
  let next = clear + 2;
  let width = size + 1;
  let last = -1;
  let first = 0;
  let buffer = 0;
  let bits = 0;
  let at = start + 1;
  let left = bytes[at++];
  while (written < count) {
    while (bits < width) {
      if (left === 0) throw new ImageError(file, "truncated", "the image data ends before the last row");
      buffer |= bytes[at++] << bits;
      bits += 8;
      if (--left === 0) left = bytes[at++];
    }
    const code = buffer & ((1 << width) - 1);
    buffer >>>= width;
    bits -= width;
    if (code === clear) {
      next = clear + 2;
      width = size + 1;
      last = -1;
      continue;
    }
    if (code === clear + 1)
      throw new ImageError(file, "truncated", "the image data ends before the last row");
    if (code > next || (code === next && last < 0) || (last < 0 && code > clear)) {
      throw new ImageError(file, "damaged", "the image data has a code that stands for nothing");
    }
    // A code that is defined by itself repeats the last string and its first index.
    const known = code === next ? last : code;
    const length = lengths[known];
    let to = written + length;
    for (let c = known, n = 0; n < length; n++, c = prefix[c]) {
      first = suffix[c];
      if (--to < count) out[to] = first;
    }
    written += length;
    if (code === next && written < count) out[written++] = first;
    if (last >= 0 && next < 4096) {
      prefix[next] = last;
      suffix[next] = first;
      lengths[next] = lengths[last] + 1;
      next++;
      if (next === 1 << width && width < 12) width++;
    }
    last = code;
  }
  return out;
}

/** Rows of an interlaced frame in the order of the file. */
function* interlacedRows(height: number): Generator<number> {
  for (const [from, step] of [
    [0, 8],
    [4, 8],
    [2, 4],
    [1, 2],
  ]) {
    for (let y = from; y < height; y += step) yield y;
  }
}

/**
 * Pixels of the first frame on its screen, transparent ones in their palette color. What the frame leaves free has
 * the transparent color, or that of index 0. @throws ImageError
 */
export function decodeGif(bytes: Uint8Array, file: string): RgbImage {
  const {
    screen: [width, height],
    frame,
  } = firstFrame(bytes, file);
  const { palette } = frame;
  const indices = inflateLzw(bytes, frame.data, frame.width * frame.height, file);
  const rgb = new Uint8Array(width * height * 3);
  const put = (to: number, index: number) => {
    rgb[to] = palette[index * 3];
    rgb[to + 1] = palette[index * 3 + 1];
    rgb[to + 2] = palette[index * 3 + 2];
  };
  if (frame.width !== width || frame.height !== height) {
    for (let i = 0; i < rgb.length; i += 3) put(i, frame.transparent ?? 0);
  }
  const rows = frame.interlaced ? [...interlacedRows(frame.height)] : null;
  for (let row = 0; row < frame.height; row++) {
    const to = ((frame.y + (rows ? rows[row] : row)) * width + frame.x) * 3;
    for (let x = 0; x < frame.width; x++) put(to + x * 3, indices[row * frame.width + x]);
  }
  return { width, height, rgb };
}
