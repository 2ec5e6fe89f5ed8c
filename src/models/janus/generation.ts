/**
 * What Janus draws with (arXiv 2410.13848 section 3.1): ids of the image tokenizer go into the language model through an
 * embedding and an adaptor of their own, and come out of a head of their own.
 */
import { Embedding } from "../../nn/embedding.ts";
import { Linear } from "../../nn/linear.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { ParameterScope } from "../../nn/scope.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { addScaled } from "../../tensor/ops/elementwise.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Projector } from "../../vision/projector.ts";
import { VqTokenizer } from "../../vision/vq.ts";
import type { CodeGenerationConfig } from "../vision-config.ts";

export class CodeGeneration {
  readonly kind = "codes";
  readonly config: CodeGenerationConfig;
  readonly tokenizer: VqTokenizer;
  readonly parameters: Parameters;
  readonly #embedding: Embedding;
  readonly #aligner: Projector;
  readonly #expand: Linear;
  readonly #head: Linear;

  /** Declares the tensors under their official names. @param hidden width of the language model */
  constructor(scope: ParameterScope, config: CodeGenerationConfig, hidden: number) {
    const { vq, alignerDepth: depth, headWidth } = config;
    const own = scope.part("vision");
    const bias = true;
    this.config = config;
    this.tokenizer = new VqTokenizer(own.child("gen_vision_model"), vq);
    this.#embedding = new Embedding(own.child("gen_embed"), vq.codes, vq.codeWidth);
    const aligner = {
      kind: "mlp_gelu",
      inputs: vq.codeWidth,
      outputs: hidden,
      depth,
      pooled: false,
    } as const;
    this.#aligner = new Projector(own.child("gen_aligner"), aligner);
    const head = own.child("gen_head");
    this.#expand = new Linear(head.child("output_mlp_projector"), hidden, headWidth, {
      ...{ bias, activation: "gelu" },
    });
    this.#head = new Linear(head.child("vision_head"), headWidth, vq.codes, { bias, role: "head" });
    this.parameters = own.parameters;
  }

  /** What the language model reads for ids: i32 `[..]` to `[.., d]`. Not a row of the tokenizer's codebook. */
  embed(ids: Tensor): Tensor {
    return ids.device.tidy(() => this.#aligner.forward(this.#embedding.forward(ids)));
  }

  /** Logits of ids from states after the final norm: `[.., d]` to `[.., codes]`. */
  logits(hidden: Tensor): Tensor {
    return hidden.device.tidy(() => this.#head.forward(this.#expand.forward(hidden)));
  }
}

/**
 * Logits under guidance (classifier-free: Ho and Salimans 2022, arXiv 2207.12598): without + weight (with - without), both
 * `[.., codes]`. @throws ShapeError
 */
export function guided(withPrompt: Tensor, without: Tensor, weight: number): Tensor {
  return addScaled(withPrompt, without, weight, 1 - weight);
}

/**
 * The ids of a prompt and of its row without condition: everything but the first and the last is the padding token, which is
 * attended to like any other. @throws ShapeError for a prompt without a beginning and an end
 */
export function unconditionalIds(ids: readonly number[], padId: number): number[] {
  if (ids.length < 2) {
    throw new ShapeError("a prompt to draw has a beginning and an end", {
      where: "unconditionalIds",
      expected: "2 or more tokens",
      found: ids.length,
    });
  }
  return ids.map((id, i) => (i === 0 || i === ids.length - 1 ? id : padId));
}

/**
 * The first id whose cumulative probability under softmax(logits / temperature) exceeds `uniform`, summed in double
 * precision in the order of the ids from probabilities in f32.
 */
export function drawId(logits: ArrayLike<number>, temperature: number, uniform: number): number {
  const count = logits.length;
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < count; i++) top = Math.max(top, logits[i] / temperature);
  const weights = new Float64Array(count);
  let total = 0;
  for (let i = 0; i < count; i++) {
    weights[i] = Math.exp(logits[i] / temperature - top);
    total += weights[i];
  }
  let cumulative = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const chance = Math.fround(weights[i] / total);
    if (chance > 0) last = i;
    cumulative += chance;
    if (cumulative > uniform) return i;
  }
  // Rounding can leave the sum just below a uniform next to 1.
  return last;
}
