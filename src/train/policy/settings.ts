/** The settings of a policy's training, and their refusal by name. */
import { checkChoice, checkKeys, checkNumber, checkSection, type Place } from "../../tensor/check-value.ts";
import { ADVANTAGES, type AdvantageForm } from "../advantages.ts";
import { checkPolicyOptions, type PolicyOptions } from "../objectives/policy.ts";
import { checkLearningRate, type LearningRateSchedule, MOST_STEPS } from "../schedule.ts";
import type { TrainOptions } from "../trainer.ts";

/** Groups of a step and completions of a group: their tokens are held in memory. */
const MOST_GROUPS = 65_536;
const MOST_SAMPLES = 4096;
const MOST_REFILLS = 1000;

const EQUAL_GROUPS = ["keep", "skip", "refill"] as const;
const TRUNCATED = ["keep", "leave-out"] as const;

export interface PolicySettings {
  /** Rollouts of the whole run, of which schedules are fractions; null: not known, schedules stand at their beginning. */
  readonly steps: number | null;
  /** Prompts of a step. */
  readonly groups: number;
  /** Completions of a prompt, 2 or more: G. */
  readonly samples: number;
  /** Most tokens of a completion. */
  readonly maxTokens: number;
  readonly learningRate: LearningRateSchedule;
  /** Updates of a rollout, each on all of it; default 1. From the second on ratios differ from 1, and clips matter. */
  readonly updates?: number;
  /** The loss. Its `temperature` is also that of sampling, its `maxTokens` by default those of a completion. */
  readonly objective?: PolicyOptions;
  /** Default `sample`; DeepSeek-Prover-V1.5 here: `population`. */
  readonly advantage?: AdvantageForm;
  /** Added to the standard deviation of rewards; default 0. */
  readonly advantageEpsilon?: number;
  /**
   * Groups whose rewards are all one number: `keep` them, with advantages of 0 and the penalty alone (default); `skip` them; or
   * `refill` the step by further prompts (DAPO's dynamic sampling), at most `mostRefills` times.
   */
  readonly equalGroups?: (typeof EQUAL_GROUPS)[number];
  /** Default 4. */
  readonly mostRefills?: number;
  /**
   * Completions that ended at the limit of tokens: `keep` them with the reward that they got (default), or let them count
   * for the group's mean and `leave-out` their tokens.
   */
  readonly truncated?: (typeof TRUNCATED)[number];
  /** Tokens that end a completion; default: those of the configuration. */
  readonly stopIds?: readonly number[];
  /** Tokens that exist; default: those of the engine. */
  readonly vocabularySize?: number;
  /** Most tokens of one pass of an update, padding included; gradients of passes add up. Default 4096. */
  readonly passTokens?: number;
  /** Time for the rewards of one group; default 300. */
  readonly rewardSeconds?: number;
  /** Most groups that are judged at a time; the time of one begins when its turn comes. Default: all of a step. */
  readonly rewardParallel?: number;
  /** Rewards from here on count as passed, in figures; default 1. */
  readonly passReward?: number;
  /** Seed of prompts' order and of sampling; default 0. */
  readonly seed?: number;
  /** Optimizer, trained parts, moving average. */
  readonly trainer?: Pick<TrainOptions, "optimizer" | "trained" | "rates" | "averageDecay">;
}

/** Settings with their defaults. */
export type SettledSettings = PolicySettings & Required<Omit<PolicySettings, "trainer" | "vocabularySize">>;

/** `ends` are the tokens that end a completion if the settings do not say. */
export function settled(settings: PolicySettings, ends: readonly number[]): SettledSettings {
  const { updates = 1, objective = {}, advantage = "sample", advantageEpsilon = 0, seed = 0 } = settings;
  const { equalGroups = "keep", mostRefills = 4, truncated = "keep", stopIds = ends } = settings;
  const { passTokens = 4096, rewardSeconds = 300, rewardParallel = MOST_GROUPS, passReward = 1 } = settings;
  return {
    ...settings,
    ...{ updates, objective, advantage, advantageEpsilon, seed, equalGroups, mostRefills, truncated },
    ...{ stopIds, passTokens, rewardSeconds, rewardParallel, passReward },
  };
}

/** @throws ConfigError */
export function checkPolicySettings(place: Place, settings: object): void {
  const fields = settings as Record<string, unknown>;
  const needed = {
    groups: { integer: true, min: 1, max: MOST_GROUPS },
    samples: { integer: true, min: 2, max: MOST_SAMPLES },
    maxTokens: { integer: true, min: 1 },
  };
  const optional = {
    updates: { integer: true, min: 1, max: 1000 },
    advantageEpsilon: { min: 0 },
    mostRefills: { integer: true, min: 0, max: MOST_REFILLS },
    vocabularySize: { integer: true, min: 1 },
    passTokens: { integer: true, min: 1 },
    // What a timer takes.
    rewardSeconds: { above: 0, max: 2_000_000 },
    rewardParallel: { integer: true, min: 1 },
    passReward: {},
    seed: { integer: true },
  };
  const others = [
    "steps",
    "learningRate",
    "objective",
    "advantage",
    "equalGroups",
    "truncated",
    "stopIds",
    "trainer",
  ];
  checkKeys(place, fields, [...Object.keys(needed), ...Object.keys(optional), ...others]);
  for (const [name, range] of Object.entries(needed)) checkNumber(place, name, fields[name], range);
  for (const [name, range] of Object.entries(optional)) {
    if (fields[name] !== undefined) checkNumber(place, name, fields[name], range);
  }
  const { steps, learningRate, objective, advantage, equalGroups, truncated, trainer } = fields;
  if (steps !== null) checkNumber(place, "steps", steps, { integer: true, min: 1, max: MOST_STEPS });
  checkLearningRate(place, "learningRate", learningRate);
  if (advantage !== undefined) checkChoice(place, "advantage", advantage, ADVANTAGES);
  if (equalGroups !== undefined) checkChoice(place, "equalGroups", equalGroups, EQUAL_GROUPS);
  if (truncated !== undefined) checkChoice(place, "truncated", truncated, TRUNCATED);
  if (objective !== undefined) {
    const { fields: options, at } = checkSection(place, "objective", objective);
    // A constant average has the completions' limit by default.
    checkPolicyOptions(at, { maxTokens: 1, ...options });
  }
  if (trainer !== undefined) {
    const { fields: options, at } = checkSection(place, "trainer", trainer);
    checkKeys(at, options, ["optimizer", "trained", "rates", "averageDecay"]);
  }
}
