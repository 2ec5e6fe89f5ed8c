/**
 * What the runs say about a claim: Student's 95 % interval of the differences within seeds, against what is claimed. One seed decides
 * shares only, by its test samples; of losses it cannot, since they move between seeds by more than between samples.
 */
import { meanInterval } from "../../src/scaling/statistics.ts";
import { type Interval, mean, standardDeviation } from "../../src/statistics/sample.ts";
import { studentQuantile } from "../../src/statistics/student.ts";
import { pairsOf } from "../shared/paired.ts";
import type { ArmResult } from "../shared/results.ts";
import type { Expectation, TextClaim } from "./declaration.ts";

export type Verdict = "reproduced" | "contradicted" | "not decided";

/** A figure, or a share from 0 to 1; null if this run does not have it. */
export function measured({ figures = {}, scores }: ArmResult, measure: string): number | null {
  if (figures[measure] !== undefined) return figures[measure];
  const count = scores[measure];
  return count === undefined || count.of === 0 ? null : count.right / count.of;
}

export interface Found {
  readonly verdict: Verdict;
  /** For the table, without the verdict. */
  readonly text: string;
}

interface Seeds {
  /** Of each seed that has what is compared: the difference, or the value where there is no other arm. */
  readonly values: readonly number[];
  /** Mean of the arm that is compared with; 1 without. */
  readonly base: number;
  readonly seeds: readonly number[];
}

export function seedsOf(results: readonly ArmResult[], { arm, with: other, measure }: TextClaim): Seeds {
  const of = (name: string) =>
    new Map(
      results
        .filter((each) => each.arm === name)
        .map((each) => [each.seed, measured(each, measure)] as const),
    );
  const first = of(arm);
  const second = other === undefined ? null : of(other);
  const seeds = [...first.keys()].filter(
    (seed) => first.get(seed) !== null && (second === null || (second.get(seed) ?? null) !== null),
  );
  const values = seeds.map((seed) => first.get(seed)! - (second?.get(seed) ?? 0));
  return { seeds, values, base: second === null ? 1 : mean(seeds.map((seed) => second.get(seed)!)) };
}

/** Whether an interval lies in what is claimed, outside of it, or across its edge. */
export function judge([low, high]: Interval, expects: Expectation): Verdict {
  const within = (from: number, to: number): Verdict =>
    low >= from && high <= to ? "reproduced" : high < from || low > to ? "contradicted" : "not decided";
  switch (expects.kind) {
    case "lower":
      return high < 0 ? "reproduced" : low > 0 ? "contradicted" : "not decided";
    case "higher":
      return low > 0 ? "reproduced" : high < 0 ? "contradicted" : "not decided";
    case "same":
      return within(-expects.within, expects.within);
    case "between":
      return within(expects.low, expects.high);
  }
}

/** Of what is claimed to lie between two values: on which side of them an interval lies; null where it is not outside. */
export function sideOf([low, high]: Interval, expects: Expectation): "higher" | "lower" | null {
  if (expects.kind !== "same" && expects.kind !== "between") return null;
  const [from, to] =
    expects.kind === "same" ? [-expects.within, expects.within] : [expects.low, expects.high];
  return low > to ? "higher" : high < from ? "lower" : null;
}

/** More seeds than this nobody runs. */
const MOST_SEEDS = 1000;

/** Seeds after which an interval around the same mean, with the same deviation, would decide; null if none would. */
export function seedsNeeded(values: readonly number[], expects: Expectation): number | null {
  if (values.length < 2) return null;
  const [center, deviation] = [mean(values), standardDeviation(values)];
  for (let n = values.length + 1; n <= MOST_SEEDS; n++) {
    const reach = (studentQuantile(0.95, n - 1) * deviation) / Math.sqrt(n);
    if (judge([center - reach, center + reach], expects) !== "not decided") return n;
  }
  return null;
}

/** Whether a measure is a share of samples: it is told in percent, its differences in points. */
const isShare = (results: readonly ArmResult[], measure: string) =>
  results.some(({ scores }) => scores[measure] !== undefined);

/** @param command that goes on */
export function verdictOf(results: readonly ArmResult[], claim: TextClaim, command: string): Found {
  const { arm, with: other, measure, expects, absolute = false } = claim;
  const { seeds, values, base } = seedsOf(results, claim);
  if (seeds.length === 0) {
    return {
      verdict: "not decided",
      text: `not run; \`${command} -- --arm ${[arm, other].filter(Boolean).join(",")}\``,
    };
  }
  const share = isShare(results, measure);
  // Parts of the other arm's value: a loss by itself says nothing.
  const relative = other !== undefined && !share && !absolute;
  const scaled = relative ? values.map((value) => value / base) : values;
  const unit = share ? (other === undefined ? " %" : " points") : relative ? " %" : "";
  const show = (value: number) =>
    unit === ""
      ? `${value > 0 && other !== undefined ? "+" : ""}${value.toPrecision(3)}`
      : `${value > 0 && other !== undefined ? "+" : ""}${(100 * value).toFixed(2)}`;
  const told = (interval: Interval, scope: string) => {
    const side = sideOf(interval, expects);
    const value = mean(scaled);
    const size =
      side === null
        ? show(value)
        : other === undefined
          ? `${side}: ${show(value)}`
          : `${side} by ${show(Math.abs(value)).replace("+", "")}`;
    return `${size}${unit} (${interval.map(show).join(" to ")}${scope})`;
  };
  if (seeds.length === 1) {
    const pairs = other === undefined ? null : pairsOf(results, arm, other, measure);
    if (pairs === null) return { verdict: "not decided", text: `${show(scaled[0])}${unit}, one seed` };
    const part = relative ? base : 1;
    const interval: Interval = [pairs.interval[0] / part, pairs.interval[1] / part];
    const text = told(interval, "; one seed, the interval is of its test samples");
    return { verdict: share ? judge(interval, expects) : "not decided", text };
  }
  const [low, high] = meanInterval(scaled);
  // Student's t knows nothing of the ends of shares.
  const interval: Interval =
    share && other === undefined ? [Math.max(0, low), Math.min(1, high)] : [low, high];
  const verdict = judge(interval, expects);
  const scope = `, ${seeds.length} seeds`;
  if (verdict !== "not decided") return { verdict, text: told(interval, scope) };
  const needed = seedsNeeded(scaled, expects);
  const more =
    needed === null
      ? "no number of seeds would decide a mean so near the edge"
      : `about ${needed} seeds would decide`;
  return { verdict, text: `${told(interval, scope)}; ${more}` };
}
