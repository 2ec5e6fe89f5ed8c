/**
 * Convolutional encoder and decoder of images, as LDM has them (Rombach et al. 2022, arXiv 2112.10752): residual blocks on
 * several levels, each half the size of the one before, and attention at the deepest. The tokenizer of Janus (`vq.ts`) and
 * the autoencoder of JanusFlow (`vae.ts`) are this with other widths, places of attention and names.
 */

import { type Capture, captured } from "../nn/context.ts";
import { Conv2d } from "../nn/conv.ts";
import { Linear } from "../nn/linear.ts";
import { GroupNorm } from "../nn/norm.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { attentionBidirectional } from "../tensor/ops/attention-bidirectional.ts";
import { add } from "../tensor/ops/elementwise.ts";
import { linear } from "../tensor/ops/linear.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { silu } from "../tensor/ops/silu.ts";
import { upsampleNearest } from "../tensor/ops/upsample.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Of all group norms. */
const EPSILON = 1e-6;

/** What the parts of an encoder or decoder are called in a checkpoint. Levels of a decoder count in the order they run. */
export interface AutoencoderNames {
  block(level: number, index: number): string;
  attention(level: number, index: number): string;
  /** The convolution that changes the size after a level. */
  resample(level: number): string;
  readonly middle: readonly [block: string, attention: string, block: string];
  readonly normOut: string;
  readonly shortcut: string;
  readonly attentionParts: AttentionNames;
}

export interface AttentionNames {
  readonly norm: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  /** Whether weights are those of 1 x 1 convolutions, `[out, in, 1, 1]`. */
  readonly convolutions: boolean;
}

export interface AutoencoderShape {
  /** Channels of what goes in and of what comes out. */
  readonly inputs: number;
  readonly outputs: number;
  /** Channels after the first convolution, and of each level in the order they run. */
  readonly first: number;
  readonly widths: readonly number[];
  /** Residual blocks of each level. */
  readonly blocks: number;
  /** The level whose blocks each have attention after them; null if there is attention in the middle only. */
  readonly attentionLevel: number | null;
  /** Groups of the norms; they divide every width. */
  readonly groups: number;
}

const three = [3, 3] as const;

/** Two convolutions, each after a norm and SiLU, beside a shortcut. */
class ResidualBlock {
  readonly #norm1: GroupNorm;
  readonly #conv1: Conv2d;
  readonly #norm2: GroupNorm;
  readonly #conv2: Conv2d;
  readonly #shortcut: Conv2d | null;

  constructor(scope: ParameterScope, inputs: number, outputs: number, groups: number, shortcut: string) {
    const padding = 1;
    this.#norm1 = new GroupNorm(scope.child("norm1"), inputs, groups, EPSILON);
    this.#conv1 = new Conv2d(scope.child("conv1"), inputs, outputs, three, { padding });
    this.#norm2 = new GroupNorm(scope.child("norm2"), outputs, groups, EPSILON);
    this.#conv2 = new Conv2d(scope.child("conv2"), outputs, outputs, three, { padding });
    this.#shortcut = inputs === outputs ? null : new Conv2d(scope.child(shortcut), inputs, outputs, [1, 1]);
  }

  /** `x: [B, height, width, inputs]` to `[B, height, width, outputs]`. */
  forward(x: Tensor): Tensor {
    const { device } = x;
    return device.tidy(() => {
      const first = this.#norm1.forward(x, "silu");
      const inner = this.#conv1.forward(first);
      device.release(first);
      const second = this.#norm2.forward(inner, "silu");
      device.release(inner);
      const update = this.#conv2.forward(second);
      device.release(second);
      return add(this.#shortcut?.forward(x) ?? x, update);
    });
  }

  /** `forward` without gradients, with a pause between its convolutions; the result is the caller's. */
  *forwardByConv(x: Tensor): Generator<void, Tensor, void> {
    const { device } = x;
    const inner = device.inference(() => this.#conv1.forward(this.#norm1.forward(x, "silu")));
    try {
      yield;
      return device.inference(() => {
        const second = this.#norm2.forward(inner, "silu");
        inner.dispose();
        const update = this.#conv2.forward(second);
        device.release(second);
        return add(this.#shortcut?.forward(x) ?? x, update);
      });
    } finally {
      inner.dispose();
    }
  }
}

/** Attention of one head over all pixels, added to them. */
class PixelAttention {
  readonly #norm: GroupNorm;
  readonly #qkv: ParameterGroup;
  readonly #bias: ParameterGroup;
  readonly #output: Conv2d | Linear;

  constructor(scope: ParameterScope, width: number, groups: number, names: AttentionNames) {
    const { convolutions, output } = names;
    const projections = [names.query, names.key, names.value];
    const tail = convolutions ? [width, 1, 1] : [width];
    this.#norm = new GroupNorm(scope.child(names.norm), width, groups, EPSILON);
    this.#qkv = scope.declare({
      key: "qkv_proj",
      shape: [3 * width, width],
      role: "filter",
      parts: projections.map((name, i) => ({
        name: `${name}.weight`,
        shape: [width, ...tail],
        offset: i * width ** 2,
      })),
    });
    this.#bias = scope.fusedBias(
      "qkv_bias",
      projections.map((name) => ({ name: `${name}.bias`, rows: width })),
    );
    this.#output = convolutions
      ? new Conv2d(scope.child(output), width, width, [1, 1])
      : new Linear(scope.child(output), width, width, { bias: true, role: "filter" });
  }

  /** `x: [B, height, width, n]` to the same shape. */
  forward(x: Tensor): Tensor {
    const [B, height, width, n] = x.shape;
    return x.device.tidy(() => {
      const normed = reshape(this.#norm.forward(x), [B, height * width, n]);
      const qkv = linear(normed, this.#qkv.weight, this.#bias.tensor); // [B, N, 3 n]
      const mixed = attentionBidirectional(reshape(qkv, [B, height * width, 3, 1, n]), { scale: n ** -0.5 });
      return add(x, this.#output.forward(reshape(mixed, [B, height, width, n])));
    });
  }
}

type Middle = readonly [ResidualBlock, PixelAttention, ResidualBlock];

interface Level {
  readonly blocks: readonly ResidualBlock[];
  readonly attentions: readonly PixelAttention[];
  readonly resample: Conv2d | null;
}

/** What encoder and decoder are made of, except the order in which they run. */
class Trunk {
  readonly first: Conv2d;
  readonly levels: readonly Level[];
  readonly middle: Middle;
  readonly normOut: GroupNorm;
  readonly last: Conv2d;

  /** @param middleFirst whether the middle comes before the levels, and sizes grow */
  constructor(scope: ParameterScope, shape: AutoencoderShape, names: AutoencoderNames, middleFirst: boolean) {
    const { groups, widths, attentionLevel } = shape;
    const block = (name: string, inputs: number, outputs: number) =>
      new ResidualBlock(scope.child(name), inputs, outputs, groups, names.shortcut);
    const attention = (name: string, width: number) =>
      new PixelAttention(scope.child(name), width, groups, names.attentionParts);
    const middle = (width: number): Middle => [
      block(names.middle[0], width, width),
      attention(names.middle[1], width),
      block(names.middle[2], width, width),
    ];
    this.first = new Conv2d(scope.child("conv_in"), shape.inputs, shape.first, three, { padding: 1 });
    if (middleFirst) this.middle = middle(shape.first);
    let width = shape.first;
    // Zeros on the right and below only, where sizes shrink.
    const shrinking = { stride: 2, padding: { top: 0, left: 0, bottom: 1, right: 1 } };
    this.levels = widths.map((outputs, level) => {
      const blocks: ResidualBlock[] = [];
      const attentions: PixelAttention[] = [];
      for (let index = 0; index < shape.blocks; index++) {
        blocks.push(block(names.block(level, index), width, outputs));
        width = outputs;
        if (level === attentionLevel) attentions.push(attention(names.attention(level, index), width));
      }
      const resample =
        level === widths.length - 1
          ? null
          : new Conv2d(
              scope.child(names.resample(level)),
              width,
              width,
              three,
              middleFirst ? { padding: 1 } : shrinking,
            );
      return { blocks, attentions, resample };
    });
    this.middle ??= middle(width);
    this.normOut = new GroupNorm(scope.child(names.normOut), width, groups, EPSILON);
    this.last = new Conv2d(scope.child("conv_out"), width, shape.outputs, three, { padding: 1 });
  }

  /** Runs one step, frees what it read, and shows the result. */
  step(x: Tensor, body: (x: Tensor) => Tensor, capture: Capture | null, name: string): Tensor {
    const y = body(x);
    x.device.release(x);
    captured(capture, name, y);
    return y;
  }

  /** The three parts of the middle, one after another. */
  through(x: Tensor, capture: Capture | null): Tensor {
    return this.middle.reduce((y, part, i) => this.step(y, (z) => part.forward(z), capture, `mid${i}`), x);
  }

  /** A level up to its change of size. */
  level(x: Tensor, index: number, capture: Capture | null): Tensor {
    const { blocks, attentions } = this.levels[index];
    let y = x;
    blocks.forEach((block, i) => {
      y = this.step(y, (z) => block.forward(z), capture, `level${index}.res${i}`);
      const attention = attentions[i];
      if (attention) y = this.step(y, (z) => attention.forward(z), capture, `level${index}.attn${i}`);
    });
    return y;
  }

  /** Norm, SiLU and the last convolution. */
  end(x: Tensor, capture: Capture | null): Tensor {
    // Apart only where the norm is to be seen: together they are one pass over memory.
    const show = (z: Tensor) => {
      const normed = this.normOut.forward(z);
      captured(capture, "norm_out", normed);
      return silu(normed);
    };
    const active = capture ? show(x) : this.normOut.forward(x, "silu");
    x.device.release(x);
    return this.step(active, (z) => this.last.forward(z), capture, "conv_out");
  }

  /**
   * All of it without gradients, with a pause before each convolution or attention; the result is the caller's.
   * @param grown makes an image larger before the convolution that ends a level; null where sizes shrink
   */
  *byConv(x: Tensor, grown: ((x: Tensor) => Tensor) | null): Generator<void, Tensor, void> {
    const { device } = x;
    const levels = this.levels.flatMap(({ blocks, attentions, resample }) => [
      ...blocks.flatMap((block, i) => (attentions[i] ? [block, attentions[i]] : [block])),
      ...(resample === null ? [] : [{ forward: (z: Tensor) => resample.forward(grown?.(z) ?? z) }]),
    ]);
    const end = { forward: (z: Tensor) => this.last.forward(this.normOut.forward(z, "silu")) };
    const inner = grown === null ? [...levels, ...this.middle] : [...this.middle, ...levels];
    let y = device.inference(() => this.first.forward(x));
    try {
      for (const part of [...inner, end]) {
        yield;
        const next =
          part instanceof ResidualBlock
            ? yield* part.forwardByConv(y)
            : device.inference(() => part.forward(y));
        y.dispose();
        y = next;
      }
      return device.unscoped(() => y.view(y.shape));
    } finally {
      y.dispose();
    }
  }
}

/** Images to features, `2 ** (levels - 1)` times smaller. */
export class ConvEncoder {
  readonly #trunk: Trunk;

  constructor(scope: ParameterScope, shape: AutoencoderShape, names: AutoencoderNames) {
    this.#trunk = new Trunk(scope, shape, names, false);
  }

  /** `x: [B, height, width, inputs]` to `[B, height / f, width / f, outputs]`. @throws ShapeError */
  forward(x: Tensor, capture: Capture | null = null): Tensor {
    const trunk = this.#trunk;
    return x.device.tidy(() => {
      let y = trunk.first.forward(x);
      captured(capture, "conv_in", y);
      trunk.levels.forEach(({ resample }, index) => {
        y = trunk.level(y, index, capture);
        if (resample) y = trunk.step(y, (z) => resample.forward(z), null, "");
        captured(capture, `level${index}`, y);
      });
      return trunk.end(trunk.through(y, capture), capture);
    });
  }

  /** `forward` without gradients, with a pause before each convolution or attention; the result is the caller's. */
  forwardByConv(x: Tensor): Generator<void, Tensor, void> {
    return this.#trunk.byConv(x, null);
  }

  /** One part of the middle alone: block, attention, block. `[B, height, width, n]` to the same shape. */
  middlePart(x: Tensor, part: number): Tensor {
    return this.#trunk.middle[part].forward(x);
  }
}

/** Features to images, `2 ** (levels - 1)` times larger. */
export class ConvDecoder {
  readonly #trunk: Trunk;

  constructor(scope: ParameterScope, shape: AutoencoderShape, names: AutoencoderNames) {
    this.#trunk = new Trunk(scope, shape, names, true);
  }

  /** `x: [B, height, width, inputs]` to `[B, height f, width f, outputs]`. @throws ShapeError */
  forward(x: Tensor, capture: Capture | null = null): Tensor {
    const trunk = this.#trunk;
    return x.device.tidy(() => {
      let y = trunk.first.forward(x);
      captured(capture, "conv_in", y);
      y = trunk.through(y, capture);
      trunk.levels.forEach(({ resample }, index) => {
        y = trunk.level(y, index, capture);
        if (resample) {
          y = trunk.step(y, (z) => upsampleNearest(z, 2), null, "");
          y = trunk.step(y, (z) => resample.forward(z), null, "");
        }
        captured(capture, `level${index}`, y);
      });
      return trunk.end(y, capture);
    });
  }

  /** `forward` without gradients, with a pause before each convolution or attention; the result is the caller's. */
  forwardByConv(x: Tensor): Generator<void, Tensor, void> {
    return this.#trunk.byConv(x, (z) => upsampleNearest(z, 2));
  }
}
