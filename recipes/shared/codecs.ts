/**
 * The image tokenizer that Janus draws with and the autoencoder that JanusFlow draws with, trained once for each seed; those of
 * seed 1 come with the repository (`recipes/start`).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { loadVae, vaeEntries } from "../../src/checkpoint/vae.ts";
import { vaeConfigJson } from "../../src/models/vae-config.ts";
import { worldVae } from "../../src/models/world-presets.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import {
  autoencoderObjective,
  type FeatureLoss,
  tokenizerObjective,
} from "../../src/train/objectives/autoencoder.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import { SiglipTower } from "../../src/vision/siglip.ts";
import type { SiglipConfig } from "../../src/vision/tower-config.ts";
import { sampleLatents, splitMoments, VaeModel, vaeFactor } from "../../src/vision/vae.ts";
import { type VqConfig, VqTokenizer } from "../../src/vision/vq.ts";
import { filledScene, SCENE_SIDE, SceneBatches } from "./codec-data.ts";
import { autoencoderCodec, type Codec, examineCodec, tokenizerCodec } from "./codec-exam.ts";
import { initializeByInputs } from "./initial.ts";
import { worldConfig } from "./models.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import { committedPart, newestStep, once } from "./ready.ts";
import { runStage } from "./stage.ts";
import { lengthOf, schedule, startTower } from "./start.ts";
import { NORMALIZATION } from "./tower-data.ts";
import { loadPart } from "./weights.ts";

/** Part of the minutes of a short run that go to a codec which does not come with the repository. */
export const SHORT_CODEC = 0.4;

/**
 * Minutes of two cores (Zen 5). After 26 the tokenizer recreates 386 of 400 test scenes exactly, at 33.3 dB, with all codes in use; after 16
 * (30 of Zen 3) the autoencoder 400 of 400, at 37.7 dB.
 */
export const CODEC_MINUTES = { tokenizer: 26, autoencoder: 16 };

/** Of first weights over their inputs, which keeps activations of one size through all levels. */
const GAIN = 0.8;
const CODE_STD = 0.02;
const FEATURE = { blocks: 2, weight: 0.5 };

/** What ends a residual branch. */
const BRANCH_END = /\.(conv2|proj_out|to_out\.0)\.weight(\.|$)/;

/**
 * Residual branches begin with nothing: after 100 steps of 8 pictures a tokenizer stands at 16.7 dB, with branches of full size
 * at 15.7 (LOG.md). Codes are read at length 1: short ones turn quickly where training begins.
 */
function initializeConvolutions(parameters: Parameters, random: Random): void {
  initializeByInputs(parameters, random, GAIN, (key) =>
    key.endsWith("quantize.embedding.weight") ? CODE_STD : BRANCH_END.test(key) ? 0 : null,
  );
}

export function imageTokenizer(device: Device, seed: number, config: VqConfig): VqTokenizer {
  const model = allocateModule(device, "f32", (scope) => new VqTokenizer(scope, config));
  initializeConvolutions(model.parameters, new Random(seed));
  return model;
}

function imageAutoencoder(device: Device, seed: number): VaeModel {
  const model = allocateModule(device, "f32", (scope) => new VaeModel(scope, worldVae));
  initializeConvolutions(model.parameters, new Random(seed));
  return model;
}

/** The tokenizer of `world-janus`. */
export function tokenizerConfig(): VqConfig {
  const { generation } = worldConfig("world-janus");
  if (generation?.kind !== "codes") throw new Error("world-janus draws by codes");
  return generation.vq;
}

/** The first blocks of the shared tower, which stay as they are. */
async function frozenTower(context: ArmContext): Promise<FeatureLoss & Disposable> {
  const folder = await startTower(context);
  const config = worldConfig("world-vl2").tower as SiglipConfig;
  const tower = allocateModule(
    context.device,
    "f32",
    (scope) => new SiglipTower(scope.child("tower"), config),
  );
  await loadPart(folder, "tower.", tower.parameters, "tower.");
  tower.parameters.freeze(() => true);
  return { tower, ...FEATURE, [Symbol.dispose]: () => tower.parameters[Symbol.dispose]() };
}

const BATCH = 8;
const PEAK = 2e-3;
/** Weight of the loss that keeps codes in use, of all but the flat ground: that would take a code for each place and gray. */
const ENTROPY = 0.05;

/**
 * Pull of latents to a normal distribution. With a tenth of it a picture has three times the information, values of objects
 * reach eight deviations, and its border varies with what it shows.
 */
const DIVERGENCE = 1e-5;

/** A tokenizer other than that of the preset, for what the gate says about sizes. */
export interface TokenizerVariant {
  readonly name: string;
  readonly config: Partial<VqConfig>;
}

const PRESET: TokenizerVariant = { name: "vq", config: {} };

/** Folder of the image tokenizer's weights. */
export const startTokenizer = (
  context: ArmContext,
  minutes = CODEC_MINUTES.tokenizer,
  { name, config: changed } = PRESET,
): Promise<string> =>
  once(context, name, async () => {
    const found = committedPart(name, context);
    if (found !== null) return found;
    const { device, seed, shared, small } = context;
    using model = imageTokenizer(device, seed, { ...tokenizerConfig(), ...changed });
    using feature = await frozenTower(context);
    await runStage(
      {
        ...{ name, model, config: { recipe: name, seed }, length: lengthOf(context, 6, minutes) },
        batches: new SceneBatches({ seed }),
        objective: tokenizerObjective({ entropy: ENTROPY, entropyOf: "varied", feature }),
        options: { batch: small ? 4 : BATCH, ...schedule(PEAK) },
      },
      shared,
    );
    return await newestStep(join(shared.folder, name));
  });

/** Latents of this many pictures give the scaling factor. */
const MEASURED = 1000;

/** One over the standard deviation of drawn latents. */
export async function measureScaling(vae: VaeModel, seed: number, pictures = MEASURED): Promise<number> {
  const random = new Random(seed, 1);
  let [count, sum, squares] = [0, 0, 0];
  for (let at = 0; at < pictures; at += BATCH) {
    const images = Array.from(
      { length: Math.min(BATCH, pictures - at) },
      (_, i) => filledScene(seed, at + i).image,
    );
    const pixels = pixelValues(images, NORMALIZATION);
    using moments = vae.device.inference(() =>
      vae.moments(vae.device.tensor(pixels, [images.length, SCENE_SIDE, SCENE_SIDE, 3])),
    );
    const parts = splitMoments(await moments.data(), moments.shape);
    const noise = Float32Array.from(parts.mean, () => random.normal());
    for (const value of sampleLatents(parts, noise)) {
      count++;
      sum += value;
      squares += value ** 2;
    }
  }
  return 1 / Math.sqrt(squares / count - (sum / count) ** 2);
}

/** Folder of the autoencoder in the layout of diffusers, with the scaling factor that was measured. */
export const startAutoencoder = (context: ArmContext, minutes = CODEC_MINUTES.autoencoder): Promise<string> =>
  once(context, "vae", async () => {
    const found = committedPart("vae", context);
    if (found !== null) return found;
    const { device, seed, shared, small, print } = context;
    const out = join(shared.folder, "vae-model");
    if (existsSync(join(out, "config.json"))) return out;
    using model = imageAutoencoder(device, seed);
    using feature = await frozenTower(context);
    const latents = worldVae.latentChannels * (SCENE_SIDE / vaeFactor(worldVae)) ** 2;
    await runStage(
      {
        ...{ name: "vae", model, config: { recipe: "vae", seed }, length: lengthOf(context, 6, minutes) },
        batches: new SceneBatches({ seed, noise: latents, fewest: 0 }),
        objective: autoencoderObjective({ divergence: DIVERGENCE, feature }),
        options: { batch: small ? 4 : BATCH, ...schedule(PEAK) },
      },
      shared,
    );
    const scalingFactor = await measureScaling(model, seed, small ? 32 : MEASURED);
    print(`vae: scaling factor ${scalingFactor.toFixed(4)}`);
    const config = vaeConfigJson({ ...worldVae, scalingFactor });
    await saveCheckpoint(await nodeFolderSink(out), vaeEntries(model), { config });
    return out;
  });

/** What a codec comes to by itself, as an arm of its recipe. */
async function codecOutcome(context: ArmContext, name: string, codec: Codec): Promise<ArmOutcome> {
  const { small, print } = context;
  const { scores, figures, sheet } = await examineCodec(
    codec,
    small ? { scenes: 16, captions: 1 } : { scenes: 400, captions: 100 },
  );
  const { right, of } = scores["scenes read exactly"];
  const numbers = Object.entries(figures).map(([figure, value]) => `${figure} ${value.toFixed(1)}`);
  print(`${name}: ${right} of ${of} test scenes read exactly (gate: 95 %), ${numbers.join(", ")}`);
  return { scores, figures, stages: {}, pictures: { recreated: sheet } };
}

export const tokenizerArm =
  (variant = PRESET) =>
  async (context: ArmContext): Promise<ArmOutcome> => {
    const { device, seed, minutes } = context;
    const folder = await startTokenizer(context, minutes, variant);
    using model = imageTokenizer(device, seed, { ...tokenizerConfig(), ...variant.config });
    await loadPart(folder, "", model.parameters, "");
    return await codecOutcome(context, variant.name, tokenizerCodec(model));
  };

export async function autoencoderArm(context: ArmContext): Promise<ArmOutcome> {
  using model = await loadVae(nodeFolder(await startAutoencoder(context, context.minutes)), context.device);
  return await codecOutcome(context, "vae", autoencoderCodec(model));
}
