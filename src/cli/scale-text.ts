/** What `deepseek-ts scale` prints: plans, outcomes, fits and predictions as tables of plain text. */
import { chainCost, gridChains, isoflopChains } from "../scaling/chains.ts";
import type { ExtendedPlan } from "../scaling/extend.ts";
import type { ProfilesFit } from "../scaling/fit-profiles.ts";
import type { SweepFit } from "../scaling/fit-sweep.ts";
import { PUBLISHED } from "../scaling/hyperparameters.ts";
import type { PowerLaw } from "../scaling/least-squares.ts";
import type { ScalePlan } from "../scaling/plan.ts";
import type { PredictionOutcome } from "../scaling/predict.ts";
import type { RunOutcome } from "../scaling/results.ts";
import type { Law } from "../scaling/settings.ts";
import type { Interval } from "../statistics/sample.ts";
import { formatCompact, formatCount, formatDuration, formatPercent, plural } from "../text/units.ts";

export const computeText = (compute: number) => compute.toExponential(2).replace("+", "");
const figure = (value: number) => value.toPrecision(4);
const intervalText = (interval: Interval | null | undefined, show: (value: number) => string = figure) =>
  interval ? ` (95%: ${show(interval[0])} to ${show(interval[1])})` : "";

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

export function planText(plan: ScalePlan): string {
  const { settings, rungs, isoflop, trainTokens, heldOutTokens } = plan;
  const { sequenceLength } = settings.run.training;
  const grid = gridChains(plan);
  // The published laws stand in for those that the grids will give.
  const laws = settings.hyperparameters === "fit" ? PUBLISHED : settings.hyperparameters;
  const chains = [...grid.chains, ...isoflopChains(plan, laws)];
  const costs = chains.map((chain) => chainCost(chain, sequenceLength));
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const runs = sum(chains.map((chain) => chain.runs.length));
  const left = [...grid.leftOut, ...plan.leftOut];
  return [
    ...table([
      ["model", "M", "parameters"],
      ...rungs.map(({ name, flopsPerToken, parameters }) => [
        ...[name, formatCompact(flopsPerToken), formatCompact(parameters)],
      ]),
    ]),
    "",
    ...isoflop.map((each) => `C ${computeText(each.compute)}: ${each.rungs.join(" ")}`),
    ...(grid.chains.length > 0
      ? [
          `grids of learning rate and batch: ${plural(grid.chains.length, "run")} at seed ${settings.grid!.seed}`,
        ]
      : []),
    ...left.map(({ rung, compute, reason }) => `left out: ${rung} at C ${computeText(compute)}: ${reason}`),
    `data: ${formatCount(trainTokens)} tokens, ${formatCount(heldOutTokens)} held out`,
    `in all: ${plural(runs, "run")}, C ${computeText(sum(costs.map(({ shared }) => shared)))}` +
      (settings.reuse ? `; without shared steps ${computeText(sum(costs.map(({ alone }) => alone)))}` : ""),
    "",
  ].join("\n");
}

export function extendedText({ plan, added, leftOut }: ExtendedPlan): string {
  const budgets = [...new Set(added.map(({ compute }) => compute))];
  const names = (compute: number) => added.filter((each) => each.compute === compute).map(({ rung }) => rung);
  return [
    ...budgets.map((compute) => `added to C ${computeText(compute)}: ${names(compute).join(" ")}`),
    ...leftOut.map(
      ({ rung, compute, reason }) => `left out: ${rung} at C ${computeText(compute)}: ${reason}`,
    ),
    `${plural(added.length * plan.settings.seeds.length, "run")} more`,
    "",
  ].join("\n");
}

export function outcomeText(outcome: RunOutcome): string {
  const { rung, compute, seed, steps, batchTokens, learningRate, bitsPerByte, seconds } = outcome;
  const place = `${rung} at C ${computeText(compute)}, seed ${seed}`;
  const settings = `${plural(steps, "step")} of ${formatCount(batchTokens)} tokens at ${learningRate.toPrecision(3)}`;
  const result =
    bitsPerByte === null
      ? "diverged"
      : `${bitsPerByte.toFixed(4)} bits per byte in ${formatDuration(seconds)}`;
  return `${place}: ${result} (${settings})`;
}

const lawText = ({ coefficient, exponent }: Law, of = "C") =>
  `${coefficient.toPrecision(4)} x ${of}^${exponent.toFixed(4)}`;

function powerText(label: string, law: PowerLaw, more = ""): string {
  return `${label} ${lawText(law)}${intervalText(law.exponent95, (value) => value.toFixed(4))}${more}`;
}

/** Budgets and laws; the problems come last. */
export function fitText(fit: ProfilesFit): string {
  const { budgets, allocation, lossLaw, surface, bootstrap, problems } = fit;
  const lines: string[] = [];
  if (budgets.length > 0) {
    lines.push(
      ...table([
        ["budget", "sizes", "M", "tokens", "loss", "minimum"],
        ...budgets.map(({ compute, runs, modelOptimum, tokensOptimum, lossAtOptimum, verdict }) => [
          ...[computeText(compute), String(runs)],
          ...(modelOptimum === null
            ? ["-", "-", "-"]
            : [formatCompact(modelOptimum), formatCompact(tokensOptimum!), lossAtOptimum!.toFixed(4)]),
          verdict,
        ]),
      ]),
      "",
    );
  }
  if (allocation !== null) {
    lines.push(powerText("M =", allocation.model), powerText("D =", allocation.data));
  }
  if (lossLaw !== null) {
    const { e, k, g, firstCompute } = lossLaw;
    lines.push(`loss = ${figure(e)} + ${figure(k)} (C / ${computeText(firstCompute)})^-${g.toFixed(4)}`);
  }
  if (surface !== null) {
    const { E, A, alpha, B, beta, modelExponent } = surface;
    lines.push(
      `surface: ${figure(E)} + ${figure(A)} / M^${alpha.toFixed(4)} + ${figure(B)} / D^${beta.toFixed(4)}; its M grows as C^${modelExponent.toFixed(4)}`,
    );
  }
  if (bootstrap !== null) {
    const { draws, failed, deviation, deviationFrom, modelExponent } = bootstrap;
    const [low, high] = modelExponent.map((value) => value.toFixed(4));
    const from = deviationFrom === "seeds" ? "between seeds" : "around the parabolas";
    lines.push(
      `bootstrap: exponent of M ${low} to ${high} (95%, ${formatCount(draws)} draws` +
        `${failed > 0 ? `, ${failed} without a law` : ""}; deviation ${from} ${formatPercent(deviation, 2)})`,
    );
  }
  lines.push(...problems.map((problem) => `problem: ${problem}`), "");
  return lines.join("\n");
}

/** The same of a sweep, with its grids and what is missing. */
export function sweepFitText(fit: SweepFit): string {
  const { hyperparameters, missing, diverged, runs, seconds } = fit;
  const lines: string[] = [];
  if (hyperparameters !== null) {
    const { learningRate, batchTokens } = hyperparameters;
    lines.push(
      powerText("learning rate =", learningRate, `; published ${lawText(PUBLISHED.learningRate)}`),
      powerText("batch in tokens =", batchTokens, `; published ${lawText(PUBLISHED.batchTokens)}`),
      "",
    );
  }
  lines.push(fitText(fit).trimEnd());
  lines.push(`${plural(runs, "run")}, ${formatDuration(seconds)} of steps that no other run shares`);
  if (diverged.length > 0) lines.push(`diverged: ${diverged.join("; ")}`);
  if (missing > 0) lines.push(`missing: ${plural(missing, "run")}`);
  lines.push("");
  return lines.join("\n");
}

export function predictionText({ prediction, losses, error, loss95, missing }: PredictionOutcome): string {
  const { compute, beyond, date, commit, model, model95, tokens, tokens95, loss, loss95: law95 } = prediction;
  const [{ rung, batch, learningRate, runs }] = prediction.chains;
  const lines = [
    `C ${computeText(compute)}, ${beyond.toFixed(1)} times the largest budget; predicted ${date}` +
      (commit === null ? "" : ` at commit ${commit.slice(0, 12)}`),
    `  optimum    M ${formatCompact(model)}${intervalText(model95, formatCompact)}, tokens ${formatCompact(tokens)}${intervalText(tokens95, formatCompact)}`,
    `  loss       ${loss.toFixed(4)} bits per byte${intervalText(law95, (value) => value.toFixed(4))}`,
    `  run        ${rung.name}, ${plural(runs[0].steps, "step")} of ${plural(batch, "sequence")} at ${learningRate.toPrecision(3)}, ${plural(prediction.chains.length, "seed")}`,
  ];
  if (losses.length > 0) {
    const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
    lines.push(
      `  outcome    ${mean.toFixed(4)} bits per byte of ${plural(losses.length, "seed")}` +
        `${intervalText(loss95, (value) => value.toFixed(4))}, ${formatPercent(error!, 2)} from the prediction`,
    );
  }
  if (missing > 0) lines.push(`  missing    ${plural(missing, "run")}`);
  lines.push("");
  return lines.join("\n");
}
