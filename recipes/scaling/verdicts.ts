/** What the runs of this recipe say about each claim: reproduced, contradicted or not decided, whichever it is. */
import { fitText, predictionText } from "../../src/cli/scale-text.ts";
import type { SweepFit } from "../../src/scaling/fit-sweep.ts";
import type { PredictionOutcome } from "../../src/scaling/predict.ts";
import type { Interval } from "../../src/statistics/sample.ts";

export interface ClaimVerdict {
  readonly claim: string;
  /** The paper's figure. */
  readonly published: string;
  readonly found: string;
  readonly verdict: "reproduced" | "contradicted" | "not decided";
}

/** An interval that lies in what is claimed, outside of it, or across its edge. */
function verdictOf(interval: Interval | null, [low, high]: Interval): ClaimVerdict["verdict"] {
  if (interval === null) return "not decided";
  if (interval[0] >= low && interval[1] <= high) return "reproduced";
  return interval[1] < low || interval[0] > high ? "contradicted" : "not decided";
}

/** Exponents that count as the paper's, over what its three corpora gave. */
const EXPONENTS: Interval = [0.45, 0.6];
/** Part of the loss that a prediction may be off. */
const NEAR = 0.01;

/** Over both: the deviation between seeds, and how the optima scatter around the law, which seeds alone do not show. */
function exponentOf({ allocation, bootstrap }: SweepFit): Interval | null {
  const scatter = allocation?.model.exponent95;
  if (!scatter || bootstrap === null) return null;
  const [low, high] = bootstrap.modelExponent;
  return [Math.min(low, scatter[0]), Math.max(high, scatter[1])];
}

export function allVerdicts(fit: SweepFit, outcomes: readonly PredictionOutcome[]): ClaimVerdict[] {
  const { allocation, problems } = fit;
  const exponent = exponentOf(fit);
  const [outcome] = outcomes;
  const error: Interval | null =
    outcome?.loss95 == null
      ? null
      : [outcome.loss95[0] / outcome.prediction.loss - 1, outcome.loss95[1] / outcome.prediction.loss - 1];
  const percent = (value: number) => `${(100 * value).toFixed(2)}%`;
  return [
    {
      claim: `M grows as C^a with a from ${EXPONENTS[0]} to ${EXPONENTS[1]}`,
      published: "0.5243 (0.450, 0.524, 0.578 by corpus)",
      found:
        allocation === null || exponent === null
          ? `no law: ${problems.join(" ")}`
          : `${allocation.model.exponent.toFixed(4)} (${exponent.map((each) => each.toFixed(4)).join(" to ")})`,
      verdict: verdictOf(exponent, EXPONENTS),
    },
    {
      claim: `the loss of a run beyond the fit is predicted within ${percent(NEAR)}`,
      published: "figure only, over a factor of 1000",
      found:
        error === null
          ? "no outcome of two seeds"
          : `${percent(outcome.error!)} off (${error.map(percent).join(" to ")}), ${outcome.prediction.beyond.toFixed(1)} times the largest budget`,
      verdict: verdictOf(error, [-NEAR, NEAR]),
    },
  ];
}

export function resultsText(results: {
  readonly size: string;
  readonly fit: SweepFit;
  readonly outcomes: readonly PredictionOutcome[];
  readonly verdicts: readonly ClaimVerdict[];
}): string {
  return [
    fitText(results.fit),
    ...results.outcomes.map(predictionText),
    ...(results.size === "small"
      ? ["The small form checks the machinery; its verdicts say nothing about the claims."]
      : []),
    ...results.verdicts.map(({ claim, found, verdict }) => `${verdict}: ${claim}: ${found}`),
  ].join("\n");
}
