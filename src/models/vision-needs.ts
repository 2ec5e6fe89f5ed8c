/** What a model that sees needs of a machine, and what an image costs it, from its configuration alone. */
import type { Parameters } from "../nn/parameters.ts";
import { describeModule } from "../nn/scope.ts";
import {
  groupBytes,
  plannedGroups,
  resolveStorage,
  type StorageFormat,
  type StorageRule,
  storageRule,
} from "../nn/storage.ts";
import { tilePlan } from "../vision/tiles.ts";
import type { SamConfig, SiglipConfig, TowerConfig } from "../vision/tower-config.ts";
import { gridSide } from "../vision/tower-config.ts";
import { weightBytes } from "./count.ts";
import { describeDecoder } from "./decoder.ts";
import { activationBytes, cacheBytes, type Machine, type MemoryNeed, needOf } from "./memory-needs.ts";
import type { VisionLanguageConfig } from "./vision-config.ts";
import { VisionLanguageModel } from "./vision-language.ts";

/**
 * The parts of a model that sees; `tiles`, two vectors between views, counts as the projector's. What it draws with is only loaded
 * where drawing is asked for.
 */
export type VisionPart = "tower" | "projector" | "language" | "drawing";

export interface PartNeed {
  readonly part: VisionPart;
  readonly parameters: number;
  /** Bytes of its weights at each storage. */
  readonly bytes: Readonly<Record<Dtype, number>>;
}

const DTYPES = ["f32", "bf16", "q8", "q4"] as const satisfies readonly StorageFormat[];
type Dtype = (typeof DTYPES)[number];

/** The model without memory. @throws ConfigError on counts beyond reason */
export function describeVision(config: VisionLanguageConfig): VisionLanguageModel {
  return describeModule((scope) => new VisionLanguageModel(scope, config)).module;
}

function partsOf(model: VisionLanguageModel): readonly (readonly [VisionPart, readonly Parameters[]])[] {
  const { tower, projector, tiles, language, generation } = model;
  return [
    ["tower", [tower.parameters]],
    ["projector", tiles === null ? [projector.parameters] : [projector.parameters, tiles.parameters]],
    ["language", [language.parameters]],
    ...(generation === null ? [] : [["drawing", [generation.parameters]] as const]),
  ];
}

function bytesUnder(parameters: readonly Parameters[], rule: StorageRule): number {
  let bytes = 0;
  for (const each of parameters) {
    const plan = resolveStorage(each.groups(), rule);
    for (const group of plannedGroups(each.groups(), plan)) bytes += groupBytes(group, plan.format(group));
  }
  return bytes;
}

/** Bytes of all weights under a rule, but for what a model draws with. */
export function visionWeightBytes(model: VisionLanguageModel, rule: StorageRule): number {
  return partsOf(model)
    .filter(([part]) => part !== "drawing")
    .reduce((sum, [, parameters]) => sum + bytesUnder(parameters, rule), 0);
}

/** Parameters and bytes of each part. */
export function partNeeds(model: VisionLanguageModel): PartNeed[] {
  return partsOf(model).map(([part, parameters]) => ({
    part,
    parameters: parameters.reduce((sum, { count }) => sum + count, 0),
    bytes: Object.fromEntries(
      DTYPES.map((dtype) => [dtype, bytesUnder(parameters, storageRule(dtype))]),
    ) as Record<Dtype, number>,
  }));
}

/** What an image of `width` x `height` pixels is to the model. */
export interface ImageCost {
  readonly width: number;
  readonly height: number;
  /** Tiles across and down besides the view of the whole image; `[0, 0]` for models with one view. */
  readonly tiles: readonly [across: number, down: number];
  /** Images that the tower sees. */
  readonly views: number;
  /** Positions of the prompt, and what they take in the cache (float32). */
  readonly tokens: number;
  readonly cacheBytes: number;
}

export function imageCost(model: VisionLanguageModel, width: number, height: number): ImageCost {
  const { config, imageSize: tileSize } = model;
  const { tiling, language } = config;
  const tiles =
    tiling === null
      ? ([0, 0] as const)
      : tilePlan(
          {
            ...{ resolutions: tiling.resolutions, tileSize, background: [0, 0, 0] },
            ...{ patchSize: 1, downsampleRatio: 1 },
          },
          width,
          height,
        ).tiles;
  const tokens = model.imageTokens(tiles);
  return {
    ...{ width, height, tiles, tokens },
    views: 1 + tiles[0] * tiles[1],
    cacheBytes: tokens * cacheBytes(language),
  };
}

/** Floats of the widest layer's inputs and outputs for one view. */
function towerValues({ imageSize, patchSize, width, mlpWidth }: SiglipConfig | SamConfig): number {
  return gridSide({ imageSize, patchSize }) ** 2 * (4 * width + Math.max(3 * width, mlpWidth));
}

/** Bytes of the intermediate values while `views` go through the towers at once. */
export function towerActivationBytes(tower: TowerConfig, views: number): number {
  const parts = tower.kind === "hybrid" ? [tower.high, tower.low] : [tower];
  return 4 * views * Math.max(...parts.map(towerValues));
}

/** Most views of an image. */
export function mostViews({ tiling }: VisionLanguageConfig, tileSize: number): number {
  if (tiling === null) return 1;
  return 1 + Math.max(...tiling.resolutions.map(([w, h]) => (w * h) / tileSize ** 2));
}

/** What a model that sees needs at each storage of its weights, an image of the most views among it. */
export function visionMemoryNeeds(model: VisionLanguageModel, machine: Machine): MemoryNeed[] {
  const { config, imageSize } = model;
  const decoder = describeDecoder(config.language);
  const towers = towerActivationBytes(config.tower, mostViews(config, imageSize));
  // Images are encoded before the prompt is read.
  const activations = Math.max(towers, activationBytes(config.language));
  return DTYPES.map((dtype) => {
    const rule = storageRule(dtype);
    const weights = {
      total: visionWeightBytes(model, rule),
      perToken: weightBytes(decoder, rule).perToken,
    };
    return needOf(dtype, weights, activations, config.language, machine);
  });
}
