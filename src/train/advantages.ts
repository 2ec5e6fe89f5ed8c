/**
 * Advantages of completions from the rewards of their group (DeepSeekMath, arXiv 2402.03300 section 4.1), in double
 * precision: near-equal rewards lose their digits in single precision. Nothing here knows tokens or models.
 */
import { ShapeError } from "../tensor/errors.ts";

/**
 * How a group's rewards become advantages: their deviation from the mean, divided by the standard deviation over n - 1
 * (`sample`) or over n (`population`, the prover's); undivided (`mean-only`, Dr. GRPO); or the deviation from the mean of the
 * others (`leave-one-out`).
 */
export const ADVANTAGES = ["sample", "population", "mean-only", "leave-one-out"] as const;
export type AdvantageForm = (typeof ADVANTAGES)[number];

const meanOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Standard deviation of values over n - `freedom`; 0 for one value. */
function spread(values: readonly number[], freedom: 0 | 1): number {
  if (values.length < 2) return 0;
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - freedom));
}

/** Whether all rewards of a group are one: it says nothing about which completion is better. */
export function equalRewards(rewards: readonly number[]): boolean {
  return rewards.every((reward) => reward === rewards[0]);
}

function checkRewards(where: string, rewards: readonly number[]): void {
  const at = rewards.findIndex((reward) => !Number.isFinite(reward));
  if (rewards.length > 0 && at < 0) return;
  throw new ShapeError(at < 0 ? "a group without rewards" : "a reward is not a finite number", {
    where,
    ...(at >= 0 && { name: `reward ${at}`, found: rewards[at] }),
  });
}

/**
 * One advantage for each reward of a group. Equal rewards, one alone among them, give zeros; `epsilon` is added to the
 * standard deviation, as some libraries do. @throws ShapeError for no rewards, or those that are not finite
 */
export function groupAdvantages(
  rewards: readonly number[],
  form: AdvantageForm = "sample",
  epsilon = 0,
): number[] {
  checkRewards("groupAdvantages", rewards);
  // The mean of equal numbers may differ from them by rounding, which a division by it would blow up.
  if (equalRewards(rewards)) return rewards.map(() => 0);
  const n = rewards.length;
  const mean = meanOf(rewards);
  const centered = rewards.map((reward) => reward - mean);
  if (form === "mean-only") return centered;
  if (form === "leave-one-out") return centered.map((each) => (each * n) / (n - 1));
  const deviation = spread(rewards, form === "sample" ? 1 : 0) + epsilon;
  return centered.map((each) => each / deviation);
}

/**
 * Advantages of several groups, each reward's deviation from its own group's mean over the sample standard deviation of all
 * rewards together plus `epsilon`. @throws ShapeError
 */
export function batchAdvantages(groups: readonly (readonly number[])[], epsilon = 0): number[][] {
  for (const rewards of groups) checkRewards("batchAdvantages", rewards);
  const deviation = spread(groups.flat(), 1) + epsilon;
  return groups.map((rewards) =>
    groupAdvantages(rewards, "mean-only").map((each) => each && each / deviation),
  );
}

/**
 * Process supervision (arXiv 2402.03300 section 4.1.3): `steps` holds the rewards of each completion's steps in their order.
 * They are normalized by mean and sample standard deviation over all steps of the group; the advantage of the tokens of a
 * step is the sum of the normalized rewards from that step on. One number for each step. @throws ShapeError
 */
export function processAdvantages(steps: readonly (readonly number[])[]): number[][] {
  const normalized = groupAdvantages(steps.flat());
  let at = 0;
  return steps.map((rewards) => {
    const own = normalized.slice(at, at + rewards.length);
    at += rewards.length;
    for (let i = own.length - 2; i >= 0; i--) own[i] += own[i + 1];
    return own;
  });
}
