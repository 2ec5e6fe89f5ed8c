/** The two kinds of image processors behind one interface: what an encoder needs of them, image by image. */
import type { Device } from "../tensor/tensor.ts";
import { canvasImage } from "../vision/canvas.ts";
import type { RgbImage } from "../vision/image/image.ts";
import type { Turn } from "../vision/image/resize.ts";
import { pixelValues } from "../vision/pixels.ts";
import { type ImageArea, tileAreas, tiledViews, tilePlan } from "../vision/tiles.ts";
import type { CanvasProcessor } from "./deepseek_vl/processor.ts";
import type { TileProcessor } from "./deepseek_vl2/processor.ts";

/** What decides, beside its size, how an image is shown. */
export interface ViewChoice {
  /** Images in the whole conversation. */
  readonly images: number;
  /** Most tiles besides the whole view; default: what the resolutions allow. */
  readonly maxTiles?: number;
}

export interface ImageProcessor {
  /** Side of a view, in pixels. */
  readonly side: number;
  /** Tiles across and down of an image of so many pixels; `[0, 0]` where images have one view. */
  tiles(width: number, height: number, choice: ViewChoice): readonly [across: number, down: number];
  /** What each of these tiles shows, row by row, in pixels of the image. */
  areas(width: number, height: number, choice: ViewChoice): readonly ImageArea[];
  /**
   * The views of an image: one, or the whole and its tiles.
   * @param device resizes on its threads, with the same bytes
   * @param turn lets others run between two pieces of that work; may throw to end it
   */
  views(image: RgbImage, choice: ViewChoice, device?: Device, turn?: Turn): Promise<RgbImage[]>;
  /** What the tower reads of a view, `[side, side, 3]` f32. */
  pixels(view: RgbImage): Float32Array;
}

/** DeepSeek-VL's: one square canvas for each image. */
export function canvasImages({ canvas, normalization }: CanvasProcessor): ImageProcessor {
  return {
    side: canvas.imageSize,
    tiles: () => [0, 0],
    areas: () => [],
    views: async (image, _, device, turn) => [await canvasImage(image, canvas, device, turn)],
    pixels: (view) => pixelValues([view], normalization),
  };
}

/** DeepSeek-VL2's: the whole image, and tiles of it. */
export function tileImages({ tiles, normalization }: TileProcessor): ImageProcessor {
  return {
    side: tiles.tileSize,
    tiles: (width, height, choice) => tilePlan(tiles, width, height, choice).tiles,
    areas: (width, height, choice) => tileAreas(tiles, tilePlan(tiles, width, height, choice), width, height),
    views: (image, choice, device, turn) =>
      tiledViews(image, tiles, tilePlan(tiles, image.width, image.height, choice), device, turn),
    pixels: (view) => pixelValues([view], normalization),
  };
}
