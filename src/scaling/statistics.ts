/** Intervals over seeds (Student's t), and bits per byte. */

import { type Interval, mean, standardError } from "../statistics/sample.ts";
import { studentQuantile, studentTwoSided } from "../statistics/student.ts";
import { ConfigError } from "../tensor/errors.ts";

/** Student's 95 % interval of a mean. @throws ConfigError for fewer than two values */
export function meanInterval(values: readonly number[]): Interval {
  const center = mean(values);
  const reach = studentQuantile(0.95, values.length - 1) * standardError(values);
  return [center - reach, center + reach];
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
  const error = standardError(differences);
  const t = meanDifference === 0 ? 0 : meanDifference / error;
  return {
    meanDifference,
    standardError: error,
    interval95: meanInterval(differences),
    pTwoSided: studentTwoSided(t, degrees),
  };
}

/** Bits per byte of text of `bytes` bytes in `tokens` tokens at a mean loss in nats. */
export function bitsPerByte(natsPerToken: number, tokens: number, bytes: number): number {
  return (natsPerToken * tokens) / bytes / Math.LN2;
}
