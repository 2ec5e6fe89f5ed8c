import type { Interval } from "./sample.ts";

/** Of the two-sided interval that holds 95 % of a normal distribution. */
const Z = 1.959963984540054;

/**
 * The 95 % interval of Wilson (1927) for a share of `count` statements. For means of values between 0 and 1, such as pass@k, it is
 * at least as wide as it has to be: no such value varies more than one that is 0 or 1.
 */
export function shareInterval(share: number, count: number): Interval {
  if (count === 0) return [0, 1];
  const spread = Z * Math.sqrt((share * (1 - share)) / count + (Z * Z) / (4 * count * count));
  const [middle, scale] = [share + (Z * Z) / (2 * count), 1 + (Z * Z) / count];
  // At the ends both terms are equal, but for rounding.
  return [share === 0 ? 0 : (middle - spread) / scale, share === 1 ? 1 : (middle + spread) / scale];
}
