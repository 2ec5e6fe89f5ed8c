import { beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../models/causal-lm.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { findPrefix, startCaches } from "./prefix.ts";
import { PrefixStore } from "./prefix-store.ts";
import { contentsOf } from "./prompt.ts";
import { createCaches, disposeCaches, type SequenceCaches } from "./sequence.ts";
import { smallV3 } from "./testing.ts";

const device = createReferenceDevice();
let model: CausalLM;
let before: number;
beforeAll(() => {
  model = smallV3(device);
  before = device.backend.memory().buffers;
});

/** Caches that count as holding so many tokens. */
function caches(length: number, drafted: number | null = null): SequenceCaches {
  const made = createCaches(model, drafted !== null, { capacity: 64 });
  made.cache.advance(length);
  made.draftCache?.advance(drafted!);
  return made;
}

const counting = (from: number, length: number) => Array.from({ length }, (_, i) => from + i);

/** A beginner that may have all. */
const wanted = (tokens: number[], drafts: boolean, most = tokens.length) => ({
  ...{ sequence: contentsOf(tokens), drafts, most },
});

describe("PrefixStore", () => {
  it("frees the longest unused first, and what another entry covers", () => {
    const store = new PrefixStore();
    store.add(contentsOf(counting(0, 30)), caches(30));
    store.add(contentsOf(counting(100, 20)), caches(20));
    store.add(contentsOf(counting(200, 10)), caches(10));
    expect(store.tokens).toBe(60);
    store.touch(store.entries[0]);
    store.shrink(() => store.tokens <= 45);
    expect(store.entries.map(({ tokens }) => tokens[0])).toEqual([200, 0]);
    // A longer one takes the place of its beginning; the beginning again adds nothing.
    store.add(contentsOf(counting(200, 25)), caches(25));
    store.add(contentsOf(counting(200, 12)), caches(12));
    expect(store.entries.map(({ tokens }) => tokens.length)).toEqual([30, 25]);
    // With drafts it is worth keeping beside one without.
    store.add(contentsOf(counting(200, 12)), caches(12, 11));
    expect(store.tokens).toBe(67);
    store.shrink(() => store.tokens <= 12, store.entries[0]);
    expect(store.entries.map(({ tokens }) => tokens.length)).toEqual([30]);
    store.add(contentsOf([]), caches(0));
    // A token in the cache that was never decided on.
    const drafted = caches(6);
    store.add(contentsOf([7, 8, 9, 1, 2]), drafted);
    expect(drafted.cache.length).toBe(5);
    store[Symbol.dispose]();
    expect(store.tokens).toBe(0);
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("is searched for the longest beginning that serves", () => {
    using store = new PrefixStore();
    store.add(contentsOf(counting(0, 40)), caches(40));
    store.add(contentsOf([...counting(0, 20), 99, 98]), caches(22, 18));
    const find = (tokens: number[], drafts = false) =>
      findPrefix(wanted(tokens, drafts), store, [])?.length ?? null;
    expect(find(counting(0, 50))).toBe(40);
    expect(find(counting(0, 40))).toBe(39);
    expect(find([...counting(0, 20), 99, 98, 97])).toBe(22);
    expect(find([...counting(0, 20), 99, 98, 97], true)).toBe(18);
    expect(find(counting(0, 16))).toBe(null);
    expect(find(counting(0, 17))).toBe(16);
    expect(find(counting(1, 30))).toBe(null);
    expect(findPrefix(wanted(counting(0, 50), false, 30), store, [])?.length).toBe(30);
  });

  it("gives an entry away where most of it is of use, and a copy otherwise", () => {
    const store = new PrefixStore();
    store.add(contentsOf(counting(0, 40)), caches(40, 39));
    const start = (tokens: number[], drafts: boolean) =>
      startCaches(model, drafts, findPrefix(wanted(tokens, drafts), store, []), store, { capacity: 64 });
    const copied = start(counting(0, 19), true);
    expect([copied.cache.length, copied.draftCache?.length]).toEqual([18, 18]);
    expect(store.tokens).toBe(40);
    const taken = start(counting(0, 60), false);
    expect([taken.cache.length, taken.draftCache]).toEqual([40, null]);
    expect(store.tokens).toBe(0);
    const fresh = start(counting(0, 60), true);
    expect([fresh.cache.length, fresh.draftCache?.length]).toEqual([0, 0]);
    for (const each of [copied, taken, fresh]) disposeCaches(each);
    store[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(before);
  });
});
