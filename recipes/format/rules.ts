/** Words and rules for what is to be done with them: "bat wok nim|turn+list=" asks for `["nim","wok","bat"]`. */
import { Random } from "../../src/tensor/random.ts";
import type { Demonstration } from "../tasks/declaration.ts";

const upper = (text: string) => text.toUpperCase();

/** By what they change: which words stand where, the letters of each, how the words are written down. */
const ORDERS: Readonly<Record<string, (words: readonly string[]) => string[]>> = {
  turn: (words) => [...words].reverse(),
  sort: (words) => [...words].sort(),
  odd: (words) => words.filter((_, i) => i % 2 === 0),
  swap: (words) => [words.at(-1)!, ...words.slice(1, -1), words[0]],
  tail: (words) => words.slice(1),
};
const LETTERS: Readonly<Record<string, (word: string) => string>> = {
  up: upper,
  cap: (word) => upper(word[0]) + word.slice(1),
  back: (word) => Array.from(word).reverse().join(""),
};
const FORMS: Readonly<Record<string, (words: readonly string[]) => string>> = {
  list: (words) => `[${words.map((word) => `"${word}"`).join(",")}]`,
  num: (words) => words.map((word, i) => `${i + 1}.${word}`).join(" "),
  count: (words) => `${words.join(" ")} (${words.length})`,
  line: (words) => words.join("-"),
};

export interface FormatRow {
  readonly words: readonly string[];
  /** One rule, or two of different kinds. */
  readonly rules: readonly string[];
}

const KINDS = [ORDERS, LETTERS, FORMS].map((kind) => Object.keys(kind));
export const RULES: readonly string[] = KINDS.flat();

/** All pairs of rules of two kinds, and which of them are never shown nor checked: every third. */
const COMBINATIONS: readonly (readonly string[])[] = KINDS.flatMap((first, i) =>
  KINDS.slice(i + 1).flatMap((second) => first.flatMap((a) => second.map((b) => [a, b]))),
);
const PART_STREAM = 92;
const mixed = new Random(1, PART_STREAM).shuffle([...COMBINATIONS]);
export const UNSEEN: readonly (readonly string[])[] = mixed.filter((_, i) => i % 3 === 0);
export const SEEN: readonly (readonly string[])[] = [
  ...RULES.map((rule) => [rule]),
  ...mixed.filter((_, i) => i % 3 !== 0),
];
export const isUnseen = ({ rules }: FormatRow): boolean =>
  UNSEEN.some((each) => each.join() === rules.join());

/** The one right answer. */
export function answerOf({ words, rules }: FormatRow): string {
  let now: readonly string[] = words;
  for (const rule of rules) {
    if (Object.hasOwn(ORDERS, rule)) now = ORDERS[rule](now);
    else if (Object.hasOwn(LETTERS, rule)) now = now.map(LETTERS[rule]);
  }
  const form = rules.find((rule) => Object.hasOwn(FORMS, rule));
  return form === undefined ? now.join(" ") : FORMS[form](now);
}

export const promptOf = ({ words, rules }: FormatRow): string => `${words.join(" ")}|${rules.join("+")}=`;

const [CONSONANTS, VOWELS] = ["bcdklmnprstw", "aeiou"];
const SMALL_LETTERS = [...new Set(CONSONANTS + VOWELS)].join("");
export const CHARACTERS = `${SMALL_LETTERS}${upper(SMALL_LETTERS)} |+=[]",.()-1234`;

const pick = <T>(random: Random, from: ArrayLike<T>): T => from[random.int(from.length)];

function wordOf(random: Random): string {
  return pick(random, CONSONANTS) + pick(random, VOWELS) + pick(random, CONSONANTS);
}

/** Three or four different words. */
function wordsOf(random: Random): string[] {
  const words = new Set<string>();
  const count = 3 + random.int(2);
  while (words.size < count) words.add(wordOf(random));
  return [...words];
}

function rowsOf(random: Random, rules: readonly (readonly string[])[], count: number, without: Set<string>) {
  const rows: FormatRow[] = [];
  while (rows.length < count) {
    const row = { words: wordsOf(random), rules: rules[rows.length % rules.length] };
    const prompt = promptOf(row);
    if (without.has(prompt)) continue;
    without.add(prompt);
    rows.push(row);
  }
  return random.shuffle(rows);
}

/** Share of demonstrations with a fault. */
const FAULTY = 0.3;

/** An answer with one character that another one of the answers' characters replaces. */
function faulty(answer: string, random: Random): string {
  const at = random.int(answer.length);
  const letters = /[A-Z]/.test(answer[at]) ? upper(SMALL_LETTERS) : SMALL_LETTERS;
  const others = Array.from(letters).filter((each) => each !== answer[at]);
  return answer.slice(0, at) + pick(random, others) + answer.slice(at + 1);
}

/** Streams of the numbers that parts are drawn from. */
const [HELD_STREAM, SHOWN_STREAM, CHECKED_STREAM, FAULT_STREAM] = [93, 94, 95, 96];
/** Prompts whose answers are only checked. */
const MOST_CHECKED = 20_000;

/** Held-out prompts, a half each of rules that are shown and of combinations that are not; others are drawn by the seed. */
export function formatProblems(heldOut: number, demonstrations: number) {
  const half = Math.floor(heldOut / 2);
  const asked = new Set<string>();
  const random = new Random(1, HELD_STREAM);
  const held = [...rowsOf(random, SEEN, half, asked), ...rowsOf(random, UNSEEN, heldOut - half, asked)];
  const shown = (seed: number, seen: Set<string>) =>
    rowsOf(new Random(seed, SHOWN_STREAM), SEEN, demonstrations, seen);
  return {
    heldOut: held,
    demonstrations(seed: number): Demonstration[] {
      const faults = new Random(seed, FAULT_STREAM);
      return shown(seed, new Set(asked)).map((row) => {
        const answer = answerOf(row);
        const wrong = faults.uniform() < FAULTY;
        return { prompt: promptOf(row), answer: wrong ? faulty(answer, faults) : answer };
      });
    },
    checked(seed: number): FormatRow[] {
      const seen = new Set(asked);
      shown(seed, seen);
      return rowsOf(new Random(seed, CHECKED_STREAM), SEEN, MOST_CHECKED, seen);
    },
  };
}
