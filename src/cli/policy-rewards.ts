/** Rewards from the words of a command line: `answer,format=0.1,./reward.ts`. */
import { resolve } from "node:path";
import { OTHER_REWARDS } from "../runs/policy/config.ts";
import type { RewardPart, RewardSettings } from "../runs/policy/rewards.ts";
import { nearestName } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { AnswerPlace } from "../train/policy/checked-rewards.ts";
import { NAMED_REWARDS } from "../train/policy/named-rewards.ts";

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
}

/** @throws ConfigError */
export function rewardSettings(flags: RewardFlags): RewardSettings {
  const { reward, rewardCommand: command, answerIn, tags, lengthMargin, script } = flags;
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
  };
}

/** Whether Lean judges. */
export const needsLean = ({ parts }: RewardSettings): boolean =>
  parts.some((part) => "name" in part && part.name === "lean");
