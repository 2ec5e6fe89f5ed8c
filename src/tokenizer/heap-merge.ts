/**
 * Merges the symbols of a long piece by a heap of (rank, position) over a linked list, in as many steps at a time as its
 * caller wants. Entries of the heap that later merges made stale are recognized by looking the pair up again.
 */
import { type MergeTable, NO_MERGE } from "./merge-table.ts";

/** A binary heap of numbers, smallest first. */
class MinHeap {
  readonly #items: number[] = [];

  push(value: number): void {
    const items = this.#items;
    let i = items.length;
    items.push(value);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (items[parent] <= value) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = value;
  }

  /** Removes and returns the smallest, or undefined when empty. */
  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = last;
    return top;
  }
}

export class HeapMerge {
  readonly #symbols: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heap = new MinHeap();
  readonly #table: MergeTable;
  readonly #mergedId: Int32Array;
  /** Symbols whose pairs are in the heap. */
  #offered = 0;

  /** @param symbols of the piece, changed in place  @param mergedId the id that each rank merges to */
  constructor(symbols: Int32Array, table: MergeTable, mergedId: Int32Array) {
    this.#symbols = symbols;
    this.#next = new Int32Array(symbols.length);
    this.#previous = new Int32Array(symbols.length);
    this.#table = table;
    this.#mergedId = mergedId;
  }

  #offer(at: number): void {
    if (at < 0 || this.#next[at] < 0) return;
    const rank = this.#table.get(this.#symbols[at], this.#symbols[this.#next[at]]);
    if (rank !== NO_MERGE) this.#heap.push(rank * 0x80000000 + at);
  }

  /** Does at most `most` steps; true once nothing is left to merge. */
  advance(most: number): boolean {
    let steps = most;
    const count = this.#symbols.length;
    for (; this.#offered < count && steps > 0; steps--) {
      const at = this.#offered++;
      this.#next[at] = at + 1 < count ? at + 1 : -1;
      this.#previous[at] = at - 1;
      this.#offer(at);
    }
    for (; steps > 0; steps--) {
      const entry = this.#heap.pop();
      if (entry === undefined) return true;
      this.#merge(entry);
    }
    return false;
  }

  #merge(entry: number): void {
    const symbols = this.#symbols;
    const next = this.#next;
    const rank = Math.floor(entry / 0x80000000);
    const at = entry - rank * 0x80000000;
    const right = next[at];
    if (symbols[at] < 0 || right < 0 || this.#table.get(symbols[at], symbols[right]) !== rank) return;
    symbols[at] = this.#mergedId[rank];
    symbols[right] = -1;
    next[at] = next[right];
    if (next[at] >= 0) this.#previous[next[at]] = at;
    this.#offer(this.#previous[at]);
    this.#offer(at);
  }

  /** What is left: ids in order. */
  result(): Int32Array {
    const symbols = this.#symbols;
    let length = 0;
    for (let i = 0; i >= 0; i = this.#next[i]) symbols[length++] = symbols[i];
    return symbols.subarray(0, length);
  }
}
