/**
 * VQ-16, the image tokenizer of Janus (LlamaGen: Sun et al. 2024, arXiv 2406.06525; `vq_model.py`): an image becomes a grid of
 * ids, of which each stands for a row of unit length of a codebook, and ids become an image again.
 */

import type { Capture } from "../nn/context.ts";
import { Conv2d } from "../nn/conv.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { ShapeError } from "../tensor/errors.ts";
import { choiceEntropy, nearestCode, unitRows } from "../tensor/ops/codes.ts";
import { add, addScaled, scale } from "../tensor/ops/elementwise.ts";
import { embedding } from "../tensor/ops/embedding.ts";
import { matmul } from "../tensor/ops/matmul.ts";
import { meanSquaredError } from "../tensor/ops/mean-error.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { type AutoencoderNames, ConvDecoder, ConvEncoder } from "./autoencoder.ts";

export interface VqConfig {
  /** Rows of the codebook, and their width. */
  readonly codes: number;
  readonly codeWidth: number;
  /** Channels of the first level are `channels` times the first factor. */
  readonly channels: number;
  readonly encoderFactors: readonly number[];
  readonly decoderFactors: readonly number[];
  readonly latentChannels: number;
  /** Residual blocks of a level of the encoder; the decoder has one more. */
  readonly blocks: number;
}

const GROUPS = 32;

/** Temperature of the soft choice whose entropy is a loss. */
const ENTROPY_TEMPERATURE = 0.01;

/** Pixels along each side that become one id. */
export const vqFactor = ({ encoderFactors }: VqConfig): number => 2 ** (encoderFactors.length - 1);

function namesOf(resample: string): AutoencoderNames {
  return {
    block: (level, index) => `conv_blocks.${level}.res.${index}`,
    attention: (level, index) => `conv_blocks.${level}.attn.${index}`,
    resample: (level) => `conv_blocks.${level}.${resample}.conv`,
    middle: ["mid.0", "mid.1", "mid.2"],
    normOut: "norm_out",
    shortcut: "nin_shortcut",
    attentionParts: {
      ...{ norm: "norm", query: "q", key: "k", value: "v", output: "proj_out" },
      convolutions: true,
    },
  };
}

/** What a tokenizer is trained with: the codes with gradients to the latents, and the losses of the quantizer. */
export interface QuantizedLatents {
  /** `[B, rows, columns, codeWidth]`; its gradient goes to the latents as if nothing had been rounded. */
  readonly codes: Tensor;
  readonly ids: Tensor;
  /** Moves codes to latents. `[1]` */
  readonly codebook: Tensor;
  /** Moves latents to codes, without its weight. `[1]` */
  readonly commitment: Tensor;
  /** Null if its weight is zero, or if it is of no latents. */
  readonly entropy: Tensor | null;
}

export class VqTokenizer implements Disposable {
  readonly config: VqConfig;
  readonly parameters: Parameters;
  readonly encoder: ConvEncoder;
  readonly #decoder: ConvDecoder;
  readonly #codebook: ParameterGroup;
  readonly #toCode: Conv2d;
  readonly #fromCode: Conv2d;

  /** Declares the tensors under their official names. */
  constructor(scope: ParameterScope, config: VqConfig) {
    const { codes, codeWidth, channels, latentChannels, blocks } = config;
    const own = scope.part();
    this.config = config;
    const widths = config.encoderFactors.map((factor) => channels * factor);
    const decoded = config.decoderFactors.map((factor) => channels * factor).reverse();
    const common = { groups: GROUPS };
    this.encoder = new ConvEncoder(
      own.child("encoder"),
      {
        ...{ ...common, inputs: 3, outputs: latentChannels, first: channels, widths, blocks },
        attentionLevel: widths.length - 1,
      },
      namesOf("downsample"),
    );
    this.#decoder = new ConvDecoder(
      own.child("decoder"),
      {
        ...{ ...common, inputs: latentChannels, outputs: 3, first: decoded[0], widths: decoded },
        ...{ blocks: blocks + 1, attentionLevel: 0 },
      },
      namesOf("upsample"),
    );
    // Compared in f32 by every kernel, and small.
    const options = { alwaysF32: true, decay: false };
    this.#codebook = own.child("quantize").matrix("embedding.weight", codes, codeWidth, options);
    this.#toCode = new Conv2d(own.child("quant_conv"), latentChannels, codeWidth, [1, 1]);
    this.#fromCode = new Conv2d(own.child("post_quant_conv"), codeWidth, latentChannels, [1, 1]);
    this.parameters = own.parameters;
  }

  /** @throws ConfigError if the tokenizer is only described */
  get device(): Device {
    return this.parameters.device;
  }

  /** Rows of the codebook at length 1, `[codes, codeWidth]`. */
  codes(): Tensor {
    return unitRows(this.#codebook.tensor);
  }

  /**
   * Pixels in [-1, 1] to latents before the choice of codes: `[B, height, width, 3]` to
   * `[B, height / f, width / f, codeWidth]`. @throws ShapeError for sides that are no multiple of the factor
   */
  latents(pixels: Tensor, capture: Capture | null = null): Tensor {
    this.#checkPixels(pixels);
    return pixels.device.tidy(() => this.#toCode.forward(this.encoder.forward(pixels, capture)));
  }

  #checkPixels({ shape }: Tensor): void {
    const factor = vqFactor(this.config);
    const [, height, width, channels] = shape;
    if (shape.length === 4 && channels === 3 && height % factor === 0 && width % factor === 0) return;
    throw new ShapeError("images of another size", {
      where: "VqTokenizer",
      expected: `[B, height, width, 3], sides multiples of ${factor}`,
      found: shape,
    });
  }

  /** Pixels to ids, row by row: `[B, height, width, 3]` in [-1, 1] to i32 `[B, height / f, width / f]`. @throws ShapeError */
  encode(pixels: Tensor): Tensor {
    return pixels.device.tidy(() => nearestCode(unitRows(this.latents(pixels)), this.codes()));
  }

  /** `encode` without gradients, with a pause before each convolution or attention; the result is the caller's. @throws ShapeError */
  *encodeByConv(pixels: Tensor): Generator<void, Tensor, void> {
    this.#checkPixels(pixels);
    using features = yield* this.encoder.forwardByConv(pixels);
    return pixels.device.inference(() => nearestCode(unitRows(this.#toCode.forward(features)), this.codes()));
  }

  /** The codes of ids: i32 `[B, rows, columns]` to `[B, rows, columns, codeWidth]`. */
  lookUp(ids: Tensor): Tensor {
    return ids.device.tidy(() => embedding(this.codes(), ids));
  }

  /** Codes to pixels, about in [-1, 1]: `[B, rows, columns, codeWidth]` to `[B, rows f, columns f, 3]`. */
  decodeCodes(codes: Tensor, capture: Capture | null = null): Tensor {
    return codes.device.tidy(() => {
      const latents = this.#fromCode.forward(codes);
      capture?.(
        "post_quant_conv",
        latents.device.unscoped(() => latents.view(latents.shape)),
      );
      return this.#decoder.forward(latents, capture);
    });
  }

  /** Ids to pixels: i32 `[B, rows, columns]` to `[B, rows f, columns f, 3]`, about in [-1, 1]. */
  decode(ids: Tensor): Tensor {
    return ids.device.tidy(() => this.decodeCodes(this.lookUp(ids)));
  }

  /** `decode` without gradients, with a pause before each convolution or attention; the result is the caller's. */
  *decodeByConv(ids: Tensor): Generator<void, Tensor, void> {
    using latents = ids.device.inference(() => this.#fromCode.forward(this.lookUp(ids)));
    return yield* this.#decoder.forwardByConv(latents);
  }

  /**
   * Codes for latents in training, with the quantizer's losses (section 4.0 of LlamaGen's trainer: the gradient of the codes
   * goes straight to the latents). @param entropy weight of the entropy loss; with 0 it is not computed
   * @param varied rows of latents, counted over the batch, that the entropy loss is of; absent: all
   */
  quantize(latents: Tensor, entropy = 0, varied?: Int32Array): QuantizedLatents {
    const { device } = latents;
    const [B, rows, columns, width] = latents.shape;
    return device.tidy(() => {
      const x = unitRows(reshape(latents, [B * rows * columns, width]));
      const codes = this.codes();
      const ids = device.noGrad(() => nearestCode(x, codes));
      const chosen = embedding(codes, ids); // [N, width]
      const [still, fixed] = [detached(x), detached(chosen)];
      // As a sum whose second term has no gradient.
      const straight = add(
        x,
        device.noGrad(() => addScaled(fixed, still, 1, -1)),
      );
      const similar = () => {
        const rows = varied && embedding(x, device.tensor(varied, [varied.length], "i32"));
        return matmul(rows ?? x, codes, { transposeB: true }); // [N, codes]
      };
      return {
        codes: reshape(straight, latents.shape),
        ids: ids.view([B, rows, columns]),
        codebook: meanSquaredError(chosen, still),
        commitment: meanSquaredError(x, fixed),
        // Squared distances of rows of length 1 are 2 - 2 x c, and the 2 changes no choice.
        entropy:
          entropy === 0 || varied?.length === 0
            ? null
            : choiceEntropy(scale(similar(), 2 / ENTROPY_TEMPERATURE)),
      };
    });
  }

  [Symbol.dispose](): void {
    this.parameters[Symbol.dispose]();
  }
}

/** The same values without a gradient. */
function detached(x: Tensor): Tensor {
  return x.device.noGrad(() => x.view(x.shape));
}
