/** The loss of drawing by ids against the logits that the reference classes gave, step by step with caches. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { differentiate } from "../../tensor/tape.ts";
import { disposeAll } from "../../tensor/tensor.ts";
import { type CodeBatch, codeObjective, trainedPrompt } from "./codes.ts";
import { recordedTensors } from "./testing.ts";

const device = await createCpuDevice({ threads: 1 });
const PROMPT = [0, 17, 33, 8, 41, 12, 61];
const PAD = 2;
const RUN = "sample_T1";
let model: VisionLanguageModel;
beforeAll(async () => {
  model = await loadVisionModel(nodeFolder("test/fixtures/janus/generate"), device);
});
afterAll(async () => {
  model[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
});

const batchOf = (prompts: readonly (readonly number[])[], codes: ArrayLike<number>): CodeBatch => ({
  ...{ batch: prompts.length, length: 1, prompts, codes: Int32Array.from(codes) },
});

async function lossOf(batch: CodeBatch): Promise<number> {
  const { loss } = device.inference(() => codeObjective(model, batch, {}));
  const value = await loss.item();
  loss.dispose();
  return value;
}

/** Mean of -log softmax of the recorded logits `[steps, images, codes]` at the ids `[images, steps]`. */
function plainLoss(logits: ArrayLike<number>, ids: ArrayLike<number>, images: number): number {
  const steps = ids.length / images;
  const n = logits.length / ids.length;
  let sum = 0;
  for (let step = 0; step < steps; step++) {
    for (let image = 0; image < images; image++) {
      const row = Array.from({ length: n }, (_, i) => logits[(step * images + image) * n + i]);
      const total = row.reduce((all, value) => all + Math.exp(value), 0);
      sum += Math.log(total) - row[ids[image * steps + step]];
    }
  }
  return sum / ids.length;
}

describe("codeObjective", () => {
  it("scores each id after the prompt and the ids before it, with the prompt and without", async () => {
    const [cond, uncond, ids] = await recordedTensors("janus/generate", "expected.safetensors", [
      `${RUN}.logits_cond`,
      `${RUN}.logits_uncond`,
      `${RUN}.token_ids`,
    ]);
    for (const [drop, logits] of [
      [false, cond],
      [true, uncond],
    ] as const) {
      const prompt = trainedPrompt(PROMPT, PAD, drop);
      const expected = plainLoss(logits.values, ids.values, 2);
      expect(await lossOf(batchOf([prompt, prompt], ids.values))).toBeCloseTo(expected, 4);
    }
  });

  it("is the mean over images whose prompts differ in length", async () => {
    const prompts = [PROMPT, [0, 5, 61], [0, 9, 9, 30, 61]];
    const codes = Array.from({ length: 48 }, (_, i) => (7 * i + 3) % 64);
    const alone = [];
    for (const [i, prompt] of prompts.entries()) {
      alone.push(await lossOf(batchOf([prompt], codes.slice(16 * i, 16 * (i + 1)))));
    }
    const together = await lossOf(batchOf(prompts, codes));
    expect(together).toBeCloseTo(alone.reduce((a, b) => a + b) / 3, 5);
  });

  it("teaches the parts that draw and the language model, and not the tokenizer", async () => {
    const batch = batchOf(
      [PROMPT],
      Array.from({ length: 16 }, (_, i) => (5 * i) % 64),
    );
    disposeAll(differentiate(device, () => codeObjective(model, batch, {})));
    const taught = [...model.parameters.groups()]
      .filter(({ tensor }) => tensor.grad !== null)
      .map(({ key }) => key);
    const has = (prefix: string) => taught.some((key) => key.startsWith(prefix));
    expect(["gen_embed", "gen_aligner", "gen_head", "language_model.model.layers.0"].every(has)).toBe(true);
    expect(["gen_vision_model", "vision_model", "aligner", "language_model.lm_head"].some(has)).toBe(false);
    model.parameters.clearGradients();
  });

  it("refuses ids that the tokenizer does not have, and images that do not match", async () => {
    const ids = new Int32Array(16);
    await expect(lossOf(batchOf([PROMPT], ids.fill(64)))).rejects.toThrow(/64/);
    await expect(lossOf(batchOf([PROMPT, PROMPT], ids.fill(1).subarray(1)))).rejects.toThrow(/15 ids/);
    await expect(lossOf(batchOf([PROMPT, []], ids))).rejects.toThrow(/prompts of 7, 0/);
    const seeing = {
      ...model,
      device,
      language: model.language,
      parameters: model.parameters,
      generation: null,
    };
    expect(() => codeObjective(seeing, batchOf([PROMPT], ids), {})).toThrow(/only sees/);
  });
});
