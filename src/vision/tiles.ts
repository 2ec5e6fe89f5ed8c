/**
 * The views of DeepSeek-VL2: a small picture of the whole image, and tiles of a larger one whose size is chosen from a
 * list (`DeepseekVLV2Processor.tokenize_with_images` and `select_best_resolution` of deepseek-ai/DeepSeek-VL2; Pillow's
 * `ImageOps.pad`).
 */
import type { Device } from "../tensor/tensor.ts";
import { type Placement, placedImage } from "./canvas.ts";
import { cropImage, type RgbImage } from "./image/image.ts";
import type { Turn } from "./image/resize.ts";
import type { PerChannel } from "./pixels.ts";
import { roundHalfEven } from "./rounding.ts";

export interface TileSettings {
  /** Sizes for the tiled view, width first, in pixels; each a multiple of the tile's. Their order decides ties. */
  readonly resolutions: readonly (readonly [width: number, height: number])[];
  /** Side of a tile and of the whole image's view, in pixels. */
  readonly tileSize: number;
  /** Side of a patch of the tower, in pixels. */
  readonly patchSize: number;
  /** Patches that one token stands for, along each side. */
  readonly downsampleRatio: number;
  /** Red, green and blue around the image, 0 to 255. */
  readonly background: PerChannel;
}

export interface TilePlan {
  /** Tiles across and down. */
  readonly tiles: readonly [across: number, down: number];
  /** The image on the canvas of the whole view, and on that of the tiles. */
  readonly global: Placement;
  readonly local: Placement;
  /** Tokens of the prompt that stand for the image. */
  readonly tokens: number;
}

/** More images than this in a conversation, and none of them is tiled. */
export const MOST_TILED_IMAGES = 2;

/**
 * Pillow's `ImageOps.pad`, centered. A side that it rounds to 0, where Pillow fails, becomes 1: images over 700 times as
 * wide as high, or the other way.
 */
function paddedPlacement(width: number, height: number, [w, h]: readonly [number, number]): Placement {
  let [newWidth, newHeight] = [w, h];
  const [ratio, wanted] = [width / height, w / h];
  if (ratio > wanted) newHeight = Math.max(1, roundHalfEven((height / width) * w));
  else if (ratio < wanted) newWidth = Math.max(1, roundHalfEven((width / height) * h));
  // The reference moves an image along one side only.
  const x = newWidth === w ? 0 : roundHalfEven((w - newWidth) * 0.5);
  const y = newWidth !== w || newHeight === h ? 0 : roundHalfEven((h - newHeight) * 0.5);
  return { width: newWidth, height: newHeight, x, y };
}

/** The resolution that shows most of the image's pixels and wastes the fewest; the first of equals. */
function bestResolution(
  width: number,
  height: number,
  resolutions: TileSettings["resolutions"],
): readonly [number, number] {
  let best = resolutions[0];
  let most = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const [w, h] of resolutions) {
    const scale = Math.min(w / width, h / height);
    const shown = Math.min(Math.trunc(width * scale) * Math.trunc(height * scale), width * height);
    const waste = w * h - shown;
    if (shown > most || (shown === most && waste < least)) {
      best = [w, h];
      most = shown;
      least = waste;
    }
  }
  return best;
}

/** Tokens of an image of so many tiles: rows of the whole view, each with a newline, a separator, rows of the tiles. */
export function imageTokens(
  { tileSize, patchSize, downsampleRatio }: Pick<TileSettings, "tileSize" | "patchSize" | "downsampleRatio">,
  [across, down]: readonly [number, number],
): number {
  const side = Math.ceil(Math.floor(tileSize / patchSize) / downsampleRatio);
  return side * (side + 1) + 1 + down * side * (across * side + 1);
}

/**
 * How an image of `width` x `height` is shown.
 * @param images number of images in the whole conversation: with more than two, each has one tile
 * @param maxTiles most tiles, besides the whole view; default: what the resolutions allow
 */
export function tilePlan(
  settings: TileSettings,
  width: number,
  height: number,
  { images = 1, maxTiles = Number.POSITIVE_INFINITY }: { images?: number; maxTiles?: number } = {},
): TilePlan {
  const { tileSize } = settings;
  const small = settings.resolutions.filter(([w, h]) => (w * h) / tileSize ** 2 <= maxTiles);
  const tiled = images <= MOST_TILED_IMAGES && small.length > 0;
  const resolution = tiled ? bestResolution(width, height, small) : ([tileSize, tileSize] as const);
  const tiles = [resolution[0] / tileSize, resolution[1] / tileSize] as const;
  return {
    tiles,
    global: paddedPlacement(width, height, [tileSize, tileSize]),
    local: paddedPlacement(width, height, resolution),
    tokens: imageTokens(settings, tiles),
  };
}

/** Corners of a part of an image, in its pixels. */
export type ImageArea = readonly [x1: number, y1: number, x2: number, y2: number];

/** What each tile of an image shows of it, row by row, to a hundredth of a pixel: without what lies around the image. */
export function tileAreas(
  { tileSize }: Pick<TileSettings, "tileSize">,
  { tiles: [across, down], local }: Pick<TilePlan, "tiles" | "local">,
  width: number,
  height: number,
): ImageArea[] {
  const part = (edge: number, start: number, placed: number, size: number) => {
    const shown = Math.min(Math.max(edge - start, 0), placed);
    return Math.round((shown / placed) * size * 100) / 100;
  };
  const x = (column: number) => part(column * tileSize, local.x, local.width, width);
  const y = (row: number) => part(row * tileSize, local.y, local.height, height);
  return Array.from({ length: across * down }, (_, i): ImageArea => {
    const [column, row] = [i % across, Math.floor(i / across)];
    return [x(column), y(row), x(column + 1), y(row + 1)];
  });
}

/**
 * The views of an image: the whole one, then the tiles row by row, all `tileSize` pixels square.
 * @param device resizes on its threads, with the same bytes
 */
export async function tiledViews(
  image: RgbImage,
  settings: TileSettings,
  plan: TilePlan,
  device?: Device,
  turn?: Turn,
): Promise<RgbImage[]> {
  const { tileSize: side, background } = settings;
  const [across, down] = plan.tiles;
  const whole = await placedImage(image, plan.global, [side, side], background, device, turn);
  if (across * down > 1) await turn?.();
  const canvas =
    across === 1 && down === 1
      ? whole
      : await placedImage(image, plan.local, [across * side, down * side], background, device, turn);
  const views = [whole];
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) views.push(cropImage(canvas, x * side, y * side, side, side));
  }
  return views;
}
