/** How sure a figure over rows is, by drawing rows again (Efron 1979): seeded, so that the same rows give the same interval. */
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

/** Value below which a share of sorted values lies, between two of them in proportion. */
function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** What the middle 95 % of replicates lie between. */
export function percentileInterval(replicates: Float64Array): readonly [low: number, high: number] {
  const sorted = replicates.slice().sort();
  return [quantile(sorted, 0.025), quantile(sorted, 0.975)];
}

/** Of a sample: over n - 1. */
export function standardDeviation(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}
