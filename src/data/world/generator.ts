/**
 * Random numbers of the picture world: every sample is a function of (seed, stream, index), so that none needs storage and
 * Node and browsers draw the same. The state is mixed by murmur3's finalizer, the sequence is mulberry32.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { mix32 } from "../hash.ts";

/** The streams of samples: scenes with questions, captions of pictures to draw, three kinds of pages, text alone. */
export const WORLD_STREAMS = {
  questions: 1,
  captions: 2,
  text: 3,
  charts: 4,
  tables: 5,
  language: 6,
} as const;
export type WorldStream = keyof typeof WORLD_STREAMS;

/** Added to a stream's number for the noise of faint pages. */
export const NOISE_STREAM = 16;

const UNIT = 2 ** 32;

function uint32(value: number, where: string): number {
  if (Number.isInteger(value) && value >= 0 && value < UNIT) return value;
  throw new ConfigError("must be an integer of 32 bits", {
    where,
    expected: `0 to ${UNIT - 1}`,
    found: value,
  });
}

/** The first index of each split; a split's samples follow from there. */
export const WORLD_SPLITS = { training: 0, validation: 2 ** 30, test: 2 ** 31 } as const;
export type WorldSplit = keyof typeof WORLD_SPLITS;

/** The index of sample `i` of a split. @throws ConfigError for one that would reach into the next split */
export function worldIndex(split: WorldSplit, i: number): number {
  const first = WORLD_SPLITS[split];
  const samples = split === "test" ? UNIT - first : 2 ** 30;
  if (Number.isInteger(i) && i >= 0 && i < samples) return first + i;
  throw new ConfigError("no such sample", {
    where: `worldIndex ${split}`,
    expected: `0 to ${samples - 1}`,
    found: i,
  });
}

/** The numbers of one sample, in the order that the world's definition draws them. */
export class WorldRandom {
  #state: number;

  /** @throws ConfigError for a seed, stream or index that is not an integer of 32 bits */
  constructor(seed: number, stream: number, index: number) {
    const seeded = mix32(uint32(seed, "world seed") ^ 0x9e3779b9);
    this.#state = mix32(mix32(seeded ^ uint32(stream, "world stream")) ^ uint32(index, "world index"));
  }

  /** What the next number follows from, 32 bits unsigned. */
  get state(): number {
    return this.#state >>> 0;
  }

  /** 32 random bits, unsigned. */
  next(): number {
    const a = (this.#state + 0x6d2b79f5) | 0;
    this.#state = a;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A number from 0 to n - 1; n is at most 2^21, so that the product is exact. */
  int(n: number): number {
    return Math.floor((this.next() * n) / UNIT);
  }

  /** One element of a list, which must not be empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)];
  }

  /** `count` different numbers from 0 to n - 1: the beginning of a shuffle. */
  distinct(n: number, count: number): number[] {
    const all = Array.from({ length: n }, (_, i) => i);
    for (let i = 0; i < count; i++) {
      const j = i + this.int(n - i);
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all.slice(0, count);
  }
}
