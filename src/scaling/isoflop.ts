/**
 * IsoFLOP fits (DeepSeek LLM, arXiv 2401.02954, section 3.2; Chinchilla, arXiv 2203.15556, approach 2): of each budget a parabola of
 * loss on ln M, its vertex, then power laws of the optima over compute. A budget without a minimum among its runs gives none.
 */

import { mean } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";
import { fitParabola, fitPowerLaw, type Parabola, type PowerLaw, type Verdict } from "./least-squares.ts";

/** One size at one budget. */
export interface IsoflopRun {
  /** M: non-embedding FLOPs a token. */
  readonly flopsPerToken: number;
  readonly tokens: number;
  /** Held-out loss of each seed. */
  readonly losses: readonly number[];
}

export interface IsoflopProfile {
  /** C in FLOPs. */
  readonly compute: number;
  readonly runs: readonly IsoflopRun[];
}

export interface BudgetFit {
  readonly compute: number;
  readonly runs: number;
  readonly curvature: number;
  readonly verdict: Verdict;
  /** Of a parabola with the verdict "ok" only; else null. */
  readonly modelOptimum: number | null;
  readonly tokensOptimum: number | null;
  readonly lossAtOptimum: number | null;
  /** Where the vertex lies of a convex parabola without a minimum among its runs. */
  readonly missing: "smaller models" | "larger models" | null;
}

/** A budget whose parabola has a minimum. */
export interface Optimum {
  readonly compute: number;
  readonly model: number;
  readonly tokens: number;
  readonly loss: number;
}

/** @throws ConfigError for fewer than three sizes */
export function fitProfile({ compute, runs }: IsoflopProfile): BudgetFit {
  const x = runs.map(({ flopsPerToken }) => Math.log(flopsPerToken));
  if (new Set(x).size < 3) {
    throw new ConfigError("a budget needs three sizes for its parabola", {
      ...{ where: `budget ${compute.toExponential()}`, expected: "3 sizes or more", found: new Set(x).size },
      hint: "Add sizes to the budget and run them.",
    });
  }
  const { curvature, vertex, value, verdict }: Parabola = fitParabola(
    x,
    runs.map(({ losses }) => mean(losses)),
  );
  const found = verdict === "ok";
  const model = Math.exp(vertex);
  return {
    ...{ compute, runs: runs.length, curvature, verdict },
    modelOptimum: found ? model : null,
    tokensOptimum: found ? compute / model : null,
    lossAtOptimum: found ? value : null,
    missing: verdict !== "outside" ? null : vertex <= Math.min(...x) ? "smaller models" : "larger models",
  };
}

/** The optima of the budgets that have one. */
export function optimaOf(budgets: readonly BudgetFit[]): Optimum[] {
  return budgets.flatMap(({ compute, modelOptimum, tokensOptimum, lossAtOptimum }) =>
    modelOptimum === null || tokensOptimum === null || lossAtOptimum === null
      ? []
      : [{ compute, model: modelOptimum, tokens: tokensOptimum, loss: lossAtOptimum }],
  );
}

/** M_opt and D_opt over C: two power laws whose exponents sum to 1, since D = C / M. */
export interface AllocationLaws {
  readonly model: PowerLaw;
  readonly data: PowerLaw;
}

/** @throws ConfigError for fewer than two optima */
export function fitAllocation(optima: readonly Optimum[]): AllocationLaws {
  if (optima.length < 2) {
    throw new ConfigError("too few budgets with a minimum for a law", {
      ...{ where: "IsoFLOP fit", expected: "2 budgets or more", found: optima.length },
      hint: "Add sizes on the side where the vertices lie, or further budgets, and run them.",
    });
  }
  const compute = optima.map((each) => each.compute);
  const law = (values: readonly number[]) => fitPowerLaw(compute, values);
  return { model: law(optima.map(({ model }) => model)), data: law(optima.map(({ tokens }) => tokens)) };
}
