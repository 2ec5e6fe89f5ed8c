/** Chains of runs: bits of a run alone, stop and resume, results that belong to their settings. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { type Chain, type ChainRun, isoflopChains, trunkSteps } from "./chains.ts";
import { PUBLISHED } from "./hyperparameters.ts";
import type { ScalePlan } from "./plan.ts";
import { createSweep, outcomesOf, readPlan } from "./sweep.ts";
import { tinySettings, writeTexts } from "./testing-sweep.ts";
import { type ChainEvent, trainChain } from "./train-chain.ts";

const root = mkdtempSync(join(tmpdir(), "scale-"));
const folder = join(root, "sweep");
let device: Device;
let plan: ScalePlan;

beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  writeTexts(join(root, "texts"));
  plan = await createSweep(join(root, "texts"), folder, tinySettings(), "scale.json");
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

function chain(name: string, steps: readonly number[], more: Partial<Chain> = {}): Chain {
  const runs = steps.map(
    (each): ChainRun => ({ name: `${name}-${each}`, stage: "isoflop", compute: 1e7, steps: each }),
  );
  const [rung] = plan.rungs;
  return { ...{ name, rung, seed: 3, learningRate: 0.01, batch: 4, warmupSteps: 5, runs }, ...more };
}

const weights = (name: string) => readFileSync(join(folder, "runs", name, "model", "model.safetensors"));
const train = (each: Chain, emit: (event: ChainEvent) => void = () => {}, signal?: AbortSignal) =>
  trainChain(device, plan, folder, each, emit, signal);

describe("a chain", () => {
  it("gives each run the bits that it has alone, and keeps its outcome", async () => {
    const together = await train(chain("shared", [12, 20, 31]));
    for (const [i, steps] of [12, 20, 31].entries()) {
      const [alone] = await train(chain(`alone${i}`, [steps]));
      expect(alone.bitsPerByte).toBe(together[i].bitsPerByte);
      expect(weights(`alone${i}-${steps}`)).toEqual(weights(`shared-${steps}`));
    }
    const states = readdirSync(join(folder, "runs", "trunk-shared", "checkpoints"));
    expect(states).toEqual([`step-000000${trunkSteps({ steps: 31 })}`]);
    expect(readdirSync(join(folder, "runs", "shared-31", "checkpoints"))).toEqual([]);
    expect(together[2].spent).toBe(31 * 64 * plan.rungs[0].flopsPerToken);
    expect(together[2].bitsPerByte).toBeLessThan(together[0].bitsPerByte!);
  });

  it("goes on after it was stopped, without what it has done, to the same bits", async () => {
    const names: string[] = [];
    const stopped = chain("stopped", [12, 20, 31]);
    for (let stops = 0; ; stops++) {
      const controller = new AbortController();
      const steps = { left: 4 };
      const stopping = (event: ChainEvent) => {
        if (event.type === "outcome" && event.fresh) names.push(event.run);
        if (event.type === "step" || --steps.left === 0) controller.abort(new Error("stop"));
      };
      const ended = await train(stopped, stopping, controller.signal).then(
        () => true,
        (error) => {
          expect(error.message).toBe("stop");
          return false;
        },
      );
      if (ended) {
        expect(stops).toBeGreaterThan(2);
        break;
      }
    }
    expect(names).toEqual(["stopped-12", "stopped-20", "stopped-31"]);
    for (const steps of [12, 20, 31]) expect(weights(`stopped-${steps}`)).toEqual(weights(`shared-${steps}`));
  });

  it("records a run that diverged, and those that share its first steps", async () => {
    // Values whose squares are zero in float32, and norms that divide by them.
    const { run } = plan.settings;
    const model = { ...run.model, rms_norm_eps: 1e-60 };
    const training = { ...run.training, initStd: 1e-30 };
    const settings = { ...plan.settings, run: { ...run, model, training } };
    const broken = chain("broken", [12, 20]);
    const outcomes = await trainChain(device, { ...plan, settings }, folder, broken, () => {});
    expect(outcomes.map(({ bitsPerByte }) => bitsPerByte)).toEqual([null, null]);
    expect(existsSync(join(folder, "results", "broken-20.json"))).toBe(true);
  });

  it("refuses an outcome of other settings", async () => {
    const other = chain("shared", [12, 20, 31], { learningRate: 0.02 });
    await expect(train(other)).rejects.toThrow(
      /shared-12\.json: the plan has changed.*name: learningRate; expected: 0.02; found: 0.01/,
    );
    expect((await outcomesOf(folder, plan, [chain("none", [9])])).missing).toBe(1);
  });
});

describe("a plan", () => {
  it("can be read again and gives chains that share trunks", async () => {
    const read = await readPlan(folder);
    expect(read).toEqual(plan);
    const chains = isoflopChains(read, PUBLISHED);
    const runs = chains.flatMap((each) => each.runs);
    expect(new Set(runs.map(({ name }) => name)).size).toBe(runs.length);
    expect(chains.length).toBe(8);
    // Whole steps spend about what was planned.
    for (const { rung, batch, runs } of chains) {
      for (const { compute, steps } of runs) {
        expect((rung.flopsPerToken * batch * 16 * steps) / compute).toBeGreaterThan(0.9);
        expect((rung.flopsPerToken * batch * 16 * steps) / compute).toBeLessThan(1.1);
      }
    }
  });

  it("is not written over another one", async () => {
    await expect(createSweep(join(root, "texts"), folder, tinySettings(), "scale.json")).rejects.toThrow(
      /there is a sweep already/,
    );
    await expect(readPlan(root)).rejects.toThrow(/folder of a sweep/);
  });

  it("leaves out by name what would be too short or read data twice", async () => {
    const out = join(root, "long");
    const settings = tinySettings({ budgets: [4e7, 8e7, 1.6e8, 4e9] });
    await expect(createSweep(join(root, "texts"), out, settings, "scale.json")).rejects.toThrow(
      /name: budgets 4e\+9; .*found: \d\. Left out: .*some would be read twice/,
    );
    expect(existsSync(out)).toBe(false);
  });
});
