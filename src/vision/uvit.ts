/**
 * JanusFlow's generation encoder and decoder (arXiv 2411.07975 section 3.2; `uvit.py` of deepseek-ai/Janus): latents to tokens
 * before the language model, its states to a velocity after it. ConvNeXt V2 blocks whose channels are scaled and shifted
 * by the time.
 */

import { type Capture, captured } from "../nn/context.ts";
import { Conv2d, DepthwiseConv2d } from "../nn/conv.ts";
import { Linear } from "../nn/linear.ts";
import { ResponseNorm, RmsNorm } from "../nn/norm.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { add } from "../tensor/ops/elementwise.ts";
import { modulate } from "../tensor/ops/modulate.ts";
import { timeSinusoids } from "../tensor/ops/noise.ts";
import { pixelShuffle } from "../tensor/ops/pixel-shuffle.ts";
import { concat } from "../tensor/ops/reshape.ts";
import { silu } from "../tensor/ops/silu.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";

/** What encoder and decoder have alike. */
export interface UvitPart {
  /** Width of the time's embedding. */
  readonly condition: number;
  readonly blocks: number;
  readonly bias: boolean;
}

export interface UvitEncoderConfig extends UvitPart {
  readonly latentChannels: number;
  readonly width: number;
  /** Of the convolution that makes tokens of latents. */
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

export interface UvitDecoderConfig extends UvitPart {
  readonly latentChannels: number;
  /** Width of the states, and of the encoder's result beside them. */
  readonly inputs: number;
  /** Width between stages of growing size. */
  readonly width: number;
  /** Stages that each double the size. */
  readonly stages: number;
}

const EPSILON = 1e-6;

/** A ConvNeXt V2 block: depthwise convolution, norm, feed-forward layer with a response norm, residual, then the condition. */
export class ConvNextBlock {
  readonly #depthwise: DepthwiseConv2d;
  readonly #norm: RmsNorm;
  readonly #expand: Linear;
  readonly #response: ResponseNorm;
  readonly #contract: Linear;
  readonly #condition: Linear;

  constructor(scope: ParameterScope, width: number, condition: number, bias: boolean) {
    const linear = (name: string, inputs: number, outputs: number, activation?: "gelu") =>
      new Linear(scope.child(name), inputs, outputs, { bias, activation });
    this.#depthwise = new DepthwiseConv2d(scope.child("depthwise"), width, 7, { bias });
    this.#norm = new RmsNorm(scope.child("norm"), width, EPSILON);
    this.#expand = linear("channelwise_linear_1", width, 4 * width, "gelu");
    this.#response = new ResponseNorm(scope.child("channelwise_norm"), 4 * width);
    this.#contract = linear("channelwise_linear_2", 4 * width, width);
    this.#condition = linear("cond_embeds_mapper", condition, 2 * width);
  }

  /** Scales and shifts of a time's embedding, after its SiLU: `[B, condition]` to `[B, 2 width]`. */
  modulation(active: Tensor): Tensor {
    return this.#condition.forward(active);
  }

  /** `x: [B, height, width, n]`, modulation `[B, 2 n]`, to the shape of x. @param name of captured values, with a dot */
  forward(x: Tensor, modulation: Tensor, capture: Capture | null = null, name = ""): Tensor {
    return x.device.tidy(() => {
      const spread = this.#depthwise.forward(x);
      captured(capture, `${name}depthwise`, spread);
      const wide = this.#response.forward(this.#expand.forward(this.#norm.forward(spread)));
      captured(capture, `${name}grn`, wide);
      return modulate(add(this.#contract.forward(wide), x), modulation);
    });
  }
}

function blocksOf(scope: ParameterScope, width: number, { condition, blocks, bias }: UvitPart) {
  return Array.from(
    { length: blocks },
    (_, i) => new ConvNextBlock(scope.child(`mid_block.res_blocks.${i}`), width, condition, bias),
  );
}

/** Blocks one after another, with the modulation of each. */
function through(
  blocks: readonly ConvNextBlock[],
  x: Tensor,
  modulations: readonly Tensor[],
  capture: Capture | null,
): Tensor {
  let y = x;
  for (const [i, block] of blocks.entries()) {
    const next = block.forward(y, modulations[i], capture, `block${i}.`);
    y.device.release(y);
    y = next;
    captured(capture, `block${i}`, y);
  }
  return y;
}

export class UvitEncoder {
  readonly config: UvitEncoderConfig;
  readonly parameters: Parameters;
  readonly blocks: readonly ConvNextBlock[];
  readonly #conv: Conv2d;
  readonly #time1: Linear;
  readonly #time2: Linear;

  /** Declares the tensors under their official names. */
  constructor(scope: ParameterScope, config: UvitEncoderConfig) {
    const { latentChannels, width, kernel, stride, padding, condition, bias } = config;
    const own = scope.part();
    this.config = config;
    this.#time1 = new Linear(own.child("time_embed.linear_1"), width, condition, { bias });
    this.#time2 = new Linear(own.child("time_embed.linear_2"), condition, condition, { bias });
    this.#conv = new Conv2d(own.child("in_conv"), latentChannels, width, [kernel, kernel], {
      stride,
      padding,
    });
    this.blocks = blocksOf(own, width, config);
    this.parameters = own.parameters;
  }

  /** Embeddings of times from 0 to 1000, `[B]` numbers to `[B, condition]`: a token, and what blocks are conditioned by. */
  time(device: Device, times: ArrayLike<number>, capture: Capture | null = null): Tensor {
    return device.tidy(() => {
      const waves = timeSinusoids(device, times, this.config.width);
      captured(capture, "time_proj", waves);
      return this.#time2.forward(silu(this.#time1.forward(waves)));
    });
  }

  /** Scales and shifts of each block for embeddings of times, `[B, condition]` to `[B, 2 width]` each. */
  modulations(time: Tensor): Tensor[] {
    return time.device.tidy(() => modulationsOf(this.blocks, time));
  }

  /** Latents `[B, height, width, channels]` to tokens `[B, height / stride, width / stride, width]`. @throws ShapeError */
  forward(latents: Tensor, modulations: readonly Tensor[], capture: Capture | null = null): Tensor {
    return latents.device.tidy(() => {
      const x = this.#conv.forward(latents);
      captured(capture, "in_conv", x);
      return through(this.blocks, x, modulations, capture);
    });
  }
}

/** SiLU of the embedding is the same for all blocks. */
function modulationsOf(blocks: readonly ConvNextBlock[], time: Tensor): Tensor[] {
  const active = silu(time);
  return blocks.map((block) => block.modulation(active));
}

export class UvitDecoder {
  readonly config: UvitDecoderConfig;
  readonly parameters: Parameters;
  readonly blocks: readonly ConvNextBlock[];
  readonly #norm: RmsNorm;
  readonly #stages: readonly { readonly norm: RmsNorm; readonly conv: Conv2d }[];

  /** Declares the tensors under their official names. */
  constructor(scope: ParameterScope, config: UvitDecoderConfig) {
    const { inputs, width, stages, latentChannels, bias } = config;
    const own = scope.part();
    this.config = config;
    this.#norm = new RmsNorm(own.child("input_norm"), inputs, EPSILON);
    this.blocks = blocksOf(own, 2 * width, config);
    this.#stages = Array.from({ length: stages }, (_, i) => {
      const stage = own.child(`out_convs.${i}`);
      const from = i === 0 ? 2 * width : width;
      const to = i === stages - 1 ? latentChannels : width;
      return {
        norm: new RmsNorm(stage.child("norm"), from, EPSILON),
        conv: new Conv2d(stage.child("unpatch_conv"), from, 4 * to, [1, 1], { bias }),
      };
    });
    this.parameters = own.parameters;
  }

  /** As the encoder's, `[B, condition]` to `[B, 4 width]` each. */
  modulations(time: Tensor): Tensor[] {
    return time.device.tidy(() => modulationsOf(this.blocks, time));
  }

  /**
   * States `[B, rows, columns, inputs]` beside the encoder's result of the same rows and columns to a velocity
   * `[B, rows 2^stages, columns 2^stages, channels]`. @throws ShapeError
   */
  forward(
    states: Tensor,
    skip: Tensor,
    modulations: readonly Tensor[],
    capture: Capture | null = null,
  ): Tensor {
    return states.device.tidy(() => {
      const normed = this.#norm.forward(states);
      captured(capture, "input_norm", normed);
      let y = through(this.blocks, concat([normed, skip]), modulations, capture);
      for (const { norm, conv } of this.#stages) y = pixelShuffle(conv.forward(norm.forward(y)), 2);
      return y;
    });
  }
}
