/** What a rollout was like: rewards, lengths, how much of it carries a signal. */
import { equalRewards } from "../advantages.ts";
import type { JudgedGroup } from "./judge.ts";

export interface GroupFigures {
  /** Groups that were sampled. */
  readonly groups: number;
  readonly completions: number;
  /** Of completions. */
  readonly tokens: number;
  /** Mean reward, and its standard deviation over completions. */
  readonly reward: number;
  readonly rewardDeviation: number;
  /** Share of rewards that count as passed. */
  readonly passed: number;
  /** Shares of groups whose rewards are all one number, all 0, all 1. */
  readonly equalGroups: number;
  readonly allZero: number;
  readonly allOne: number;
  /** Mean tokens of a completion. */
  readonly length: number;
  /** Share of completions that ended at the limit of tokens. */
  readonly truncated: number;
  /** Share of completions that an earlier one of their group is equal to. */
  readonly duplicates: number;
  /** Completions without a reward, and groups whose time was over. */
  readonly unjudged: number;
  readonly timedOut: number;
}

const mean = (values: readonly number[]) =>
  values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;

/** @param passReward rewards from here on count as passed */
export function figuresOfGroups(groups: readonly JudgedGroup[], passReward: number): GroupFigures {
  const completions = groups.flatMap((group) => group.completions);
  const known = groups.map(({ rewards }) => rewards.filter((reward) => reward !== null));
  const rewards = known.flat();
  const reward = mean(rewards);
  const share = (of: (rewards: readonly number[]) => boolean) =>
    mean(known.map((each) => (each.length > 0 && of(each) ? 1 : 0)));
  const distinct = groups.map(({ completions }) => new Set(completions.map(({ ids }) => ids.join(" "))).size);
  const tokens = completions.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    ...{ groups: groups.length, completions: completions.length, tokens, reward },
    rewardDeviation: Math.sqrt(mean(rewards.map((each) => (each - reward) ** 2))),
    passed: mean(rewards.map((each) => (each >= passReward ? 1 : 0))),
    equalGroups: share(equalRewards),
    allZero: share((each) => each.every((value) => value === 0)),
    allOne: share((each) => each.every((value) => value === 1)),
    length: completions.length === 0 ? 0 : tokens / completions.length,
    truncated: mean(completions.map(({ truncated }) => (truncated ? 1 : 0))),
    duplicates: completions.length === 0 ? 0 : 1 - distinct.reduce((a, b) => a + b, 0) / completions.length,
    unjudged: completions.length - rewards.length,
    timedOut: groups.filter(({ timedOut }) => timedOut).length,
  };
}
