/**
 * The baseline that training is compared with: a byte-level n-gram model, interpolated modified Kneser-Ney
 * (Chen and Goodman 1998, section 3). Exact counts in open-addressing tables of typed arrays; only the highest
 * order is counted while reading, the lower ones follow from its distinct n-grams. The uniform distribution over
 * 256 bytes ends the interpolation, so every byte has a positive probability.
 */

import { ConfigError } from "../tensor/errors.ts";
import { CountTable } from "./count-table.ts";

export interface NgramOptions {
  /** n: each byte is predicted from the n - 1 before it; 1 to 8 (default 5). */
  readonly order?: number;
  /** Distinct n-grams of the highest order to hold before failing (default 2^25, about 0.8 GB in the worst case). */
  readonly maxNgrams?: number;
}

export interface NgramScore {
  readonly bytes: number;
  readonly bits: number;
  readonly bitsPerByte: number;
}

/** One order, ready for queries. */
interface Level {
  readonly ngrams: CountTable;
  /** Sum of counts per context; `backoff` (by slot) is the discounted mass divided by that sum. */
  readonly contexts: CountTable;
  readonly backoff: Float64Array;
  readonly discounts: readonly [number, number, number];
}

/** Byte-level interpolated modified Kneser-Ney model. Texts start after n - 1 zero bytes. */
export class ByteNgram {
  readonly order: number;
  readonly #counts: CountTable;
  #levels: Level[] | null = null;
  // The last bytes read, as the two words of a table key.
  #high = 0;
  #low = 0;
  #trained = 0;

  constructor(options: NgramOptions = {}) {
    const { order = 5, maxNgrams = 2 ** 25 } = options;
    if (!Number.isInteger(order) || order < 1 || order > 8) {
      throw new ConfigError("must be an integer from 1 to 8", { where: "ngram.order", found: order });
    }
    this.order = order;
    this.#counts = new CountTable(maxNgrams);
  }

  /** Bytes counted so far. */
  get trainedBytes(): number {
    return this.#trained;
  }

  /** Distinct n-grams of the highest order. */
  get ngrams(): number {
    return this.#counts.size;
  }

  /** Counts bytes; consecutive calls continue the same text until `endText`. */
  train(bytes: Uint8Array): void {
    this.#levels = null;
    const { high: maskHigh, low: maskLow } = masks(this.order);
    const counts = this.#counts;
    let high = this.#high;
    let low = this.#low;
    for (let i = 0; i < bytes.length; i++) {
      high = ((high << 8) | (low >>> 24)) & maskHigh;
      low = ((low << 8) | bytes[i]) & maskLow;
      counts.add(high, low, 1);
    }
    this.#high = high;
    this.#low = low;
    this.#trained += bytes.length;
  }

  /** The next bytes belong to another text. */
  endText(): void {
    this.#high = 0;
    this.#low = 0;
  }

  /** Trains on a stream of texts and returns the model. */
  async trainTexts(texts: AsyncIterable<string> | Iterable<string>): Promise<this> {
    const encoder = new TextEncoder();
    for await (const text of texts) {
      this.train(encoder.encode(text));
      this.endText();
    }
    return this;
  }

  /** Probability of `byte` after the last n - 1 bytes of `context` (earlier ones are ignored). */
  probability(context: Uint8Array, byte: number): number {
    let high = 0;
    let low = 0;
    for (let i = Math.max(0, context.length - this.order + 1); i < context.length; i++) {
      high = (high << 8) | (low >>> 24);
      low = (low << 8) | context[i];
    }
    return this.#probability((high << 8) | (low >>> 24), (low << 8) | byte);
  }

  /** Total and mean code length of one text, in bits, starting from an empty context. */
  evaluate(bytes: Uint8Array): NgramScore {
    let high = 0;
    let low = 0;
    let bits = 0;
    for (let i = 0; i < bytes.length; i++) {
      high = (high << 8) | (low >>> 24);
      low = (low << 8) | bytes[i];
      bits -= Math.log2(this.#probability(high, low));
    }
    return { bytes: bytes.length, bits, bitsPerByte: bytes.length === 0 ? 0 : bits / bytes.length };
  }

  /** Like `evaluate` for several texts, each starting from an empty context. */
  async evaluateTexts(texts: AsyncIterable<string> | Iterable<string>): Promise<NgramScore> {
    const encoder = new TextEncoder();
    let bytes = 0;
    let bits = 0;
    for await (const text of texts) {
      const score = this.evaluate(encoder.encode(text));
      bytes += score.bytes;
      bits += score.bits;
    }
    return { bytes, bits, bitsPerByte: bytes === 0 ? 0 : bits / bytes };
  }

  #probability(high: number, low: number): number {
    const levels = (this.#levels ??= this.#build());
    let p = 1 / 256;
    for (let n = 1; n <= this.order; n++) {
      const { ngrams, contexts, backoff, discounts } = levels[n - 1];
      const mask = masks(n);
      const h = high & mask.high;
      const l = low & mask.low;
      const context = contexts.find(h >>> 8, (l >>> 8) | (h << 24));
      // A context never seen says nothing, and neither does any longer one.
      if (context < 0) break;
      const slot = ngrams.find(h, l);
      const count = slot < 0 ? 0 : ngrams.countAt(slot);
      const own = count === 0 ? 0 : count - discounts[Math.min(count, 3) - 1];
      p = own / contexts.countAt(context) + backoff[context] * p;
    }
    return p;
  }

  #build(): Level[] {
    const levels: Level[] = [];
    let ngrams = this.#counts;
    for (let n = this.order; n >= 1; n--) {
      levels[n - 1] = buildLevel(ngrams);
      if (n === 1) break;
      // Continuation counts: how many different bytes were seen before each shorter n-gram.
      const shorter = new CountTable();
      const { high: maskHigh, low: maskLow } = masks(n - 1);
      ngrams.each((high, low) => shorter.add(high & maskHigh, low & maskLow, 1));
      ngrams = shorter;
    }
    return levels;
  }
}

function buildLevel(ngrams: CountTable): Level {
  const discounts = modifiedDiscounts(ngrams);
  const contexts = new CountTable();
  ngrams.each((high, low, count) => contexts.add(high >>> 8, (low >>> 8) | (high << 24), count));
  const backoff = new Float64Array(contexts.capacity);
  ngrams.each((high, low, count) => {
    backoff[contexts.find(high >>> 8, (low >>> 8) | (high << 24))] += discounts[Math.min(count, 3) - 1];
  });
  contexts.eachSlot((slot) => (backoff[slot] /= contexts.countAt(slot)));
  return { ngrams, contexts, backoff, discounts };
}

/**
 * D1, D2 and D3+ from the numbers of n-grams counted once to four times. Where a number is zero (tiny data, and
 * the lowest orders, where all bytes are frequent) the estimate is undefined and 0.5 stands in for it, which
 * keeps every count and every back-off mass positive.
 */
export function modifiedDiscounts(ngrams: CountTable): [number, number, number] {
  const n = [0, 0, 0, 0, 0];
  ngrams.each((_high, _low, count) => {
    if (count <= 4) n[count]++;
  });
  const y = n[1] / (n[1] + 2 * n[2]);
  const discount = (k: 1 | 2 | 3) => {
    const d = k - ((k + 1) * y * n[k + 1]) / n[k];
    return d > 0 && d < k ? d : 0.5;
  };
  return [discount(1), discount(2), discount(3)];
}

/** Masks that keep the last `n` bytes of a two-word key. */
function masks(n: number): { high: number; low: number } {
  return MASKS[n];
}

const MASKS = Array.from({ length: 9 }, (_, n) => ({
  high: n <= 4 ? 0 : n === 8 ? -1 : (1 << (8 * (n - 4))) - 1,
  low: n >= 4 ? -1 : (1 << (8 * n)) - 1,
}));
