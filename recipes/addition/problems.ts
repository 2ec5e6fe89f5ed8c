/** Sums of two numbers of three digits, "123+456=", in three parts that share none, in either order. */
import { Random } from "../../src/tensor/random.ts";
import type { Demonstration } from "../tasks/declaration.ts";

export interface Sum {
  readonly a: number;
  readonly b: number;
}

export const CHARACTERS = "0123456789+=";
export const promptOf = ({ a, b }: Sum): string => `${a}+${b}=`;
export const answerOf = ({ a, b }: Sum): string => `${a + b}`;

const [LEAST, COUNT] = [100, 900];
/** Streams of the numbers that parts are drawn from. */
const [HELD_STREAM, SHOWN_STREAM] = [97, 98];
/** Sums whose answers are only checked. */
const MOST_CHECKED = 20_000;

function draw(random: Random, count: number, taken: Set<number>): Sum[] {
  const sums: Sum[] = [];
  while (sums.length < count) {
    const [x, y] = [random.int(COUNT), random.int(COUNT)];
    const key = Math.min(x, y) * COUNT + Math.max(x, y);
    if (taken.has(key)) continue;
    taken.add(key);
    sums.push({ a: x + LEAST, b: y + LEAST });
  }
  return sums;
}

/** Held-out sums, the same for all seeds; those that are shown and checked are drawn by the seed. */
export function sumProblems(heldOut: number, demonstrations: number) {
  const held = new Set<number>();
  const exam = draw(new Random(1, HELD_STREAM), heldOut, held);
  const drawn = (seed: number) => {
    const [random, taken] = [new Random(seed, SHOWN_STREAM), new Set(held)];
    return { shown: draw(random, demonstrations, taken), checked: draw(random, MOST_CHECKED, taken) };
  };
  return {
    heldOut: exam,
    demonstrations: (seed: number): Demonstration[] =>
      drawn(seed).shown.map((sum) => ({ prompt: promptOf(sum), answer: answerOf(sum) })),
    checked: (seed: number): Sum[] => drawn(seed).checked,
  };
}
