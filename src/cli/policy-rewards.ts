/** Rewards from the words of a command line: `answer,format=0.1,./reward.ts`. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { OTHER_REWARDS } from "../runs/policy/config.ts";
import {
  CODE_SCORINGS,
  type CodeScoring,
  type RewardPart,
  type RewardSettings,
} from "../runs/policy/rewards.ts";
import { nearestName } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { AnswerPlace } from "../train/policy/checked-rewards.ts";
import { NAMED_REWARDS } from "../train/policy/named-rewards.ts";
import { numberThat, positiveInteger, positiveNumber, usageError } from "./commands/options.ts";

export const REWARD_NAMES: readonly string[] = [...NAMED_REWARDS, ...OTHER_REWARDS];

const MODULE = /\.[cm]?[jt]s$/;

/** A part of `--reward`: a name or the path of a module, and after `=` its weight. @throws ConfigError */
function rewardPart(text: string): RewardPart {
  const where = "--reward";
  const equals = text.lastIndexOf("=");
  const what = (equals < 0 ? text : text.slice(0, equals)).trim();
  const weight = equals < 0 ? 1 : Number(text.slice(equals + 1).trim() || Number.NaN);
  if (!Number.isFinite(weight)) {
    throw new ConfigError("not a weight", { where, expected: "NAME=NUMBER", found: text });
  }
  if (MODULE.test(what)) return { module: resolve(what), weight };
  if (REWARD_NAMES.includes(what)) return { name: what, weight };
  const near = nearestName(what, REWARD_NAMES);
  throw new ConfigError("no such reward", {
    ...{
      where,
      expected: `${REWARD_NAMES.join(", ")}, or a module such as ./reward.ts`,
      found: what || "nothing",
    },
    hint: near === null ? undefined : `Did you mean ${near}?`,
  });
}

/** Where an answer stands: `boxed`, `whole`, `tag:NAME` or `after:TEXT`. @throws ConfigError */
export function answerPlace(text: string): AnswerPlace {
  if (text === "boxed" || text === "whole") return text;
  const [, kind, rest] = /^(tag|after):(.+)$/s.exec(text) ?? [];
  if (kind === "tag") return { tag: rest };
  if (kind === "after") return { after: rest };
  throw new ConfigError("no such place of an answer", {
    ...{ where: "--answer-in", expected: "boxed, whole, tag:NAME or after:TEXT", found: text },
  });
}

export interface RewardFlags {
  readonly reward?: string;
  readonly rewardCommand?: string;
  readonly answerIn?: string;
  readonly tags?: string;
  readonly lengthMargin?: number;
  readonly script?: string;
  readonly codeScoring?: CodeScoring;
  readonly rewardSeconds?: number;
  readonly rewardParallel?: number;
  readonly passReward?: number;
}

/** Groups that a command, a module or tests of programs judge at a time. */
export const COMMANDS_AT_ONCE = 4;

const anyNumber = numberThat("a number", () => true);
export const counts = (text: string) => text.split(",").map(positiveInteger);

/** Adds the options of rewards; `names` are those that there are by name. */
export function withRewards(command: Command, names: readonly string[]): Command {
  return command
    .option(
      "--reward <list>",
      `what is rewarded: ${names.join(", ")}, or a module such as ./reward.ts; several with commas, each with =WEIGHT (default weight: 1)`,
    )
    .option(
      "--reward-command <command>",
      "a shell command that gets the samples of a group as JSON lines and prints one number for each",
    )
    .option("--answer-in <place>", "where answers stand: boxed (default), whole, tag:NAME, after:TEXT")
    .option("--tags <list>", "tags of format and tags (default: think,answer)")
    .option(
      "--length-margin <n>",
      "tokens before the limit from which length counts (default: a quarter)",
      positiveInteger,
    )
    .addOption(
      new Option(
        "--code-scoring <how>",
        "of code: the share of tests passed (default), or all or nothing",
      ).choices(CODE_SCORINGS),
    )
    .option("--script <name>", "script of language: Latin (default), Han, Cyrillic, ..")
    .option(
      "--reward-seconds <s>",
      "time for the rewards of a group, which are 0 after it (default: 300)",
      positiveNumber,
    )
    .option(
      "--reward-parallel <n>",
      `groups that are judged at a time (default: ${COMMANDS_AT_ONCE} with a command, a module or code, else all)`,
      positiveInteger,
    )
    .option("--pass-reward <r>", "rewards from here on count as passed (default: 1)", anyNumber);
}

/** Options that say something about rewards by name, and about which. */
export const REWARD_USES = [
  ["answerIn", "--answer-in", ["answer", "countdown"]],
  ["tags", "--tags", ["format", "tags"]],
  ["lengthMargin", "--length-margin", ["length"]],
  ["script", "--script", ["language"]],
  ["codeScoring", "--code-scoring", ["code"]],
] as const;

/** Refuses an option about a reward that is not among those of `reward`. */
export function checkRewardUses<F extends object>(
  command: Command,
  flags: F,
  reward: RewardSettings | null,
  uses: readonly (readonly [keyof F, string, readonly string[]])[],
): void {
  const named = new Set(reward?.parts.flatMap((part) => ("name" in part ? [part.name] : [])));
  for (const [name, option, rewards] of uses) {
    if (flags[name] === undefined || rewards.some((each) => named.has(each))) continue;
    usageError(command, `${option} needs --reward ${rewards.join(" or ")}`);
  }
}

/** @throws ConfigError */
export function rewardSettings(flags: RewardFlags): RewardSettings {
  const { reward, rewardCommand: command, answerIn, tags, lengthMargin, script, codeScoring } = flags;
  const parts = reward === undefined ? [] : reward.split(",").map(rewardPart);
  if (command !== undefined) parts.push({ command, weight: 1 });
  if (parts.length === 0) {
    throw new ConfigError("no reward", {
      ...{ where: "--reward", expected: `${REWARD_NAMES.join(", ")}, a module, or --reward-command` },
    });
  }
  return {
    parts,
    ...(answerIn !== undefined && { answerIn: answerPlace(answerIn) }),
    ...(tags !== undefined && { tags: tags.split(",") }),
    ...(lengthMargin !== undefined && { lengthMargin }),
    ...(script !== undefined && { script }),
    ...(codeScoring !== undefined && { codeScoring }),
  };
}

/** Whether judging takes a process or a thread for each group. */
export const runsPrograms = ({ parts }: RewardSettings): boolean =>
  parts.some((part) => "command" in part || "module" in part || part.name === "code");

/** Whether Lean judges. */
export const needsLean = ({ parts }: RewardSettings): boolean =>
  parts.some((part) => "name" in part && part.name === "lean");
