/** A stage that is stopped and goes on ends with the same bits as one that was not. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createModel } from "../../src/models/causal-lm.ts";
import { tinyConfigs } from "../../src/models/testing.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Batch } from "../../src/train/batches.ts";
import { nextTokenLoss } from "../../src/train/objectives/next-token.ts";
import { runStage, type StageBatches, StageStopped, stageDone } from "./stage.ts";

interface Rows extends Batch {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

class Counting implements StageBatches<Rows> {
  readonly progress: number[] = [];
  #next = 0;

  async next(batch: number, progress = 0): Promise<Rows> {
    this.progress.push(progress);
    const first = this.#next++;
    const ids = Int32Array.from({ length: 4 * batch }, (_, i) => (7 * first + 3 * i) % 50);
    return { batch, length: 4, ids, targets: ids.map((id) => (id + 3) % 50) };
  }

  state(): unknown {
    return { next: this.#next };
  }

  restore(state: unknown): void {
    this.#next = (state as { next: number }).next;
  }
}

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "stage-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const after = (calls: number) => {
  let asked = 0;
  return () => ++asked >= calls;
};

/** Runs a stage of six updates until it is stopped, and says where its weights stand. */
async function run(folder: string, stopped: () => boolean = () => false) {
  await using device = await createCpuDevice({ threads: 1 });
  using model = createModel(tinyConfigs.llama, device, { seed: 2, std: 0.1 });
  const batches = new Counting();
  const outcome = await runStage(
    {
      ...{ name: "stage", model, batches, length: { steps: 6 }, config: {} },
      objective: (language, { ids, targets, batch }, options) =>
        nextTokenLoss(language, { sequences: batch, ids, targets }, options),
      options: {
        batch: 2,
        learningRate: { peak: 0.01, warmupSteps: 2, shape: "cosine", finalFraction: 0.1 },
      },
    },
    { folder: join(root, folder), stopped, print: () => {} },
  );
  const weights: number[] = [];
  for (const { tensor } of model.parameters.groups()) weights.push(...(await tensor.data()));
  return { outcome, weights, progress: batches.progress };
}

it("goes on to the same bits, and does nothing once it is done", async () => {
  const whole = await run("whole");
  expect(whole.outcome.steps).toBe(6);
  expect(whole.progress).toEqual([0, 1, 2, 3, 4, 5].map((step) => step / 6));
  const done = () => stageDone(join(root, "parts"), "stage");
  expect(await done()).toBe(false);
  await expect(run("parts", after(2))).rejects.toThrow(StageStopped);
  expect(await done()).toBe(false);
  await expect(run("parts", after(3))).rejects.toThrow(/stopped and saved at step 5/);
  const parts = await run("parts");
  expect(parts.progress).toEqual([5 / 6]);
  expect(parts.weights).toEqual(whole.weights);
  expect(await done()).toBe(true);
  const again = await run("parts");
  expect(again.progress).toEqual([]);
  expect(again.weights).toEqual(whole.weights);
  // One saved step is kept.
  expect((await readdir(join(root, "parts", "stage"))).sort()).toEqual(["log.jsonl", "step-00000006"]);
  const log = (await readFile(join(root, "whole", "stage", "log.jsonl"), "utf8")).trim().split("\n");
  expect(JSON.parse(log.at(-1)!)).toMatchObject({ step: 6 });
});

it("sees between two steps what came from outside", async () => {
  let [asked, signaled] = [false, false];
  const stopped = () => {
    if (!asked) {
      setImmediate(() => {
        signaled = true;
      });
    }
    asked = true;
    return signaled;
  };
  await expect(run("signaled", stopped)).rejects.toThrow(StageStopped);
});
