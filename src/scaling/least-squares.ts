/** Least squares: lines, power laws as lines of logarithms, and parabolas with a verdict about their minimum. */

import { type Interval, mean } from "../statistics/sample.ts";
import { studentQuantile } from "../statistics/student.ts";
import { ConfigError } from "../tensor/errors.ts";

export interface Line {
  readonly slope: number;
  readonly intercept: number;
  readonly slopeError: number;
  readonly interceptError: number;
  /** Student's interval with n - 2 degrees of freedom; null for two points. */
  readonly slope95: Interval | null;
  readonly residualVariance: number;
  readonly points: number;
}

function checkPoints(where: string, x: readonly number[], y: readonly number[], least: number): void {
  const finite = [...x, ...y].every(Number.isFinite);
  const different = new Set(x).size;
  if (x.length === y.length && finite && different >= least) return;
  throw new ConfigError("too few points to fit", {
    where,
    expected: `${least} points with different x, all finite`,
    found: finite ? `${different} with different x` : "a value that is not finite",
  });
}

/** y = intercept + slope x. @throws ConfigError for fewer than two different x */
export function fitLine(x: readonly number[], y: readonly number[]): Line {
  checkPoints("fitLine", x, y, 2);
  const [centerX, centerY] = [mean(x), mean(y)];
  const spread = x.reduce((sum, each) => sum + (each - centerX) ** 2, 0);
  const slope = x.reduce((sum, each, i) => sum + (each - centerX) * (y[i] - centerY), 0) / spread;
  const intercept = centerY - slope * centerX;
  const points = x.length;
  // About the center, where digits do not cancel.
  const squares = x.reduce((sum, each, i) => sum + (y[i] - centerY - slope * (each - centerX)) ** 2, 0);
  const residualVariance = points > 2 ? squares / (points - 2) : 0;
  const slopeError = Math.sqrt(residualVariance / spread);
  const reach = points > 2 ? studentQuantile(0.95, points - 2) * slopeError : null;
  return {
    slope,
    intercept,
    slopeError,
    interceptError: Math.sqrt(residualVariance * (1 / points + centerX ** 2 / spread)),
    slope95: reach === null ? null : [slope - reach, slope + reach],
    residualVariance,
    points,
  };
}

/** y = coefficient x^exponent. */
export interface PowerLaw {
  readonly coefficient: number;
  readonly exponent: number;
  /** Null for two points. */
  readonly exponent95: Interval | null;
  /** Of the logarithms. */
  readonly line: Line;
}

/** Least squares of ln y on ln x. @throws ConfigError for fewer than two different x, or for values that are not positive */
export function fitPowerLaw(x: readonly number[], y: readonly number[]): PowerLaw {
  const line = fitLine(x.map(Math.log), y.map(Math.log));
  return { coefficient: Math.exp(line.intercept), exponent: line.slope, exponent95: line.slope95, line };
}

export function powerLawAt({ coefficient, exponent }: Pick<PowerLaw, "coefficient" | "exponent">, x: number) {
  return coefficient * x ** exponent;
}

/** Whether a parabola has a minimum among its points. */
export type Verdict = "ok" | "not convex" | "outside";

export interface Parabola {
  /** Factor of x squared. */
  readonly curvature: number;
  readonly vertex: number;
  /** Value at the vertex. */
  readonly value: number;
  readonly verdict: Verdict;
}

/** Curvature below this part of the values is rounding. */
const FLAT = 1e-12;

/** Least squares of a parabola. @throws ConfigError for fewer than three different x */
export function fitParabola(x: readonly number[], y: readonly number[]): Parabola {
  checkPoints("fitParabola", x, y, 3);
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const [center, centerY] = [mean(x), mean(y)];
  const scale = (high - low) / 2;
  const z = x.map((each) => (each - center) / scale);
  // Polynomials that are orthogonal over the points: 1, z, and z squared less its part along those two.
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, each, i) => sum + each * b[i], 0);
  const squared = z.map((each) => each * each);
  const along = dot(squared, z) / dot(z, z);
  const level = mean(squared);
  const third = squared.map((each, i) => each - level - along * z[i]);
  const values = y.map((each) => each - centerY);
  const bend = dot(third, values) / dot(third, third);
  const slope = dot(z, values) / dot(z, z) - bend * along;
  const constant = centerY - bend * level;
  const convex = bend > FLAT * Math.max(...y.map(Math.abs));
  const at = -slope / (2 * bend);
  const vertex = center + scale * at;
  return {
    curvature: bend / scale ** 2,
    vertex,
    value: constant + slope * at + bend * at * at,
    verdict: !convex ? "not convex" : vertex > low && vertex < high ? "ok" : "outside",
  };
}
