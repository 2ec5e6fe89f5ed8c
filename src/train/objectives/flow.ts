/**
 * Drawing by rectified flow in training (JanusFlow, arXiv 2411.07975 section 3.2): between noise at t = 0 and an image's
 * latents at t = 1, the velocity is what leads from one to the other; and states inside the language model come near
 * the understanding tower's features of the same image (representation alignment, section 3.3).
 *
 * What the paper leaves open: losses are means over all elements and positions; an image has one time; a dropped prompt is masked,
 * as in the sampler; times are logit-normal with mean 0 and deviation 1, as those of Stable Diffusion 3, or uniform.
 */
import { type AlignmentHead, alignmentLoss } from "../../models/janusflow/alignment.ts";
import { type FlowPrompt, flowVelocity } from "../../models/janusflow/velocity.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { meanSquaredError } from "../../tensor/ops/mean-error.ts";
import { weightedSum } from "../../tensor/ops/reduce.ts";
import type { Random } from "../../tensor/random.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Batch } from "../batches.ts";
import type { Losses, Objective, Trainable } from "./objective.ts";

/** Images as latents, each with what it is drawn for and where on its way from noise it is looked at. */
export interface FlowBatch extends Batch {
  readonly prompts: readonly FlowPrompt[];
  /** Rows, columns and channels of an image's latents. */
  readonly latentShape: readonly [rows: number, columns: number, channels: number];
  /** `[batch, rows, columns, channels]`, multiplied by the autoencoder's scaling factor. */
  readonly latents: Float32Array;
  /** Standard normal numbers, as many. */
  readonly noise: Float32Array;
  /** Of each image, from 0 (noise) to 1 (image). */
  readonly times: readonly number[];
  /** The images as the understanding tower reads them, `[batch, side, side, 3]`; alignment needs them. */
  readonly pixels?: Float32Array;
}

/** Representation alignment: a head on states, which training alone has. */
export interface Alignment {
  readonly head: AlignmentHead;
  /** Blocks of the language model before the states (6 of 24). */
  readonly afterBlock: number;
  /** Weight of the loss (1); with 0 the head is not run. */
  readonly weight: number;
}

/** A model that draws by a flow, with what it is trained with. */
export interface TrainableFlowModel extends Trainable {
  readonly vision: VisionLanguageModel;
  /** Null: none. */
  readonly alignment: Alignment | null;
}

/** How times are drawn: most of them between noise and image, or all alike. */
export const TIME_DISTRIBUTIONS = ["logit-normal", "uniform"] as const;

/**
 * Mean and standard deviation of the normal number whose logistic function a time is (Esser et al. 2024, arXiv 2403.03206 section
 * 3.1). With a mean below 0 most times are near noise, where what a picture will show is decided.
 */
export interface LogitNormal {
  readonly mean: number;
  readonly deviation: number;
}

/** By name, where `logit-normal` has mean 0 and deviation 1, or a logit-normal one of other means. */
export type TimeDistribution = (typeof TIME_DISTRIBUTIONS)[number] | LogitNormal;

const STANDARD: LogitNormal = { mean: 0, deviation: 1 };

/**
 * What a picture's latents are: drawn from their distribution each time, as the paper has them, or its means. Where an
 * autoencoder is unsure, as small ones are, a drawn value is mostly noise that no prompt can tell, and hides what it could.
 */
export const LATENT_CHOICES = ["sampled", "means"] as const;
export type LatentChoice = (typeof LATENT_CHOICES)[number];

/** A time from 0 to 1. */
export function drawTime(distribution: TimeDistribution, random: Random): number {
  if (distribution === "uniform") return random.uniform();
  const { mean, deviation } = distribution === "logit-normal" ? STANDARD : distribution;
  return 1 / (1 + Math.exp(-(mean + deviation * random.normal())));
}

function checkBatch({ prompts, latentShape, latents, noise, times }: FlowBatch): void {
  const size = prompts.length * latentShape.reduce((a, b) => a * b, 1);
  if (latents.length === size && noise.length === size && times.length === prompts.length) return;
  throw new ShapeError("latents, noise and times do not match the prompts", {
    where: "flowObjective",
    expected: `${size} latents and numbers of noise, ${prompts.length} times`,
    found: `${latents.length} latents, ${noise.length} numbers of noise, ${times.length} times`,
  });
}

/** Features of the images in the understanding tower, which they do not train. `[B, N, width]` */
function towerFeatures(vision: VisionLanguageModel, batch: FlowBatch): Tensor {
  const { device, imageSize: side, tower } = vision;
  const { pixels, prompts } = batch;
  if (tower.config.kind !== "siglip") {
    throw new ConfigError("no tower to align with", { where: "flowObjective", found: tower.config.kind });
  }
  const shape = [prompts.length, side, side, 3];
  if (pixels?.length !== prompts.length * 3 * side ** 2) {
    throw new ShapeError("alignment needs the images", {
      where: "flowObjective",
      expected: shape,
      found: pixels === undefined ? "none" : `${pixels.length} values`,
    });
  }
  return device.noGrad(() => tower.forward(device.tensor(pixels, shape)) as Tensor);
}

/** Squared error of velocities, and alignment where the model has it. @throws ShapeError, ConfigError */
export const flowObjective: Objective<TrainableFlowModel, FlowBatch> = ({ vision, alignment }, batch) => {
  checkBatch(batch);
  const { device } = vision;
  const { prompts, latents, noise, times, latentShape } = batch;
  const each = latents.length / prompts.length;
  const between = latents.map((value, i) => {
    const t = times[Math.floor(i / each)];
    return Math.fround(t * value) + Math.fround((1 - t) * noise[i]);
  });
  const target = latents.map((value, i) => value - noise[i]);
  const shape = [prompts.length, ...latentShape];
  const aligned = alignment !== null && alignment.weight > 0 ? alignment : null;
  return device.tidy((): Losses => {
    const options = aligned === null ? {} : { afterBlock: aligned.afterBlock };
    const { velocity, inner } = flowVelocity(vision, device.tensor(between, shape), times, prompts, options);
    const flow = meanSquaredError(velocity, device.tensor(target, shape));
    if (aligned === null) return { loss: flow };
    const near = alignmentLoss(aligned.head.forward(inner!), towerFeatures(vision, batch));
    return {
      loss: weightedSum([flow, near], [1, aligned.weight]),
      crossEntropy: flow,
      terms: { alignment: near },
    };
  });
};
