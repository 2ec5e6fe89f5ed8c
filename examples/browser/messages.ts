/** What the page and its worker say to each other. */
import type { PixelBox } from "deepseek-ts/vision";

export type ToWorker =
  | { readonly open: string }
  /** `find`: whether `text` names something whose place is asked for. */
  | { readonly image: File; readonly text: string; readonly find: boolean }
  | { readonly stop: true };

export type FromWorker =
  | { readonly state: string }
  | { readonly opened: string; readonly boxes: boolean }
  | { readonly text: string }
  /** Corners in pixels of the picture, whose size comes along. */
  | {
      readonly label: string;
      readonly boxes: readonly PixelBox[];
      readonly width: number;
      readonly height: number;
    }
  | { readonly done: string }
  | { readonly error: string };
