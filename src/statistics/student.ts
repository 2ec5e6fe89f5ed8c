/** Student's t: tail probabilities and quantiles for the intervals of means and of fitted lines. */
import { ConfigError } from "../tensor/errors.ts";

const MOST_DEGREES = 10_000_000;

function checkDegrees(degrees: number): void {
  if (Number.isSafeInteger(degrees) && degrees >= 1 && degrees <= MOST_DEGREES) return;
  throw new ConfigError("degrees of freedom out of range", {
    ...{ where: "Student's t", expected: `an integer from 1 to ${MOST_DEGREES}`, found: degrees },
    hint: "An interval needs more points, or more seeds.",
  });
}

/** B(degrees / 2, 1 / 2), from B(1/2, 1/2) = pi and B(1, 1/2) = 2 by B(a + 1, b) = B(a, b) a / (a + b). */
function betaOfHalf(degrees: number): number {
  let value = degrees % 2 === 1 ? Math.PI : 2;
  for (let a = degrees % 2 === 1 ? 0.5 : 1; a < degrees / 2; a++) value *= a / (a + 0.5);
  return value;
}

/** Continued fraction of the incomplete beta function (NIST DLMF 8.17.22), by Lentz's method. */
function betaFraction(a: number, b: number, x: number): number {
  const tiny = 1e-300;
  const apart = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let numerator = 1;
  let denominator = 1 / apart(1 - ((a + b) * x) / (a + 1));
  let value = denominator;
  for (let m = 1; m < 10_000; m++) {
    const before = value;
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      denominator = 1 / apart(1 + term * denominator);
      numerator = apart(1 + term / numerator);
      value *= numerator * denominator;
    }
    if (Math.abs(value - before) <= 1e-16 * Math.abs(value)) break;
  }
  return value;
}

/** Probability that a t variable lies further from 0 than `t`. @throws ConfigError for degrees of freedom below 1 */
export function studentTwoSided(t: number, degrees: number): number {
  checkDegrees(degrees);
  if (t === 0) return 1;
  const square = t * t;
  if (!Number.isFinite(square)) return 0;
  const x = degrees / (degrees + square);
  const y = square / (degrees + square);
  const front = (x ** (degrees / 2) * Math.sqrt(y)) / betaOfHalf(degrees);
  // The fraction converges fast on one side of the middle only.
  return x < (degrees / 2 + 1) / (degrees / 2 + 2.5)
    ? (front / (degrees / 2)) * betaFraction(degrees / 2, 0.5, x)
    : 1 - 2 * front * betaFraction(0.5, degrees / 2, y);
}

/** The t beyond which, on both sides together, `1 - confidence` of the distribution lies. @throws ConfigError */
export function studentQuantile(confidence: number, degrees: number): number {
  checkDegrees(degrees);
  if (!(confidence > 0 && confidence < 1)) {
    throw new ConfigError("confidence out of range", {
      ...{ where: "Student's t", expected: "a number above 0 and below 1", found: confidence },
    });
  }
  const outside = 1 - confidence;
  let [low, high] = [0, 1];
  while (studentTwoSided(high, degrees) > outside) [low, high] = [high, 2 * high];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    if (studentTwoSided(middle, degrees) > outside) low = middle;
    else high = middle;
  }
}
