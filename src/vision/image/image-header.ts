/** What an image file says of itself before a pixel is decoded. */
import type { Orientation } from "./exif.ts";

export type ImageFormat = "png" | "jpeg" | "webp" | "gif";

export interface ImageHeader {
  readonly format: ImageFormat;
  /** Pixels, as stored: before any rotation. */
  readonly width: number;
  readonly height: number;
  /** From the file's Exif data; 1 if there is none. */
  readonly orientation: Orientation;
  /** What decoders have to be told apart: gray of 16 bits, four inks, and what they turn into RGB by themselves. */
  readonly samples: "rgb" | "gray16" | "cmyk";
  /** Whether there are several frames, of which the first counts. */
  readonly animated?: boolean;
}
