/**
 * Pictures of a fit as Vega-Lite specifications, which hold their numbers: IsoFLOP curves, laws with their 95 % bands, the loss over compute
 * with predictions and outcomes, and the grids of learning rate and batch.
 */

import { mean } from "../statistics/sample.ts";
import { bootstrapIsoflop } from "./bootstrap.ts";
import type { SweepFit } from "./fit-sweep.ts";
import { powerLawAt } from "./least-squares.ts";
import { lossAt } from "./loss-law.ts";
import type { PredictionOutcome } from "./predict.ts";

/** A specification of Vega-Lite 6, plain JSON. */
export type PlotSpec = Readonly<Record<string, unknown>>;

type Row = Readonly<Record<string, number | string>>;

const WIDTH = 420;
const HEIGHT = 280;
/** Places at which curves are drawn. */
const CURVE = 60;
const BAND = 24;

const log = (field: string, title: string) => ({
  ...{ field, type: "quantitative", title },
  scale: { type: "log", nice: false },
  axis: { format: "~e", tickCount: 6 },
});
const linear = (field: string, title: string) => ({
  ...{ field, type: "quantitative", title },
  scale: { zero: false },
});

/** @param mark of Vega-Lite @param encoding its channels */
function layer(values: readonly Row[], mark: object | string, encoding: object): object {
  return { data: { values }, mark, encoding };
}

function plot(title: string, layers: readonly object[]): PlotSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    ...{ title, width: WIDTH, height: HEIGHT, background: "white", layer: layers },
  };
}

/** So many values from `low` to `high`, each the same factor above the one before. */
function geometric(low: number, high: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => low * (high / low) ** (i / (count - 1)));
}

function isoflopPlot({ profiles, budgets }: SweepFit): PlotSpec {
  const points: Row[] = [];
  const curves: Row[] = [];
  const minima: Row[] = [];
  for (const { compute, runs } of profiles) {
    const budget = compute.toExponential(1);
    for (const { flopsPerToken: m, losses } of runs)
      for (const loss of losses) points.push({ budget, m, loss });
    const fit = budgets.find((each) => each.compute === compute);
    if (!fit || fit.modelOptimum === null || fit.lossAtOptimum === null) continue;
    const { modelOptimum, lossAtOptimum, curvature } = fit;
    const sizes = runs.map(({ flopsPerToken }) => flopsPerToken);
    for (const m of geometric(Math.min(...sizes), Math.max(...sizes), CURVE)) {
      curves.push({ budget, m, loss: lossAtOptimum + curvature * Math.log(m / modelOptimum) ** 2 });
    }
    minima.push({ budget, m: modelOptimum, loss: lossAtOptimum });
  }
  const x = log("m", "M (FLOPs a token)");
  const y = linear("loss", "bits per byte");
  const color = { field: "budget", type: "ordinal", title: "C", sort: null, scale: { scheme: "viridis" } };
  return plot("Loss at equal compute", [
    layer(points, { type: "point", filled: true, opacity: 0.6 }, { x, y, color }),
    layer(curves, "line", { x, y, color }),
    layer(minima, { type: "point", shape: "diamond", size: 90, filled: true, color: "#c00" }, { x, y }),
  ]);
}

/** The laws' bands between the smallest budget and the largest prediction; empty without a bootstrap. */
function bandsOf({ profiles, bootstrap }: SweepFit, computes: readonly number[]) {
  if (bootstrap === null) return [];
  return bootstrapIsoflop(profiles, { at: computes, draws: Math.min(bootstrap.draws, 400) }).predictions;
}

function lawPlots(fit: SweepFit, outcomes: readonly PredictionOutcome[]): Record<string, PlotSpec> {
  const { allocation, lossLaw, budgets } = fit;
  if (allocation === null || lossLaw === null) return {};
  const all = [
    ...budgets.map(({ compute }) => compute),
    ...outcomes.map(({ prediction }) => prediction.compute),
  ];
  const computes = geometric(Math.min(...all), Math.max(...all), BAND);
  const bands = bandsOf(fit, computes);
  const x = log("c", "C (FLOPs)");
  const law = (
    title: string,
    y: { field: string },
    band: readonly (readonly [number, number])[],
    at: (compute: number) => number,
    points: readonly Row[],
  ) => {
    const area = band.map(([low, high], i) => ({ c: computes[i], low, high }));
    const line = computes.map((c) => ({ c, [y.field]: at(c) }));
    return plot(title, [
      layer(area, { type: "area", opacity: 0.25 }, { x, y: { ...y, field: "low" }, y2: { field: "high" } }),
      layer(line, "line", { x, y }),
      layer(
        points,
        { type: "point", filled: true, size: 60 },
        { x, y, color: { field: "kind", title: null } },
      ),
    ]);
  };
  const optima = (key: "modelOptimum" | "tokensOptimum" | "lossAtOptimum", field: string) =>
    budgets.flatMap((each): Row[] => {
      const value = each[key];
      return value === null ? [] : [{ c: each.compute, [field]: value, kind: "minimum of a budget" }];
    });
  const made = outcomes.flatMap(({ prediction, losses }): Row[] => [
    { c: prediction.compute, loss: prediction.loss, kind: "prediction" },
    ...(losses.length > 0 ? [{ c: prediction.compute, loss: mean(losses), kind: "outcome" }] : []),
  ]);
  return {
    model: law(
      "Best size over compute",
      log("m", "M (FLOPs a token)"),
      bands.map(({ model }) => model),
      (c) => powerLawAt(allocation.model, c),
      optima("modelOptimum", "m"),
    ),
    tokens: law(
      "Best number of tokens over compute",
      log("d", "D (tokens)"),
      bands.map(({ tokens }) => tokens),
      (c) => powerLawAt(allocation.data, c),
      optima("tokensOptimum", "d"),
    ),
    loss: law(
      "Loss over compute",
      linear("loss", "bits per byte"),
      bands.map(({ loss }) => loss),
      (c) => lossAt(lossLaw, c),
      [...optima("lossAtOptimum", "loss"), ...made],
    ),
  };
}

function gridPlot(
  title: string,
  fit: NonNullable<SweepFit["hyperparameters"]>,
  key: "learningRate" | "batchTokens",
): PlotSpec {
  const { grids } = fit;
  const x = log("c", "C (FLOPs)");
  const y = log("value", title);
  const computes = grids.map(({ compute }) => compute);
  const line = geometric(Math.min(...computes), Math.max(...computes), 2);
  return plot(`${title} over compute`, [
    layer(
      line.map((c) => ({ c, value: powerLawAt(fit[key], c) })),
      "line",
      { x, y },
    ),
    layer(
      grids.map((grid) => ({ c: grid.compute, value: grid[key] })),
      { type: "point", filled: true, size: 60 },
      { x, y },
    ),
  ]);
}

/** Every picture that a fit has numbers for, by the name of its file. */
export function plotsOf(
  fit: SweepFit,
  outcomes: readonly PredictionOutcome[] = [],
): Record<string, PlotSpec> {
  const { hyperparameters, profiles } = fit;
  return {
    ...(profiles.length > 0 && { isoflop: isoflopPlot(fit) }),
    ...lawPlots(fit, outcomes),
    ...(hyperparameters !== null && {
      "learning-rate": gridPlot("Learning rate", hyperparameters, "learningRate"),
      batch: gridPlot("Batch (tokens)", hyperparameters, "batchTokens"),
    }),
  };
}
