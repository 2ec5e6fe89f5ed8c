/**
 * Counts of adjacent symbol pairs over the distinct pieces of a corpus, kept up to date while pairs are merged: the
 * inner structure of the BPE trainer. All symbols lie in one array, linked within each piece; each pair remembers the
 * positions where it arose, some of which go stale and are recognized when visited.
 */

export interface Pair {
  readonly index: number;
  readonly left: number;
  readonly right: number;
  readonly count: number;
}

const utf8 = new TextEncoder();

/** A growable list of 32-bit integers. */
class IntList {
  data = new Int32Array(1 << 12);
  length = 0;

  push(value: number): void {
    if (this.length === this.data.length) {
      const larger = new Int32Array(this.length * 2);
      larger.set(this.data);
      this.data = larger;
    }
    this.data[this.length++] = value;
  }
}

export class PairCounts {
  /** Token id at each position, -1 once merged into the one before. */
  readonly #symbol: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Which piece a position belongs to, and how often each piece occurs. */
  readonly #piece: Int32Array;
  readonly #weight: Float64Array;

  readonly #left = new IntList();
  readonly #right = new IntList();
  readonly #count: number[] = [];
  /** First node of each pair's list of positions; nodes hold a position and the next node. */
  readonly #head = new IntList();
  readonly #nodePosition = new IntList();
  readonly #nodeNext = new IntList();

  /** Open-addressing table from pair to index + 1. */
  #table = new Int32Array(1 << 14);

  /** Heap of pairs with the count they had when they entered. */
  readonly #heap: { index: number; count: number }[] = [];
  /** Pairs whose count rose during the current merge. */
  readonly #risen = new Set<number>();

  /** @param counts occurrences of each distinct piece; `idOfByte` gives the first symbols. */
  constructor(counts: ReadonlyMap<string, number>, idOfByte: Int32Array) {
    let total = 0;
    const spelled: Uint8Array[] = [];
    for (const piece of counts.keys()) {
      const bytes = utf8.encode(piece);
      spelled.push(bytes);
      total += bytes.length;
    }
    this.#symbol = new Int32Array(total);
    this.#next = new Int32Array(total);
    this.#previous = new Int32Array(total);
    this.#piece = new Int32Array(total);
    this.#weight = Float64Array.from(counts.values());
    let at = 0;
    spelled.forEach((bytes, piece) => {
      for (let i = 0; i < bytes.length; i++, at++) {
        this.#symbol[at] = idOfByte[bytes[i]];
        this.#piece[at] = piece;
        this.#previous[at] = i > 0 ? at - 1 : -1;
        this.#next[at] = i + 1 < bytes.length ? at + 1 : -1;
        if (i > 0) this.#add(at - 1, this.#symbol[at - 1], this.#symbol[at]);
      }
    });
    this.#offerRisen();
  }

  #indexOf(left: number, right: number): number {
    const mask = this.#table.length - 1;
    let slot = this.#slot(left, right);
    for (; this.#table[slot] !== 0; slot = (slot + 1) & mask) {
      const index = this.#table[slot] - 1;
      if (this.#left.data[index] === left && this.#right.data[index] === right) return index;
    }
    const index = this.#count.length;
    this.#left.push(left);
    this.#right.push(right);
    this.#head.push(-1);
    this.#count.push(0);
    this.#table[slot] = index + 1;
    if (index * 2 > this.#table.length) this.#grow();
    return index;
  }

  #slot(left: number, right: number): number {
    const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    return (hash ^ (hash >>> 15)) & (this.#table.length - 1);
  }

  #grow(): void {
    this.#table = new Int32Array(this.#table.length * 2);
    const mask = this.#table.length - 1;
    for (let index = 0; index < this.#count.length; index++) {
      let slot = this.#slot(this.#left.data[index], this.#right.data[index]);
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask;
      this.#table[slot] = index + 1;
    }
  }

  /** A pair has come into being at a position. */
  #add(position: number, left: number, right: number): void {
    const index = this.#indexOf(left, right);
    this.#count[index] += this.#weight[this.#piece[position]];
    this.#nodePosition.push(position);
    this.#nodeNext.push(this.#head.data[index]);
    this.#head.data[index] = this.#nodePosition.length - 1;
    this.#risen.add(index);
  }

  #remove(position: number, left: number, right: number): void {
    this.#count[this.#indexOf(left, right)] -= this.#weight[this.#piece[position]];
  }

  /** Whether heap entry `a` comes before `b`: higher count, then smaller pair. */
  #before(a: { index: number; count: number }, b: { index: number; count: number }): boolean {
    if (a.count !== b.count) return a.count > b.count;
    const [leftA, leftB] = [this.#left.data[a.index], this.#left.data[b.index]];
    return leftA !== leftB ? leftA < leftB : this.#right.data[a.index] < this.#right.data[b.index];
  }

  #offer(index: number): void {
    const entry = { index, count: this.#count[index] };
    if (entry.count <= 0) return;
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(entry, heap[parent])) break;
      heap[i] = heap[parent];
      i = parent;
    }
    heap[i] = entry;
  }

  #offerRisen(): void {
    for (const index of this.#risen) this.#offer(index);
    this.#risen.clear();
  }

  #pop(): { index: number; count: number } | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1], heap[child])) child++;
      if (!this.#before(heap[child], last)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return top;
  }

  /** Removes and returns the most frequent pair, or undefined when none occurs `minFrequency` times. */
  takeBest(minFrequency: number): Pair | undefined {
    for (let entry = this.#pop(); entry; entry = this.#pop()) {
      const { index, count } = entry;
      const current = this.#count[index];
      if (current === count) {
        // Entries are ordered, so no other can be more frequent than this one.
        if (count < minFrequency) return undefined;
        return { index, count, left: this.#left.data[index], right: this.#right.data[index] };
      }
      // A count that fell goes back in; one that rose has a newer entry already.
      if (current < count) this.#offer(index);
    }
    return undefined;
  }

  /** Replaces every occurrence of `pair` by the symbol `id`, leftmost first within each piece. */
  merge(pair: Pair, id: number): void {
    const { left, right } = pair;
    const positions: number[] = [];
    for (let node = this.#head.data[pair.index]; node >= 0; node = this.#nodeNext.data[node]) {
      positions.push(this.#nodePosition.data[node]);
    }
    this.#head.data[pair.index] = -1;
    // Only runs of one symbol care about the order, since their occurrences overlap.
    if (left === right) positions.sort((a, b) => a - b);
    const symbol = this.#symbol;
    for (const at of positions) {
      const second = this.#next[at];
      if (symbol[at] !== left || second < 0 || symbol[second] !== right) continue;
      const before = this.#previous[at];
      const after = this.#next[second];
      if (before >= 0) this.#remove(before, symbol[before], left);
      if (after >= 0) this.#remove(second, right, symbol[after]);
      symbol[at] = id;
      symbol[second] = -1;
      this.#next[at] = after;
      if (after >= 0) this.#previous[after] = at;
      if (before >= 0) this.#add(before, symbol[before], id);
      if (after >= 0) this.#add(at, id, symbol[after]);
    }
    this.#count[pair.index] = 0;
    this.#risen.delete(pair.index);
    this.#offerRisen();
  }
}
