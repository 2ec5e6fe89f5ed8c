/** Fits of a sweep's folder and predictions, over outcomes that follow a known law: nothing is trained. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Chain, gridChains, isoflopChains } from "./chains.ts";
import { extendPlan } from "./extend.ts";
import { fitSweep, readProfiles } from "./fit-sweep.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import type { ScalePlan } from "./plan.ts";
import { predict, predictionOutcome, startPredicted } from "./predict.ts";
import { divergedOutcome, settingsOf, writeOutcome } from "./results.ts";
import { sealedText } from "./sealed.ts";
import { createSweep, readPlan } from "./sweep.ts";
import { tinySettings, writeTexts } from "./testing-sweep.ts";

const root = mkdtempSync(join(tmpdir(), "predict-"));
const folder = join(root, "sweep");
const target = 3e8;
let plan: ScalePlan;

/** M that the made-up world calls best, and its loss there. */
const best = (compute: number) => 0.85 * compute ** 0.52;
const lowest = (compute: number) => 0.6 + 0.9 * (compute / 4e7) ** -0.2;

async function write(chains: readonly Chain[], loss: (chain: Chain, compute: number) => number | null) {
  for (const chain of chains) {
    for (const run of chain.runs) {
      const bare = divergedOutcome(settingsOf(chain, run, 16));
      const bitsPerByte = loss(chain, bare.spent);
      await writeOutcome(folder, run.name, { ...bare, bitsPerByte, loss: bitsPerByte, seconds: 2 });
    }
  }
}

const lossOf = ({ rung, seed }: Chain, compute: number) =>
  (lowest(compute) + 0.05 * Math.log(rung.flopsPerToken / best(compute)) ** 2) * (1 + 0.001 * (seed - 1.5));

beforeAll(async () => {
  writeTexts(join(root, "texts"));
  plan = await createSweep(join(root, "texts"), folder, tinySettings(), "scale.json");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("a fit", () => {
  it("says what is missing, and gives no prediction then", async () => {
    const chains = isoflopChains(plan, PUBLISHED);
    await write(chains.slice(1), lossOf);
    const fit = await fitSweep(folder, plan);
    expect(fit.missing).toBe(chains[0].runs.length);
    await expect(predict(folder, target)).rejects.toThrow(/runs of the sweep are missing.*found: 3 missing/);
  });

  it("finds the law of the runs", async () => {
    await write(isoflopChains(plan, PUBLISHED), lossOf);
    const fit = await fitSweep(folder, plan);
    expect(fit.problems).toEqual([]);
    // Whole steps of short runs move it a little.
    expect(fit.allocation!.model.exponent).toBeCloseTo(0.52, 1);
    expect(fit.lossLaw!.g).toBeCloseTo(0.2, 1);
    expect(fit.bootstrap!.deviation).toBeCloseTo(0.0005 * Math.SQRT2, 4);
    expect(fit.seconds).toBe(2 * fit.runs);
  });

  it("refuses budgets that say nothing, and names the side to extend", async () => {
    // Ever better for smaller models: no budget has its minimum inside.
    await write(isoflopChains(plan, PUBLISHED), ({ rung, seed }, compute) => {
      return lowest(compute) + 0.1 * Math.log(rung.flopsPerToken / 3000) ** 2 + 0.001 * seed;
    });
    const fit = await fitSweep(folder, plan);
    expect(fit.budgets.map(({ missing }) => missing)).toEqual(Array(3).fill("smaller models"));
    expect(fit.lossLaw).toBeNull();
    expect(fit.problems.join("\n")).toMatch(/budget 4.00e\+7: .*Add smaller models to it/);
    await expect(predict(folder, target)).rejects.toThrow(/the fit gives no law/);
  });

  it("gets sizes on the side of the minimum, and keeps the runs that are done", async () => {
    const isoflop = plan.isoflop.map(({ compute, rungs }) => ({ compute, rungs: rungs.slice(0, 3) }));
    const small = { ...plan, isoflop };
    const sides = [
      { compute: 8e7, side: "smaller models" },
      { compute: 1.6e8, side: "larger models" },
    ] as const;
    const { plan: extended, added } = extendPlan(small, sides, PUBLISHED);
    // No model is smaller; above the ladder the next shape is made.
    expect(added).toEqual(["d16-l2", "d24-l1"].map((rung) => ({ compute: 1.6e8, rung })));
    const runsOf = (each: ScalePlan) =>
      isoflopChains(each, PUBLISHED).flatMap(({ runs, ...chain }) =>
        runs.map((run) => ({ ...chain, ...run })),
      );
    expect(runsOf(extended)).toEqual(expect.arrayContaining(runsOf(small)));
    expect(runsOf(extended)).toHaveLength(runsOf(small).length + 4);
    expect(() => extendPlan(small, [], PUBLISHED)).toThrow(/no budget can be extended/);
  });

  it("passes over what diverged and names it", async () => {
    await write(isoflopChains(plan, PUBLISHED), (chain, compute) =>
      chain.rung.name === "d8-l2" && chain.seed === 2 ? null : lossOf(chain, compute),
    );
    const fit = await fitSweep(folder, plan);
    expect(fit.diverged).toEqual([
      "d8-l2 at 4e+7, seed 2",
      "d8-l2 at 8e+7, seed 2",
      "d8-l2 at 1.6e+8, seed 2",
    ]);
    expect(fit.profiles[0].runs.map(({ losses }) => losses.length)).toEqual([2, 1, 2]);
    expect(fit.allocation).not.toBeNull();
  });

  it("reads runs made elsewhere and refuses others by their place", async () => {
    const path = new URL("../../test/fixtures/scaling/isoflop-exact/inputs.json", import.meta.url).pathname;
    expect((await readProfiles(path)).length).toBe(5);
    const wrong = join(root, "runs.json");
    const run = { flops_per_token: 1, tokens: 2, losses: [3, -1] };
    writeFileSync(wrong, JSON.stringify({ profiles: [{ compute: 1, runs: [run] }] }));
    await expect(readProfiles(wrong)).rejects.toThrow(
      /name: profiles\[0\]\.runs\[0\]\.losses\[1\].*found: -1/,
    );
  });
});

describe("a prediction", () => {
  it("is written once, before its run, and never changed", async () => {
    await write(isoflopChains(plan, PUBLISHED), lossOf);
    await expect(startPredicted(folder, target)).rejects.toThrow(/nothing was predicted.*scale predict/);
    await expect(predict(folder, 1e8)).rejects.toThrow(/not beyond the runs/);
    const prediction = await predict(folder, target);
    expect(prediction.model / best(target)).toBeCloseTo(1, 1);
    expect(prediction.loss).toBeCloseTo(lowest(target), 2);
    const [low, high] = prediction.loss95!;
    expect(low).toBeLessThan(prediction.loss);
    expect(high).toBeGreaterThan(prediction.loss);
    expect(prediction.chains.map(({ rung }) => rung.name)).toEqual(["d16-l1", "d16-l1"]);
    expect(prediction.chains[0].learningRate).toBeCloseTo(0.3118 * target ** -0.125, 12);
    expect(Date.parse(prediction.date)).toBeLessThanOrEqual(Date.now());
    await expect(predict(folder, target)).rejects.toThrow(/a prediction is not changed afterwards/);

    const path = join(folder, "predictions", "3e8.json");
    const written = readFileSync(path, "utf8");
    writeFileSync(path, written.replace('"loss": ', '"loss": 1'));
    await expect(startPredicted(folder, target)).rejects.toThrow(/3e8\.json: edited or damaged/);
    writeFileSync(path, written);
    expect(await startPredicted(folder, target)).toEqual(prediction);
    await write(prediction.chains, (_, compute) => 1.01 * lowest(compute));
    const outcome = await predictionOutcome(folder, await readPlan(folder), target);
    expect(outcome.missing).toBe(0);
    expect(outcome.error).toBeCloseTo(0.01, 2);

    writeFileSync(path, sealedText({ ...prediction, loss: 1 }));
    await expect(startPredicted(folder, target)).rejects.toThrow(/was changed after its run had started/);
    await expect(predictionOutcome(folder, plan, target)).rejects.toThrow(/was changed/);
    // Nor does it help to delete it.
    rmSync(join(folder, "predictions"), { recursive: true });
    mkdirSync(join(folder, "runs", "target-3e8-s1"), { recursive: true });
    await expect(predict(folder, target)).rejects.toThrow(/has been started already/);
  });

  it("refuses a run that its data does not suffice for, and a size that no model has", async () => {
    await write(isoflopChains(plan, PUBLISHED), lossOf);
    await expect(predict(folder, 1e12)).rejects.toThrow(/cannot be made.*read twice|no model of the ladder/);
  });
});

describe("grids", () => {
  it("hold each batch once and leave out runs that are too short", async () => {
    const grid = { budgets: [4e7, 1.6e8], learningRates: [0.5, 1], batches: [0.5, 0.6, 1, 40] };
    const settings = tinySettings({ grid });
    const { chains, leftOut } = gridChains({ ...plan, settings });
    expect(new Set(chains.map(({ name }) => name)).size).toBe(chains.length);
    expect(leftOut.map(({ reason }) => reason).join()).toMatch(/fewer than 10/);
    expect(settings.hyperparameters).toBe("fit");
  });

  it("refuse a model that cannot be described before anything is read", async () => {
    const ladder = [{ name: "deep", model: { num_hidden_layers: 1e12 } }];
    const made = createSweep(
      join(root, "nowhere"),
      join(root, "deep"),
      tinySettings({ ladder }),
      "scale.json",
    );
    await expect(made).rejects.toThrow(/ladder\.deep.*name: model\.num_hidden_layers/);
  });

  it.each([
    [{ budgets: [] }, /name: budgets; expected: a list of 1 to 40/],
    [{ budgets: [1e7, 1e7] }, /numbers that differ/],
    [{ seeds: [0.5] }, /seeds\[0\]/],
    [{ ladder: [{ width: 12, layers: 1 }] }, /multiple of 8/],
    [{ ladder: [{ name: "../x", model: {} }] }, /name: ladder\[0\]\.name/],
    [{ hyperparameters: "fit" }, /a grid of two budgets/],
    [{ grid: { budgets: [1e7, 2e7], seed: 1 } }, /a seed that the sweep does not use/],
    [{ run: { training: { steps: 5 } } }, /run\.training\.steps; expected: nothing/],
    [{ run: { preset: "v3-small" } }, /run\.training\.\w+; expected: one number, or reuse: false/],
    [{ color: 1 }, /color/],
  ])("settings %j are refused", (more, text) => {
    expect(() => tinySettings(more)).toThrow(text);
  });
});
