/**
 * A tower with a text encoder beside it, for contrastive pre-training (SigLIP, arXiv 2303.15343): pictures and captions become
 * vectors that are near each other where they belong together. Afterwards the tower alone goes into DeepSeek-VL or VL2.
 *
 * The text encoder is a small causal decoder, read at the caption's last token. The picture's vector is the mean of its tokens,
 * projected. `names` are vectors of names that single tokens are compared with.
 */
import { Linear } from "../nn/linear.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import { alone, type ParameterScope } from "../nn/scope.ts";
import { embedding } from "../tensor/ops/embedding.ts";
import { linear } from "../tensor/ops/linear.ts";
import { permute } from "../tensor/ops/permute.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { SiglipTower } from "../vision/siglip.ts";
import type { SiglipConfig } from "../vision/tower-config.ts";
import { CausalLM } from "./causal-lm.ts";
import type { LanguageConfig } from "./language-config.ts";

export interface ImageTextConfig {
  readonly tower: SiglipConfig;
  readonly text: LanguageConfig;
  /** Width of the common space. */
  readonly width: number;
  /** Names that single tokens are compared with. */
  readonly names: number;
}

/** Temperature and bias of a comparison, trained: `[1]` each. */
export interface Comparison {
  readonly logScale: Tensor;
  readonly bias: Tensor;
}

export class ImageTextModel implements Disposable {
  readonly config: ImageTextConfig;
  readonly tower: SiglipTower;
  readonly text: CausalLM;
  readonly parameters: Parameters;
  readonly #image: Linear;
  readonly #caption: Linear;
  readonly #names: Linear;
  readonly #comparison: readonly ParameterGroup[];

  /** Declares the tower as `tower.`, the text encoder as `text.`. @throws ConfigError */
  constructor(scope: ParameterScope, config: ImageTextConfig) {
    const { tower, text, width, names } = config;
    const own = scope.part();
    this.config = config;
    this.tower = new SiglipTower(own.child("tower"), tower);
    this.text = new CausalLM(own.child("text"), text);
    this.#image = new Linear(own.child("image_projection"), tower.width, width);
    this.#caption = new Linear(own.child("text_projection"), text.hiddenSize, width);
    this.#names = new Linear(own.child("names"), tower.width, names, { bias: true });
    const value = (key: string) =>
      own.declare({ ...alone(key, [1]), initial: "zeros", decay: false, alwaysF32: true });
    this.#comparison = [value("logit_scale"), value("logit_bias")];
    this.parameters = own.parameters;
  }

  get device(): Device {
    return this.text.device;
  }

  get comparison(): Comparison {
    const [logScale, bias] = this.#comparison;
    return { logScale: logScale.tensor, bias: bias.tensor };
  }

  /** Sets what similarities are multiplied by and what is added: SigLIP begins with 10 and -10. */
  setComparison(scale: number, bias: number): void {
    this.comparison.logScale.set([Math.log(scale)]);
    this.comparison.bias.set([bias]);
    // Few names apply to a token, as few captions to a picture.
    const { names } = this.config;
    this.#names.bias!.set(new Float32Array(names).fill(bias / 2));
  }

  /** The mean of a picture's tokens in the common space: `[B, N, width]` to `[B, d]`. */
  pooled(tokens: Tensor): Tensor {
    const { device } = tokens;
    const [B, N, width] = tokens.shape;
    const mean = device.tensor(new Float32Array(N).fill(1 / N), [1, N]);
    const pooled = linear(permute(tokens, [0, 2, 1]), mean); // [B, width, 1]
    return this.#image.forward(reshape(pooled, [B, width]));
  }

  /** Captions in the common space. ids `[B, T]`, padded on the right; ends: each row's last token -> `[B, d]`. */
  captions(ids: Int32Array, ends: readonly number[]): Tensor {
    const { device } = this;
    const [B, T] = [ends.length, ids.length / ends.length];
    const hidden = this.text.hidden(device.tensor(ids, [B, T], "i32")); // [B, T, d]
    const rows = Int32Array.from(ends, (end, row) => row * T + end);
    const table = reshape(hidden, [B * T, hidden.shape[2]]);
    return this.#caption.forward(embedding(table, device.tensor(rows, [B], "i32")));
  }

  /** Logits of every name at every token: `[B, N, width]` to `[B, N, names]`. */
  named(tokens: Tensor): Tensor {
    return this.#names.forward(tokens);
  }

  [Symbol.dispose](): void {
    this.text[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}
