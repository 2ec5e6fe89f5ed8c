/** What is asked of a drawing, and what it tells while it is made. */
import type { RgbImage } from "../../vision/image/image.ts";
import type { FlowSolver } from "./flow-sampler.ts";

/** Most images of one request. */
export const MOST_IMAGES = 64;

export interface DrawRequest {
  readonly prompt: string;
  /** Images to draw, up to 64; default 1. */
  readonly count?: number;
  /**
   * Seed of all random choices; default 0. Each image has a stream of its own: the third of five is the same alone, with
   * `first: 2, count: 1`.
   */
  readonly seed?: number;
  /** Index of the first image, for one that is drawn again or apart from others; default 0. */
  readonly first?: number;
  /** Weight of the prompt against drawing without one (classifier-free guidance); 1: without guidance. Default 5, JanusFlow 2. */
  readonly guidance?: number;
  /** Janus: of the choice of each code; default 1, 0 takes the likeliest. */
  readonly temperature?: number;
  /** Janus: keep the k most probable codes; default 0, all. */
  readonly topK?: number;
  /** Janus: keep the most probable codes until their probabilities sum to p; default 1, all. */
  readonly topP?: number;
  /** JanusFlow: steps from noise to image; default 30, with `midpoint` 15. */
  readonly steps?: number;
  /** JanusFlow: default `euler`. */
  readonly solver?: FlowSolver;
  /** Rows of codes, or steps, from one preview to the next; default 0, no previews. A preview costs as much as the last image. */
  readonly previews?: number;
  /** Ends the drawing at once: the iteration throws its reason. */
  readonly signal?: AbortSignal;
}

/** An image has grown. */
export interface DrawProgress {
  readonly type: "progress";
  /** Index of the image, from `first` on. */
  readonly image: number;
  readonly done: number;
  readonly of: number;
  readonly unit: "row" | "step";
  /** The image as it is now; where it is not yet drawn it means nothing. */
  readonly preview?: RgbImage;
}

/** Tokens of an image; what guidance and the solver run beside them are none. */
export interface DrawUsage {
  /** Of the prompt, which is read once for all images of a request. */
  readonly promptTokens: number;
  /** Codes of the image, or those of its latents that each evaluation runs. */
  readonly imageTokens: number;
}

/** An image is done. */
export interface DrawnImage {
  readonly type: "image";
  readonly image: number;
  readonly seed: number;
  readonly picture: RgbImage;
  readonly usage: DrawUsage;
}

export type DrawEvent = DrawProgress | DrawnImage;
