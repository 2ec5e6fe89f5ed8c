/**
 * Intervals of IsoFLOP laws and of what they predict, by parametric bootstrap: every run's mean loss is drawn anew around itself with
 * the deviation between seeds, and everything is fitted again. With one seed the deviation is that of the losses from their
 * parabolas. Sizes and budgets are drawn independently, though runs of one seed share its data order.
 */

import { type Interval, mean, quantile } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { fitAllocation, fitProfile, type IsoflopProfile, optimaOf } from "./isoflop.ts";
import { fitParabola, powerLawAt } from "./least-squares.ts";
import { fitLossLaw, lossAt } from "./loss-law.ts";

export interface BootstrapOptions {
  /** Default 1000. */
  readonly draws?: number;
  readonly seed?: number;
  /** Budgets whose prediction gets an interval. */
  readonly at?: readonly number[];
}

/** 95 % intervals, from quantiles of the draws. */
export interface Bootstrap {
  readonly draws: number;
  /** Draws that gave no law: too few parabolas with a minimum, or losses that do not fall. */
  readonly failed: number;
  /** Standard deviation of a single run's loss, as a part of the loss. */
  readonly deviation: number;
  readonly deviationFrom: "seeds" | "parabolas";
  readonly modelExponent: Interval;
  readonly dataExponent: Interval;
  readonly predictions: readonly {
    readonly compute: number;
    readonly model: Interval;
    readonly tokens: Interval;
    readonly loss: Interval;
  }[];
}

const MOST_DRAWS = 100_000;

/** Pooled over all runs, relative to each run's mean. */
function deviationOf(profiles: readonly IsoflopProfile[]): Pick<Bootstrap, "deviation" | "deviationFrom"> {
  let squares = 0;
  let degrees = 0;
  for (const { losses } of profiles.flatMap(({ runs }) => runs)) {
    const center = mean(losses);
    squares += losses.reduce((sum, loss) => sum + (loss / center - 1) ** 2, 0);
    degrees += losses.length - 1;
  }
  if (degrees > 0) return { deviation: Math.sqrt(squares / degrees), deviationFrom: "seeds" };
  for (const { runs } of profiles) {
    const x = runs.map(({ flopsPerToken }) => Math.log(flopsPerToken));
    if (new Set(x).size < 4) continue;
    const y = runs.map(({ losses }) => mean(losses));
    const { curvature, vertex, value } = fitParabola(x, y);
    squares += y.reduce(
      (sum, loss, i) => sum + ((value + curvature * (x[i] - vertex) ** 2) / loss - 1) ** 2,
      0,
    );
    degrees += runs.length - 3;
  }
  if (degrees > 0) return { deviation: Math.sqrt(squares / degrees), deviationFrom: "parabolas" };
  throw new ConfigError("no deviation to draw from", {
    ...{ where: "bootstrap", expected: "two seeds of some run, or four sizes at some budget" },
    hint: "Run another seed.",
  });
}

/** @throws ConfigError if no deviation is known, and if most draws give no law */
export function bootstrapIsoflop(
  profiles: readonly IsoflopProfile[],
  { draws = 1000, seed = 1, at = [] }: BootstrapOptions = {},
): Bootstrap {
  const where = "bootstrap";
  if (!(Number.isSafeInteger(draws) && draws >= 40 && draws <= MOST_DRAWS)) {
    const expected = `an integer from 40 to ${MOST_DRAWS}`;
    throw new ConfigError("number of draws out of range", { ...{ where, expected, found: draws } });
  }
  const { deviation, deviationFrom } = deviationOf(profiles);
  const random = new Random(seed, 7);
  const found: { model: number; data: number; at: { model: number; tokens: number; loss: number }[] }[] = [];
  for (let draw = 0; draw < draws; draw++) {
    const drawn = profiles.map(({ compute, runs }) => ({
      compute,
      runs: runs.map((run) => {
        const center = mean(run.losses);
        const spread = (deviation / Math.sqrt(run.losses.length)) * random.normal();
        return { ...run, losses: [center * (1 + spread)] };
      }),
    }));
    const optima = optimaOf(drawn.map(fitProfile));
    try {
      const { model, data } = fitAllocation(optima);
      const law = fitLossLaw(
        optima.map(({ compute }) => compute),
        optima.map(({ loss }) => loss),
      );
      found.push({
        model: model.exponent,
        data: data.exponent,
        at: at.map((compute) => ({
          model: powerLawAt(model, compute),
          tokens: powerLawAt(data, compute),
          loss: lossAt(law, compute),
        })),
      });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
  }
  if (found.length < draws / 2) {
    throw new ConfigError("the runs are too noisy for a law", {
      where,
      expected: `a law in half of ${draws} draws`,
      found: `in ${found.length}, at a deviation of ${(100 * deviation).toPrecision(3)}% of the loss`,
      hint: "Run more seeds, or widen the range of sizes.",
    });
  }
  const interval = (of: (each: (typeof found)[number]) => number): Interval => {
    const values = Float64Array.from(found, of).sort();
    return [quantile(values, 0.025), quantile(values, 0.975)];
  };
  return {
    ...{ draws, failed: draws - found.length, deviation, deviationFrom },
    modelExponent: interval(({ model }) => model),
    dataExponent: interval(({ data }) => data),
    predictions: at.map((compute, i) => ({
      compute,
      model: interval((each) => each.at[i].model),
      tokens: interval((each) => each.at[i].tokens),
      loss: interval((each) => each.at[i].loss),
    })),
  };
}
