/**
 * Where a sequence starts: at the end of the longest beginning that some cache already holds or is about to hold, or at
 * nothing.
 */
import type { TokenModel } from "../models/token-model.ts";
import { PAGE } from "../nn/page-pool.ts";
import { type PrefixStore, type StoredPrefix, usable } from "./prefix-store.ts";
import { type Contents, commonPrefix } from "./prompt.ts";
import {
  createCaches,
  disposeCaches,
  type RoomOptions,
  type Sequence,
  type SequenceCaches,
} from "./sequence.ts";

/**
 * A shorter beginning is read again: that costs little, and an output should not depend in its last bits on the few
 * tokens that all prompts share.
 */
export const SHORTEST_PREFIX = 16;

export interface FoundPrefix {
  readonly length: number;
  readonly caches: SequenceCaches;
  /** The entry of the store that has it; null if a running sequence has. */
  readonly stored: StoredPrefix | null;
}

/** A sequence that has a place in the batch. */
export interface Reader {
  readonly sequence: Sequence;
  /** Whether the drafting module reads its tokens too. */
  readonly drafts: boolean;
  /** While it waits for another to read what both begin with: until then it has no caches. */
  readonly awaited: ComingPrefix | null;
}

/** A beginning that another sequence has yet to read. */
export interface ComingPrefix {
  readonly length: number;
  readonly reader: Reader;
}

/** A sequence that may start from what others hold. */
export interface Beginner {
  readonly sequence: Contents;
  /** Whether the drafting module reads its tokens too. */
  readonly drafts: boolean;
  /** Tokens that it may have from others, at most. */
  readonly most: number;
}

/** Tokens of `wanted`, its last one excepted, that it can have from the states of all of `held`. */
function commonTokens(held: Contents, { sequence, drafts, most }: Beginner): number {
  // The module's state at a position depends on the token after it, which must be common too.
  const common = commonPrefix(held, sequence) - (drafts ? 1 : 0);
  return Math.min(common, sequence.tokens.length - 1, most);
}

/**
 * The longest beginning of `wanted`, its last token excepted, that a stored or running sequence holds; null below 16
 * tokens. With `drafts` the drafting module must hold it too, made of the same tokens.
 */
export function findPrefix(
  wanted: Beginner,
  store: PrefixStore,
  running: readonly Sequence[],
): FoundPrefix | null {
  let found: FoundPrefix | null = null;
  const consider = (held: Contents, caches: SequenceCaches, stored: StoredPrefix | null) => {
    const length = Math.min(commonTokens(held, wanted), usable(caches, wanted.drafts));
    if (length > (found?.length ?? SHORTEST_PREFIX - 1)) found = { length, caches, stored };
  };
  for (const entry of store.entries) consider(entry, entry.caches, entry);
  for (const sequence of running) if (sequence.attached) consider(sequence, sequence, null);
  return found;
}

/**
 * The longest beginning of `wanted`, its last token excepted, that one of `readers` has yet to read, if that is at least
 * 16 tokens longer than what was `found`; else null. It may wait for another itself.
 */
export function findComing(
  wanted: Beginner,
  found: FoundPrefix | null,
  readers: readonly Reader[],
): ComingPrefix | null {
  let coming: ComingPrefix | null = null;
  let least = (found?.length ?? 0) + SHORTEST_PREFIX;
  for (const reader of readers) {
    if (wanted.drafts && !reader.drafts) continue;
    const length = commonTokens(reader.sequence, wanted);
    if (length < least) continue;
    coming = { length, reader };
    least = length + 1;
  }
  return coming;
}

/** Tokens of `wanted` in pages that it can hold together with one of `readers`, once those have read them. */
export function sharableTokens(wanted: Beginner, readers: readonly Reader[]): number {
  const common = readers.map((reader) =>
    wanted.drafts && !reader.drafts ? 0 : commonTokens(reader.sequence, wanted),
  );
  const longest = Math.max(0, ...common);
  return longest < SHORTEST_PREFIX ? 0 : inFullPages(longest);
}

/** Of `tokens` tokens, those in full pages: only these have several holders. */
export function inFullPages(tokens: number): number {
  return tokens - (tokens % PAGE);
}

/** Whether the wait is over: the beginning was read, or its reader has ended or lost its caches. */
export function settled({ length, reader }: ComingPrefix, drafts: boolean): boolean {
  const { sequence, awaited } = reader;
  return sequence.attached ? usable(sequence, drafts) >= length : awaited === null;
}

/**
 * Caches for a sequence that starts at `found`. A stored entry is taken over if most of it is of use; else it stays and its pages
 * are shared, as are those of a running sequence.
 */
export function startCaches(
  model: TokenModel,
  drafts: boolean,
  found: FoundPrefix | null,
  store: PrefixStore,
  options: RoomOptions,
): SequenceCaches {
  if (found === null) return createCaches(model, drafts, options);
  const { length, stored } = found;
  if (stored && stored.tokens.length <= 2 * length) {
    const { cache, draftCache } = store.take(stored);
    cache.truncate(length);
    if (drafts) draftCache!.truncate(length);
    else draftCache?.[Symbol.dispose]();
    return { cache, draftCache: drafts ? draftCache : null };
  }
  const { dtype, capacity } = options;
  const caches = createCaches(model, drafts, { dtype });
  try {
    caches.cache.share(found.caches.cache, length, capacity);
    if (drafts) caches.draftCache!.share(found.caches.draftCache!, length, capacity);
  } catch (error) {
    disposeCaches(caches);
    throw error;
  }
  if (stored) store.touch(stored);
  return caches;
}
