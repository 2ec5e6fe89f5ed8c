/** Pictures of a fit: what they hold, and that Vega and sharp draw them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fitProfiles } from "./fit-profiles.ts";
import { readProfiles, type SweepFit } from "./fit-sweep.ts";
import { fitHyperparameters } from "./hyperparameters.ts";
import { plotsOf } from "./plots.ts";
import type { Prediction } from "./predict.ts";
import { writePlots } from "./render.ts";

const folder = mkdtempSync(join(tmpdir(), "plots-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fixtures = new URL("../../test/fixtures/scaling/", import.meta.url);
const profiles = await readProfiles(new URL("isoflop-noise/inputs.json", fixtures).pathname);
const { grids } = JSON.parse(readFileSync(new URL("hyperparameters/inputs.json", fixtures), "utf8"));
type Recorded = { learning_rate: number; batch_tokens: number; loss: number };
const hyperparameters = fitHyperparameters(
  grids.map(({ compute, runs }: { compute: number; runs: Recorded[] }) => ({
    compute,
    runs: runs.map((run) => ({ ...run, learningRate: run.learning_rate, batchTokens: run.batch_tokens })),
  })),
);
const fit: SweepFit = {
  ...fitProfiles(profiles, { draws: 100 }),
  ...{ laws: null, hyperparameters, profiles, runs: 120, missing: 0, diverged: [], seconds: 1 },
};
const prediction = { compute: 1e16, loss: 2.4629 } as Prediction;
const outcome = { prediction, losses: [2.5, 2.46], error: 0.01, loss95: null, missing: 0 };

/** Values of a layer of a specification. */
const values = (spec: unknown, at: number) =>
  (spec as { layer: { data: { values: Record<string, unknown>[] } }[] }).layer[at].data.values;

describe("plots", () => {
  const plots = plotsOf(fit, [outcome]);

  it("hold runs, curves, minima, bands, predictions and outcomes", () => {
    expect(Object.keys(plots)).toEqual(["isoflop", "model", "tokens", "loss", "learning-rate", "batch"]);
    expect(values(plots.isoflop, 0)).toHaveLength(5 * 8 * 3);
    expect(values(plots.isoflop, 2).map(({ loss }) => loss)).toEqual(
      fit.budgets.map((each) => each.lossAtOptimum),
    );
    const band = values(plots.loss, 0) as { c: number; low: number; high: number }[];
    expect(band.at(-1)!.c).toBeCloseTo(1e16, -10);
    for (const { low, high } of band) expect(low).toBeLessThan(high);
    expect(values(plots.loss, 2).slice(-2)).toEqual([
      { c: 1e16, loss: 2.4629, kind: "prediction" },
      { c: 1e16, loss: 2.48, kind: "outcome" },
    ]);
  });

  it("leave out what was not fitted", () => {
    const some = { ...fit, allocation: null, lossLaw: null, bootstrap: null, hyperparameters: null };
    expect(Object.keys(plotsOf(some))).toEqual(["isoflop"]);
  });

  it("are drawn by Vega without a warning of its own", async () => {
    const { missing, names } = await writePlots(folder, plots);
    expect(missing).toBeNull();
    expect(readdirSync(folder)).toHaveLength(3 * names.length);
    for (const name of names) {
      const svg = readFileSync(join(folder, `${name}.svg`), "utf8");
      expect(svg).toMatch(/^<svg/);
      expect(svg).not.toMatch(/NaN|undefined/);
      expect(
        readFileSync(join(folder, `${name}.png`))
          .subarray(1, 4)
          .toString(),
      ).toBe("PNG");
    }
    expect(readFileSync(join(folder, "loss.svg"), "utf8")).toMatch(/Loss over compute/);
  });
});
