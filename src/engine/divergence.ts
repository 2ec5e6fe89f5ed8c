/**
 * What another storage of the same weights costs, measured on a text: perplexity before and after, and how far the
 * predicted distributions move; and how far tokens of images move. The two models need not be in memory together.
 */
import type { TokenModel } from "../models/token-model.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PromptPart } from "./prompt.ts";
import { argmax } from "./sampling.ts";
import { logNorm } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

/** Logits of every predicted token of a text, row by row. */
export interface TextLogits {
  readonly ids: readonly number[];
  /** Row i predicts `ids[i + 1]`; as many rows as ids but one. */
  readonly rows: readonly Float32Array[];
}

export interface Divergence {
  /** Predicted tokens. */
  readonly tokens: number;
  /** exp of the mean negative log-likelihood. */
  readonly perplexityBefore: number;
  readonly perplexityAfter: number;
  /** Mean and largest Kullback-Leibler divergence of the distribution after from that before, nats. */
  readonly meanKl: number;
  readonly maxKl: number;
  /** Share of the tokens whose likeliest prediction stays the same. */
  readonly sameTop: number;
  /** Root of the mean squared difference of the logits. */
  readonly rmsLogits: number;
}

/** How far vectors moved: tokens of images, or the states of a tower. */
export interface VectorDivergence {
  readonly vectors: number;
  /** Cosine of the angle between a vector and what it was: the mean over all, and the smallest. */
  readonly meanCosine: number;
  readonly minCosine: number;
  /** Root of the summed squared differences, over that of the values before. */
  readonly relative: number;
  /** Largest difference of a value, over the root mean square of the values before. */
  readonly maxError: number;
}

/** Tokens of one pass. */
const CHUNK = 256;

export interface TextOptions {
  /** What comes before the text, images for example; nothing of it is predicted. Default: nothing. */
  readonly prefix?: readonly PromptPart[];
  readonly progress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A part of a prompt in pieces that the model passes at once: ids `[1, T]` i32 or embeddings `[1, T, d]` f32. */
function* piecesOf(model: TokenModel, part: PromptPart): Generator<Tensor> {
  const { device } = model;
  const length = "embeddings" in part ? part.embeddings.shape[0] : part.length;
  for (let begin = 0; begin < length; begin += CHUNK) {
    const end = Math.min(length, begin + CHUNK);
    yield device.unscoped(() => {
      if (!("embeddings" in part)) return model.ids([Array.from(part).slice(begin, end)]);
      using rows = part.embeddings.slice(begin, end);
      return rows.view([1, ...rows.shape]);
    });
  }
}

/**
 * The logits of `model` along `ids`, the first of which is the start of a sequence, or follows `prefix`.
 * @throws ConfigError, the signal's reason
 */
export async function textLogits(
  model: TokenModel,
  ids: readonly number[],
  { prefix = [], progress = () => {}, signal }: TextOptions = {},
): Promise<TextLogits> {
  if (ids.length < 2) {
    throw new ConfigError("the text has fewer than two tokens", { where: "textLogits", found: ids.length });
  }
  const { device } = model;
  const rows: Float32Array[] = [];
  const before = prefix.reduce(
    (n, part) => n + ("embeddings" in part ? part.embeddings.shape[0] : part.length),
    0,
  );
  using cache = model.createCache(before + ids.length);
  for (const part of prefix) {
    for (const input of piecesOf(model, part)) {
      using _input = input;
      signal?.throwIfAborted();
      device.inference(() => void model.hidden(input, { cache }));
      await yieldToEventLoop();
    }
  }
  for (let begin = 0; begin < ids.length - 1; begin += CHUNK) {
    signal?.throwIfAborted();
    const part = ids.slice(begin, Math.min(ids.length - 1, begin + CHUNK));
    using logits = device.inference(() => model.logits(model.hidden(model.ids([part]), { cache })));
    const flat = (await logits.data()) as Float32Array;
    const width = flat.length / part.length;
    for (let i = 0; i < part.length; i++) rows.push(flat.slice(i * width, (i + 1) * width));
    progress(rows.length, ids.length - 1);
  }
  return { ids, rows };
}

/** Logarithms of the softmax, in double precision, and the place of the largest. */
function logProbabilities(logits: Float32Array): { values: Float64Array; top: number } {
  const norm = logNorm(logits, logits.length);
  return { values: Float64Array.from(logits, (x) => x - norm), top: argmax(logits) };
}

/** Compares the logits of two models along one text. @throws ConfigError if the texts or vocabularies differ */
export function divergence(before: TextLogits, after: TextLogits): Divergence {
  const tokens = before.rows.length;
  if (after.rows.length !== tokens || after.rows[0].length !== before.rows[0].length) {
    throw new ConfigError("texts or vocabularies differ", {
      where: "divergence",
      expected: `${tokens} rows of ${before.rows[0].length}`,
      found: `${after.rows.length} rows of ${after.rows[0]?.length ?? 0}`,
    });
  }
  let [nllBefore, nllAfter, kl, maxKl, same, squares] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < tokens; i++) {
    const p = logProbabilities(before.rows[i]);
    const q = logProbabilities(after.rows[i]);
    const next = before.ids[i + 1];
    nllBefore -= p.values[next];
    nllAfter -= q.values[next];
    if (p.top === q.top) same++;
    let here = 0;
    for (let v = 0; v < p.values.length; v++) {
      here += Math.exp(p.values[v]) * (p.values[v] - q.values[v]);
      squares += (before.rows[i][v] - after.rows[i][v]) ** 2;
    }
    kl += here;
    maxKl = Math.max(maxKl, here);
  }
  return {
    tokens,
    perplexityBefore: Math.exp(nllBefore / tokens),
    perplexityAfter: Math.exp(nllAfter / tokens),
    meanKl: Math.max(0, kl / tokens),
    maxKl,
    sameTop: same / tokens,
    rmsLogits: Math.sqrt(squares / tokens / before.rows[0].length),
  };
}

/** Adds up how far vectors move, a few at a time. */
export class VectorComparison {
  #vectors = 0;
  #values = 0;
  #cosines = 0;
  #minCosine = 1;
  #squares = 0;
  #differences = 0;
  #largest = 0;

  /** before, after: `[n, width]` row by row. @throws ConfigError if they differ in size */
  add(before: Float32Array, after: Float32Array, width: number): void {
    if (before.length !== after.length || before.length % width !== 0) {
      throw new ConfigError("vectors differ in number or width", {
        where: "VectorComparison",
        expected: `${before.length} values, rows of ${width}`,
        found: after.length,
      });
    }
    for (let start = 0; start < before.length; start += width) {
      let [a, b, ab] = [0, 0, 0];
      for (let i = start; i < start + width; i++) {
        a += before[i] ** 2;
        b += after[i] ** 2;
        ab += before[i] * after[i];
        const difference = Math.abs(before[i] - after[i]);
        this.#differences += difference ** 2;
        // A comparison with NaN is false: it has to be kept by itself.
        if (!(difference <= this.#largest)) this.#largest = difference;
      }
      const cosine = a === 0 && b === 0 ? 1 : ab / Math.sqrt(a * b || 1);
      this.#squares += a;
      this.#cosines += cosine;
      if (!(cosine >= this.#minCosine)) this.#minCosine = cosine;
      this.#vectors++;
    }
    this.#values += before.length;
  }

  /** What was found so far. @throws ConfigError if nothing was compared */
  get result(): VectorDivergence {
    if (this.#vectors === 0) throw new ConfigError("nothing was compared", { where: "VectorComparison" });
    const scale = Math.sqrt(this.#squares / this.#values) || 1;
    return {
      vectors: this.#vectors,
      meanCosine: Math.min(1, this.#cosines / this.#vectors),
      minCosine: Math.min(1, this.#minCosine),
      relative: Math.sqrt(this.#differences / (this.#squares || 1)),
      maxError: this.#largest / scale,
    };
  }
}
