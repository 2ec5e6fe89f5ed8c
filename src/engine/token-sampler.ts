/**
 * Turns logits into tokens for one sequence: the sampling options, the random stream, the tokens seen so far and,
 * if one is given, the constraint on what may come next.
 */
import type { Random } from "../tensor/random.ts";
import type { TokenConstraint } from "./constraint.ts";
import type { TokenExperts, WeightedExperts } from "./expert-report.ts";
import {
  argmax,
  best,
  type Candidates,
  candidates,
  checkLargest,
  draw,
  penalizeRepetition,
  SamplingBuffers,
  type SamplingOptions,
} from "./sampling.ts";

/** A token and the natural logarithm of the model's own probability: temperature 1, nothing cut off, no penalty. */
export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** What the pass that gave a token shows of it. */
export interface TokenInside {
  /** Whether the prediction module had drafted it. */
  readonly drafted: boolean;
  /** Id of the draft that was refused in its place; null for none. */
  readonly refused: number | null;
  /** Experts of the position before it, whose logits chose it; null for models without. */
  readonly experts: WeightedExperts | null;
}

/** A decided token. */
export interface GeneratedToken {
  readonly id: number;
  /** The model's own, as in `TokenLogprob`; if it was asked for. */
  readonly logprob?: number;
  /** As many of the model's most probable tokens as were asked for, best first. */
  readonly top?: readonly TokenLogprob[];
  /** Where they were asked for: the experts of the position before it, whose logits chose it. */
  readonly experts?: TokenExperts;
  /** If it was asked for. */
  readonly inside?: TokenInside;
}

export interface TokenSamplerOptions extends SamplingOptions {
  /** Whether tokens carry their log-probability; a number: with so many alternatives. */
  readonly logprobs?: boolean | number;
  /** What the output must follow; it moves on with every token, so that it serves one generation. */
  readonly constraint?: TokenConstraint;
  /** Tokens to generate before one of `stopIds` may come; default 0. */
  readonly minTokens?: number;
  /** Tokens after which the output ends. */
  readonly stopIds?: readonly number[];
}

export class TokenSampler {
  readonly #options: TokenSamplerOptions;
  readonly #random: Random;
  readonly #count: number;
  readonly #seen = new Set<number>();
  /** How often each token was generated. */
  readonly #made = new Map<number, number>();
  #accepted = 0;

  /** @param count tokens that exist: rows of a padded head beyond it are never chosen */
  constructor(options: TokenSamplerOptions, random: Random, context: ArrayLike<number>, count: number) {
    this.#options = options;
    this.#random = random;
    this.#count = count;
    for (let i = 0; i < context.length; i++) this.#seen.add(context[i]);
  }

  /** Whether the constraint lets nothing follow. */
  get finished(): boolean {
    return this.#options.constraint?.finished ?? false;
  }

  /** The logits with all penalties, biases and the constraint; the model's own stay as they are. */
  #adjusted(logits: Float32Array, buffers: SamplingBuffers): Float32Array {
    const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, constraint } = this.#options;
    const { logitBias = [], minTokens = 0, stopIds = [] } = this.#options;
    const penalized = presencePenalty !== 0 || frequencyPenalty !== 0;
    const early = this.#accepted < minTokens && stopIds.length > 0;
    if (repetitionPenalty === 1 && !penalized && logitBias.length === 0 && !constraint && !early)
      return logits;
    const scored = buffers.copy(logits);
    penalizeRepetition(scored, this.#seen, repetitionPenalty);
    if (penalized) {
      for (const [id, times] of this.#made) scored[id] -= presencePenalty + frequencyPenalty * times;
    }
    for (const [id, bias] of logitBias) scored[id] += bias;
    constraint?.mask(scored);
    if (early) for (const id of stopIds) scored[id] = Number.NEGATIVE_INFINITY;
    return scored;
  }

  /**
   * The distribution of the next token; at temperature 0 all of it lies on the greedy choice. It may lie in `buffers`
   * until these serve another.
   * @throws LogitsError if the model's logits are not finite, ConfigError if no token may come next
   */
  distribution(logits: Float32Array, buffers = new SamplingBuffers()): Candidates {
    const { temperature = 0 } = this.#options;
    const scored = this.#adjusted(logits, buffers);
    // The model's own are looked at: a mask may hide those that are not numbers.
    if (scored !== logits) checkLargest(logits[argmax(logits, this.#count)], false);
    if (temperature > 0) return candidates(scored, this.#options, this.#count, buffers);
    const id = argmax(scored, this.#count);
    checkLargest(scored[id], scored !== logits);
    return { ids: Int32Array.of(id), probabilities: Float64Array.of(1) };
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
    const { constraint, logprobs = false } = this.#options;
    this.#seen.add(id);
    this.#made.set(id, (this.#made.get(id) ?? 0) + 1);
    this.#accepted++;
    constraint?.accept(id);
    return logprobs === false ? { id } : scoredToken(logits, id, logprobs, this.#count);
  }
}

/**
 * `id` with its log-probability among the first `count` logits; if `alternatives` is a number, with so many of the
 * most probable tokens. @throws LogitsError
 */
export function scoredToken(
  logits: Float32Array,
  id: number,
  alternatives: boolean | number,
  count: number,
): GeneratedToken {
  if (typeof alternatives === "boolean") return { id, logprob: logits[id] - logNorm(logits, count) };
  // They hold the largest, so that nobody need look for it.
  const ids = best(logits, Math.max(1, alternatives), count);
  const norm = normBy(logits, count, logits[ids[0]]);
  const top = ids.slice(0, alternatives).map((id) => ({ id, logprob: logits[id] - norm }));
  return { id, logprob: logits[id] - norm, top };
}

/** Steps of the table to a unit, and how far it goes: what is smaller than exp(-40) cannot count. */
const STEPS = 1024;
const LAST = 40 * STEPS;
const TABLE = Float64Array.from({ length: LAST + 1 }, (_, i) => (i === LAST ? 0 : Math.exp(-i / STEPS)));

/** exp(-steps / STEPS), by the table and two terms of the series; of what is no number, none. */
const exponential = (steps: number): number => {
  const near = Math.min(steps, LAST);
  const whole = near | 0;
  const x = (near - whole) / STEPS;
  return TABLE[whole] * (1 - x * (1 - x / 2));
};

/**
 * Sum of exp(logit - largest) over the first `count` logits, to nine digits, in a quarter of the time of `Math.exp`. Two sums,
 * which do not wait for each other. A function of its own: V8 leaves its fast code of a long loop where code behind that was
 * not yet run, and does so at every call.
 */
function sumOfExponentials(logits: ArrayLike<number>, count: number, largest: number): number {
  let [even, odd] = [0, 0];
  for (let i = 1; i < count; i += 2) {
    even += exponential((largest - logits[i - 1]) * STEPS);
    odd += exponential((largest - logits[i]) * STEPS);
  }
  return even + odd + (count % 2 === 1 ? exponential((largest - logits[count - 1]) * STEPS) : 0);
}

/** Logarithm of the sum of the exponentials of the first `count` logits. @throws LogitsError */
export function logNorm(logits: ArrayLike<number>, count: number): number {
  return normBy(logits, count, logits[argmax(logits, count)]);
}

function normBy(logits: ArrayLike<number>, count: number, largest: number): number {
  checkLargest(largest, false);
  const norm = largest + Math.log(sumOfExponentials(logits, count, largest));
  checkLargest(norm, false);
  return norm;
}

/** Logarithm of the softmax of the first `count` logits at `id`. @throws LogitsError */
export function logProbability(logits: ArrayLike<number>, id: number, count = logits.length): number {
  return logits[id] - logNorm(logits, count);
}
