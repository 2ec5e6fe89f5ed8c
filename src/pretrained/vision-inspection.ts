/** What a model that sees is: its parts, what images cost, how they are prepared, what it needs. */
import type { Checkpoint } from "../checkpoint/folder.ts";
import { configOf, modelWeights } from "../checkpoint/model.ts";
import { visionCheckpointConfig } from "../checkpoint/vision-model.ts";
import type { Machine, MemoryNeed } from "../models/memory-needs.ts";
import { type ProcessorFacts, processorFacts } from "../models/processor-facts.ts";
import type { VisionLanguageConfig } from "../models/vision-config.ts";
import {
  describeVision,
  type ImageCost,
  imageCost,
  mostViews,
  type PartNeed,
  partNeeds,
  towerActivationBytes,
  type VisionPart,
  visionMemoryNeeds,
} from "../models/vision-needs.ts";
import { processorFiles } from "./load-vision.ts";

/** Images whose tokens are told, in pixels. */
const SIZES = [
  [384, 384],
  [1000, 700],
  [1920, 1080],
] as const;

export interface StoredPart extends PartNeed {
  /** Bytes in the files. */
  readonly stored: number;
}

/** What is told of a model that sees in addition to its language model. */
export interface VisionInspection {
  readonly parts: readonly StoredPart[];
  /** Side of a view, in pixels. */
  readonly imageSize: number;
  readonly images: readonly ImageCost[];
  readonly processor: ProcessorFacts | null;
  readonly warnings: readonly string[];
  /** Largest intermediate values in the tower, for an image of the most views. */
  readonly towerActivationBytes: number;
}

/** Which part a tensor belongs to by its name, in original checkpoints and in those of the ports. */
function partOf(name: string): VisionPart {
  if (/^(language(_model)?\.|model\.language_model\.|lm_head\.)/.test(name)) return "language";
  if (/^(gen_|vision_gen_|model\.(vqmodel|generation_))/.test(name)) return "drawing";
  const joining =
    /^(aligner\.|projector\.|model\.aligner\.|vision_und_enc_aligner\.|beg_of_und_embed$|image_newline$|view_seperator$)/;
  return joining.test(name) ? "projector" : "tower";
}

function storedBytes(checkpoint: Checkpoint): Record<VisionPart, number> {
  const bytes = { tower: 0, projector: 0, language: 0, drawing: 0 };
  for (const name of checkpoint.names()) bytes[partOf(name)] += checkpoint.info(name).bytes;
  return bytes;
}

/** Reads configuration and processor of a model that sees, and the headers of its files. @throws ConfigError, FormatError */
export async function inspectVision(
  checkpoint: Checkpoint,
  machine: Machine,
): Promise<{ config: VisionLanguageConfig; memory: MemoryNeed[]; vision: VisionInspection }> {
  const config = visionCheckpointConfig(configOf(checkpoint), modelWeights(checkpoint));
  const model = describeVision(config);
  const stored = storedBytes(checkpoint);
  const { facts, warnings } = processorFacts(model, await processorFiles(checkpoint.tree));
  const vision: VisionInspection = {
    parts: partNeeds(model).map((part) => ({ ...part, stored: stored[part.part] })),
    imageSize: model.imageSize,
    images: SIZES.map(([width, height]) => imageCost(model, width, height)),
    processor: facts,
    warnings,
    towerActivationBytes: towerActivationBytes(config.tower, mostViews(config, model.imageSize)),
  };
  return { config, memory: visionMemoryNeeds(model, machine), vision };
}
