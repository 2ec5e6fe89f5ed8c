/** The structure of WebP files (RFC 9649): RIFF chunks, canvas and frame sizes. Pixels are left to a decoder. */
import { exifOrientation, type Orientation } from "./exif.ts";
import { ImageError } from "./image.ts";
import type { ImageHeader } from "./image-header.ts";

const text = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

export const isWebp = (bytes: Uint8Array) => text(bytes, 0) === "RIFF" && text(bytes, 8) === "WEBP";

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Size in the header of a VP8 key frame. */
function lossySize(data: Uint8Array, file: string): Size {
  if (data.length < 10) throw new ImageError(file, "truncated", "the frame ends inside its header");
  if ((data[0] & 1) !== 0 || data[3] !== 0x9d || data[4] !== 0x01 || data[5] !== 0x2a) {
    throw new ImageError(file, "bad header", "the VP8 data does not begin with a key frame");
  }
  return { width: (data[6] | (data[7] << 8)) & 0x3fff, height: (data[8] | (data[9] << 8)) & 0x3fff };
}

/** Size in the header of a VP8L image. */
function losslessSize(data: Uint8Array, file: string): Size {
  if (data.length < 5) throw new ImageError(file, "truncated", "the frame ends inside its header");
  if (data[0] !== 0x2f || data[4] >> 5 !== 0) {
    throw new ImageError(file, "bad header", "the VP8L data has no valid signature");
  }
  const bits = data[1] | (data[2] << 8) | (data[3] << 16) | (data[4] << 24);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

/** @throws ImageError */
export function webpHeader(bytes: Uint8Array, file: string): ImageHeader & { readonly format: "webp" } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const bad = (message: string, detail = {}): never => {
    throw new ImageError(file, "bad header", message, detail);
  };
  const end = view.getUint32(4, true) + 8;
  if (end > bytes.length) {
    throw new ImageError(file, "truncated", "the file is shorter than its header says", {
      expected: `${end} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  let canvas: Size | null = null;
  let frame: Size | null = null;
  let animated = false;
  let orientation: Orientation = 1;
  for (let at = 12, index = 0; at + 8 <= end; index++) {
    const type = text(bytes, at);
    const length = view.getUint32(at + 4, true);
    at += 8;
    if (at + length > end) {
      throw new ImageError(file, "truncated", `the file ends inside chunk ${JSON.stringify(type)}`);
    }
    const data = bytes.subarray(at, at + length);
    at += length + (length & 1);
    if (type === "VP8X") {
      if (index !== 0 || length < 10) bad("the VP8X chunk is misplaced or too short");
      const size = (i: number) => (data[i] | (data[i + 1] << 8) | (data[i + 2] << 16)) + 1;
      canvas = { width: size(4), height: size(7) };
      animated = (data[0] & 2) !== 0;
    } else if (type === "VP8 " && !animated) frame ??= lossySize(data, file);
    else if (type === "VP8L" && !animated) frame ??= losslessSize(data, file);
    else if (type === "ANMF" && animated) {
      if (length < 24) throw new ImageError(file, "truncated", "a frame ends inside its header");
      const size = (i: number) => (data[i] | (data[i + 1] << 8) | (data[i + 2] << 16)) + 1;
      frame ??= { width: size(6), height: size(9) };
    } else if (type === "EXIF") {
      // Some programs keep the prefix that JPEG files have.
      const prefixed = text(data, 0) === "Exif" && data[4] === 0 && data[5] === 0;
      orientation = exifOrientation(prefixed ? data.subarray(6) : data);
    }
  }
  if (!frame) throw new ImageError(file, "truncated", "the file has no image data");
  const size = canvas ?? frame;
  if (size.width === 0 || size.height === 0)
    bad("the size is not valid", { found: `${size.width} x ${size.height}` });
  const fits = animated
    ? frame.width <= size.width && frame.height <= size.height
    : frame.width === size.width && frame.height === size.height;
  if (!fits) {
    bad("the frame's size is not that of the canvas", {
      expected: `${size.width} x ${size.height}`,
      found: `${frame.width} x ${frame.height}`,
    });
  }
  return { format: "webp", ...size, orientation, samples: "rgb", animated };
}

/** The first frame of an animation as a file of its own, and where it lies on the canvas. */
export interface WebpFrame {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
}

/** @param bytes a file whose header was read @throws ImageError if the first frame holds no image */
export function firstWebpFrame(bytes: Uint8Array, file: string): WebpFrame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 12;
  while (text(bytes, at) !== "ANMF")
    at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) & 1);
  const end = at + 8 + view.getUint32(at + 4, true);
  const three = (i: number) => bytes[at + 8 + i] | (bytes[at + 9 + i] << 8) | (bytes[at + 10 + i] << 16);
  const [x, y, width, height] = [three(0) * 2, three(3) * 2, three(6) + 1, three(9) + 1];
  let alpha: Uint8Array | null = null;
  let image: Uint8Array | null = null;
  for (at += 24; at + 8 <= end && image === null; ) {
    const type = text(bytes, at);
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > end) throw new ImageError(file, "truncated", `the first frame ends inside ${type}`);
    const whole = bytes.subarray(at, at + 8 + length + (length & 1));
    const size = (read: typeof lossySize) => read(bytes.subarray(at + 8, at + 8 + length), file);
    if (type === "ALPH") alpha = whole;
    else if (type === "VP8 " || type === "VP8L") {
      const own = size(type === "VP8L" ? losslessSize : lossySize);
      if (own.width !== width || own.height !== height) {
        throw new ImageError(file, "bad header", "the first frame's size is not that of its image", {
          expected: `${width} x ${height}`,
          found: `${own.width} x ${own.height}`,
        });
      }
      image = whole;
    }
    at += 8 + length + (length & 1);
  }
  if (image === null) throw new ImageError(file, "damaged", "the first frame holds no image");
  const extended = new Uint8Array(alpha === null ? 0 : 18);
  if (alpha !== null) {
    extended.set([0x56, 0x50, 0x38, 0x58, 10, 0, 0, 0, 0x10, 0, 0, 0]);
    for (let i = 0; i < 3; i++) {
      extended[12 + i] = (width - 1) >> (8 * i);
      extended[15 + i] = (height - 1) >> (8 * i);
    }
  }
  const chunks = [extended, alpha ?? new Uint8Array(0), image];
  const length = chunks.reduce((sum, part) => sum + part.length, 4);
  const still = new Uint8Array(8 + length);
  still.set(bytes.subarray(0, 4));
  new DataView(still.buffer).setUint32(4, length, true);
  still.set(bytes.subarray(8, 12), 8);
  let to = 12;
  for (const part of chunks) {
    still.set(part, to);
    to += part.length;
  }
  return { bytes: still, width, height, x, y };
}
