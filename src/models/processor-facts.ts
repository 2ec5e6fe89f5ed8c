/** How a checkpoint's files say that images are prepared, and where they contradict the model. */
import type { TileSettings } from "../vision/tiles.ts";
import { parseCanvasProcessor, parseImagePrompt } from "./deepseek_vl/processor.ts";
import { parseTileProcessor } from "./deepseek_vl2/processor.ts";
import type { VisionLanguageModel } from "./vision-language.ts";

export interface ProcessorFacts {
  /** The file that says it. */
  readonly file: string;
  /** Side of a view, in pixels. */
  readonly side: number;
  /** Subtracted from values in [0, 1], then divided by; null where the tower gets values in [0, 1]. */
  readonly normalization: { readonly mean: readonly number[]; readonly std: readonly number[] } | null;
  /** Color around an image, 0 to 255. */
  readonly background: readonly number[];
  /** Text of the token that stands for an image. */
  readonly imageToken: string | null;
}

/** The parsed files; null where there are none. */
export interface ProcessorJson {
  readonly preprocessor: unknown;
  readonly processor: unknown;
}

const PREPROCESSOR = "preprocessor_config.json";
const PROCESSOR = "processor_config.json";

/** Janus' first files were so until November 2024. */
export const NOT_NORMALIZED = `${PREPROCESSOR}: do_normalize is false, but the tower was trained on normalized pixels (a fault of some published files): set it to true`;

const raw = (json: unknown, key: string): unknown => (json as Record<string, unknown> | null)?.[key];

/** Resolutions of the file that the model's configuration lacks, or the other way. */
function sameResolutions(a: TileSettings["resolutions"], b: TileSettings["resolutions"]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function tileFacts(model: VisionLanguageModel, { processor }: ProcessorJson, warn: (text: string) => void) {
  if (processor === null) {
    warn(`${PROCESSOR} is missing: images cannot be prepared; copy it from the model's page`);
    return null;
  }
  const { tiles, normalization, imageToken } = parseTileProcessor(processor);
  const { tower, projector, tiling } = model.config;
  const patch = tower.kind === "siglip" ? tower.patchSize : 0;
  const ratio = projector.kind === "downsample_mlp_gelu" ? projector.ratio : 1;
  if (tiles.tileSize !== model.imageSize)
    warn(`${PROCESSOR}: tiles of ${tiles.tileSize} pixels, the tower's images have ${model.imageSize}`);
  else if (!sameResolutions(tiles.resolutions, tiling!.resolutions))
    warn(`${PROCESSOR}: candidate_resolutions are not those of config.json`);
  if (tiles.patchSize !== patch) warn(`${PROCESSOR}: patch_size ${tiles.patchSize}, the tower's is ${patch}`);
  if (tiles.downsampleRatio !== ratio)
    warn(`${PROCESSOR}: downsample_ratio ${tiles.downsampleRatio}, the projector's is ${ratio}`);
  if (normalization.meanAndStd === null)
    warn(`${PROCESSOR}: normalize is false, but the tower was trained on normalized pixels`);
  return { file: PROCESSOR, side: tiles.tileSize, normalization, background: tiles.background, imageToken };
}

function canvasFacts(model: VisionLanguageModel, files: ProcessorJson, warn: (text: string) => void) {
  const { preprocessor, processor } = files;
  if (preprocessor === null) {
    warn(`${PREPROCESSOR} is missing: images cannot be prepared; copy it from the model's page`);
    return null;
  }
  const { canvas, normalization } = parseCanvasProcessor(preprocessor);
  const { imageSize } = canvas;
  if (imageSize !== model.imageSize)
    warn(`${PREPROCESSOR}: image_size ${imageSize}, the tower's images have ${model.imageSize}`);
  const normalizes = normalization.meanAndStd !== null;
  // Two towers normalize for themselves, each in its own way; a single one does not.
  if (model.config.tower.kind === "hybrid" && normalizes)
    warn(`${PREPROCESSOR}: do_normalize is true, but the two towers normalize pixels themselves`);
  if (model.config.tower.kind === "siglip" && !normalizes) warn(NOT_NORMALIZED);
  const color = raw(preprocessor, "background_color");
  if (Array.isArray(color) && color.join() !== canvas.background.join())
    warn(
      `${PREPROCESSOR}: background_color [${color.join(", ")}] is not read: it is [${canvas.background.join(", ")}], from image_mean`,
    );
  if (processor === null)
    return {
      file: PREPROCESSOR,
      side: imageSize,
      normalization,
      background: canvas.background,
      imageToken: null,
    };
  const { tokens, imageToken } = parseImagePrompt(processor);
  const own = model.viewTokens;
  if (tokens !== own) warn(`${PROCESSOR}: num_image_tokens ${tokens}, the model makes ${own} of an image`);
  return { file: PREPROCESSOR, side: imageSize, normalization, background: canvas.background, imageToken };
}

/** What the files say, and warnings where they would make the model see wrongly or not at all. */
export function processorFacts(
  model: VisionLanguageModel,
  files: ProcessorJson,
): { readonly facts: ProcessorFacts | null; readonly warnings: readonly string[] } {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  try {
    const found = (model.config.tiling === null ? canvasFacts : tileFacts)(model, files, warn);
    if (found === null) return { facts: null, warnings };
    const { normalization, ...rest } = found;
    return { facts: { ...rest, normalization: normalization.meanAndStd }, warnings };
  } catch (error) {
    warn((error as Error).message);
    return { facts: null, warnings };
  }
}
