/**
 * Image processing of DeepSeek-VL2: `processor_config.json` (`DeepseekVLV2Processor`), and from images to pixels of views.
 */
import type { Device } from "../../tensor/tensor.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { type Normalization, pixelValues } from "../../vision/pixels.ts";
import { type TilePlan, type TileSettings, tiledViews, tilePlan } from "../../vision/tiles.ts";
import { ConfigReader } from "../config-reader.ts";
import { backgroundOf, MOST_PIXELS, readPerChannel, readToken } from "../processor-config.ts";

/** How images become views, and what stands for them in a prompt. */
export interface TileProcessor {
  readonly tiles: TileSettings;
  readonly normalization: Normalization;
  /** Text of the token that stands for an image. */
  readonly imageToken: string;
  /** Text of the padding token. */
  readonly padToken: string;
}

/** Most resolutions to choose from, and most tiles and pixels of one. */
const MOST_RESOLUTIONS = 1024;
const MOST_TILES = 256;
const MOST_CANVAS = 2 ** 26;

/** `candidate_resolutions`: the first is one tile. @throws ConfigError */
export function readResolutions(config: ConfigReader): TileSettings["resolutions"] {
  const key = "candidate_resolutions";
  const value = config.raw(key);
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_RESOLUTIONS) {
    config.refuse(key, `1 to ${MOST_RESOLUTIONS} pairs of a width and a height`);
  }
  const tile: unknown = value[0]?.[0];
  if (!(typeof tile === "number" && Number.isSafeInteger(tile) && tile >= 1 && tile <= MOST_PIXELS)) {
    config.refuse(key, `pairs of at most ${MOST_PIXELS} pixels`, value[0]);
  }
  for (const pair of value) {
    const sides = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    const counts = sides.map((side) => (typeof side === "number" ? side / tile : 0));
    const fits = counts.length === 2 && counts.every((n) => Number.isSafeInteger(n) && n >= 1);
    const count = counts[0] * counts[1];
    if (!fits || count > MOST_TILES || count * tile * tile > MOST_CANVAS) {
      config.refuse(key, `multiples of ${tile}, at most ${MOST_TILES} tiles and ${MOST_CANVAS} pixels`, pair);
    }
  }
  return value;
}

/** @throws ConfigError for values that are not supported */
export function parseTileProcessor(json: unknown, where = "processor_config.json"): TileProcessor {
  const config = new ConfigReader(json, where);
  config.only("processor_class", "DeepseekVLV2Processor");
  const resolutions = readResolutions(config);
  const tileSize = resolutions[0][0];
  const patchSize = config.integer("patch_size");
  if (patchSize > tileSize) config.refuse("patch_size", `at most the tile's side, ${tileSize}`);
  const mean = readPerChannel(config, "image_mean") ?? ([0.5, 0.5, 0.5] as const);
  const std = readPerChannel(config, "image_std", 0) ?? ([0.5, 0.5, 0.5] as const);
  // The prompt's code is that of the released models.
  config.only("add_special_token", false);
  config.only("sft_format", "deepseek");
  config.only("ignore_id", -100);
  return {
    tiles: {
      resolutions,
      tileSize,
      patchSize,
      downsampleRatio: config.integer("downsample_ratio"),
      background: backgroundOf(mean),
    },
    normalization: {
      rescale: null,
      meanAndStd: config.boolean("normalize", true) ? { mean, std } : null,
    },
    imageToken: readToken(config, "image_token", "<image>"),
    padToken: readToken(config, "pad_token", "<｜▁pad▁｜>"),
  };
}

/** The views of the images of a whole conversation, in its order. */
export interface TiledImages {
  /** `[views, tileSize, tileSize, 3]` f32: of each image the whole view, then its tiles row by row. */
  readonly pixels: Float32Array;
  readonly plans: readonly TilePlan[];
}

/**
 * Processes all images of a conversation: with more than two, none is tiled.
 * @param options maxTiles: most tiles of an image besides its whole view; device: resizes on its threads, same values
 */
export async function tiledPixels(
  images: readonly RgbImage[],
  { tiles, normalization }: TileProcessor,
  options: { readonly maxTiles?: number; readonly device?: Device } = {},
): Promise<TiledImages> {
  const views: RgbImage[] = [];
  const plans = images.map(({ width, height }) =>
    tilePlan(tiles, width, height, { images: images.length, maxTiles: options.maxTiles }),
  );
  for (const [i, image] of images.entries()) {
    views.push(...(await tiledViews(image, tiles, plans[i], options.device)));
  }
  return { pixels: pixelValues(views, normalization), plans };
}
