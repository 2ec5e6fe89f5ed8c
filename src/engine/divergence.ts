/**
 * What another storage of the same weights costs, measured on a text: perplexity before and after, and how far the
 * predicted distributions move. The two models need not be in memory together.
 */
import type { TokenModel } from "../models/token-model.ts";
import { ConfigError } from "../tensor/errors.ts";
import { argmax } from "./sampling.ts";
import { logNorm } from "./token-sampler.ts";

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

/** Tokens of one pass. */
const CHUNK = 256;

/** The logits of `model` along `ids`, the first token being the start of a sequence. @throws ConfigError */
export async function textLogits(
  model: TokenModel,
  ids: readonly number[],
  progress: (done: number, total: number) => void = () => {},
): Promise<TextLogits> {
  if (ids.length < 2) {
    throw new ConfigError("the text has fewer than two tokens", { where: "textLogits", found: ids.length });
  }
  const { device } = model;
  const rows: Float32Array[] = [];
  using cache = model.createCache(ids.length);
  for (let begin = 0; begin < ids.length - 1; begin += CHUNK) {
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
