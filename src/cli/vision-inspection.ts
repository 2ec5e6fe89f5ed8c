/** What `inspect` prints of a model that sees, beside what it prints of language models. */
import type { ProcessorFacts } from "../models/processor-facts.ts";
import type { GenerationConfig, VisionLanguageConfig } from "../models/vision-config.ts";
import type { ImageCost } from "../models/vision-needs.ts";
import type { VisionInspection } from "../pretrained/vision-inspection.ts";
import { formatBytes, formatCompact, formatCount, plural } from "../text/units.ts";
import type { TowerConfig } from "../vision/tower-config.ts";
import { vqFactor } from "../vision/vq.ts";

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
