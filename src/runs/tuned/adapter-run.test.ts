/** Runs that train adapters: resume to the bit over the model that they began with, and what is left behind. */
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../../engine/testing-folder.ts";
import { adapterFolder, load } from "../../pretrained/node-load.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { logOf } from "../staged/testing-runs.ts";
import { prepareTuned } from "./preparation.ts";
import { TunedRun } from "./run.ts";
import { shortRun, writeSums } from "./testing-runs.ts";

let root: string;
let model: string;
let data: ReturnType<typeof writeSums>;
let device: Device;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "adapter-run-"));
  device = await cpuDevice(2, true);
  model = join(root, "model");
  await writeModelFolder(model);
  data = writeSums(join(root, "data"), 40);
});
afterAll(async () => {
  rmSync(root, { recursive: true, force: true });
  await device[Symbol.asyncDispose]();
});

const lora = { rank: 4, alpha: 8, targets: ["all-linear"], base: "q8", recompute: true } as const;

async function prepare(kind: "sft" | "dpo", out: string, change: object = {}) {
  const task = await shortRun(model, kind === "sft" ? data.chats : data.pairs, kind);
  const { training } = task.config;
  const config = {
    ...task.config,
    lora: { ...lora, ...change },
    training: { ...training, learningRate: { ...training.learningRate, peak: 0.02 } },
  };
  return prepareTuned({ ...task, config, out });
}

async function train(folder: string, steps = Number.POSITIVE_INFINITY) {
  await using run = await TunedRun.open(folder, device);
  const controller = new AbortController();
  let made = 0;
  return await run.train({ onStep: () => ++made >= steps && controller.abort() }, controller.signal);
}

describe.each(["sft", "dpo"] as const)("%s with adapters", (kind) => {
  it("goes on with the same bits, and leaves an adapter", async () => {
    const whole = join(root, `${kind}-whole`);
    await prepare(kind, whole);
    const parts = join(root, `${kind}-parts`);
    cpSync(whole, parts, { recursive: true });
    const { finished, modelFolder, evaluation } = await train(whole);
    expect(finished).toBe(true);
    expect(modelFolder).toBe(join(whole, "adapter"));
    expect(existsSync(join(whole, "model"))).toBe(false);
    const losses = logOf(whole).flatMap((line) => (line.kind === "step" ? [line.loss as number] : []));
    expect(losses).toHaveLength(12);
    expect(losses.at(-1)).toBeLessThan(0.95 * losses[0]);
    if (kind === "dpo") {
      // ln 2, and the likelihood of the answers by its weight: adapters begin with nothing.
      const [first] = logOf(whole);
      expect(first.loss - 0.1 * first.terms.sft).toBeCloseTo(Math.LN2, 2);
      expect(evaluation!.terms!.accuracy).toBeGreaterThan(0.5);
    }
    expect(await train(parts, 3)).toMatchObject({ finished: false, step: 3 });
    expect(await train(parts, 4)).toMatchObject({ finished: false, step: 7 });
    expect(await train(parts)).toMatchObject({ finished: true, step: 12 });
    const weights = (folder: string) => readFileSync(join(folder, "adapter", "adapter_model.safetensors"));
    expect(weights(parts).equals(weights(whole))).toBe(true);
    // States hold the adapters, and nothing of the model below.
    const state = readdirSync(join(whole, "checkpoints")).at(-1)!;
    expect(readdirSync(join(whole, "checkpoints", state)).sort()).toEqual(
      expect.arrayContaining([
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "trainer.json",
      ]),
    );
    expect(existsSync(join(whole, "checkpoints", state, "model.safetensors"))).toBe(false);

    // The run's folder stands for its adapter, whose template is the one that it was trained with.
    writeFileSync(join(whole, "adapter", "chat_template.jinja"), "{{ 'of the adapter' }}");
    expect((await adapterFolder(whole)).name).toContain("adapter");
    await using plain = await load(model, { device });
    await using opened = await load(model, { device, adapter: whole });
    expect(opened.chatTemplate).toBe("{{ 'of the adapter' }}");
    const name = "model.layers.0.self_attn.o_proj.weight";
    const values = async (of: typeof plain) => [...(await of.model.parameters.get(name).data())];
    expect(await values(opened)).not.toEqual(await values(plain));
  });
});

it("refuses to go on over another model, and a target that the model lacks", async () => {
  const other = join(root, "other");
  cpSync(model, other, { recursive: true });
  const task = await shortRun(other, data.chats, "sft");
  const out = join(root, "moved");
  await prepareTuned({ ...task, config: { ...task.config, lora }, out });
  await train(out, 2);
  const file = join(other, "config.json");
  appendFileSync(file, " ");
  await expect(train(out)).rejects.toThrow(/the model changed since the run was prepared/);
  const unknown = join(root, "unknown");
  await prepare("sft", unknown, { targets: ["qproj"] });
  await expect(train(unknown)).rejects.toThrow(/no matrix of the model has this name/);
  await expect(prepare("sft", join(root, "wrong"), { base: "q5" })).rejects.toThrow(/lora\.base/);
  await expect(prepare("sft", join(root, "wrong"), { dropout: 0.1 })).rejects.toThrow(/lora\.dropout/);
});
