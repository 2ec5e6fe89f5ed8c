/**
 * What a sequence begins with: token ids, and embeddings if an encoder (of images, for example) stands in for ids.
 *
 * A position of embeddings has no id. The model reads its embedding, and so does the prediction module where it is the
 * next token; caches are compared by its content (`commonPrefix`); penalties do not see it; `promptLogprobs` gives it
 * no score. Where an id has to be shown it is the part's `placeholderId`.
 */
import type { Tensor } from "../tensor/tensor.ts";

/** Embeddings in place of token ids. */
export interface EmbeddingPart {
  /**
   * `[n, d]` f32 on the model's device. A sequence takes its own view when it begins (`Engine.submit`; for
   * `generate`, when the first token is asked for): the tensor stays the caller's and may be freed from then on.
   */
  readonly embeddings: Tensor;
  /**
   * Names the content: equal hashes stand for equal embeddings, and cached states are shared by them. Made of all that
   * the embeddings depend on: SHA-256 over the image's bytes and its preprocessing, for example.
   */
  readonly hash: string;
  /** The id shown at these positions, an image token for example. */
  readonly placeholderId: number;
}

export type PromptPart = ArrayLike<number> | EmbeddingPart;

/** Token ids, or parts one after another. */
export type Prompt = ArrayLike<number> | readonly PromptPart[];

/** Positions that hold embeddings. */
export interface EmbeddingSpan {
  readonly start: number;
  readonly length: number;
  readonly hash: string;
}

/** What a sequence or a cache holds, position by position. */
export interface Contents {
  /** Ids; placeholders where embeddings are. */
  readonly tokens: readonly number[];
  /** In order; the last one may go on beyond the tokens. */
  readonly spans: readonly EmbeddingSpan[];
}

/** A prompt with its parts put together. */
export interface PromptContents extends Contents {
  readonly tokens: number[];
  readonly spans: readonly (EmbeddingSpan & { readonly embeddings: Tensor })[];
}

function isParts(prompt: Prompt): prompt is readonly PromptPart[] {
  return typeof prompt[0] === "object";
}

/** Puts the parts of a prompt together. The tokens are the caller's. */
export function contentsOf(prompt: Prompt): PromptContents {
  if (!isParts(prompt)) return { tokens: Array.from(prompt), spans: [] };
  const tokens: number[] = [];
  const spans: PromptContents["spans"][number][] = [];
  for (const part of prompt) {
    if (!("embeddings" in part)) {
      for (let i = 0; i < part.length; i++) tokens.push(part[i]);
      continue;
    }
    const { embeddings, hash, placeholderId } = part;
    const [length] = embeddings.shape;
    spans.push({ start: tokens.length, length, hash, embeddings });
    for (let i = 0; i < length; i++) tokens.push(placeholderId);
  }
  return { tokens, spans };
}

/** The first `length` positions. */
export function beginningOf({ tokens, spans }: Contents, length: number): Contents {
  const within = spans.filter(({ start }) => start < length);
  return {
    tokens: tokens.slice(0, length),
    spans: within.map(({ start, length, hash }) => ({ start, length, hash })),
  };
}

/** Length of the common beginning: equal ids, and embeddings of equal hashes at equal places. */
export function commonPrefix(a: Contents, b: Contents): number {
  const [p, q] = [a.tokens, b.tokens];
  const end = Math.min(p.length, q.length);
  let length = 0;
  while (length < end && p[length] === q[length]) length++;
  // Before the first span that only one of them has, or that differs, both hold the same.
  for (let i = 0; i < Math.max(a.spans.length, b.spans.length); i++) {
    const [x, y] = [a.spans[i], b.spans[i]];
    if (x && y && x.start === y.start && x.length === y.length && x.hash === y.hash) continue;
    const starts = [x, y].map((span) => span?.start ?? length);
    return Math.min(length, ...starts);
  }
  return length;
}

/** The span that holds `position`, or null. */
export function spanAt({ spans }: Contents, position: number): EmbeddingSpan | null {
  return spans.find(({ start, length }) => start <= position && position < start + length) ?? null;
}

/** The ids of a prompt without its placeholders. */
export function idsIn({ tokens, spans }: Contents): readonly number[] {
  if (spans.length === 0) return tokens;
  const begins = [0, ...spans.map(({ start, length }) => start + length)];
  return begins.flatMap((begin, i) => tokens.slice(begin, spans[i]?.start));
}
