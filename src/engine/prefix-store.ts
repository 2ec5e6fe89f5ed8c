/**
 * Caches of sequences that have ended, kept for prompts that begin alike: the next turn of a conversation, another
 * question under the same instructions. Evicts least recently used entries to make room.
 */
import { beginningOf, type Contents, commonPrefix } from "./prompt.ts";
import { disposeCaches, type SequenceCaches } from "./sequence.ts";

/** What caches hold, and the caches. */
export interface StoredPrefix extends Contents {
  readonly caches: SequenceCaches;
}

/** Tokens of the prefix that a sequence with or without drafts could start from. */
export function usable({ cache, draftCache }: SequenceCaches, drafts: boolean): number {
  return drafts ? Math.min(cache.length, draftCache?.length ?? 0) : cache.length;
}

export class PrefixStore implements Disposable {
  /** Longest unused first. */
  readonly #entries: StoredPrefix[] = [];

  /** Tokens held; what running sequences hold too is divided among all. */
  get tokens(): number {
    return this.#entries.reduce(
      (sum, { tokens, caches }) => sum + tokens.length - caches.cache.sharedTokens,
      0,
    );
  }

  get entries(): readonly StoredPrefix[] {
    return this.#entries;
  }

  /** Takes over the caches of a sequence of `contents`, or frees them if another entry holds as much. */
  add(contents: Contents, caches: SequenceCaches): void {
    // An undecided draft may be the last in the cache.
    const held = beginningOf(contents, caches.cache.length);
    const { length } = held.tokens;
    caches.cache.truncate(length);
    const drafts = caches.draftCache !== null;
    const room = usable(caches, drafts);
    const covers = (entry: StoredPrefix) =>
      commonPrefix(entry, held) >= length && usable(entry.caches, drafts) >= room;
    if (length === 0 || this.#entries.some(covers)) {
      disposeCaches(caches);
      return;
    }
    const entry = { ...held, caches };
    // What the new one begins with needs no entry of its own.
    for (const old of [...this.#entries]) {
      const inside = commonPrefix(old, held) === old.tokens.length;
      const oldDrafts = old.caches.draftCache !== null;
      if (inside && usable(caches, oldDrafts) >= usable(old.caches, oldDrafts)) this.#drop(old);
    }
    this.#entries.push(entry);
  }

  /** Marks an entry as just used. */
  touch(entry: StoredPrefix): void {
    this.#remove(entry);
    this.#entries.push(entry);
  }

  /** Removes an entry and hands its caches over. */
  take(entry: StoredPrefix): SequenceCaches {
    this.#remove(entry);
    return entry.caches;
  }

  /** Frees the longest unused entries but `spared` until what is held `fits`. */
  shrink(fits: () => boolean, spared: StoredPrefix | null = null): void {
    for (const entry of [...this.#entries]) {
      if (fits()) return;
      if (entry !== spared) this.#drop(entry);
    }
  }

  clear(): void {
    this.shrink(() => false);
  }

  #remove(entry: StoredPrefix): void {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
  }

  #drop(entry: StoredPrefix): void {
    this.#remove(entry);
    disposeCaches(entry.caches);
  }

  [Symbol.dispose](): void {
    for (const { caches } of this.#entries) disposeCaches(caches);
    this.#entries.length = 0;
  }
}
