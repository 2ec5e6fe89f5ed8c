/** Groups of completions with their rewards: what a reward is shown of a completion, and how often prompts are solved. */
import type { Engine } from "../../engine/engine.ts";
import { checkNumber } from "../../tensor/check-value.ts";
import { Random } from "../../tensor/random.ts";
import type { PolicyPrompt } from "./prompts.ts";
import { type Reward, rewardsOf } from "./rewards.ts";
import { type SampledCompletion, type SampledGroup, sampleGroups } from "./rollouts.ts";

/** A group with its rewards. */
export interface JudgedGroup {
  readonly prompt: readonly number[];
  readonly completions: readonly SampledCompletion[];
  /** Null: left out. */
  readonly rewards: readonly (number | null)[];
  /** Whether its rewards are 0 because time was over. */
  readonly timedOut: boolean;
}

export interface Judge<Row = unknown> {
  readonly reward: Reward<Row>;
  /** Text of ids, for rewards; the end token is left out before. */
  readonly decode?: (ids: readonly number[]) => string;
}

/** The rewards of a group. @throws as `rewardsOf` */
export async function judgeGroup<Row>(
  { reward, decode }: Judge<Row>,
  { prompt, completions }: SampledGroup<Row>,
  { stopIds, rewardSeconds }: { readonly stopIds: readonly number[]; readonly rewardSeconds: number },
  signal: AbortSignal,
): Promise<JudgedGroup> {
  const text = (ids: readonly number[]) => decode?.(ids) ?? "";
  const promptText = prompt.prompt ?? text(prompt.ids);
  const samples = completions.map(({ ids, truncated }) => ({
    ...{ prompt: promptText, key: prompt.key ?? null, row: prompt.row ?? null, truncated },
    ...{ promptIds: prompt.ids, completionIds: ids },
    completion: text(stopIds.includes(ids[ids.length - 1]) ? ids.slice(0, -1) : ids),
  }));
  const { rewards, timedOut } = await rewardsOf(reward, samples, { seconds: rewardSeconds, signal });
  return { prompt: prompt.ids, completions, rewards, timedOut };
}

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
  /** Default 0. */
  readonly seed?: number;
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
  const { samples, maxTokens, temperature = 1, vocabularySize, rewardSeconds = 300, seed = 0 } = settings;
  const { stopIds = engine.model.config.eosTokenIds } = settings;
  const place = { where: "passRates" };
  checkNumber(place, "samples", samples, { integer: true, min: 1 });
  checkNumber(place, "rewardSeconds", rewardSeconds, { above: 0, max: 2_000_000 });
  const groups = await sampleGroups(
    engine,
    prompts,
    { samples, maxTokens, temperature, stopIds, ...(vocabularySize !== undefined && { vocabularySize }) },
    new Random(seed),
    (group, stop) => judgeGroup(judge, group, { stopIds, rewardSeconds }, stop),
    signal,
  );
  return groups.map(({ rewards }) => {
    const known = rewards.filter((reward) => reward !== null);
    return known.length === 0 ? null : known.reduce((a, b) => a + b, 0) / known.length;
  });
}
