/** What a reward is shown of a group, and what it is worth. */
import { type Reward, rewardsOf } from "./rewards.ts";
import type { SampledCompletion, SampledGroup } from "./rollouts.ts";

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
