/** How often prompts are solved: which of them teach something, and how well held-out ones are. */
import type { Engine } from "../../engine/engine.ts";
import { checkNumber } from "../../tensor/check-value.ts";
import { Random } from "../../tensor/random.ts";
import { atMost } from "./at-most.ts";
import { figuresOfGroups } from "./figures.ts";
import { type Judge, type JudgedGroup, judgeGroup } from "./judge.ts";
import { passAtK } from "./pass-at-k.ts";
import type { PolicyPrompt } from "./prompts.ts";
import { sampleGroups } from "./rollouts.ts";

export interface PassRateSettings {
  /** Completions of a prompt; DeepSeek-Prover-V1.5's bounds need 16. */
  readonly samples: number;
  /** Most tokens of a completion. */
  readonly maxTokens: number;
  /** Default 1. */
  readonly temperature?: number;
  /** Default: those of the configuration. */
  readonly stopIds?: readonly number[];
  readonly vocabularySize?: number;
  /** Time for the rewards of one group; default 300. */
  readonly rewardSeconds?: number;
  /** Most groups that are judged at a time; default: all. */
  readonly rewardParallel?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** Samples and judges a group for each prompt, in the order of prompts. */
async function judgedGroups<Row>(
  engine: Engine,
  prompts: readonly PolicyPrompt<Row>[],
  judge: Judge<Row>,
  settings: PassRateSettings,
  signal: AbortSignal,
): Promise<JudgedGroup[]> {
  const { samples, maxTokens, temperature = 1, vocabularySize, rewardSeconds = 300, seed = 0 } = settings;
  const { stopIds = engine.model.config.eosTokenIds, rewardParallel = prompts.length } = settings;
  const place = { where: "passRates" };
  checkNumber(place, "samples", samples, { integer: true, min: 1 });
  checkNumber(place, "rewardSeconds", rewardSeconds, { above: 0, max: 2_000_000 });
  checkNumber(place, "rewardParallel", rewardParallel, { integer: true, min: 1 });
  const inTurn = atMost(rewardParallel);
  return sampleGroups(
    engine,
    prompts,
    { samples, maxTokens, temperature, stopIds, ...(vocabularySize !== undefined && { vocabularySize }) },
    new Random(seed),
    (group, stop) => inTurn(() => judgeGroup(judge, group, { stopIds, rewardSeconds }, stop)),
    signal,
  );
}

/**
 * The mean reward of each prompt's completions, in the order of prompts; null where none could be judged. With rewards of 0 and
 * 1 that is how often it is solved: prompts that are never or always solved teach a policy nothing.
 * @throws ConfigError, DeepseekError of the reward, the signal's reason
 */
export async function passRates<Row>(
  engine: Engine,
  prompts: readonly PolicyPrompt<Row>[],
  judge: Judge<Row>,
  settings: PassRateSettings,
  signal: AbortSignal = new AbortController().signal,
): Promise<(number | null)[]> {
  const groups = await judgedGroups(engine, prompts, judge, settings, signal);
  return groups.map(({ rewards }) => {
    const known = rewards.filter((reward) => reward !== null);
    return known.length === 0 ? null : known.reduce((a, b) => a + b, 0) / known.length;
  });
}

export interface PassAtSettings extends PassRateSettings {
  /** Default: 1, and all samples. */
  readonly ks?: readonly number[];
  /** Rewards from here on count as passed; default 1. */
  readonly passReward?: number;
}

/** How well prompts are solved. */
export interface PassAt {
  readonly prompts: number;
  /** Of a prompt. */
  readonly samples: number;
  /** For each k the share of prompts solved by one of k completions, by the unbiased estimator; prompts without any verdict count as unsolved. */
  readonly passAt: Readonly<Record<number, number>>;
  readonly reward: number;
  /** Mean tokens of a completion, and the share of completions that were cut. */
  readonly length: number;
  readonly truncated: number;
}

/** pass@k over prompts, such as held-out ones. @throws as `passRates`, and ConfigError for no prompts or a k beyond the samples */
export async function passAt<Row>(
  engine: Engine,
  prompts: readonly PolicyPrompt<Row>[],
  judge: Judge<Row>,
  settings: PassAtSettings,
  signal: AbortSignal = new AbortController().signal,
): Promise<PassAt> {
  const { samples, passReward = 1 } = settings;
  const { ks = [...new Set([1, samples])] } = settings;
  const place = { where: "passAt" };
  checkNumber(place, "number of prompts", prompts.length, { min: 1 });
  for (const [i, k] of ks.entries()) {
    checkNumber(place, `ks[${i}]`, k, { integer: true, min: 1, max: samples });
  }
  const groups = await judgedGroups(engine, prompts, judge, settings, signal);
  const passed = groups.map(({ rewards }) => {
    const known = rewards.filter((reward) => reward !== null);
    return { known: known.length, right: known.filter((reward) => reward >= passReward).length };
  });
  // A group without some of its verdicts has fewer samples to draw from.
  const at = (k: number) =>
    passed.reduce(
      (sum, { known, right }) => sum + (known === 0 ? 0 : passAtK(known, right, Math.min(k, known))),
      0,
    );
  const { reward, length, truncated } = figuresOfGroups(groups, passReward);
  const shares = ks.map((k) => [k, at(k) / prompts.length] as const);
  return { prompts: prompts.length, samples, passAt: Object.fromEntries(shares), reward, length, truncated };
}
