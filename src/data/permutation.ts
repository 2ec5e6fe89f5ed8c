/**
 * A seeded permutation of 0..n-1 that needs no memory: a balanced Feistel network on the next even power of two,
 * with cycle walking back into the range (Black and Rogaway 2002). Used to shuffle sequences per epoch.
 */

import { ConfigError } from "../tensor/errors.ts";
import { mix32 } from "./hash.ts";

const ROUNDS = 6;

/** Random access to a pseudo-random order of `size` items (at most 2^52). */
export class Permutation {
  readonly size: number;
  readonly #half: number;
  readonly #keys: number[];

  constructor(size: number, seed: number, stream = 0) {
    if (!Number.isInteger(size) || size < 1 || size > 2 ** 52) {
      throw new ConfigError("must be an integer from 1 to 2^52", { where: "Permutation.size", found: size });
    }
    this.size = size;
    let bits = 1;
    while (4 ** bits < size) bits++;
    this.#half = 2 ** bits;
    this.#keys = [];
    let key = mix32(mix32(seed | 0) ^ Math.floor(seed / 0x100000000) ^ Math.imul(stream + 1, 0x9e3779b9));
    for (let r = 0; r < ROUNDS; r++) this.#keys.push((key = mix32((key + 0x9e3779b9) | 0)));
  }

  /** The item at place `index`; the walk takes fewer than four steps on average. */
  at(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.size) {
      throw new ConfigError("out of range", {
        where: "Permutation.at",
        expected: `0 to ${this.size - 1}`,
        found: index,
      });
    }
    let value = index;
    do value = this.#encrypt(value);
    while (value >= this.size);
    return value;
  }

  #encrypt(value: number): number {
    const half = this.#half;
    let left = Math.floor(value / half);
    let right = value % half;
    for (const key of this.#keys) {
      // half is a power of two of at most 2^26, so the mask is exact in 32 bits.
      const next = left ^ (mix32(right ^ key) & (half - 1));
      left = right;
      right = next;
    }
    return left * half + right;
  }
}
