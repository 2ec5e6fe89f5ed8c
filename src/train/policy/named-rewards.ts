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
 * `length`: less than 0 near the limit of tokens. `language`: the share of words in a script.
 */
export const NAMED_REWARDS = ["answer", "countdown", "format", "tags", "length", "language"] as const;
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
}

const countdownProblem = ({ row }: RewardSample) => problemOf("countdown", row);

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
