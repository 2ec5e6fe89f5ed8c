/** Preparing, training and quantizing as jobs: what they tell, what they leave when canceled, who may watch. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { JobCanceledError } from "../jobs/errors.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import { load } from "../pretrained/node-load.ts";
import { mergeConfig, preset } from "./config.ts";
import { addRunJob, processRuns } from "./jobs.ts";
import { RUN_LOCK } from "./lock.ts";
import { prepareRun, selectTexts } from "./preparation.ts";
import type { TrainEvent } from "./training-thread.ts";

const config = mergeConfig(preset("llm-small"), {
  vocabSize: 280,
  model: {
    hidden_size: 16,
    num_hidden_layers: 1,
    intermediate_size: 16,
    num_attention_heads: 2,
    num_key_value_heads: 2,
  },
  data: { heldOut: 0.3 },
  training: {
    steps: 8,
    sequenceLength: 16,
    batch: { size: 2 },
    saveEvery: 4,
    evaluateEvery: 4,
    evaluateSequences: 2,
  },
});

const root = mkdtempSync(join(tmpdir(), "deepseek-ts-jobs-"));
const texts = join(root, "texts");

beforeAll(() => {
  mkdirSync(texts);
  for (let i = 0; i < 12; i++) {
    const lines = Array.from(
      { length: 20 },
      (_, n) => `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
    );
    writeFileSync(join(texts, `file-${i}.ts`), lines.join("\n"));
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function queue(): MemoryQueue {
  const made = new MemoryQueue();
  processRuns(made);
  return made;
}

describe("preparing", () => {
  it("tells its stages and leaves a run", async () => {
    await using jobs = queue();
    const out = join(root, "prepared");
    const job = await addRunJob(jobs, "prepare", { folder: texts, out, config });
    const stages: string[] = [];
    for await (const { event } of job.events()) stages.push(event.stage);
    expect([...new Set(stages)]).toEqual(["select", "tokenizer", "tokens"]);
    expect(await job.result()).toMatchObject({ vocabSize: 280, skipped: 0 });
    expect(existsSync(join(out, "run.json"))).toBe(true);
  });

  it.each(["select", "tokenizer", "tokens"])(
    "leaves nothing when it is canceled in the stage %s",
    async (stage) => {
      await using jobs = queue();
      const out = join(root, `canceled-${stage}`);
      const job = await addRunJob(jobs, "prepare", { folder: texts, out, config });
      for await (const { event } of job.events()) if (event.stage === stage) break;
      await job.cancel();
      await expect(job.result()).rejects.toBeInstanceOf(JobCanceledError);
      expect(readdirSync(root).filter((name) => name.startsWith(`canceled-${stage}`))).toEqual([]);
    },
  );
});

describe("training", () => {
  const prepared = async (name: string, steps: number) => {
    const folder = join(root, name);
    const own = mergeConfig(config, { training: { steps } });
    await prepareRun(await selectTexts(texts, own), folder, own);
    return folder;
  };
  const stepOf = (event: TrainEvent) => (event.type === "step" ? event.metrics.step : null);

  it("survives its readers, and is read again from any event", async () => {
    await using jobs = queue();
    const folder = await prepared("whole", 8);
    const job = await addRunJob(jobs, "train", { folder, threads: 1 }, { id: "whole" });
    for await (const { event } of job.events()) if (event.type === "opened") break;
    expect(await job.result()).toMatchObject({ finished: true, step: 8, modelFolder: join(folder, "model") });
    const again = await jobs.get<TrainEvent, unknown>("whole");
    const all: { number: number; event: TrainEvent }[] = [];
    for await (const told of again!.events()) all.push(told);
    expect(all.map(({ event }) => stepOf(event)).filter((step) => step !== null)).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8,
    ]);
    const from = all.find(({ event }) => stepOf(event) === 6)!.number;
    const tail: TrainEvent[] = [];
    for await (const { event } of again!.events(from - 1)) tail.push(event);
    expect(tail).toEqual(all.slice(from - 1).map(({ event }) => event));
    expect(stepOf(tail[0])).toBe(6);
  });

  it("saves and lets go of the run when it is canceled, so that another job goes on from there", async () => {
    await using jobs = queue();
    // More steps than any machine makes before the request arrives.
    const folder = await prepared("canceled", 1_000_000);
    let saved = 0;
    for (const _ of ["first", "second"]) {
      const job = await addRunJob(jobs, "train", { folder, threads: 1 });
      for await (const { event } of job.events()) {
        if (event.type === "opened") expect(event.run.step).toBe(saved);
        if (event.type === "step") break;
      }
      await job.cancel();
      const { finished, step } = await job.result();
      expect(finished).toBe(false);
      expect(step).toBeGreaterThan(saved);
      expect(readdirSync(join(folder, "checkpoints"))).toContain(`step-${String(step).padStart(8, "0")}`);
      expect(existsSync(join(folder, RUN_LOCK))).toBe(false);
      saved = step;
    }
  });
});

describe("quantizing", () => {
  const model = join(root, "model");
  beforeAll(() => writeModelFolder(model, { maxPositions: 256 }));

  it("leaves a folder that opens, and says what it cost", async () => {
    await using jobs = queue();
    const out = join(root, "model-q8");
    const keep = [{ pattern: "layers\\.0\\.", format: "f32" }] as const;
    const report = { text: "the of and to in is that for it as was with on be by at", tokens: 12 };
    const job = await addRunJob(jobs, "quantize", { model, out, dtype: "q8", keep, report, threads: 1 });
    const result = await job.result();
    expect(result.bitsPerWeight).toBeGreaterThan(8);
    expect(result.divergence!.perplexityAfter).toBeGreaterThan(0);
    expect(result.divergence!.maxKl).toBeGreaterThan(0);
    await using opened = await load(out);
    expect(opened.model.parameters.bytes).toBeLessThan(result.bytes * 1.01);
    const without = await addRunJob(jobs, "quantize", {
      model,
      out: join(root, "q8"),
      dtype: "q8",
      threads: 1,
    });
    expect((await without.result()).bitsPerWeight).toBeLessThan(result.bitsPerWeight);
    expect((await without.result()).divergence).toBeNull();
  });

  it("leaves nothing when it is canceled", async () => {
    await using jobs = queue();
    const out = join(root, "model-none");
    const job = await addRunJob(jobs, "quantize", { model, out, dtype: "q4", threads: 1 });
    for await (const { event } of job.events()) if (event.type === "loaded") break;
    await job.cancel();
    await expect(job.result()).rejects.toBeInstanceOf(JobCanceledError);
    expect(readdirSync(root).filter((name) => name.startsWith("model-none"))).toEqual([]);
  });
});
