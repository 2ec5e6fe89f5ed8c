/** Countdown: make a number of three others with +, - and *, each used once. All problems there are, in three parts that share none. */
import { Random } from "../../src/tensor/random.ts";
import type { Demonstration } from "../tasks/declaration.ts";

export interface Problem {
  readonly numbers: readonly number[];
  readonly target: number;
}

const [MOST_NUMBER, MOST_TARGET] = [12, 99];
/** Streams of the numbers that parts, demonstrations and prompts are drawn from. */
const [PART_STREAM, DEMONSTRATION_STREAM, ORDER_STREAM] = [85, 86, 87];

export const CHARACTERS = "0123456789+-*() =";

/** "3 7 12 24=". */
export const promptOf = ({ numbers, target }: Problem): string => `${[...numbers, target].join(" ")}=`;

const OPERATORS = {
  "+": (a: number, b: number) => a + b,
  "-": (a: number, b: number) => a - b,
  "*": (a: number, b: number) => a * b,
} as const;
type Operator = keyof typeof OPERATORS;
const SIGNS = Object.keys(OPERATORS) as Operator[];

/** All expressions of three numbers in this order, with their values. */
function* expressions([a, b, c]: readonly number[]): Generator<{ text: string; value: number }> {
  for (const first of SIGNS) {
    for (const second of SIGNS) {
      const [f, s] = [OPERATORS[first], OPERATORS[second]];
      yield { text: `(${a}${first}${b})${second}${c}`, value: s(f(a, b), c) };
      yield { text: `${a}${first}(${b}${second}${c})`, value: f(a, s(b, c)) };
    }
  }
}

const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

const ordered = (numbers: readonly number[], order: readonly number[]) => order.map((i) => numbers[i]);

/** The solutions of three numbers by their targets. */
function solutionsOf(numbers: readonly number[]): Map<number, string[]> {
  const solutions = new Map<number, Set<string>>();
  for (const order of ORDERS) {
    for (const { text, value } of expressions(ordered(numbers, order))) {
      if (value < 1 || value > MOST_TARGET) continue;
      const found = solutions.get(value) ?? new Set();
      solutions.set(value, found.add(text));
    }
  }
  return new Map([...solutions].map(([target, texts]) => [target, [...texts]]));
}

interface Solved extends Problem {
  readonly solutions: readonly string[];
}

export interface Parts {
  /** For the exam. */
  readonly heldOut: readonly Problem[];
  /** Whose solutions are shown. */
  readonly shown: readonly Solved[];
  /** Whose answers can only be checked. */
  readonly checked: readonly Problem[];
}

/** The same parts for all seeds; no three numbers with one target stand in two of them, in whatever order. */
export function problemParts(heldOut: number): Parts {
  const all: Solved[] = [];
  for (let a = 1; a <= MOST_NUMBER; a++) {
    for (let b = a; b <= MOST_NUMBER; b++) {
      for (let c = b; c <= MOST_NUMBER; c++) {
        for (const [target, solutions] of solutionsOf([a, b, c]))
          all.push({ numbers: [a, b, c], target, solutions });
      }
    }
  }
  const random = new Random(1, PART_STREAM);
  const mixed = random.shuffle([...all]).map((each) => ({
    ...each,
    numbers: ordered(each.numbers, ORDERS[random.int(ORDERS.length)]),
  }));
  const half = heldOut + Math.floor((mixed.length - heldOut) / 2);
  return { heldOut: mixed.slice(0, heldOut), shown: mixed.slice(heldOut, half), checked: mixed.slice(half) };
}

/** A fixed set: each has one of the problems that are shown, its numbers in some order, and one of its solutions. */
export function demonstrations({ shown }: Parts, seed: number, count: number): Demonstration[] {
  const random = new Random(seed, DEMONSTRATION_STREAM);
  return Array.from({ length: count }, (_, i) => {
    const { numbers, target, solutions } = shown[i % shown.length];
    const problem = { numbers: ordered(numbers, ORDERS[random.int(ORDERS.length)]), target };
    return { prompt: promptOf(problem), answer: solutions[random.int(solutions.length)] };
  });
}

/** The problems that can only be checked, in an order of the seed's. */
export const checkedProblems = ({ checked }: Parts, seed: number): Problem[] =>
  new Random(seed, ORDER_STREAM).shuffle([...checked]);
