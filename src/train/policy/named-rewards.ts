/**
 * Rewards by name, as a command line asks for them: what `checked-rewards.ts` has, with what each needs to know taken from one set
 * of settings and from the rows of the data.
 */
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import {
  type AnswerPlace,
  answerReward,
  countdownReward,
  formatReward,
  languageReward,
  lengthReward,
  tagReward,
} from "./checked-rewards.ts";
import type { Reward, RewardSample } from "./rewards.ts";

/**
 * `answer`: the answer at its place is the key. `countdown`: it uses the row's `numbers` once each and has the value of its
 * `target`. `format`: the completion is the tags, in order, and nothing else. `tags`: the share of tags that stand there once.
 * `length`: less than 0 near the limit of tokens. `language`: the share of words in a script. `code`: the share of the row's
 * `tests` that the program passes.
 */
export const NAMED_REWARDS = ["answer", "countdown", "code", "format", "tags", "length", "language"] as const;
export type RewardName = (typeof NAMED_REWARDS)[number];

export interface NamedRewardSettings {
  /** Where `answer` and `countdown` look; default `boxed`, and for `countdown` the tag `answer`. */
  readonly answerIn?: AnswerPlace;
  /** Of `format` and `tags`; default think and answer. */
  readonly tags?: readonly string[];
  /** Most tokens of a completion, and how many before that `length` begins to count; default a quarter. */
  readonly maxTokens: number;
  readonly lengthMargin?: number;
  /** Of `language`; default Latin. */
  readonly script?: string;
  /** What runs programs for `code`, which is no pure function; `openRewards` of `deepseek-ts/node` brings it. */
  readonly code?: Reward;
}

/** @throws ConfigError */
export function namedReward(name: RewardName, settings: NamedRewardSettings): Reward {
  const { answerIn, tags, maxTokens, script = "Latin" } = settings;
  const { lengthMargin = Math.max(1, Math.floor(maxTokens / 4)) } = settings;
  switch (name) {
    case "answer":
      return answerReward(answerIn ?? "boxed");
    case "countdown":
      return countdownReward(countdownProblem, answerIn);
    case "code":
      if (settings.code !== undefined) return settings.code;
      throw new ConfigError("nothing here runs programs", {
        ...{ where: "namedReward", name: "code", expected: "openRewards of deepseek-ts/node", found: name },
      });
    case "format":
      return formatReward(tags);
    case "tags":
      return tagReward(tags);
    case "length":
      return lengthReward({ maxTokens, margin: lengthMargin });
    case "language":
      return languageReward(script);
  }
}

/**
 * What a row must hold for a reward, checked before anything is sampled. @throws ConfigError naming the field; `where` says which
 * row it is
 */
export function checkRow(
  name: RewardName,
  where: string,
  { key, row }: Pick<RewardSample, "key" | "row">,
): void {
  if (name === "answer" && key === null) {
    throw new ConfigError("a prompt without its key", {
      ...{ where, name: "key", expected: "the right answer, as text or number, in the field key or answer" },
    });
  }
  if (name === "countdown") problemOf(where, row);
  if (name === "code") programTests(where, row);
}

const countdownProblem = ({ row }: RewardSample) => problemOf("countdown", row);

/** Tests of a program, and the characters of each. */
const MOST_TESTS = 64;
const MOST_TEST = 100_000;

/** Tests of a row, and what stands before the program. */
export interface ProgramTests {
  readonly tests: readonly string[];
  readonly before: string;
}

/** @throws ConfigError naming the field; `where` says which row it is */
export function programTests(where: string, row: unknown): ProgramTests {
  const { tests, before = "" } = (row ?? {}) as Record<string, unknown>;
  const list = typeof tests === "string" ? [tests] : tests;
  const isTest = (each: unknown) =>
    typeof each === "string" && each.trim() !== "" && each.length <= MOST_TEST;
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_TESTS || !list.every(isTest)) {
    throw new ConfigError("a row of programs without its tests", {
      ...{ where, name: "tests", expected: `1 to ${MOST_TESTS} texts of at most ${MOST_TEST} characters` },
      found: Array.isArray(list) ? `a list of ${list.length}` : (JSON.stringify(tests) ?? "nothing"),
    });
  }
  if (typeof before !== "string" || before.length > MOST_TEST) {
    throw new ConfigError("what stands before the program is no text", {
      ...{ where, name: "before", expected: `a text of at most ${MOST_TEST} characters` },
      found: typeof before === "string" ? before.length : JSON.stringify(before),
    });
  }
  return { tests: list, before };
}

/** Numbers of a problem: more are no game. */
const MOST_NUMBERS = 64;

function problemOf(where: string, row: unknown): { numbers: readonly number[]; target: number } {
  const { numbers, target } = (row ?? {}) as Record<string, unknown>;
  if (!Array.isArray(numbers) || numbers.length === 0 || numbers.length > MOST_NUMBERS) {
    throw new ConfigError("a row of Countdown without its numbers", {
      ...{ where, name: "numbers", expected: `a list of 1 to ${MOST_NUMBERS} numbers` },
      found: Array.isArray(numbers) ? numbers.length : (JSON.stringify(numbers) ?? "nothing"),
    });
  }
  const range = { integer: true, min: 0 };
  for (const [i, each] of numbers.entries()) checkNumber({ where }, `numbers[${i}]`, each, range);
  checkNumber({ where }, "target", target, { integer: true });
  return { numbers, target: target as number };
}
