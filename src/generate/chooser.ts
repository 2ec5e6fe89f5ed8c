/** Turns logits into tokens for one sequence: the sampling options, the random stream and the tokens seen so far. */
import type { Random } from "../tensor/random.ts";
import {
  argmax,
  type Candidates,
  candidates,
  draw,
  penalizeRepetition,
  type SamplingOptions,
} from "./sampling.ts";

/** A decided token. */
export interface GeneratedToken {
  readonly id: number;
  /** Natural logarithm of the model's own probability: temperature 1, nothing cut off, no penalty. */
  readonly logprob?: number;
}

export interface ChooserOptions extends SamplingOptions {
  readonly logprobs?: boolean;
}

export class Chooser {
  readonly #options: ChooserOptions;
  readonly #random: Random;
  readonly #count: number;
  readonly #seen = new Set<number>();

  /** @param count tokens that exist: rows of a padded head beyond it are never chosen */
  constructor(options: ChooserOptions, random: Random, context: ArrayLike<number>, count: number) {
    this.#options = options;
    this.#random = random;
    this.#count = count;
    for (let i = 0; i < context.length; i++) this.#seen.add(context[i]);
  }

  /** The distribution of the next token; at temperature 0 all of it lies on the greedy choice. */
  distribution(logits: Float32Array): Candidates {
    const { temperature = 0, repetitionPenalty = 1 } = this.#options;
    let scored = logits;
    if (repetitionPenalty !== 1) {
      scored = logits.slice();
      penalizeRepetition(scored, this.#seen, repetitionPenalty);
    }
    if (temperature > 0) return candidates(scored, this.#options, this.#count);
    return { ids: Int32Array.of(argmax(scored, this.#count)), probabilities: Float64Array.of(1) };
  }

  /** One of the candidates, without counting it as seen. */
  draw(distribution: Candidates): number {
    return distribution.ids.length === 1 ? distribution.ids[0] : draw(distribution, this.#random);
  }

  /** Uniform in [0, 1), from the same stream. */
  uniform(): number {
    return this.#random.uniform();
  }

  /** Counts `id` as the next token of the sequence; `logits` are those it was chosen from. */
  accept(id: number, logits: Float32Array): GeneratedToken {
    this.#seen.add(id);
    return this.#options.logprobs ? { id, logprob: logProbability(logits, id, this.#count) } : { id };
  }
}

/** Logarithm of the softmax of the first `count` logits at `id`. */
export function logProbability(logits: ArrayLike<number>, id: number, count = logits.length): number {
  const best = logits[argmax(logits, count)];
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp(logits[i] - best);
  return logits[id] - best - Math.log(sum);
}
