/**
 * Documents as token ids, with the fill-in-the-middle transform of DeepSeek-Coder (arXiv 2401.14196, section
 * 3.1.2): applied per document before packing, in prefix-suffix-middle order, at a seeded rate
 * (0.5 in Coder, 0.1 in V3). Split points are two distinct uniform character positions.
 */

import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Corpus, Tokenizer } from "./corpus.ts";
import { hash128 } from "./hash.ts";

export interface FimOptions {
  /** Probability that a document is transformed, in [0, 1]. */
  readonly rate: number;
  readonly seed: number;
}

export interface EncodeOptions {
  readonly fim?: FimOptions;
  /** Start each document with the tokenizer's beginning-of-text id (default false). */
  readonly bos?: boolean;
}

/** The token ids of one document, end-of-text included. */
export interface TokenDocument {
  readonly path: string;
  readonly ids: ArrayLike<number>;
  /** UTF-8 bytes of the source text, for bits per byte. */
  readonly bytes?: number;
}

export interface FimSplit {
  readonly prefix: string;
  readonly middle: string;
  readonly suffix: string;
}

/**
 * Cuts a text at two distinct positions, uniform over all positions that do not split a surrogate pair; null for
 * the empty text, which has a single position.
 */
export function splitForFim(text: string, random: Random): FimSplit | null {
  if (text.length === 0) return null;
  const first = position(text, random);
  let second = position(text, random);
  while (second === first) second = position(text, random);
  const start = Math.min(first, second);
  const end = Math.max(first, second);
  return { prefix: text.slice(0, start), middle: text.slice(start, end), suffix: text.slice(end) };
}

function position(text: string, random: Random): number {
  for (;;) {
    const at = random.int(text.length + 1);
    const splitsPair =
      at > 0 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800 && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
    if (!splitsPair) return at;
  }
}

/**
 * Encodes one document: `text eos`, or `begin prefix hole suffix end middle eos` with the three parts encoded
 * separately. The choice depends on the seed and `path` only, not on the order of documents.
 * @throws ConfigError for a positive rate with a tokenizer without sentinels.
 */
export function encodeDocument(
  tokenizer: Tokenizer,
  path: string,
  text: string,
  options: EncodeOptions = {},
): number[] {
  const ids: number[] = [];
  if (options.bos) {
    if (tokenizer.bosId === undefined) {
      throw new ConfigError("the tokenizer has no beginning-of-text id", {
        where: "encodeDocument",
        name: path,
      });
    }
    ids.push(tokenizer.bosId);
  }
  const split = chooseSplit(tokenizer, path, text, options.fim);
  if (split && tokenizer.fim) {
    ids.push(tokenizer.fim.begin);
    append(ids, tokenizer.encode(split.prefix));
    ids.push(tokenizer.fim.hole);
    append(ids, tokenizer.encode(split.suffix));
    ids.push(tokenizer.fim.end);
    append(ids, tokenizer.encode(split.middle));
  } else {
    append(ids, tokenizer.encode(text));
  }
  ids.push(tokenizer.eosId);
  return ids;
}

function chooseSplit(tokenizer: Tokenizer, path: string, text: string, fim?: FimOptions): FimSplit | null {
  if (!fim || fim.rate === 0) return null;
  if (!(fim.rate > 0 && fim.rate <= 1)) {
    throw new ConfigError("must lie in [0, 1]", { where: "fim.rate", found: fim.rate });
  }
  if (!tokenizer.fim) {
    throw new ConfigError("the tokenizer has no fill-in-the-middle sentinels", {
      where: "encodeDocument",
      name: path,
      hint: "Set fim.rate to 0 or train the tokenizer with sentinels.",
    });
  }
  const random = new Random(hash128(path, fim.seed)[0], fim.seed);
  return random.uniform() < fim.rate ? splitForFim(text, random) : null;
}

function append(ids: number[], more: ArrayLike<number>): void {
  for (let i = 0; i < more.length; i++) ids.push(more[i]);
}

/** Encodes a corpus document by document. */
export async function* encodeCorpus(
  corpus: Corpus,
  tokenizer: Tokenizer,
  options: EncodeOptions = {},
): AsyncGenerator<TokenDocument> {
  const encoder = new TextEncoder();
  for await (const { path, text } of corpus) {
    yield { path, ids: encodeDocument(tokenizer, path, text, options), bytes: encoder.encode(text).length };
  }
}
