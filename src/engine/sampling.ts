/**
 * Choosing the next token from logits: penalties and biases, temperature, top-k, top-p, min-p, in that order, then
 * a draw. Temperature 0 is greedy; ties go to the lowest id.
 */
import { ConfigError, DeepseekError } from "../tensor/errors.ts";
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
  /** Subtracted from the logits of tokens already generated. */
  readonly presencePenalty?: number;
  /** Subtracted from the logits of tokens already generated, once for each time. */
  readonly frequencyPenalty?: number;
  /** Added to the logits of tokens; -100 as good as forbids one. */
  readonly logitBias?: readonly (readonly [id: number, bias: number])[];
}

type Scalar = Exclude<keyof SamplingOptions, "logitBias">;

const finite = (v: number) => Number.isFinite(v);
const rules: readonly [Scalar, string, (v: number) => boolean][] = [
  ["temperature", "0 or more", (v) => v >= 0 && finite(v)],
  ["topK", "an integer, 0 or more", (v) => Number.isInteger(v) && v >= 0],
  ["topP", "above 0, at most 1", (v) => v > 0 && v <= 1],
  ["minP", "from 0 to 1", (v) => v >= 0 && v <= 1],
  ["repetitionPenalty", "above 0", (v) => v > 0 && finite(v)],
  ["presencePenalty", "a number", finite],
  ["frequencyPenalty", "a number", finite],
];

/** Refuses values out of range by name. @throws ConfigError */
export function checkSampling(options: SamplingOptions): void {
  const refuse = (name: string, expected: string, found: unknown): never => {
    throw new ConfigError("sampling option out of range", { name, expected, found });
  };
  for (const [name, expected, valid] of rules) {
    const value = options[name];
    if (value !== undefined && !valid(value)) refuse(name, expected, value);
  }
  for (const [id, bias] of options.logitBias ?? []) {
    if (!(Number.isInteger(id) && id >= 0)) refuse("logitBias", "token ids", id);
    if (!finite(bias)) refuse("logitBias", "numbers", bias);
  }
}

/**
 * Index of the largest of the first `count` logits; the lowest if several are largest. NaN counts as larger than
 * any number, so that one look at the result tells whether all of them are numbers.
 */
export function argmax(logits: ArrayLike<number>, count = logits.length): number {
  let best = 0;
  let top = logits[0];
  for (let i = 1; i < count; i++) {
    const value = logits[i];
    // True for NaN as well; nothing exceeds a NaN that came before.
    if (!(value <= top)) {
      if (Number.isNaN(top)) break;
      top = value;
      best = i;
    }
  }
  return best;
}

const PART = 512;

/** The largest of the values from `from` to `to`; those that are not numbers do not count. */
function largestOf(values: ArrayLike<number>, from: number, to: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = from; i < to; i++) {
    const value = values[i];
    if (value > largest) largest = value;
  }
  return largest;
}

/** The `n` ids with the largest of the first `count` logits, largest first; ties: lowest id first. */
export function best(logits: ArrayLike<number>, n: number, count = logits.length): number[] {
  const ids: number[] = [];
  if (n === 0) return ids;
  // Where n ids are found, few parts hold better ones, and a look at the largest of a part is quick.
  for (let from = 0; from < count; from += PART) {
    const to = Math.min(from + PART, count);
    if (ids.length === n && !(largestOf(logits, from, to) > logits[ids[n - 1]])) continue;
    for (let i = from; i < to; i++) {
      if (ids.length === n && !(logits[i] > logits[ids[n - 1]])) continue;
      let at = ids.length;
      while (at > 0 && logits[i] > logits[ids[at - 1]]) at--;
      ids.splice(at, 0, i);
      if (ids.length > n) ids.pop();
    }
  }
  return ids;
}

/** Makes tokens of `context` less likely, in place; each once, however often it occurs. */
export function penalizeRepetition(logits: Float32Array, context: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of new Set(context)) {
    if (id >= 0 && id < logits.length)
      logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
}

/**
 * Memory of the size of a vocabulary for one distribution at a time, kept between tokens: fresh memory costs a system's
 * page faults for every token, which is more than all arithmetic on it.
 */
export class SamplingBuffers {
  #ids = new Int32Array(0);
  #weights = new Float64Array(0);
  #keys = new Float64Array(0);
  #logits = new Float32Array(0);

  /** Room for `count` candidates: their ids, weights and keys to sort them by. */
  candidates(count: number): { ids: Int32Array; weights: Float64Array; keys: Float64Array } {
    if (this.#ids.length < count) {
      this.#ids = new Int32Array(count);
      this.#weights = new Float64Array(count);
      this.#keys = new Float64Array(count);
    }
    return { ids: this.#ids, weights: this.#weights, keys: this.#keys };
  }

  /** A copy of the logits, to be changed. */
  copy(logits: Float32Array): Float32Array {
    if (this.#logits.length < logits.length) this.#logits = new Float32Array(logits.length);
    const copy = this.#logits.subarray(0, logits.length);
    copy.set(logits);
    return copy;
  }
}

/**
 * Candidates with their probabilities, which sum to 1: most probable first if some were cut off, else in the order
 * of ids.
 */
export interface Candidates {
  readonly ids: Int32Array;
  readonly probabilities: Float64Array;
}

/** The model's output is not a distribution: its weights are damaged, or values overflow on the way. */
export class LogitsError extends DeepseekError {
  override name = "LogitsError";

  constructor(found: number) {
    super("the model's logits are not finite", {
      where: "sampling",
      expected: "numbers",
      found,
      hint: "Weights are damaged or overflow in their dtype: check the files, or load them in another dtype.",
    });
  }
}

/** Refuses logits by the largest of them. @throws LogitsError, ConfigError if masks left no token */
export function checkLargest(largest: number, masked: boolean): void {
  if (Number.isFinite(largest)) return;
  if (!masked || largest !== Number.NEGATIVE_INFINITY) throw new LogitsError(largest);
  throw new ConfigError("no token is allowed here", { where: "sampling", name: "constraint" });
}

/**
 * The distribution that a draw is made from, for a temperature above 0. It lies in `buffers` until these serve another.
 * @param count tokens that exist: rows of a padded head beyond it are never drawn
 * @throws LogitsError if they are not finite, ConfigError if all of them are -Infinity
 */
export function candidates(
  logits: Float32Array,
  options: SamplingOptions,
  count = logits.length,
  buffers = new SamplingBuffers(),
): Candidates {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
  const largest = logits[argmax(logits, count)];
  checkLargest(largest, true);
  // A token this far below the best one cannot matter in double precision.
  let floor = largest - 60 * temperature;
  if (topK > 0 && topK < count) floor = Math.max(floor, nthLargest(logits, topK, count));
  const { ids, weights, keys } = buffers.candidates(count);
  let size = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (!(logits[i] >= floor)) continue;
    ids[size] = i;
    weights[size] = Math.exp((logits[i] - largest) / temperature);
    total += weights[size++];
  }
  if (topK === 0 && topP === 1 && minP === 0) return normalized(ids, weights, size);

  // Sorting dominates the cost, so tokens that are cut off anyway are excluded first. All weights below the bound together make up
  // less than top-p leaves over.
  const bound = topK > 0 ? 0 : Math.max(minP, ((1 - topP) * total) / (2 * size));
  let kept = 0;
  const bits = new Int32Array(logits.buffer, logits.byteOffset, count);
  for (let i = 0; i < size; i++) {
    if (weights[i] >= bound) keys[kept++] = descendingKey(bits[ids[i]], ids[i]);
  }
  const order = keys.subarray(0, kept).sort();
  if (topK > 0) kept = Math.min(kept, topK);
  for (let i = 0; i < kept; i++) {
    ids[i] = order[i] % ID_RANGE;
    weights[i] = Math.exp((logits[ids[i]] - largest) / temperature);
  }
  if (topP < 1) {
    const enough = topP * (topK > 0 ? sum(weights, kept) : total);
    let mass = 0;
    let end = 0;
    while (end < kept && mass < enough) mass += weights[end++];
    kept = end;
  }
  while (kept > 1 && weights[kept - 1] < minP) kept--;
  return normalized(ids, weights, kept);
}

/** Picking out beats sorting while few are picked. */
function nthLargest(logits: Float32Array, n: number, count: number): number {
  return n <= 256 ? logits[best(logits, n, count)[n - 1]] : logits.slice(0, count).sort()[count - n];
}

/** Ids are below this; with the 32 bits of a logit they fill a double's 53. */
const ID_RANGE = 2 ** 21;

/** A number that is the smaller the larger the logit (given by its bits), then the smaller the id. */
function descendingKey(bits: number, id: number): number {
  // The two zeros are equal.
  if (bits === -(2 ** 31)) return 0x7fffffff * ID_RANGE + id;
  return (bits < 0 ? bits >>> 0 : 0x7fffffff - bits) * ID_RANGE + id;
}

function sum(values: Float64Array, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += values[i];
  return total;
}

function normalized(ids: Int32Array, weights: Float64Array, count: number): Candidates {
  const total = sum(weights, count);
  for (let i = 0; i < count; i++) weights[i] /= total;
  return { ids: ids.subarray(0, count), probabilities: weights.subarray(0, count) };
}

/** Draws one of the candidates. */
export function draw({ ids, probabilities }: Candidates, random: Pick<Random, "uniform">): number {
  let at = random.uniform();
  for (let i = 0; i < ids.length; i++) {
    at -= probabilities[i];
    if (at < 0) return ids[i];
  }
  return ids[ids.length - 1];
}
