/**
 * Image processing of DeepSeek-VL, which Janus and JanusFlow share: `preprocessor_config.json` (`VLMImageProcessor`), and from
 * images to pixels; how images stand in its prompts. Checkpoints of the transformers ports have other processors, which round
 * sizes instead of cutting them and resample as torchvision does: their pixels differ, and their files are refused here.
 */

import type { Device } from "../../tensor/tensor.ts";
import { type CanvasSettings, canvasImage } from "../../vision/canvas.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { type Normalization, pixelValues } from "../../vision/pixels.ts";
import type { MeanAndStd } from "../../vision/tower-config.ts";
import { ConfigReader } from "../config-reader.ts";
import { backgroundOf, readPerChannel, readSide, readToken } from "../processor-config.ts";
import { CLIP } from "../tower-parts.ts";

/** Most tokens of an image that a configuration may ask for. */
const MOST_TOKENS = 65_536;

/** How images become the input of the tower. */
export interface CanvasProcessor {
  readonly canvas: CanvasSettings;
  readonly normalization: Normalization;
}

function readMeanAndStd(config: ConfigReader) {
  const mean = config.has("image_mean") ? readPerChannel(config, "image_mean") : CLIP.mean;
  const std = config.has("image_std") ? readPerChannel(config, "image_std", 0) : CLIP.std;
  return { mean, std };
}

/**
 * What a `preprocessor_config.json`, also that of a transformers port, subtracts from values in [0, 1] and divides by; null
 * where it does not normalize. @throws ConfigError
 */
export function readNormalization(json: unknown, where = "preprocessor_config.json"): MeanAndStd | null {
  const config = new ConfigReader(json, where);
  if (!config.boolean("do_normalize", true)) return null;
  const { mean, std } = readMeanAndStd(config);
  if (mean === null) return config.refuse("image_mean", "three numbers");
  if (std === null) return config.refuse("image_std", "three numbers");
  return { mean, std };
}

/**
 * Reads a `preprocessor_config.json`. Its `background_color` means nothing: the color follows from `image_mean`.
 * @throws ConfigError for another kind of processor, and values that are not supported
 */
export function parseCanvasProcessor(json: unknown, where = "preprocessor_config.json"): CanvasProcessor {
  const config = new ConfigReader(json, where);
  config.only(
    "image_processor_type",
    "VLMImageProcessor",
    "Use the checkpoint of deepseek-ai: the ports of transformers process images in another way",
  );
  const imageSize = readSide(config, "image_size");
  const minSize = readSide(config, "min_size", 14);
  if (minSize > imageSize) config.refuse("min_size", `at most image_size, ${imageSize}`);
  const { mean, std } = readMeanAndStd(config);
  const rescale = config.number("rescale_factor", 1 / 255, 0);
  const normalize = config.boolean("do_normalize", true);
  if (normalize && (mean === null || std === null)) {
    config.refuse(mean === null ? "image_mean" : "image_std", "three numbers, since do_normalize is true");
  }
  return {
    canvas: { imageSize, minSize, background: mean === null ? [127, 127, 127] : backgroundOf(mean) },
    normalization: { rescale, meanAndStd: normalize ? { mean: mean!, std: std! } : null },
  };
}

/** Templates of prompts. Janus' first release and JanusFlow had the first name for the second until January 2025. */
export const SFT_FORMATS = ["deepseek", "deepseek_old"] as const;
export type SftFormat = (typeof SFT_FORMATS)[number];

/** How images stand in the prompts of DeepSeek-VL. */
export interface ImagePrompt {
  /** Text of the token that stands for an image. */
  readonly imageToken: string;
  /** Tokens of each image. */
  readonly tokens: number;
}

/**
 * Reads a `processor_config.json` (`VLChatProcessor`).
 * @throws ConfigError for another kind of processor, and values that are not supported
 */
export function parseImagePrompt(json: unknown, where = "processor_config.json"): ImagePrompt {
  const config = new ConfigReader(json, where);
  config.only("processor_class", "VLChatProcessor");
  // What the prompt's code does; released models say nothing else.
  config.only("add_special_token", false);
  config.oneOf("sft_format", SFT_FORMATS, "deepseek");
  config.only("image_start_tag", "<begin_of_image>");
  config.only("image_end_tag", "<end_of_image>");
  config.only("pad_tag", "<\uFF5C\u2581pad\u2581\uFF5C>");
  config.only("ignore_id", -100);
  const tokens = config.integer("num_image_tokens", 576);
  if (tokens > MOST_TOKENS) config.refuse("num_image_tokens", `at most ${MOST_TOKENS}`);
  return { imageToken: readToken(config, "image_tag", "<image_placeholder>"), tokens };
}

/**
 * The input of the tower: `[images, imageSize, imageSize, 3]` f32.
 * @param device resizes on its threads, with the same values
 */
export async function canvasPixels(
  images: readonly RgbImage[],
  { canvas, normalization }: CanvasProcessor,
  device?: Device,
): Promise<Float32Array> {
  const canvases: RgbImage[] = [];
  for (const image of images) canvases.push(await canvasImage(image, canvas, device));
  return pixelValues(canvases, normalization);
}
