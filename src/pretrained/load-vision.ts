/** What a checkpoint says of its images: the processor's files, and the token that stands for an image. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { type JsonObject, parseJsonObject } from "../checkpoint/strict-json.ts";
import { parseCanvasProcessor, parseImagePrompt, type SftFormat } from "../models/deepseek_vl/processor.ts";
import { parseTileProcessor } from "../models/deepseek_vl2/processor.ts";
import { canvasImages, type ImageProcessor, tileImages } from "../models/image-processor.ts";
import { NOT_NORMALIZED } from "../models/processor-facts.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** What a model sees with. */
export interface LoadedVision {
  /** All of it; its `language` is the loaded `model`. */
  readonly model: VisionLanguageModel;
  /** Whose prompts it reads. Janus and Janus-Pro differ in how they name the two sides. */
  readonly family: "vl" | "janus" | "janus-pro" | "janusflow" | "vl2";
  /** Text of the token that stands for an image in prompts. */
  readonly imageToken: string;
  /**
   * How its images become views. Read when it is asked for: texts need none.
   * @throws ConfigError if the folder has none, or that of a transformers port
   */
  imageProcessor(): ImageProcessor;
}

const PREPROCESSOR = "preprocessor_config.json";
const PROCESSOR = "processor_config.json";

/** The processor's files of a folder. */
export interface ProcessorFiles {
  readonly where: string;
  readonly preprocessor: JsonObject | null;
  readonly processor: JsonObject | null;
  readonly tokenizer: JsonObject | null;
  /** Whether the weights are PyTorch files: of Janus' models only Janus-Pro came so. */
  readonly pickled: boolean;
}

/** @throws FormatError */
export async function processorFiles(tree: FileTree): Promise<ProcessorFiles> {
  const read = async (path: string) =>
    (await tree.has(path)) ? parseJsonObject(await tree.readText(path), `${tree.name}/${path}`) : null;
  return {
    where: tree.name,
    preprocessor: await read(PREPROCESSOR),
    processor: await read(PROCESSOR),
    tokenizer: await read("tokenizer_config.json"),
    pickled: (await tree.has("pytorch_model.bin")) || (await tree.has("pytorch_model.bin.index.json")),
  };
}

function needed(file: JsonObject | null, where: string): JsonObject {
  if (file !== null) return file;
  throw new ConfigError("the folder does not say how the model's images are prepared", {
    where,
    found: "no such file",
    hint: "Copy it from the model's page. Without it the model answers texts only.",
  });
}

/** The number that a configuration and a model must agree on. @throws ConfigError */
function agree(where: string, name: string, expected: number, found: number): void {
  if (found === expected) return;
  throw new ConfigError("the processor's file is of another model", { where, name, expected, found });
}

/**
 * Whose prompts a model reads. Files of Janus say `deepseek` of Janus-Pro's template, and old ones of Janus' first release too: of
 * these two only Janus-Pro's has `<|User|>` as a token, or came as PyTorch files.
 */
function familyOf(
  { config }: VisionLanguageModel,
  { processor, pickled }: ProcessorFiles,
  tokenizer: Tokenizer | null,
  wanted: SftFormat | undefined,
): LoadedVision["family"] {
  if (config.tiling !== null) return "vl2";
  if (config.generation === null) return "vl";
  if (config.generation.kind === "flow") return "janusflow";
  if (wanted !== undefined) return wanted === "deepseek" ? "janus-pro" : "janus";
  if (processor?.sft_format === "deepseek_old") return "janus";
  return pickled || tokenizer?.idOf("<|User|>") !== undefined ? "janus-pro" : "janus";
}

/** Faults of a model's files by which it sees wrongly, in one line each. */
export function visionNotices({ config }: VisionLanguageModel, { preprocessor }: ProcessorFiles): string[] {
  const raw =
    config.tower.kind === "siglip" && config.tiling === null && preprocessor?.do_normalize === false;
  return raw ? [NOT_NORMALIZED] : [];
}

/** @param wanted template of Janus' prompts, in place of the one that the files name */
export function visionOf(
  model: VisionLanguageModel,
  files: ProcessorFiles,
  tokenizer: Tokenizer | null,
  wanted?: SftFormat,
): LoadedVision {
  const { where, preprocessor, processor } = files;
  const tiled = model.config.tiling !== null;
  const named = processor?.[tiled ? "image_token" : "image_tag"];
  const fallback = tiled ? "<image>" : "<image_placeholder>";
  const [first, second] = [PREPROCESSOR, PROCESSOR].map((name) => `${where}/${name}`);
  return {
    model,
    family: familyOf(model, files, tokenizer, wanted),
    imageToken: typeof named === "string" && named !== "" ? named : fallback,
    imageProcessor() {
      if (tiled) {
        const settings = parseTileProcessor(needed(processor, second), second);
        agree(second, "candidate_resolutions", model.imageSize, settings.tiles.tileSize);
        return tileImages(settings);
      }
      const settings = parseCanvasProcessor(needed(preprocessor, first), first);
      agree(first, "image_size", model.imageSize, settings.canvas.imageSize);
      if (processor !== null) {
        const { tokens } = parseImagePrompt(processor, second);
        agree(second, "num_image_tokens", model.viewTokens, tokens);
      }
      return canvasImages(settings);
    },
  };
}
