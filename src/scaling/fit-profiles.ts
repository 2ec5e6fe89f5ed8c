/** Everything that is fitted to IsoFLOP runs; what cannot be fitted is said, and the rest is given all the same. */

import { mean } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type Bootstrap, bootstrapIsoflop } from "./bootstrap.ts";
import {
  type AllocationLaws,
  type BudgetFit,
  fitAllocation,
  fitProfile,
  type IsoflopProfile,
  optimaOf,
} from "./isoflop.ts";
import { fitLossLaw, type LossLaw } from "./loss-law.ts";
import { fitSurface, type Surface } from "./surface.ts";

export interface ProfilesFit {
  readonly budgets: readonly BudgetFit[];
  readonly allocation: AllocationLaws | null;
  readonly lossLaw: LossLaw | null;
  /** Over M, not parameters. */
  readonly surface: Surface | null;
  readonly bootstrap: Bootstrap | null;
  /** What was refused and why, a sentence each. */
  readonly problems: readonly string[];
}

export interface FitOptions {
  /** Budgets whose prediction gets an interval. */
  readonly at?: readonly number[];
  /** Draws of the bootstrap (default 1000). */
  readonly draws?: number;
}

/** Fits profiles, in rising order of compute. */
export function fitProfiles(
  profiles: readonly IsoflopProfile[],
  { at = [], draws }: FitOptions = {},
): ProfilesFit {
  const problems: string[] = [];
  const tried = <T>(body: () => T): T | null => {
    try {
      return body();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(error.message);
      return null;
    }
  };
  const usable = profiles
    .toSorted((a, b) => a.compute - b.compute)
    .filter((profile) => tried(() => fitProfile(profile)) !== null);
  const budgets = usable.map(fitProfile);
  for (const { compute, verdict, missing } of budgets) {
    if (verdict === "ok") continue;
    const budget = `budget ${compute.toExponential(2)}`;
    problems.push(
      missing === null
        ? `${budget}: its parabola opens downwards and has no minimum. Run more seeds, or a wider range of sizes.`
        : `${budget}: the minimum lies outside the sizes that were run. Add ${missing} to it.`,
    );
  }
  const optima = optimaOf(budgets);
  const allocation = tried(() => fitAllocation(optima));
  const lossLaw =
    allocation &&
    tried(() =>
      fitLossLaw(
        optima.map(({ compute }) => compute),
        optima.map(({ loss }) => loss),
      ),
    );
  const runs = usable.flatMap((profile) => profile.runs);
  const surface = tried(() =>
    fitSurface(
      runs.map(({ flopsPerToken, tokens, losses }) => ({ size: flopsPerToken, tokens, loss: mean(losses) })),
    ),
  );
  const bootstrap = lossLaw && tried(() => bootstrapIsoflop(usable, { at, draws }));
  return { budgets, allocation, lossLaw, surface, bootstrap, problems };
}
