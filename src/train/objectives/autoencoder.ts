/**
 * What image tokenizers and autoencoders are trained with. The tokenizer (LlamaGen, arXiv 2406.06525; van den Oord et al. 2017):
 * squared error of the pixels, the quantizer's losses, and a feature loss. The autoencoder (Rombach et al. 2022,
 * arXiv 2112.10752): absolute error, a feature loss, and a slight pull of the latents to a normal distribution.
 *
 * The published recipes compare features of a network that was trained on ImageNet (LPIPS). Here it is the first blocks of a
 * given SigLIP tower that stays as it is, so it is called a feature loss. Their adversarial loss is left out.
 */

import { ConfigError } from "../../tensor/errors.ts";
import { unitRows } from "../../tensor/ops/codes.ts";
import { add, addScaled, scale } from "../../tensor/ops/elementwise.ts";
import { exp } from "../../tensor/ops/exp.ts";
import { meanAbsoluteError, meanSquaredError } from "../../tensor/ops/mean-error.ts";
import { multiply } from "../../tensor/ops/multiply.ts";
import { sumAll, weightedSum } from "../../tensor/ops/reduce.ts";
import { split } from "../../tensor/ops/reshape.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import type { SiglipTower } from "../../vision/siglip.ts";
import type { VaeModel } from "../../vision/vae.ts";
import type { VqTokenizer } from "../../vision/vq.ts";
import type { Batch } from "../batches.ts";
import type { Losses, Objective } from "./objective.ts";

/** Images of one size to be encoded and recognized again. */
export interface PictureBatch extends Batch {
  readonly height: number;
  readonly width: number;
  /** `[batch, height, width, 3]` in [-1, 1]. */
  readonly pixels: Float32Array;
  /** Standard normal numbers, one for each latent of the batch; an autoencoder draws its latents with them. */
  readonly noise?: Float32Array;
}

/** A tower that compares images, and how much its judgment counts. */
export interface FeatureLoss {
  /** Of the size of the images; nothing of it is trained. */
  readonly tower: SiglipTower;
  /** How many of its first blocks are compared. */
  readonly blocks: number;
  readonly weight: number;
}

export interface TokenizerLosses {
  /** Weight of what moves latents to codes (0.25). */
  readonly commitment?: number;
  /** Weight of the entropy loss: rows choose surely and all codes are used (0). */
  readonly entropy?: number;
  /**
   * What the entropy loss is of (`all`). With `varied`, the flat ground of pictures does not count: codes are kept in use by what
   * is drawn on it. Where all counts, a ground takes as many codes as it has places, since that is how most codes come into use.
   */
  readonly entropyOf?: "all" | "varied";
  /** Absent: none. */
  readonly feature?: FeatureLoss;
}

export interface AutoencoderLosses {
  /** Weight of the divergence from a normal distribution, summed over the latents of an image (1e-6). */
  readonly divergence?: number;
  /** Absent: none. */
  readonly feature?: FeatureLoss;
}

function pixelsOf(device: Device, { batch, height, width, pixels }: PictureBatch): Tensor {
  return device.tensor(pixels, [batch, height, width, 3]);
}

/**
 * Mean squared distance of a tower's tokens of two images, at length 1, over its first blocks: images `[B, side, side, 3]`
 * twice, normalized as the tower reads them -> `[1]`. `target` gets no gradient. @throws ShapeError
 */
export function featureLoss(
  { tower, blocks }: Omit<FeatureLoss, "weight">,
  images: Tensor,
  target: Tensor,
): Tensor {
  const { device } = images;
  const { layers, width } = tower.config;
  if (!Number.isInteger(blocks) || blocks < 1 || blocks > layers) {
    throw new ConfigError("a tower without so many blocks", {
      where: "featureLoss",
      name: "blocks",
      expected: `1 to ${layers}`,
      found: blocks,
    });
  }
  return device.tidy(() => {
    const known = device.noGrad(() => tower.firstStates(target, blocks).map((state) => unitRows(state)));
    const seen = tower.firstStates(images, blocks);
    const each = seen.map((state, i) => meanSquaredError(unitRows(state), known[i]));
    // Distances of whole tokens, not of their channels.
    return weightedSum(
      each,
      each.map(() => width / blocks),
    );
  });
}

/** Adds the feature loss, if there is one, to the terms. */
function withFeature(
  feature: FeatureLoss | undefined,
  decoded: Tensor,
  pixels: Tensor,
): Record<string, readonly [Tensor, number]> {
  if (feature === undefined || feature.weight === 0) return {};
  return { feature: [featureLoss(feature, decoded, pixels), feature.weight] };
}

/** The sum of weighted terms, with each of them by name. */
function total(terms: Record<string, readonly [Tensor, number]>): Losses {
  const all = Object.values(terms);
  return {
    loss: weightedSum(
      all.map(([term]) => term),
      all.map(([, weight]) => weight),
    ),
    terms: Object.fromEntries(Object.entries(terms).map(([name, [term]]) => [name, term])),
  };
}

/** The color of a patch that has one only, as text to compare by; null for others. */
function flatColor(pixels: Float32Array, width: number, begin: number, side: number): string | null {
  const color = pixels.subarray(3 * begin, 3 * begin + 3);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const at = 3 * (begin + y * width + x);
      if (color.some((value, channel) => pixels[at + channel] !== value)) return null;
    }
  }
  return color.join();
}

/**
 * Patches of `side` pixels, counted over the batch row by row, that are not of the ground: of the color that most flat patches of
 * their picture have. A picture in which no two flat patches are alike has no ground.
 */
export function variedPatches({ batch, height, width, pixels }: PictureBatch, side: number): Int32Array {
  const [rows, columns] = [height / side, width / side];
  const varied: number[] = [];
  for (let b = 0; b < batch; b++) {
    const colors = Array.from({ length: rows * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      return flatColor(pixels, width, (b * height + row * side) * width + column * side, side);
    });
    const counts = new Map<string, number>();
    for (const color of colors) if (color !== null) counts.set(color, (counts.get(color) ?? 0) + 1);
    const [ground] = [...counts].filter(([, count]) => count > 1).sort(([, a], [, b]) => b - a)[0] ?? [];
    for (const [i, color] of colors.entries()) {
      if (color === null || color !== ground) varied.push(b * rows * columns + i);
    }
  }
  return Int32Array.from(varied);
}

/** Squared error of pixels, codebook loss, weighted commitment, entropy and features. */
export const tokenizerObjective =
  ({
    commitment = 0.25,
    entropy = 0,
    entropyOf = "all",
    feature,
  }: TokenizerLosses = {}): Objective<VqTokenizer, PictureBatch> =>
  (tokenizer, batch) => {
    const pixels = pixelsOf(tokenizer.device, batch);
    const latents = tokenizer.latents(pixels); // [B, rows, columns, codeWidth]
    const varied = entropyOf === "varied" ? variedPatches(batch, batch.height / latents.shape[1]) : undefined;
    const quantized = tokenizer.quantize(latents, entropy, varied);
    const decoded = tokenizer.decodeCodes(quantized.codes); // [B, height, width, 3]
    return total({
      reconstruction: [meanSquaredError(decoded, pixels), 1],
      codebook: [quantized.codebook, 1],
      commitment: [quantized.commitment, commitment],
      ...(quantized.entropy && { entropy: [quantized.entropy, entropy] as const }),
      ...withFeature(feature, decoded, pixels),
    });
  };

/**
 * Divergence of normal distributions from the standard one, summed over the latents of an image, mean over images:
 * means and log-variances `[B, ..]` -> `[1]`.
 */
export function normalDivergence(mean: Tensor, logVariance: Tensor): Tensor {
  const { device, size } = mean;
  const [B] = mean.shape;
  return device.tidy(() => {
    // (mean^2 + e^v - 1 - v) / 2
    const spread = addScaled(exp(logVariance), logVariance, 1, -1);
    const sum = sumAll(add(multiply(mean, mean), spread));
    return addScaled(scale(sum, 0.5 / B), device.tensor([1]), 1, -size / (2 * B));
  });
}

/**
 * Absolute error of pixels decoded from drawn latents, weighted divergence and features. The log-variance is not bounded as it is
 * where images are encoded: it begins near 0 and is drawn back to it, and beyond the bounds it would have no gradient.
 */
export const autoencoderObjective =
  ({ divergence = 1e-6, feature }: AutoencoderLosses = {}): Objective<VaeModel, PictureBatch> =>
  (vae, batch) => {
    const { device, config } = vae;
    const pixels = pixelsOf(device, batch);
    const n = config.latentChannels;
    const [mean, logVariance] = split(vae.moments(pixels), [n, n]); // [B, rows, columns, n]
    if (batch.noise?.length !== mean.size) {
      throw new ConfigError("not as much noise as latents", {
        where: "autoencoderObjective",
        expected: mean.size,
        found: batch.noise?.length,
      });
    }
    const deviation = exp(scale(logVariance, 0.5));
    const latents = add(mean, multiply(deviation, device.tensor(batch.noise, mean.shape)));
    // What `decode` divides by.
    const decoded = vae.decode(scale(latents, config.scalingFactor));
    return total({
      reconstruction: [meanAbsoluteError(decoded, pixels), 1],
      divergence: [normalDivergence(mean, logVariance), divergence],
      ...withFeature(feature, decoded, pixels),
    });
  };
