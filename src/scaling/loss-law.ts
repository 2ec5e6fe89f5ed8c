/**
 * Loss against compute: L(C) = e + k (C / C0)^-g with C0 the smallest budget. For a given g the rest is a line in (C / C0)^-g, so
 * only g is searched for; e is not negative, since no loss is.
 */

import { mean } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";

export interface LossLaw {
  /** What no compute removes. */
  readonly e: number;
  readonly k: number;
  readonly g: number;
  /** C0 in FLOPs. */
  readonly firstCompute: number;
  /** Sum of squared residuals. */
  readonly residual: number;
}

/** Range of g that is searched, and how finely before the best place is refined. */
const [SMALLEST, LARGEST, STEPS] = [0.002, 4, 64];

function atExponent(g: number, ratios: readonly number[], losses: readonly number[]) {
  const x = ratios.map((ratio) => ratio ** -g);
  const [centerX, centerY] = [mean(x), mean(losses)];
  const spread = x.reduce((sum, each) => sum + (each - centerX) ** 2, 0);
  let k = x.reduce((sum, each, i) => sum + (each - centerX) * (losses[i] - centerY), 0) / spread;
  let e = centerY - k * centerX;
  if (e < 0) {
    e = 0;
    k = x.reduce((sum, each, i) => sum + each * losses[i], 0) / x.reduce((sum, each) => sum + each * each, 0);
  }
  const residual = x.reduce((sum, each, i) => sum + (losses[i] - e - k * each) ** 2, 0);
  return { e, k, g, residual };
}

/**
 * Fits the law to the optimal losses of budgets.
 * @throws ConfigError for fewer than three budgets, and for losses that do not fall with compute
 */
export function fitLossLaw(compute: readonly number[], losses: readonly number[]): LossLaw {
  const where = "loss law";
  if (new Set(compute).size < 3 || compute.length !== losses.length) {
    throw new ConfigError("too few budgets with a minimum for three parameters", {
      ...{ where, expected: "3 budgets or more", found: new Set(compute).size },
      hint: "Run further budgets, or add sizes to those that have no minimum.",
    });
  }
  const firstCompute = Math.min(...compute);
  const ratios = compute.map((each) => each / firstCompute);
  const exponent = (step: number) => SMALLEST * (LARGEST / SMALLEST) ** (step / STEPS);
  const fits = Array.from({ length: STEPS + 1 }, (_, step) => atExponent(exponent(step), ratios, losses));
  const best = fits.reduce((at, fit, step) => (fit.residual < fits[at].residual ? step : at), 0);
  // Golden section between the neighbors of the best place.
  let [low, high] = [exponent(Math.max(0, best - 1)), exponent(Math.min(STEPS, best + 1))];
  const part = (Math.sqrt(5) - 1) / 2;
  const residual = (g: number) => atExponent(g, ratios, losses).residual;
  let [left, right] = [high - part * (high - low), low + part * (high - low)];
  let [atLeft, atRight] = [residual(left), residual(right)];
  for (let i = 0; i < 48; i++) {
    if (atLeft <= atRight) {
      [high, right, atRight] = [right, left, atLeft];
      left = high - part * (high - low);
      atLeft = residual(left);
    } else {
      [low, left, atLeft] = [left, right, atRight];
      right = low + part * (high - low);
      atRight = residual(right);
    }
  }
  const law = atExponent((low + high) / 2, ratios, losses);
  if (!(law.k > 0)) {
    throw new ConfigError("the losses do not fall with compute", {
      ...{
        where,
        expected: "lower losses at larger budgets",
        found: losses.map((loss) => loss.toPrecision(6)),
      },
      hint: "Are the larger budgets trained to their end? Runs that diverged must be run again with a lower learning rate.",
    });
  }
  return { ...law, firstCompute };
}

export function lossAt({ e, k, g, firstCompute }: LossLaw, compute: number): number {
  return e + k * (compute / firstCompute) ** -g;
}
