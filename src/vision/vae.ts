/**
 * The autoencoder of Stable Diffusion XL (diffusers' `AutoencoderKL`), in whose latents JanusFlow draws: an image becomes mean
 * and log-variance of latents 8 times smaller, latents become an image.
 */

import { type Capture, captured } from "../nn/context.ts";
import { Conv2d } from "../nn/conv.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { ShapeError } from "../tensor/errors.ts";
import { scale } from "../tensor/ops/elementwise.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { type AutoencoderNames, ConvDecoder, ConvEncoder } from "./autoencoder.ts";

export interface VaeConfig {
  readonly latentChannels: number;
  /** Channels of each level, the largest images first. */
  readonly widths: readonly number[];
  /** Residual blocks of a level of the encoder; the decoder has one more. */
  readonly blocks: number;
  readonly groups: number;
  /** Latents are multiplied by it for training, and divided by it before decoding. */
  readonly scalingFactor: number;
}

/** Bounds of the log-variance. */
const LOG_VARIANCE = { least: -30, most: 20 };

/** Pixels along each side of one latent. */
export const vaeFactor = ({ widths }: VaeConfig): number => 2 ** (widths.length - 1);

function namesOf(levels: string, resample: string): AutoencoderNames {
  return {
    block: (level, index) => `${levels}.${level}.resnets.${index}`,
    attention: (level, index) => `${levels}.${level}.attentions.${index}`,
    resample: (level) => `${levels}.${level}.${resample}.0.conv`,
    middle: ["mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"],
    normOut: "conv_norm_out",
    shortcut: "conv_shortcut",
    attentionParts: {
      ...{ norm: "group_norm", query: "to_q", key: "to_k", value: "to_v", output: "to_out.0" },
      convolutions: false,
    },
  };
}

/** Mean and log-variance of latents, `[B, rows, columns, channels]` each, known on the host. */
export interface LatentMoments {
  readonly shape: readonly number[];
  readonly mean: Float32Array;
  /** Within -30 and 20. */
  readonly logVariance: Float32Array;
}

/** Cuts moments `[.., 2 n]`, means first, and bounds the log-variance. */
export function splitMoments(moments: ArrayLike<number>, shape: readonly number[]): LatentMoments {
  const n = shape[shape.length - 1] / 2;
  const mean = new Float32Array(moments.length / 2);
  const logVariance = new Float32Array(moments.length / 2);
  for (let i = 0; i < mean.length; i++) {
    const at = Math.floor(i / n) * 2 * n + (i % n);
    mean[i] = moments[at];
    logVariance[i] = Math.min(LOG_VARIANCE.most, Math.max(LOG_VARIANCE.least, moments[at + n]));
  }
  return { shape: [...shape.slice(0, -1), n], mean, logVariance };
}

/** mean + exp(logVariance / 2) noise. */
export function sampleLatents({ mean, logVariance }: LatentMoments, noise: ArrayLike<number>): Float32Array {
  return mean.map((m, i) => m + Math.exp(logVariance[i] / 2) * noise[i]);
}

export class VaeModel implements Disposable {
  readonly config: VaeConfig;
  readonly parameters: Parameters;
  readonly encoder: ConvEncoder;
  readonly #decoder: ConvDecoder;
  readonly #toMoments: Conv2d;
  readonly #fromLatents: Conv2d;

  /** Declares the tensors under the names of diffusers. */
  constructor(scope: ParameterScope, config: VaeConfig) {
    const { latentChannels: n, widths, blocks, groups } = config;
    const own = scope.part();
    this.config = config;
    const shape = { groups, attentionLevel: null };
    this.encoder = new ConvEncoder(
      own.child("encoder"),
      { ...shape, inputs: 3, outputs: 2 * n, first: widths[0], widths, blocks },
      namesOf("down_blocks", "downsamplers"),
    );
    const reversed = [...widths].reverse();
    this.#decoder = new ConvDecoder(
      own.child("decoder"),
      { ...shape, inputs: n, outputs: 3, first: reversed[0], widths: reversed, blocks: blocks + 1 },
      namesOf("up_blocks", "upsamplers"),
    );
    this.#toMoments = new Conv2d(own.child("quant_conv"), 2 * n, 2 * n, [1, 1]);
    this.#fromLatents = new Conv2d(own.child("post_quant_conv"), n, n, [1, 1]);
    this.parameters = own.parameters;
  }

  /** @throws ConfigError if the model is only described */
  get device(): Device {
    return this.parameters.device;
  }

  /**
   * Pixels in [-1, 1] to moments, means before log-variances: `[B, height, width, 3]` to `[B, height / f, width / f, 2 n]`.
   * @throws ShapeError for sides that are no multiple of the factor
   */
  moments(pixels: Tensor, capture: Capture | null = null): Tensor {
    this.#checkPixels(pixels);
    return pixels.device.tidy(() => this.#toMoments.forward(this.encoder.forward(pixels, capture)));
  }

  /** `moments` without gradients, with a pause before each convolution or attention; the result is the caller's. @throws ShapeError */
  *momentsByConv(pixels: Tensor): Generator<void, Tensor, void> {
    this.#checkPixels(pixels);
    using features = yield* this.encoder.forwardByConv(pixels);
    return pixels.device.inference(() => this.#toMoments.forward(features));
  }

  #checkPixels({ shape }: Tensor): void {
    const factor = vaeFactor(this.config);
    const [, height, width, channels] = shape;
    if (shape.length === 4 && channels === 3 && height % factor === 0 && width % factor === 0) return;
    throw new ShapeError("images of another size", {
      where: "VaeModel",
      expected: `[B, height, width, 3], sides multiples of ${factor}`,
      found: shape,
    });
  }

  /**
   * Latents as models draw them, multiplied by the scaling factor, to pixels about in [-1, 1]: `[B, rows, columns, n]` to
   * `[B, rows f, columns f, 3]`. @throws ShapeError
   */
  decode(latents: Tensor, capture: Capture | null = null): Tensor {
    return latents.device.tidy(() => {
      const first = this.#fromLatents.forward(scale(latents, 1 / this.config.scalingFactor));
      captured(capture, "post_quant_conv", first);
      return this.#decoder.forward(first, capture);
    });
  }

  /** `decode` without gradients, with a pause before each convolution or attention; the result is the caller's. @throws ShapeError */
  *decodeByConv(latents: Tensor): Generator<void, Tensor, void> {
    const { device } = latents;
    const { scalingFactor } = this.config;
    using first = device.inference(() => this.#fromLatents.forward(scale(latents, 1 / scalingFactor)));
    return yield* this.#decoder.forwardByConv(first);
  }

  [Symbol.dispose](): void {
    this.parameters[Symbol.dispose]();
  }
}
