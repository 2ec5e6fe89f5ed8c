/**
 * The towers and projectors of the released models at their real sizes with random weights, and what one image costs them:
 * operations to hold against the inner loop's peak.
 */
import { nodeFileSink } from "../../src/checkpoint/node-files.ts";
import { f32Entry, writeSafetensors } from "../../src/checkpoint/safetensors-writer.ts";
import type { Json } from "../../src/models/config-reader.ts";
import { parseVisionConfig } from "../../src/models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../src/models/vision-config.ts";
import { type VisionPresetName, visionPresets } from "../../src/models/vision-presets.ts";
import { weightsOf } from "../../src/nn/model-weights.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { allocateModule, describeModule, type ParameterScope } from "../../src/nn/scope.ts";
import type { StorageFormat, StorageRule } from "../../src/nn/storage.ts";
import { isQuantized } from "../../src/tensor/quantized.ts";
import { Random } from "../../src/tensor/random.ts";
import { type Device, sizeOf, type Tensor } from "../../src/tensor/tensor.ts";
import { HybridTower } from "../../src/vision/hybrid.ts";
import { Projector, type TowerOutput } from "../../src/vision/projector.ts";
import { SamTower } from "../../src/vision/sam.ts";
import { SiglipTower } from "../../src/vision/siglip.ts";
import {
  gridSide,
  type HybridConfig,
  type ProjectorConfig,
  projectedSide,
  SAM_RESIZED,
  type SamConfig,
  type SiglipConfig,
  type TowerConfig,
} from "../../src/vision/tower-config.ts";

const configOf = (name: VisionPresetName): VisionLanguageConfig =>
  parseVisionConfig({ ...(visionPresets[name] as Record<string, Json>) });

/** The towers that are timed, by the names that `--only` knows. */
export function towerConfigs(): { siglipL: SiglipConfig; so400m: SiglipConfig; hybrid: HybridConfig } {
  return {
    siglipL: configOf("deepseek-vl-1.3b").tower as SiglipConfig,
    so400m: configOf("deepseek-vl2-tiny").tower as SiglipConfig,
    hybrid: configOf("deepseek-vl-7b").tower as HybridConfig,
  };
}

export const projectorConfig = (name: VisionPresetName): ProjectorConfig => configOf(name).projector;

/** Operations of one image in SigLIP, a multiply-add being two; norms, softmax and GELU are not counted. */
export function siglipOperations(config: SiglipConfig): number {
  const { width, mlpWidth, layers, patchSize } = config;
  const tokens = gridSide(config) ** 2;
  const layer = 2 * tokens * width * (4 * width + 2 * mlpWidth) + 4 * tokens ** 2 * width;
  return layers * layer + 6 * tokens * patchSize ** 2 * width;
}

/**
 * Operations of one image in SAM with both necks and the convolutions after them: queries of padded windows and what
 * relative positions take are not counted.
 */
export function samOperations(config: SamConfig): number {
  const { width, mlpWidth, layers, patchSize, globalLayers, windowSize, neckWidth, outputWidths } = config;
  const side = gridSide(config);
  const tokens = side ** 2;
  const seen = globalLayers.length * tokens + (layers - globalLayers.length) * windowSize ** 2;
  const blocks = layers * 2 * tokens * width * (4 * width + 2 * mlpWidth) + 4 * tokens * width * seen;
  const neck = 2 * tokens * neckWidth * (width + 9 * neckWidth);
  const [first, second] = outputWidths;
  const halved = (SAM_RESIZED / 2) ** 2;
  const small = 18 * halved * neckWidth * first + 18 * (halved / 4) * first * second;
  return blocks + 6 * tokens * patchSize ** 2 * width + 2 * (neck + small);
}

export const towerOperations = (config: TowerConfig): number =>
  config.kind === "siglip"
    ? siglipOperations(config)
    : siglipOperations(config.low) + samOperations(config.high);

/** Operations of a projector on the tokens of one view, `side` x `side`. */
export function projectorOperations(config: ProjectorConfig, side: number): number {
  const tokens = projectedSide(config, side) ** 2;
  const { parameters } = describeModule((scope) => new Projector(scope, config));
  let weights = 0;
  for (const { shape } of parameters.groups()) if (shape.length === 2) weights += sizeOf(shape);
  return 2 * tokens * weights;
}

/** Linear layers in `format`; where that is quantized, patch embeddings and convolutions stay f32. */
export function towerStorage(format: StorageFormat): StorageRule {
  if (format !== "q8" && format !== "q4") return () => format;
  return ({ key }) => (/patch_embed|neck|downsamples/.test(key) ? "f32" : format);
}

/** Random weights of a trained model's scale: rows of unit variance, norms of 1, some of every bias and table. */
export function fillRandomly(parameters: Parameters, seed: number): void {
  const random = new Random(seed);
  const pool = Float32Array.from({ length: 1 << 20 }, () => random.normal());
  for (const { weight, parts, shape, initial } of parameters.groups()) {
    if (isQuantized(weight)) continue;
    for (const part of parts) {
      const size = sizeOf(part.shape);
      const std = shape.length === 1 ? 0.02 : (size / part.shape[0]) ** -0.5;
      for (let begin = 0; begin < size; begin += pool.length) {
        const values = new Float32Array(Math.min(pool.length, size - begin));
        if (initial === "ones") values.fill(1);
        else {
          const shift = (random.uniform() * pool.length) | 0;
          for (let i = 0; i < values.length; i++) values[i] = std * pool[(i + shift) % pool.length];
        }
        weight.set(values, part.offset + begin);
      }
    }
  }
}

interface Module extends Disposable {
  readonly parameters: Parameters;
}

/** A module at its real size with random weights: floats of `fillRandomly`, tiles of `Parameters.initialize`. */
function made<T extends { readonly parameters: Parameters }>(
  device: Device,
  format: StorageFormat,
  make: (scope: ParameterScope) => T,
): T & Module {
  const module = allocateModule(device, towerStorage(format), make);
  if (format === "q4" || format === "q8") module.parameters.initialize(new Random(1), 0.03);
  fillRandomly(module.parameters, 1);
  return Object.assign(module, { [Symbol.dispose]: () => module.parameters[Symbol.dispose]() });
}

export const makeSiglip = (device: Device, config: SiglipConfig, format: StorageFormat) =>
  made(device, format, (scope) => new SiglipTower(scope, { ...config, pool: false }));

export const makeSam = (device: Device, config: SamConfig, format: StorageFormat) =>
  made(device, format, (scope) => new SamTower(scope, config));

export const makeHybrid = (device: Device, config: HybridConfig, format: StorageFormat) =>
  made(device, format, (scope) => new HybridTower(scope, { ...config, norms: false }));

export const makeProjector = (device: Device, config: ProjectorConfig, format: StorageFormat) =>
  made(device, format, (scope) => new Projector(scope, config));

/** Writes a tower's f32 weights under official names. */
export async function writeTower(tower: { readonly parameters: Parameters }, path: string): Promise<void> {
  const source = weightsOf(tower);
  const entries = [...source.names()].map((each) =>
    f32Entry(each, source.shape(each), async function* () {
      for await (const { values } of source.readF32(each)) yield values;
    }),
  );
  await writeSafetensors(await nodeFileSink(path), entries);
}

/** Pixels `[views, side, side, 3]` in [-1, 1]. */
export function randomPixels(device: Device, views: number, side: number): Tensor {
  const random = new Random(7);
  const values = Float32Array.from({ length: views * side ** 2 * 3 }, () => 2 * random.uniform() - 1);
  return device.tensor(values, [views, side, side, 3]);
}

/** The first tensor of what a tower gives. */
export const anyOf = (output: TowerOutput): Tensor => ("high" in output ? output.high : output);
