/** pass@k by the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, section 2.1). */
import { ConfigError } from "../../tensor/errors.ts";

/**
 * Probability that k of n samples, drawn without replacement, hold one of the c that are right: 1 - C(n-c, k) / C(n, k).
 * @throws ConfigError for numbers that do not fit each other
 */
export function passAtK(n: number, c: number, k: number): number {
  const whole = (name: string, found: number, least: number, most: number) => {
    if (Number.isSafeInteger(found) && found >= least && found <= most) return;
    throw new ConfigError("out of range", {
      where: "passAtK",
      ...{ name, expected: `a whole number from ${least} to ${most}`, found },
    });
  };
  whole("n", n, 1, Number.MAX_SAFE_INTEGER);
  whole("c", c, 0, n);
  whole("k", k, 1, n);
  if (n - c < k) return 1;
  // The product over the smaller of both ranges: c factors, or k.
  let none = 1;
  if (c <= k) for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i;
  else for (let i = n - k + 1; i <= n; i++) none *= 1 - c / i;
  return 1 - none;
}
