/** The reward of a run: parts by name, of modules and of commands, added up by weight. */
import { fileURLToPath } from "node:url";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../../tensor/check-value.ts";
import { siblingModule } from "../../tensor/cpu/thread-options.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { type AnswerPlace, weightedRewards } from "../../train/policy/checked-rewards.ts";
import { NAMED_REWARDS, namedReward, type RewardName } from "../../train/policy/named-rewards.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { commandReward } from "./reward-command.ts";
import { RewardModule } from "./reward-module.ts";

/** One part: of `NAMED_REWARDS` or one that the program brings, a module of the user's, or a command. */
export type RewardPart = { readonly weight: number } & (
  | { readonly name: string }
  | { readonly module: string }
  | { readonly command: string }
);

export const CODE_SCORINGS = ["share", "all"] as const;
export type CodeScoring = (typeof CODE_SCORINGS)[number];

export interface RewardSettings {
  readonly parts: readonly RewardPart[];
  /** As in `NamedRewardSettings`. */
  readonly answerIn?: AnswerPlace;
  readonly tags?: readonly string[];
  readonly lengthMargin?: number;
  readonly script?: string;
  /** Of `code`: the share of tests passed (default), or 1 for all of them and else 0. */
  readonly codeScoring?: CodeScoring;
  /** Settings of rewards that the program brings, by their names, as it reads them. */
  readonly others?: Readonly<Record<string, unknown>>;
}

const MOST_PARTS = 16;

const isBuiltIn = (name: string): name is RewardName => (NAMED_REWARDS as readonly string[]).includes(name);

/** Names of the built-in rewards that a run has. */
export const builtInParts = ({ parts }: RewardSettings): RewardName[] =>
  parts.flatMap((part) => ("name" in part && isBuiltIn(part.name) ? [part.name] : []));

/** @param others names of rewards that the program brings @throws ConfigError */
export function checkRewards(place: Place, value: unknown, others: readonly string[]): void {
  const { fields, at } = checkSection(place, "reward", value);
  checkKeys(at, fields, ["parts", "answerIn", "tags", "lengthMargin", "script", "codeScoring", "others"]);
  const { parts, answerIn, tags, lengthMargin, script, codeScoring } = fields;
  if (!Array.isArray(parts) || parts.length === 0 || parts.length > MOST_PARTS) {
    refuseValue(at, "parts", `a list of 1 to ${MOST_PARTS} parts`, parts);
  }
  for (const [i, part] of parts.entries()) {
    const own = checkSection(at, `parts[${i}]`, part);
    const kinds = ["name", "module", "command"].filter((kind) => own.fields[kind] !== undefined);
    if (kinds.length !== 1) refuseValue(at, `parts[${i}]`, "one of name, module and command", part);
    checkKeys(own.at, own.fields, [kinds[0], "weight"]);
    const what = own.fields[kinds[0]];
    if (typeof what !== "string" || what === "") refuseValue(own.at, kinds[0], "a text", what);
    if (kinds[0] === "name") checkChoice(own.at, "name", what, [...NAMED_REWARDS, ...others]);
    checkNumber(own.at, "weight", own.fields.weight, {});
  }
  if (answerIn !== undefined && answerIn !== "boxed" && answerIn !== "whole") {
    const entries = typeof answerIn === "object" && answerIn !== null ? Object.entries(answerIn) : [];
    const [key, text] = entries.length === 1 ? entries[0] : [];
    if ((key !== "after" && key !== "tag") || typeof text !== "string" || text === "") {
      refuseValue(at, "answerIn", '"boxed", "whole", {"after": TEXT} or {"tag": NAME}', answerIn);
    }
  }
  if (tags !== undefined && !(Array.isArray(tags) && tags.every((tag) => typeof tag === "string"))) {
    refuseValue(at, "tags", "a list of names", tags);
  }
  if (lengthMargin !== undefined) checkNumber(at, "lengthMargin", lengthMargin, { integer: true, min: 1 });
  if (codeScoring !== undefined) checkChoice(at, "codeScoring", codeScoring, CODE_SCORINGS);
  if (fields.others !== undefined) checkSection(at, "others", fields.others);
  if (script !== undefined && typeof script !== "string") refuseValue(at, "script", "a text", script);
}

export interface OpenedReward extends AsyncDisposable {
  readonly reward: Reward;
}

/** Milliseconds of a program with all of its tests, which have a few seconds' worth of steps. */
const PROGRAM_TIME = 20_000;

/** The reward `code` over its module: a program that does not come back is ended with its thread and has passed nothing. */
export function programReward(
  module: RewardModule,
  scoring: CodeScoring = "share",
  milliseconds = PROGRAM_TIME,
): Reward {
  return async (samples, { signal }) => {
    const rewards: number[] = [];
    for (const sample of samples) {
      const late = AbortSignal.timeout(milliseconds);
      let share: number | null;
      try {
        [share] = await module.reward([sample], { signal: AbortSignal.any([signal, late]) });
      } catch (error) {
        signal.throwIfAborted();
        if (!late.aborted) throw error;
        share = 0;
      }
      rewards.push(scoring === "share" ? (share ?? 0) : Number(share === 1));
    }
    return rewards;
  };
}

/**
 * Loads the modules; close what it opens, or their threads stay. @throws ConfigError, DeepseekError for a module that cannot be used
 */
export async function openRewards(
  { parts, others: _, codeScoring, ...named }: RewardSettings,
  {
    maxTokens,
    others = {},
  }: { readonly maxTokens: number; readonly others?: Readonly<Record<string, Reward>> },
): Promise<OpenedReward> {
  const modules: RewardModule[] = [];
  const close = async () => {
    for (const module of modules) await module[Symbol.asyncDispose]();
  };
  const opened = async (path: string): Promise<RewardModule> => {
    const module = await RewardModule.open(path);
    modules.push(module);
    return module;
  };
  const open = async (part: RewardPart): Promise<Reward> => {
    if ("command" in part) return commandReward(part.command);
    if ("module" in part) return (await opened(part.module)).reward;
    if (part.name === "code") {
      const module = await opened(fileURLToPath(siblingModule(import.meta.url, "code-reward-module")));
      return namedReward(part.name, { maxTokens, code: programReward(module, codeScoring) });
    }
    if (isBuiltIn(part.name)) return namedReward(part.name, { ...named, maxTokens });
    if (Object.hasOwn(others, part.name)) return others[part.name];
    throw new ConfigError("no such reward", {
      ...{ where: "openRewards", expected: [...NAMED_REWARDS, ...Object.keys(others)], found: part.name },
    });
  };
  try {
    const weighted: { reward: Reward; weight: number }[] = [];
    for (const part of parts) weighted.push({ reward: await open(part), weight: part.weight });
    // One of weight 1 stays as it is, so that its faults are its own.
    const reward =
      weighted.length === 1 && weighted[0].weight === 1 ? weighted[0].reward : weightedRewards(weighted);
    return { reward, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
