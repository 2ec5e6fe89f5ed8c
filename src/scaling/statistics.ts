/** Means and intervals over seeds (Student's t), and bits per byte. */
import { ConfigError } from "../tensor/errors.ts";
import { studentQuantile, studentTwoSided } from "./student.ts";

export type Interval = readonly [low: number, high: number];

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Geometric mean of positive values. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(mean(values.map(Math.log)));
}

/** The part `share` of sorted values lies below it, linear between two of them. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** Student's 95 % interval of a mean. @throws ConfigError for fewer than two values */
export function meanInterval(values: readonly number[]): Interval {
  const center = mean(values);
  const reach = studentQuantile(0.95, values.length - 1) * standardErrorOf(values);
  return [center - reach, center + reach];
}

function standardErrorOf(values: readonly number[]): number {
  const center = mean(values);
  const variance = values.reduce((sum, each) => sum + (each - center) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}

export interface PairedDifference {
  readonly meanDifference: number;
  readonly standardError: number;
  readonly interval95: Interval;
  readonly pTwoSided: number;
}

/**
 * `b - a` over the same seeds, with Student's interval at n - 1 degrees of freedom.
 * @throws ConfigError for lists of different lengths, or for fewer than two seeds
 */
export function pairedDifference(a: readonly number[], b: readonly number[]): PairedDifference {
  if (a.length !== b.length || a.length < 2) {
    throw new ConfigError("pairs need the same seeds on both sides, two at least", {
      ...{ where: "pairedDifference", found: `${a.length} and ${b.length} values` },
    });
  }
  const differences = b.map((value, i) => value - a[i]);
  const meanDifference = mean(differences);
  const degrees = differences.length - 1;
  const standardError = standardErrorOf(differences);
  const t = meanDifference === 0 ? 0 : meanDifference / standardError;
  return {
    meanDifference,
    standardError,
    interval95: meanInterval(differences),
    pTwoSided: studentTwoSided(t, degrees),
  };
}

/** Bits per byte of text of `bytes` bytes in `tokens` tokens at a mean loss in nats. */
export function bitsPerByte(natsPerToken: number, tokens: number, bytes: number): number {
  return (natsPerToken * tokens) / bytes / Math.LN2;
}
