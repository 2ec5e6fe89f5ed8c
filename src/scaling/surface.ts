/**
 * The five-parameter surface L(N, D) = E + A / N^alpha + B / D^beta (Chinchilla, arXiv 2203.15556, approach 3): the sum of Huber
 * losses of ln L, delta 1e-3. Starts come from linear fits over a grid of exponents; the best are improved by Levenberg and
 * Marquardt's method with Huber's weights until nothing falls any more (arXiv 2404.10102 shows what stopping early costs).
 */
import { ConfigError } from "../tensor/errors.ts";

export interface SurfaceRun {
  /** N: parameters, or M, FLOPs a token; E and the exponents are the same, A is not. */
  readonly size: number;
  readonly tokens: number;
  readonly loss: number;
}

export interface Surface {
  readonly E: number;
  readonly A: number;
  readonly alpha: number;
  readonly B: number;
  readonly beta: number;
  /** Sum of Huber losses. */
  readonly objective: number;
  /** Exponent of the optimal size over compute: beta / (alpha + beta). */
  readonly modelExponent: number;
}

const DELTA = 1e-3;
/** Exponents that starts are made for, and how many of the starts are improved. */
const EXPONENTS = Array.from({ length: 12 }, (_, i) => 0.08 + 0.08 * i);
const IMPROVED = 12;
const ROUNDS = 2000;

/** ln A, alpha, ln B, beta, ln E. */
type Point = readonly number[];

interface Logs {
  readonly size: readonly number[];
  readonly tokens: readonly number[];
  readonly loss: readonly number[];
}

function huber(residual: number): number {
  const size = Math.abs(residual);
  return size <= DELTA ? 0.5 * residual * residual : DELTA * (size - 0.5 * DELTA);
}

/** The three terms' logarithms and that of their sum. */
function termsAt([a, alpha, b, beta, e]: Point, size: number, tokens: number) {
  const terms = [a - alpha * size, b - beta * tokens, e];
  const most = Math.max(...terms);
  return { terms, sum: most + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - most), 0)) };
}

function objectiveAt(point: Point, logs: Logs): number {
  let total = 0;
  for (let i = 0; i < logs.loss.length; i++) {
    total += huber(termsAt(point, logs.size[i], logs.tokens[i]).sum - logs.loss[i]);
  }
  return total;
}

/** Solves a small symmetric system by elimination with pivots; null if it is singular. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] | null {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  const n = rows.length;
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let i = column; i < n; i++) if (Math.abs(rows[i][column]) > Math.abs(rows[pivot][column])) pivot = i;
    if (!(Math.abs(rows[pivot][column]) > 1e-300)) return null;
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let i = column + 1; i < n; i++) {
      const factor = rows[i][column] / rows[column][column];
      for (let j = column; j <= n; j++) rows[i][j] -= factor * rows[column][j];
    }
  }
  const solution = new Array<number>(n).fill(0);
  for (let i = n - 1; i >= 0; i--) {
    let value = rows[i][n];
    for (let j = i + 1; j < n; j++) value -= rows[i][j] * solution[j];
    solution[i] = value / rows[i][i];
  }
  return solution;
}

/** Gradient and Gauss-Newton matrix of the objective with Huber's weights. */
function linearized(point: Point, logs: Logs) {
  const gradient = new Array<number>(5).fill(0);
  const matrix = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
  for (let i = 0; i < logs.loss.length; i++) {
    const { terms, sum } = termsAt(point, logs.size[i], logs.tokens[i]);
    const residual = sum - logs.loss[i];
    const weight = Math.min(1, DELTA / Math.max(Math.abs(residual), 1e-300));
    const [first, second, third] = terms.map((term) => Math.exp(term - sum));
    const slopes = [first, -first * logs.size[i], second, -second * logs.tokens[i], third];
    for (let row = 0; row < 5; row++) {
      gradient[row] += weight * slopes[row] * residual;
      for (let column = 0; column < 5; column++) matrix[row][column] += weight * slopes[row] * slopes[column];
    }
  }
  return { gradient, matrix };
}

function improve(start: Point, logs: Logs): { point: Point; objective: number } {
  let point = start;
  let objective = objectiveAt(point, logs);
  let damping = 1e-3;
  for (let round = 0; round < ROUNDS && damping < 1e12; round++) {
    const { gradient, matrix } = linearized(point, logs);
    const damped = matrix.map((row, i) =>
      row.map((value, j) => (i === j ? value * (1 + damping) + 1e-18 : value)),
    );
    const step = solve(damped, gradient);
    const next = step === null ? null : point.map((value, i) => value - step[i]);
    const found = next === null ? Number.POSITIVE_INFINITY : objectiveAt(next, logs);
    if (next === null || !(found < objective)) {
      damping *= 4;
      continue;
    }
    const gained = (objective - found) / objective;
    [point, objective, damping] = [next, found, Math.max(1e-12, damping / 3)];
    if (gained < 1e-13) break;
  }
  return { point, objective };
}

/** For given exponents E, A and B by least squares of L, relative to L; what comes out negative starts near zero. */
function startAt(alpha: number, beta: number, runs: readonly SurfaceRun[]): Point | null {
  const matrix = Array.from({ length: 3 }, () => [0, 0, 0]);
  const right = [0, 0, 0];
  // In units of the first run, so that the columns are of like size.
  const [{ size, tokens }] = runs;
  for (const run of runs) {
    const row = [(run.size / size) ** -alpha, (run.tokens / tokens) ** -beta, 1].map(
      (each) => each / run.loss,
    );
    for (let i = 0; i < 3; i++) {
      right[i] += row[i];
      for (let j = 0; j < 3; j++) matrix[i][j] += row[i] * row[j];
    }
  }
  const found = solve(matrix, right);
  if (found === null) return null;
  const smallest = 1e-2 * Math.min(...runs.map(({ loss }) => loss));
  const [a, b, e] = found.map((value) => Math.log(Math.max(value, smallest)));
  return [a + alpha * Math.log(size), alpha, b + beta * Math.log(tokens), beta, e];
}

/** @throws ConfigError for fewer than six runs, values that are not positive, or losses that do not fall with size or with tokens */
export function fitSurface(runs: readonly SurfaceRun[]): Surface {
  const positive = runs.every((run) => [run.size, run.tokens, run.loss].every((value) => value > 0));
  const sizes = new Set(runs.map(({ size }) => size)).size;
  const lengths = new Set(runs.map(({ tokens }) => tokens)).size;
  if (runs.length < 6 || !positive || sizes < 3 || lengths < 3) {
    throw new ConfigError("too few runs for five parameters", {
      where: "surface",
      expected: "6 runs or more of at least 3 sizes and 3 numbers of tokens, all values positive",
      found: `${runs.length} runs of ${sizes} sizes and ${lengths} numbers of tokens`,
    });
  }
  const logs: Logs = {
    size: runs.map(({ size }) => Math.log(size)),
    tokens: runs.map(({ tokens }) => Math.log(tokens)),
    loss: runs.map(({ loss }) => Math.log(loss)),
  };
  const starts = EXPONENTS.flatMap((alpha) =>
    EXPONENTS.flatMap((beta) => {
      const point = startAt(alpha, beta, runs);
      return point === null ? [] : [{ point, objective: objectiveAt(point, logs) }];
    }),
  ).sort((a, b) => a.objective - b.objective);
  const [best] = starts
    .slice(0, IMPROVED)
    .map(({ point }) => improve(point, logs))
    .sort((a, b) => a.objective - b.objective);
  const [a, alpha, b, beta, e] = best.point;
  // How far a term falls over the runs, as a part of the loss.
  const falls = (values: readonly number[], coefficient: number, exponent: number) =>
    (Math.exp(coefficient - exponent * Math.min(...values)) -
      Math.exp(coefficient - exponent * Math.max(...values))) /
    Math.min(...runs.map(({ loss }) => loss));
  const [bySize, byTokens] = [falls(logs.size, a, alpha), falls(logs.tokens, b, beta)];
  if (!(bySize > DELTA && byTokens > DELTA)) {
    throw new ConfigError("the losses are on no such surface", {
      ...{ where: "surface", expected: "losses that fall with size and with tokens" },
      found: `a fall of ${bySize.toPrecision(3)} of the loss with size and ${byTokens.toPrecision(3)} with tokens`,
      hint: "Runs of few steps are all warm-up: leave the largest sizes of the smallest budgets out.",
    });
  }
  return {
    ...{ E: Math.exp(e), A: Math.exp(a), alpha, B: Math.exp(b), beta, objective: best.objective },
    modelExponent: beta / (alpha + beta),
  };
}

/** The size that the surface makes best at a budget of C = size x tokens. */
export function surfaceOptimum(
  { A, alpha, B, beta }: Pick<Surface, "A" | "alpha" | "B" | "beta">,
  compute: number,
): number {
  return ((alpha * A * compute ** beta) / (beta * B)) ** (1 / (alpha + beta));
}
