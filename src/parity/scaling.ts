/** The cases of `test/fixtures/scaling`: fits of scaling laws and small statistics against numpy and scipy. They hold no model. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { denseFlopsPerToken } from "../scaling/flops.ts";
import { fitHyperparameters } from "../scaling/hyperparameters.ts";
import { fitAllocation, fitProfile, optimaOf } from "../scaling/isoflop.ts";
import { fitParabola, type PowerLaw, powerLawAt, type Verdict } from "../scaling/least-squares.ts";
import { fitLossLaw, lossAt } from "../scaling/loss-law.ts";
import { bitsPerByte, pairedDifference } from "../scaling/statistics.ts";
import { fitSurface, surfaceOptimum } from "../scaling/surface.ts";
import { shareInterval } from "../statistics/share-interval.ts";
import { FormatError } from "../tensor/errors.ts";
import { passAtK } from "../train/policy/pass-at-k.ts";
import type { FixtureJson } from "./align/align-case.ts";
import { Comparison, type ParityOutput } from "./comparison.ts";

const PREFIX = "scaling/";

interface ScalingCase {
  readonly inputs: FixtureJson;
  readonly expected: FixtureJson;
  readonly meta: FixtureJson;
  readonly comparison: Comparison;
}

/** Whether a case is one of scaling laws. */
export async function isScalingCase(tree: FileTree): Promise<boolean> {
  if (!(await tree.has("meta.json"))) return false;
  const { case: name } = JSON.parse(await tree.readText("meta.json")) as { case?: unknown };
  return typeof name === "string" && name.startsWith(PREFIX);
}

const relative = (comparison: Comparison, name: string, found: number, expected: number, bound: number) =>
  comparison.values(name, [found], [expected], bound, "relative");

/** A minimized sum may not be above the reference's by more than a factor; it may be below. */
function minimized(
  { comparison }: ScalingCase,
  name: string,
  found: number,
  expected: number,
  factor: number,
) {
  comparison.values(name, [Math.max(1, found / expected)], [1], factor - 1);
}

function compareLaw({ comparison, meta }: ScalingCase, name: string, found: PowerLaw, expected: FixtureJson) {
  const { exponent_abs, coefficient_rel } = meta.tolerance;
  comparison.values(`${name}.exponent`, [found.exponent], [expected.exponent], exponent_abs);
  relative(comparison, `${name}.coefficient`, found.coefficient, expected.coefficient, coefficient_rel);
  const interval = expected.slope_95 ?? expected.exponent_95;
  comparison.values(`${name}.exponent_95`, found.exponent95 ?? [], interval, exponent_abs);
  comparison.ids(`${name}.points`, [found.line.points], [expected.n ?? expected.points]);
}

function compareIsoflop(run: ScalingCase): void {
  const { inputs, expected, comparison, meta } = run;
  const { optimum_rel, prediction_loss_rel, coefficient_rel, loss_law_residual_factor } = meta.tolerance;
  const fits = (inputs.profiles as FixtureJson[]).map(({ compute, runs }) =>
    fitProfile({
      compute,
      runs: runs.map((each: FixtureJson) => ({ ...each, flopsPerToken: each.flops_per_token })),
    }),
  );
  for (const [i, wanted] of (expected.per_budget as FixtureJson[]).entries()) {
    const found = fits[i];
    const value = (name: string, each: number | null) =>
      relative(comparison, `per_budget.${i}.${name}`, each ?? Number.NaN, wanted[name], optimum_rel);
    value("curvature", found.curvature);
    value("model_optimum", found.modelOptimum);
    value("tokens_optimum", found.tokensOptimum);
    value("loss_at_optimum", found.lossAtOptimum);
    value("exact_optimum", surfaceOptimum(meta.truth, wanted.compute));
    comparison.ids(`per_budget.${i}.inside`, [Number(found.verdict === "ok")], [Number(wanted.inside)]);
  }
  const optima = optimaOf(fits);
  const laws = fitAllocation(optima);
  compareLaw(run, "model", laws.model, expected.model);
  compareLaw(run, "data", laws.data, expected.data);
  const law = fitLossLaw(
    optima.map(({ compute }) => compute),
    optima.map(({ loss }) => loss),
  );
  minimized(run, "loss_law.residual", law.residual, expected.loss_law.residual, loss_law_residual_factor);
  const { compute, model, tokens, loss } = expected.prediction;
  relative(comparison, "prediction.model", powerLawAt(laws.model, compute), model, coefficient_rel);
  relative(comparison, "prediction.tokens", powerLawAt(laws.data, compute), tokens, coefficient_rel);
  relative(comparison, "prediction.loss", lossAt(law, compute), loss, prediction_loss_rel);
}

function compareParametric(run: ScalingCase): void {
  const { inputs, expected, comparison, meta } = run;
  const { objective_factor, alpha_abs, beta_abs, E_rel, model_exponent_abs } = meta.tolerance;
  const found = fitSurface(
    (inputs.runs as FixtureJson[]).map(({ parameters, tokens, loss }) => ({
      size: parameters,
      tokens,
      loss,
    })),
  );
  minimized(run, "objective", found.objective, expected.objective, objective_factor);
  comparison.values("alpha", [found.alpha], [expected.alpha], alpha_abs);
  comparison.values("beta", [found.beta], [expected.beta], beta_abs);
  relative(comparison, "E", found.E, expected.E, E_rel);
  comparison.values("model_exponent", [found.modelExponent], [expected.model_exponent], model_exponent_abs);
}

function compareHyperparameters(run: ScalingCase): void {
  const { inputs, expected, comparison, meta } = run;
  const found = fitHyperparameters(
    (inputs.grids as FixtureJson[]).map(({ compute, runs }) => ({
      compute,
      runs: runs.map(({ learning_rate, batch_tokens, loss }: FixtureJson) => ({
        ...{ learningRate: learning_rate, batchTokens: batch_tokens, loss },
      })),
    })),
  );
  const { per_budget_rel } = meta.tolerance;
  for (const [i, wanted] of (expected.per_budget as FixtureJson[]).entries()) {
    const grid = found.grids[i];
    const name = `per_budget.${i}`;
    comparison.ids(`${name}.best`, [grid.best], [wanted.best]);
    comparison.ids(`${name}.near_optimal`, grid.nearOptimal, wanted.near_optimal);
    relative(comparison, `${name}.learning_rate`, grid.learningRate, wanted.learning_rate, per_budget_rel);
    relative(comparison, `${name}.batch_tokens`, grid.batchTokens, wanted.batch_tokens, per_budget_rel);
  }
  compareLaw(run, "learning_rate", found.learningRate, expected.learning_rate);
  compareLaw(run, "batch_tokens", found.batchTokens, expected.batch_tokens);
}

const verdicts: readonly Verdict[] = ["ok", "not convex", "outside"];

function compareParabolas({ inputs, expected, comparison, meta }: ScalingCase): void {
  const { rel } = meta.tolerance;
  for (const [i, wanted] of (expected.cases as FixtureJson[]).entries()) {
    const { x, y } = inputs.cases[i];
    const found = fitParabola(x, y);
    for (const name of ["curvature", "vertex", "value"] as const) {
      relative(comparison, `cases.${i}.${name}`, found[name], wanted[name], rel);
    }
    comparison.ids(
      `cases.${i}.verdict`,
      [verdicts.indexOf(found.verdict)],
      [verdicts.indexOf(wanted.verdict)],
    );
  }
}

function compareSmall({ expected, comparison, meta }: ScalingCase): void {
  const { rel } = meta.tolerance;
  for (const [i, each] of (expected.flops_per_token as FixtureJson[]).entries()) {
    const name = `flops_per_token.${i}`;
    const { layers, d, length } = each;
    relative(comparison, name, denseFlopsPerToken(layers, d, length), each.flops_per_token, rel);
    relative(comparison, `${name}.six_n1`, denseFlopsPerToken(layers, d, 0), each.six_n1, rel);
  }
  for (const [i, each] of (expected.bits_per_byte as FixtureJson[]).entries()) {
    const found = bitsPerByte(each.nats_per_token, each.tokens, each.bytes);
    relative(comparison, `bits_per_byte.${i}`, found, each.bits_per_byte, rel);
  }
  for (const [i, each] of (expected.paired_seeds as FixtureJson[]).entries()) {
    const found = pairedDifference(each.a, each.b);
    const name = `paired_seeds.${i}`;
    relative(comparison, `${name}.mean_difference`, found.meanDifference, each.mean_difference, rel);
    relative(comparison, `${name}.standard_error`, found.standardError, each.standard_error, rel);
    comparison.values(`${name}.interval_95`, found.interval95, each.interval_95, rel, "relative");
    relative(comparison, `${name}.p_two_sided`, found.pTwoSided, each.p_two_sided, rel);
  }
  for (const [i, each] of (expected.pass_at_k as FixtureJson[]).entries()) {
    const found = passAtK(each.samples, each.correct, each.k);
    relative(comparison, `pass_at_k.${i}`, found, each.pass_at_k, rel);
  }
  for (const [i, { successes, trials, wilson_95 }] of (expected.proportions as FixtureJson[]).entries()) {
    const found = shareInterval(successes / trials, trials);
    // Bounds that are zero come out as rounding.
    comparison.values(`proportions.${i}`, found, wilson_95, rel);
  }
}

const comparisons: Readonly<Record<string, (run: ScalingCase) => void>> = {
  "isoflop-exact": compareIsoflop,
  "isoflop-noise": compareIsoflop,
  parametric: compareParametric,
  hyperparameters: compareHyperparameters,
  parabola: compareParabolas,
  small: compareSmall,
};

/** Runs a case and compares everything that was fitted for it. @throws FormatError for a case of another name */
export async function compareScaling(
  tree: FileTree,
): Promise<{ readonly name: string; readonly outputs: readonly ParityOutput[] }> {
  const json = async (file: string): Promise<FixtureJson> => JSON.parse(await tree.readText(file));
  const meta = await json("meta.json");
  const name: string = meta.case;
  const compare = comparisons[name.slice(PREFIX.length)];
  if (compare === undefined) {
    const expected = Object.keys(comparisons).map((each) => PREFIX + each);
    throw new FormatError("unknown case", { ...{ where: tree.name, name, expected } });
  }
  const comparison = new Comparison();
  compare({ inputs: await json("inputs.json"), expected: await json("expected.json"), meta, comparison });
  return { name, outputs: comparison.outputs };
}
