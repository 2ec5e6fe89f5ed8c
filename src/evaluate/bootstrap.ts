/** How sure a figure over rows is, by drawing rows again (Efron 1979): seeded, so that the same rows give the same interval. */
import { type Interval, quantile } from "../statistics/sample.ts";
import { Random } from "../tensor/random.ts";

/** Replicates: the ends of an interval of 95 % then vary by a few hundredths of its width. */
const REPLICATES = 2000;
/** Draws of all replicates together, below which there are fewer: a second or two. */
const MOST_DRAWS = 100_000_000;
const LEAST_REPLICATES = 200;
const SEED = 1234;

/** The figure over as many rows, drawn with replacement, again and again. @param figure of the places of rows */
export function bootstrap(rows: number, figure: (places: Uint32Array) => number): Float64Array {
  const random = new Random(SEED);
  const places = new Uint32Array(rows);
  const count = Math.max(LEAST_REPLICATES, Math.min(REPLICATES, Math.floor(MOST_DRAWS / rows)));
  return Float64Array.from({ length: count }, () => {
    for (let i = 0; i < rows; i++) places[i] = random.int(rows);
    return figure(places);
  });
}

/** What the middle 95 % of replicates lie between. */
export function percentileInterval(replicates: Float64Array): Interval {
  const sorted = replicates.slice().sort();
  return [quantile(sorted, 0.025), quantile(sorted, 0.975)];
}
