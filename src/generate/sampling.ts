/**
 * Choosing the next token from logits: repetition penalty, temperature, top-k, top-p, min-p, in that order, then
 * a draw. Temperature 0 is greedy; ties go to the lowest id.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { Random } from "../tensor/random.ts";

export interface SamplingOptions {
  /** 0: greedy (default). */
  readonly temperature?: number;
  /** Keep the k most probable tokens; 0: all. */
  readonly topK?: number;
  /** Keep the most probable tokens until their probabilities sum to p; 1: all. */
  readonly topP?: number;
  /** Keep tokens at least this fraction as probable as the best; 0: all. */
  readonly minP?: number;
  /** Above 1: logits of tokens already in the context are divided (positive) or multiplied (negative) by it. */
  readonly repetitionPenalty?: number;
}

/** Refuses values out of range by name. @throws ConfigError */
export function checkSampling(options: SamplingOptions): void {
  const rules: [keyof SamplingOptions, string, (v: number) => boolean][] = [
    ["temperature", "0 or more", (v) => v >= 0 && v < Number.POSITIVE_INFINITY],
    ["topK", "an integer, 0 or more", (v) => Number.isInteger(v) && v >= 0],
    ["topP", "above 0, at most 1", (v) => v > 0 && v <= 1],
    ["minP", "from 0 to 1", (v) => v >= 0 && v <= 1],
    ["repetitionPenalty", "above 0", (v) => v > 0 && v < Number.POSITIVE_INFINITY],
  ];
  for (const [name, expected, valid] of rules) {
    const value = options[name];
    if (value !== undefined && !valid(value)) {
      throw new ConfigError("sampling option out of range", { name, expected, found: value });
    }
  }
}

/** Index of the largest of the first `count` logits; the lowest where several are largest. */
export function argmax(logits: ArrayLike<number>, count = logits.length): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** Makes tokens of `context` less likely, in place; each once, however often it occurs. */
export function penalizeRepetition(logits: Float32Array, context: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of new Set(context)) {
    if (id >= 0 && id < logits.length)
      logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
}

/** Candidates with their probabilities, most probable first; probabilities sum to 1. */
export interface Candidates {
  readonly ids: Int32Array;
  readonly probabilities: Float64Array;
}

/**
 * The distribution that a draw is made from, for a temperature above 0.
 * @param count tokens that exist: rows of a padded head beyond it are never drawn
 */
export function candidates(
  logits: Float32Array,
  options: SamplingOptions,
  count = logits.length,
): Candidates {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
  const best = logits[argmax(logits, count)];
  // A token this far below the best one cannot matter in double precision.
  const floor = best - 60 * temperature;
  const kept: number[] = [];
  for (let i = 0; i < count; i++) if (logits[i] >= floor) kept.push(i);
  kept.sort((a, b) => logits[b] - logits[a] || a - b);
  if (topK > 0) kept.length = Math.min(kept.length, topK);
  const weights = kept.map((id) => Math.exp((logits[id] - best) / temperature));
  let total = weights.reduce((a, b) => a + b, 0);
  let size = kept.length;
  if (topP < 1) {
    let sum = 0;
    for (size = 0; size < kept.length && sum < topP * total; size++) sum += weights[size];
    total = sum;
  }
  if (minP > 0) {
    while (size > 1 && weights[size - 1] < minP * weights[0]) size--;
    total = weights.slice(0, size).reduce((a, b) => a + b, 0);
  }
  return {
    ids: Int32Array.from(kept.slice(0, size)),
    probabilities: Float64Array.from(weights.slice(0, size), (w) => w / total),
  };
}

/** Draws one of the candidates. */
export function draw({ ids, probabilities }: Candidates, random: Random): number {
  let at = random.uniform();
  for (let i = 0; i < ids.length; i++) {
    at -= probabilities[i];
    if (at < 0) return ids[i];
  }
  return ids[ids.length - 1];
}

/** The next token after `context`. Changes `logits` where a repetition penalty is set. */
export function sample(
  logits: Float32Array,
  options: SamplingOptions,
  random: Random,
  context: Iterable<number> = [],
  count = logits.length,
): number {
  penalizeRepetition(logits, context, options.repetitionPenalty ?? 1);
  if ((options.temperature ?? 0) === 0) return argmax(logits, count);
  return draw(candidates(logits, options, count), random);
}
