/** The reward of a run: parts by name, of modules and of commands, added up by weight. */
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../../tensor/check-value.ts";
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

export interface RewardSettings {
  readonly parts: readonly RewardPart[];
  /** As in `NamedRewardSettings`. */
  readonly answerIn?: AnswerPlace;
  readonly tags?: readonly string[];
  readonly lengthMargin?: number;
  readonly script?: string;
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
  checkKeys(at, fields, ["parts", "answerIn", "tags", "lengthMargin", "script", "others"]);
  const { parts, answerIn, tags, lengthMargin, script } = fields;
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
  if (fields.others !== undefined) checkSection(at, "others", fields.others);
  if (script !== undefined && typeof script !== "string") refuseValue(at, "script", "a text", script);
}

export interface OpenedReward extends AsyncDisposable {
  readonly reward: Reward;
}

/**
 * Loads the modules; close what it opens, or their threads stay. @throws ConfigError, DeepseekError for a module that cannot be used
 */
export async function openRewards(
  { parts, others: _, ...named }: RewardSettings,
  {
    maxTokens,
    others = {},
  }: { readonly maxTokens: number; readonly others?: Readonly<Record<string, Reward>> },
): Promise<OpenedReward> {
  const modules: RewardModule[] = [];
  const close = async () => {
    for (const module of modules) await module[Symbol.asyncDispose]();
  };
  const open = async (part: RewardPart): Promise<Reward> => {
    if ("command" in part) return commandReward(part.command);
    if ("module" in part) {
      const module = await RewardModule.open(part.module);
      modules.push(module);
      return module.reward;
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
