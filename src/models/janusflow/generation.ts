/**
 * What JanusFlow draws with (arXiv 2411.07975 section 3): latents become tokens, a token of the time goes before them, and the
 * states of the language model at their places become the velocity of the latents.
 */
import type { Capture } from "../../nn/context.ts";
import { Linear } from "../../nn/linear.ts";
import { RmsNorm } from "../../nn/norm.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { ParameterScope } from "../../nn/scope.ts";
import { reshape } from "../../tensor/ops/reshape.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import { UvitDecoder, UvitEncoder } from "../../vision/uvit.ts";
import type { LanguageConfig } from "../language-config.ts";
import type { FlowGenerationConfig } from "../vision-config.ts";

/** Times from 0 (noise) to 1 (data) are given to the encoder in thousandths. */
const TIME_SCALE = 1000;

/** What depends on the time only: computed once for all steps of a drawing. */
export interface FlowTime {
  /** `[B, d]`: the token, and the condition of the blocks. */
  readonly token: Tensor;
  /** Scales and shifts of each block of the encoder and of the decoder. */
  readonly encoder: readonly Tensor[];
  readonly decoder: readonly Tensor[];
}

export class FlowGeneration {
  readonly kind = "flow";
  readonly config: FlowGenerationConfig;
  readonly encoder: UvitEncoder;
  readonly decoder: UvitDecoder;
  readonly parameters: Parameters;
  readonly #encoderAligner: Linear;
  readonly #decoderNorm: RmsNorm;
  readonly #decoderAligner: Linear;

  /** Declares the tensors under their official names. */
  constructor(scope: ParameterScope, config: FlowGenerationConfig, language: LanguageConfig) {
    const own = scope.part("vision");
    const hidden = language.hiddenSize;
    const bias = true;
    this.config = config;
    this.encoder = new UvitEncoder(own.child("vision_gen_enc_model"), config.encoder);
    this.#encoderAligner = new Linear(own.child("vision_gen_enc_aligner"), config.encoder.width, hidden, {
      bias,
    });
    this.#decoderNorm = new RmsNorm(own.child("vision_gen_dec_aligner_norm"), hidden, language.normEpsilon);
    this.#decoderAligner = new Linear(own.child("vision_gen_dec_aligner"), hidden, config.decoder.inputs, {
      bias,
    });
    this.decoder = new UvitDecoder(own.child("vision_gen_dec_model"), config.decoder);
    this.parameters = own.parameters;
  }

  /** For times of each row, from 0 to 1. */
  time(device: Device, times: readonly number[]): FlowTime {
    return device.tidy(() => {
      const scaled = times.map((t) => Math.fround(TIME_SCALE * Math.fround(t)));
      const token = this.encoder.time(device, scaled);
      return {
        token,
        encoder: this.encoder.modulations(token),
        decoder: this.decoder.modulations(token),
      };
    });
  }

  /**
   * Latents `[B, height, width, channels]` to what the language model reads, `[B, N, d]` row by row, and to what the decoder
   * sees beside its states, `[B, rows, columns, width]`. @throws ShapeError
   */
  encode(
    latents: Tensor,
    { encoder }: FlowTime,
    capture: Capture | null = null,
  ): { tokens: Tensor; skip: Tensor } {
    return latents.device.tidy(() => {
      const skip = this.encoder.forward(latents, encoder, capture);
      const [B, rows, columns, width] = skip.shape;
      return { tokens: this.#encoderAligner.forward(reshape(skip, [B, rows * columns, width])), skip };
    });
  }

  /** States at the latents' places, after the final norm, `[B, N, d]` to what the decoder reads, `[B, rows, columns, inputs]`. */
  align(states: Tensor, skip: Tensor): Tensor {
    const [B, rows, columns] = skip.shape;
    return states.device.tidy(() => {
      const narrow = this.#decoderAligner.forward(this.#decoderNorm.forward(states));
      return reshape(narrow, [B, rows, columns, this.config.decoder.inputs]);
    });
  }

  /** States at the latents' places to the velocity, `[B, height, width, channels]`. @throws ShapeError */
  decode(states: Tensor, skip: Tensor, { decoder }: FlowTime, capture: Capture | null = null): Tensor {
    return states.device.tidy(() => this.decoder.forward(this.align(states, skip), skip, decoder, capture));
  }
}
