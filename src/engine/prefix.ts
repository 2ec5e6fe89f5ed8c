/** Where a sequence starts: at the end of the longest beginning that some cache already holds, or at nothing. */
import type { TokenModel } from "../models/token-model.ts";
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

/**
 * The longest beginning of `wanted`, its last token excepted, that a stored or running sequence holds; null below 16
 * tokens. With `drafts` the drafting module must hold it too, made of the same tokens.
 */
export function findPrefix(
  wanted: Contents,
  drafts: boolean,
  store: PrefixStore,
  running: readonly Sequence[],
): FoundPrefix | null {
  let found: FoundPrefix | null = null;
  const consider = (held: Contents, caches: SequenceCaches, stored: StoredPrefix | null) => {
    // The module's state at a position depends on the token after it, which must be common too.
    const common = commonPrefix(held, wanted) - (drafts ? 1 : 0);
    const length = Math.min(common, usable(caches, drafts), wanted.tokens.length - 1);
    if (length > (found?.length ?? SHORTEST_PREFIX - 1)) found = { length, caches, stored };
  };
  for (const entry of store.entries) consider(entry, entry.caches, entry);
  for (const sequence of running) consider(sequence, sequence, null);
  return found;
}

/**
 * Caches for a sequence that starts at `found`. A stored entry is taken over if that loses less than it saves to
 * copy, else it stays and is copied, as is the beginning of a running sequence.
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
  const caches = createCaches(model, drafts, options);
  try {
    caches.cache.copyFrom(found.caches.cache, length);
    if (drafts) caches.draftCache!.copyFrom(found.caches.draftCache!, length);
  } catch (error) {
    disposeCaches(caches);
    throw error;
  }
  if (stored) store.touch(stored);
  return caches;
}
