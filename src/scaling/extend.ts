/** More sizes for budgets whose minimum lies outside those that were run. Runs that are done keep their settings and their results. */
import { ConfigError } from "../tensor/errors.ts";
import { fitSweep } from "./fit-sweep.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import { denseModel, ladder } from "./ladder.ts";
import {
  faultOfRun,
  isDenseRung,
  type LeftOut,
  measuredRungs,
  type Rung,
  type RunLaws,
  type ScalePlan,
} from "./plan.ts";
import { lawsOf, readPlan, replacePlan } from "./sweep.ts";

export interface Extension {
  /** C that was planned. */
  readonly compute: number;
  readonly side: "smaller models" | "larger models";
}

export interface ExtendedPlan {
  readonly plan: ScalePlan;
  readonly added: readonly { readonly compute: number; readonly rung: string }[];
  readonly leftOut: readonly LeftOut[];
}

/** Sizes that are added to a budget, and the factor between models that the ladder does not have yet. */
const ADDED = 2;
const SPACING = 1.6;

/** Models beyond an edge, nearest first: those of the ladder, and for a dense one further shapes. */
function beyond(plan: ScalePlan, edge: number, larger: boolean): Rung[] {
  const { run, rungs } = plan.settings;
  const out = ({ flopsPerToken }: Rung) => (larger ? flopsPerToken > edge : flopsPerToken < edge);
  const known = plan.rungs.filter(out);
  const names = new Set(rungs.map(({ name }) => name));
  const length = run.training.sequenceLength;
  const made = isDenseRung(plan)
    ? Array.from({ length: 2 * ADDED }, (_, i) => edge * SPACING ** (larger ? i + 1 : -i - 1))
        .flatMap((flops) => ladder({ from: flops, to: flops, length }))
        .map((shape) => ({ name: `d${shape.width}-l${shape.layers}`, model: denseModel(shape) }))
        .filter(({ name }) => !names.has(name) && names.add(name))
    : [];
  const all = [...known, ...measuredRungs({ run, rungs: made }, "plan.json").filter(out)];
  return all.sort((a, b) => (larger ? 1 : -1) * (a.flopsPerToken - b.flopsPerToken));
}

/**
 * Adds sizes on the side where minima lie. @param laws of rate and batch that runs follow
 * @throws ConfigError if no budget can be extended
 */
export function extendPlan(plan: ScalePlan, extensions: readonly Extension[], laws: RunLaws): ExtendedPlan {
  let extended = plan;
  const added: { compute: number; rung: string }[] = [];
  const leftOut: LeftOut[] = [];
  for (const { compute, side } of extensions) {
    const larger = side === "larger models";
    const budget = extended.isoflop.find((each) => each.compute === compute)!;
    const sizes = extended.rungs.filter(({ name }) => budget.rungs.includes(name));
    const edge = sizes.at(larger ? -1 : 0)!.flopsPerToken;
    const chosen: Rung[] = [];
    for (const rung of beyond(extended, edge, larger)) {
      if (chosen.length === ADDED) break;
      const reason = faultOfRun(extended, rung, compute, laws);
      if (reason === null) chosen.push(rung);
      else leftOut.push({ rung: rung.name, compute, reason });
    }
    added.push(...chosen.map(({ name }) => ({ compute, rung: name })));
    const known = new Set(extended.rungs.map(({ name }) => name));
    const fresh = chosen.filter(({ name }) => !known.has(name));
    const rungs = [...extended.rungs, ...fresh].sort((a, b) => a.flopsPerToken - b.flopsPerToken);
    const names = new Set([...budget.rungs, ...chosen.map(({ name }) => name)]);
    const settings = {
      ...extended.settings,
      rungs: [...extended.settings.rungs, ...fresh.map(({ name, model }) => ({ name, model }))],
    };
    const isoflop = extended.isoflop.map((each) =>
      each === budget
        ? { compute, rungs: rungs.filter(({ name }) => names.has(name)).map(({ name }) => name) }
        : each,
    );
    extended = { ...extended, settings, rungs, isoflop };
  }
  if (added.length === 0) {
    throw new ConfigError("no budget can be extended", {
      where: "plan",
      expected: "a budget whose minimum lies outside its sizes, and a model on that side",
      found: leftOut.map(({ rung, reason }) => `${rung}: ${reason}`).join("; ") || "none",
      hint: "A parabola that opens downwards needs more seeds, or a wider range of sizes: plan another sweep.",
    });
  }
  return { plan: extended, added, leftOut };
}

/** Fits a sweep and adds sizes to its plan where minima lie outside. @throws ConfigError if there is nothing to add */
export async function extendSweep(folder: string): Promise<ExtendedPlan> {
  const plan = await readPlan(folder);
  const fit = await fitSweep(folder, plan, { draws: 40 });
  if (fit.missing > 0) {
    throw new ConfigError("runs of the sweep are missing", {
      ...{ where: folder, expected: "all of them", found: `${fit.missing} missing` },
      hint: "Run it to its end first.",
    });
  }
  const extensions = fit.budgets.flatMap(({ compute, missing }): Extension[] => {
    if (missing === null) return [];
    // What was spent is near what was planned.
    const distance = (planned: number) => Math.abs(Math.log(planned / compute));
    const budgets = plan.isoflop.map((each) => each.compute);
    return [{ compute: budgets.reduce((a, b) => (distance(b) < distance(a) ? b : a)), side: missing }];
  });
  const extended = extendPlan(plan, extensions, (await lawsOf(folder, plan)) ?? PUBLISHED);
  await replacePlan(folder, extended.plan);
  return extended;
}
