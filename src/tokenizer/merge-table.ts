/** Ranks of pairs of token ids: an open-addressing table in flat arrays. */

/** The rank of a pair that does not merge. */
export const NO_MERGE = 0x7fffffff;

export class MergeTable {
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #rank: Int32Array;
  readonly #shift: number;
  readonly #mask: number;

  constructor(pairs: number) {
    const bits = Math.max(4, Math.ceil(Math.log2(pairs * 2 + 1)));
    this.#shift = 32 - bits;
    this.#mask = (1 << bits) - 1;
    this.#left = new Int32Array(1 << bits).fill(-1);
    this.#right = new Int32Array(1 << bits);
    this.#rank = new Int32Array(1 << bits);
  }

  #slot(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> this.#shift;
    while (this.#left[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  set(left: number, right: number, rank: number): void {
    const slot = this.#slot(left, right);
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#rank[slot] = rank;
  }

  get(left: number, right: number): number {
    const slot = this.#slot(left, right);
    return this.#left[slot] === -1 ? NO_MERGE : this.#rank[slot];
  }
}
