/** What `inspect` says of a model that sees: its parts, what images cost, how they are prepared, what it needs. */
import type { Checkpoint } from "../checkpoint/folder.ts";
import { configOf, modelWeights } from "../checkpoint/model.ts";
import { visionCheckpointConfig } from "../checkpoint/vision-model.ts";
import type { Machine, MemoryNeed } from "../models/memory-needs.ts";
import { type ProcessorFacts, processorFacts } from "../models/processor-facts.ts";
import type { GenerationConfig, VisionLanguageConfig } from "../models/vision-config.ts";
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
import { processorFiles } from "../pretrained/load-vision.ts";
import { formatBytes, formatCompact, formatCount, plural } from "../text/units.ts";
import type { TowerConfig } from "../vision/tower-config.ts";
import { vqFactor } from "../vision/vq.ts";

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

function towerText(tower: TowerConfig): string {
  const low = tower.kind === "hybrid" ? tower.low : tower;
  const siglip = `SigLIP, ${low.layers} layers of width ${formatCount(low.width)}, patches of ${low.patchSize}, images of ${low.imageSize}`;
  if (tower.kind === "siglip") return siglip;
  const { high } = tower;
  return (
    `SAM, ${high.layers} layers of width ${formatCount(high.width)}, patches of ${high.patchSize}, images of ` +
    `${formatCount(high.imageSize)}; ${siglip}`
  );
}

function drawingText(generation: GenerationConfig): string {
  if (generation.kind === "flow") {
    return `velocities of latents with ${generation.encoder.latentChannels} channels, whose autoencoder is not among the files`;
  }
  const { codes, codeWidth } = generation.vq;
  const side = vqFactor(generation.vq);
  return `${formatCount(codes)} codes of width ${codeWidth}, ${side} x ${side} pixels each`;
}

function imageText({ tiles: [across, down], views, tokens, cacheBytes: bytes }: ImageCost): string {
  const shown = across === 0 ? "" : `${across} x ${down} tiles, ${plural(views, "view")}, `;
  return `${shown}${plural(tokens, "token")}, ${formatBytes(bytes)} of KV cache`;
}

function processorText(facts: ProcessorFacts): string {
  const { file, side, normalization, background, imageToken } = facts;
  const scaled = normalization
    ? `mean ${normalization.mean.join(", ")}, deviation ${normalization.std.join(", ")}`
    : "values from 0 to 1";
  const token = imageToken === null ? "" : `, ${imageToken} in prompts`;
  return `${file}: ${side} x ${side} pixels, ${scaled}, background ${background.join(", ")}${token}`;
}

/** The rows of the report that language models do not have. */
export function visionRows(config: VisionLanguageConfig, i: VisionInspection): [string, string][] {
  return [
    ...i.parts.map(({ part, parameters, bytes, stored }): [string, string] => [
      part,
      `${formatCompact(parameters)} parameters, ${formatBytes(stored)} in the files; ` +
        (["bf16", "q8", "q4"] as const).map((dtype) => `${dtype} ${formatBytes(bytes[dtype])}`).join(", "),
    ]),
    ["sees", towerText(config.tower)],
    ...(config.generation === null ? [] : [["draws", drawingText(config.generation)] as [string, string]]),
    ...i.images.map((image): [string, string] => [`${image.width} x ${image.height}`, imageText(image)]),
    ["processor", i.processor === null ? "none that can be used" : processorText(i.processor)],
    ...i.warnings.map((text): [string, string] => ["warning", text]),
  ];
}
