import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { mergeConfig, preset } from "./config.ts";
import { prepareRun, selectTexts } from "./preparation.ts";
import { Run } from "./run.ts";
import { SAMPLES_FILE } from "./samples.ts";

const config = mergeConfig(preset("llm-small"), {
  vocabSize: 280,
  model: {
    ...{ hidden_size: 16, num_hidden_layers: 1, intermediate_size: 16, num_attention_heads: 2 },
    num_key_value_heads: 2,
  },
  data: { heldOut: 0.3 },
  training: {
    ...{ steps: 8, sequenceLength: 16, batch: { size: 2 }, saveEvery: 2, keep: 4 },
    ...{ evaluateEvery: 3, evaluateSequences: 2 },
  },
});
const root = mkdtempSync(join(tmpdir(), "samples-"));
const [prepared, whole] = [join(root, "prepared"), join(root, "whole")];
let device: Device;

beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  mkdirSync(join(root, "texts"));
  for (let i = 0; i < 12; i++) {
    const lines = Array.from(
      { length: 20 },
      (_, n) => `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
    );
    writeFileSync(join(root, "texts", `file-${i}.ts`), lines.join("\n"));
  }
  await prepareRun(await selectTexts(join(root, "texts"), config), prepared, config);
  await train("whole");
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

/** A run of its own; @param training settings in place of those of the others */
async function train(name: string, training: object = {}, from = prepared): Promise<string> {
  const folder = join(root, name);
  cpSync(from, folder, { recursive: true });
  const path = join(folder, "run.json");
  const json = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify({ ...json, training: { ...json.training, ...training } }));
  await using run = await Run.open(folder, device);
  await run.train();
  return folder;
}
const text = (folder: string) => readFileSync(join(folder, SAMPLES_FILE), "utf8");
const weights = (folder: string) => readFileSync(join(folder, "model", "model.safetensors"));
const rows = (folder: string) =>
  text(folder)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

it("are written at each evaluation, from a beginning of the held-out text", () => {
  expect(rows(whole).map(({ kind, step }) => [kind, step])).toEqual([
    ...[
      ["sample", 3],
      ["sample", 6],
      ["sample", 8],
    ],
  ]);
  for (const { prompt, text: written } of rows(whole)) {
    expect(prompt).toBe("export const");
    expect(written.length).toBeGreaterThan(0);
    expect(written.length).toBeLessThanOrEqual(2000);
  }
});

it("change nothing of the weights", async () => {
  const without = await train("without", { evaluateEvery: 1000 });
  expect(rows(without).map(({ step }) => step)).toEqual([8]);
  expect(weights(without).equals(weights(whole))).toBe(true);
});

it("are the same in a run that was resumed: what came after its state is written again", async () => {
  const cut = join(root, "cut");
  cpSync(whole, cut, { recursive: true });
  rmSync(join(cut, "checkpoints", "step-00000008"), { recursive: true });
  rmSync(join(cut, "checkpoints", "step-00000006"), { recursive: true });
  const resumed = await train("resumed", {}, cut);
  expect(text(resumed)).toBe(text(whole));
  expect(weights(resumed).equals(weights(whole))).toBe(true);
});

it("are not written by a model that has no room for their beginning", async () => {
  const folder = join(root, "short");
  cpSync(prepared, folder, { recursive: true });
  const path = join(folder, "run.json");
  const json = JSON.parse(readFileSync(path, "utf8"));
  const training = { ...json.training, sequenceLength: 2 };
  writeFileSync(
    path,
    JSON.stringify({ ...json, model: { ...json.model, max_position_embeddings: 2 }, training }),
  );
  await using run = await Run.open(folder, device);
  await run.train();
  expect(() => text(folder)).toThrow();
});
