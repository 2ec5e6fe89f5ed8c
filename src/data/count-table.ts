/**
 * A hash table from 64-bit keys (two 32-bit words) to 32-bit counts in one typed array: open addressing with
 * linear probing, doubling at 70% load. A slot takes 12 bytes; a count of zero marks it free.
 */

import { ConfigError } from "../tensor/errors.ts";

const STRIDE = 3;

export class CountTable {
  #slots: Uint32Array;
  #mask: number;
  #size = 0;
  #limit: number;
  readonly #maxEntries: number;

  constructor(maxEntries = Number.POSITIVE_INFINITY, initialBits = 10) {
    this.#slots = new Uint32Array(STRIDE << initialBits);
    this.#mask = (1 << initialBits) - 1;
    this.#limit = Math.floor(0.7 * (this.#mask + 1));
    this.#maxEntries = maxEntries;
  }

  /** Distinct keys. */
  get size(): number {
    return this.#size;
  }

  /** Slots; slot numbers lie below and stay valid until the next `add` of a new key. */
  get capacity(): number {
    return this.#mask + 1;
  }

  /** Adds to the count of a key. @throws ConfigError beyond the entry limit. */
  add(high: number, low: number, amount: number): void {
    const slots = this.#slots;
    const h = high >>> 0;
    const l = low >>> 0;
    for (let slot = hash(high, low) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * STRIDE;
      const count = slots[at + 2];
      if (count === 0) {
        slots[at] = h;
        slots[at + 1] = l;
        slots[at + 2] = amount;
        if (++this.#size > this.#limit) this.#grow();
        return;
      }
      if (slots[at] === h && slots[at + 1] === l) {
        slots[at + 2] = count + amount;
        return;
      }
    }
  }

  /** Slot of a key, or -1. */
  find(high: number, low: number): number {
    const slots = this.#slots;
    const h = high >>> 0;
    const l = low >>> 0;
    for (let slot = hash(high, low) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * STRIDE;
      if (slots[at + 2] === 0) return -1;
      if (slots[at] === h && slots[at + 1] === l) return slot;
    }
  }

  /** Count in a slot that `find` returned. */
  countAt(slot: number): number {
    return this.#slots[slot * STRIDE + 2];
  }

  /** Visits all keys (as unsigned words) with their counts. */
  each(visit: (high: number, low: number, count: number) => void): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += STRIDE) {
      if (slots[at + 2] !== 0) visit(slots[at], slots[at + 1], slots[at + 2]);
    }
  }

  /** Visits the numbers of all occupied slots. */
  eachSlot(visit: (slot: number) => void): void {
    for (let slot = 0; slot <= this.#mask; slot++) if (this.#slots[slot * STRIDE + 2] !== 0) visit(slot);
  }

  #grow(): void {
    if (this.#size > this.#maxEntries) {
      throw new ConfigError("more distinct n-grams than the limit", {
        where: "CountTable",
        expected: `at most ${this.#maxEntries}`,
        found: this.#size,
        hint: "Lower the order, train on less text, or raise maxNgrams.",
      });
    }
    const old = this.#slots;
    const capacity = 2 * (this.#mask + 1);
    this.#slots = new Uint32Array(STRIDE * capacity);
    this.#mask = capacity - 1;
    this.#limit = Math.floor(0.7 * capacity);
    const slots = this.#slots;
    for (let at = 0; at < old.length; at += STRIDE) {
      if (old[at + 2] === 0) continue;
      let slot = hash(old[at], old[at + 1]) & this.#mask;
      while (slots[slot * STRIDE + 2] !== 0) slot = (slot + 1) & this.#mask;
      slots[slot * STRIDE] = old[at];
      slots[slot * STRIDE + 1] = old[at + 1];
      slots[slot * STRIDE + 2] = old[at + 2];
    }
  }
}

function hash(high: number, low: number): number {
  let h = Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
