/**
 * Laws of learning rate and batch over compute (DeepSeek LLM, arXiv 2401.02954, section 3.1): of each budget's grid the runs whose
 * loss is at most 1.0025 times the lowest, and one line through all of them in log-log, each run one point.
 */

import { geometricMean } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";
import { fitPowerLaw, type PowerLaw } from "./least-squares.ts";

export interface GridRun {
  readonly learningRate: number;
  readonly batchTokens: number;
  readonly loss: number;
}

export interface Grid {
  readonly compute: number;
  readonly runs: readonly GridRun[];
}

export interface GridFit {
  readonly compute: number;
  /** Indices into the grid's runs. */
  readonly best: number;
  readonly nearOptimal: readonly number[];
  /** Geometric means over the near-optimal runs. */
  readonly learningRate: number;
  readonly batchTokens: number;
}

export interface HyperparameterFit {
  readonly grids: readonly GridFit[];
  readonly learningRate: PowerLaw;
  readonly batchTokens: PowerLaw;
}

/** Loss over the lowest up to which a run counts as near-optimal. */
export const NEAR_OPTIMAL = 1.0025;

/** The laws that the paper publishes, for learning rate and batch in tokens. */
export const PUBLISHED = {
  learningRate: { coefficient: 0.3118, exponent: -0.125 },
  batchTokens: { coefficient: 0.292, exponent: 0.3271 },
  model: { coefficient: 0.1715, exponent: 0.5243 },
} as const;

/** @throws ConfigError for fewer than two budgets, or a budget without a run that ended */
export function fitHyperparameters(grids: readonly Grid[]): HyperparameterFit {
  const fits = grids.map(({ compute, runs }): GridFit => {
    if (!runs.some(({ loss }) => Number.isFinite(loss))) {
      throw new ConfigError("a grid without a run that ended", {
        ...{
          where: `budget ${compute.toExponential()}`,
          expected: "a finite loss",
          found: `${runs.length} runs`,
        },
      });
    }
    const lowest = Math.min(
      ...runs.map(({ loss }) => (Number.isFinite(loss) ? loss : Number.POSITIVE_INFINITY)),
    );
    const nearOptimal = runs.flatMap(({ loss }, i) => (loss <= NEAR_OPTIMAL * lowest ? [i] : []));
    return {
      compute,
      best: runs.findIndex(({ loss }) => loss === lowest),
      nearOptimal,
      learningRate: geometricMean(nearOptimal.map((i) => runs[i].learningRate)),
      batchTokens: geometricMean(nearOptimal.map((i) => runs[i].batchTokens)),
    };
  });
  const points = fits.flatMap(({ compute, nearOptimal }, at) =>
    nearOptimal.map((i) => ({ compute, ...grids[at].runs[i] })),
  );
  const law = (key: "learningRate" | "batchTokens") =>
    fitPowerLaw(
      points.map(({ compute }) => compute),
      points.map((point) => point[key]),
    );
  return { grids: fits, learningRate: law("learningRate"), batchTokens: law("batchTokens") };
}
