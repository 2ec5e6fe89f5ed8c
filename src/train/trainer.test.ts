import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { openCheckpoint, readAllF32 } from "../checkpoint/folder.ts";
import { modelWeights } from "../checkpoint/model.ts";
import { nodeFileSource, nodeFolder } from "../checkpoint/node-files.ts";
import { openSafetensors } from "../checkpoint/safetensors.ts";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { toConfigJson } from "../models/config.ts";
import { ConfigError, NotFiniteError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { BatchSource, TokenBatch } from "./batches.ts";
import { evaluate } from "./evaluate.ts";
import { AdamW } from "./optimizer.ts";
import { loadTraining, savedSteps, saveTraining, stepFolder } from "./state.ts";
import { Trainer, type TrainOptions } from "./trainer.ts";

const fixtures = join(import.meta.dirname, "../../test/fixtures/train");

/** Batches given in advance, as the fixtures have them: every token but the first of a row is a target. */
function listed(batches: readonly (readonly (readonly number[])[])[]): BatchSource {
  let at = 0;
  return {
    next: async () => {
      const rows = batches[at++];
      const length = rows[0].length;
      // One more id per row than the model reads; its target does not count.
      const tokens = Int32Array.from(rows.flatMap((row) => [...row, 0]));
      const targets = Int32Array.from(rows.flatMap((row) => [...row.slice(1), -1]));
      return { tokens, targets, batch: rows.length, length } satisfies TokenBatch;
    },
    state: () => at,
    restore: (state) => {
      at = state as number;
    },
  };
}

const options: TrainOptions = {
  steps: 10,
  batch: { size: 4 },
  learningRate: { peak: 1e-3, warmupSteps: 0, shape: "constant" },
  optimizer: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 },
};

async function trajectory(name: string, device: Device): Promise<void> {
  const folder = join(fixtures, name);
  const tree = nodeFolder(folder);
  const meta = JSON.parse(await tree.readText("meta.json"));
  const { batches } = JSON.parse(await tree.readText("inputs.json"));
  const checkpoint = await openCheckpoint(tree);
  const model = createModel(checkpoint.config, device);
  await model.load(modelWeights(checkpoint));
  await checkpoint.close();
  const expectedSource = await nodeFileSource(join(folder, "expected.safetensors"));
  const finalSource = await nodeFileSource(join(folder, "final.safetensors"));
  onTestFinished(async () => {
    await expectedSource.close?.();
    await finalSource.close?.();
  });
  const expected = await openSafetensors(expectedSource);
  const numbers = async (key: string) => {
    const bytes = (await expected.read(key)).slice().buffer;
    return expected.tensors.get(key)!.dtype === "I32" ? new Int32Array(bytes) : new Float32Array(bytes);
  };
  const v3 = meta.v3 != null;
  const trainer = new Trainer(model, listed(batches), {
    ...options,
    balanceAlpha: v3 ? meta.v3.alpha : 0,
    biasGamma: v3 ? meta.v3.gamma : 0,
  });
  const [losses, norms] = [await numbers("loss"), await numbers("grad_norm")];
  const balance = v3 ? await numbers("balance_loss") : null;
  for (let step = 0; step < 10; step++) {
    const found = await trainer.trainStep();
    expect(Math.abs(found.loss - losses[step])).toBeLessThanOrEqual(meta.tolerance.loss_max_abs);
    expect(Math.abs(found.gradientNorm / norms[step] - 1)).toBeLessThanOrEqual(meta.tolerance.grad_norm_rel);
    if (balance) {
      expect(Math.abs(found.balanceLoss! - balance[step])).toBeLessThanOrEqual(
        meta.tolerance.balance_loss_max_abs,
      );
    }
    for (const { layer, counts } of found.experts) {
      const wanted = (await numbers(`expert_counts.${layer}`)).subarray(
        step * counts.length,
        (step + 1) * counts.length,
      );
      expect(counts).toEqual(Array.from(wanted));
      const bias = await model.parameters
        .get(`model.layers.${layer}.mlp.gate.e_score_correction_bias`)
        .data();
      const after = (await numbers(`bias_after_step.${layer}`)).subarray(step * counts.length);
      for (let e = 0; e < bias.length; e++) {
        expect(Math.abs(bias[e] - after[e])).toBeLessThanOrEqual(meta.tolerance.bias_max_abs);
      }
    }
  }
  const final = await openSafetensors(finalSource);
  let squares = 0;
  let count = 0;
  for (const { name: parameter } of model.parameters.named()) {
    const values = await model.parameters.get(parameter).data();
    const wanted = new Float32Array((await final.read(parameter)).slice().buffer);
    for (let i = 0; i < wanted.length; i++) {
      const difference = Math.abs(values[i] - wanted[i]);
      if (!(difference <= meta.tolerance.final_param_max_abs)) {
        throw new Error(`${parameter}[${i}]: found ${values[i]}, expected ${wanted[i]}`);
      }
      squares += difference * difference;
      count++;
    }
  }
  expect(Math.sqrt(squares / count)).toBeLessThanOrEqual(meta.tolerance.final_param_rms);
  trainer[Symbol.dispose]();
  model[Symbol.dispose]();
}

describe("ten steps of the reference", () => {
  for (const name of ["llm", "v3-small"]) {
    it(`${name} on the reference device`, () => trajectory(name, createReferenceDevice()));
    for (const relaxed of [false, true]) {
      it(`${name} on ${relaxed ? "relaxed" : "baseline"} kernels`, async () =>
        trajectory(name, await cpuDevice(2, relaxed)));
    }
  }
});

const tiny = {
  model_type: "deepseek_v3",
  architectures: ["DeepseekV3ForCausalLM"],
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  moe_intermediate_size: 16,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  moe_layer_freq: 1,
  n_routed_experts: 4,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  n_group: 2,
  topk_group: 1,
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  q_lora_rank: 16,
  kv_lora_rank: 16,
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  num_nextn_predict_layers: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  hidden_act: "silu",
};

/** A repeating text, so that there is something to learn. */
function repeating(): BatchSource {
  let at = 0;
  return {
    next: async (batch) => {
      const length = 16;
      const tokens = Int32Array.from(
        { length: batch * (length + 1) },
        (_, i) => ((i % (length + 1)) * 7 + at) % 64,
      );
      const targets = new Int32Array(batch * length);
      for (let b = 0; b < batch; b++) {
        targets.set(tokens.subarray(b * (length + 1) + 1, (b + 1) * (length + 1)), b * length);
      }
      at++;
      return { tokens, targets, batch, length };
    },
    state: () => at,
    restore: (state) => {
      at = state as number;
    },
  };
}

const tinyOptions: TrainOptions = {
  steps: 30,
  batch: { size: 4, startSize: 2, rampFraction: 0.2 },
  learningRate: { peak: 1e-2, warmupSteps: 4, shape: "cosine" },
  mtpWeight: [
    [0, 0.3],
    [0.5, 0.1],
  ],
  balanceAlpha: 1e-4,
  biasGamma: 1e-3,
};

describe("the loop", () => {
  const devices: Device[] = [];
  afterAll(() => Promise.all(devices.map((d) => d[Symbol.asyncDispose]())));

  async function start(momentDType: "f32" | "bf16" = "f32", threads = 2) {
    const device = await cpuDevice(threads, true);
    const model = createModel(tiny, device, { seed: 3, std: 0.05 });
    return new Trainer(model, repeating(), { ...tinyOptions, optimizer: { momentDType } });
  }

  it("learns, and its memory stays flat", async () => {
    const trainer = await start();
    const first = await trainer.trainStep();
    await trainer.trainStep();
    const after = trainer.model.device.backend.memory().buffers;
    let last = first;
    while (!trainer.done) last = await trainer.trainStep();
    expect(trainer.model.device.backend.memory().buffers).toBe(after);
    expect(last.loss).toBeLessThan(first.loss * 0.8);
    expect(last.mtpLoss).toBeLessThan(first.mtpLoss!);
    expect(first.tokens).toBe(2 * 16);
    const { loss, bitsPerByte } = await evaluate(
      trainer.model,
      [(await repeating().next(2)) as TokenBatch],
      new Uint8Array(64).fill(2),
    );
    expect(bitsPerByte).toBeCloseTo(loss / Math.LN2 / 2, 6);
    trainer[Symbol.dispose]();
    trainer.model[Symbol.dispose]();
  });

  for (const momentDType of ["f32", "bf16"] as const) {
    it(`resumes with the same bits (${momentDType} moments)`, async () => {
      const whole = await start(momentDType);
      const expected: unknown[] = [];
      const losses = async (trainer: Trainer<CausalLM>) => {
        const { loss, mtpLoss, gradientNorm } = await trainer.trainStep();
        return { loss, mtpLoss, gradientNorm };
      };
      for (let i = 0; i < 10; i++) expected.push(await losses(whole));

      const half = await start(momentDType);
      const found: unknown[] = [];
      for (let i = 0; i < 5; i++) found.push(await losses(half));
      const files = new Map<string, Uint8Array>();
      await saveTraining(half, memoryFolderSink(files), {
        config: toConfigJson(half.model.config),
        files: { "tokenizer.json": "{}" },
      });
      const resumed = await start(momentDType);
      await loadTraining(resumed, memoryFolder(files));
      for (let i = 0; i < 5; i++) found.push(await losses(resumed));
      expect(found).toEqual(expected);
      for (const t of [whole, half, resumed]) {
        t[Symbol.dispose]();
        t.model[Symbol.dispose]();
      }
    });
  }

  it("gives the same bits on one, two and three threads", async () => {
    const results: unknown[] = [];
    for (const threads of [1, 2, 3]) {
      const trainer = await start("f32", threads);
      for (let i = 0; i < 6; i++) await trainer.trainStep();
      const groups = [...trainer.model.parameters.groups()];
      results.push(await Promise.all(groups.map(async ({ tensor }) => Array.from(await tensor.data()))));
      trainer[Symbol.dispose]();
      trainer.model[Symbol.dispose]();
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it("refuses moments of another model by name", async () => {
    const trainer = await start();
    const files = new Map<string, Uint8Array>();
    await saveTraining(trainer, memoryFolderSink(files), { config: toConfigJson(trainer.model.config) });
    const other = await start("bf16");
    await expect(loadTraining(other, memoryFolder(files))).rejects.toThrow(
      /moments.*name: m\..*expected: BF16.*found: F32/,
    );
    files.set("trainer.json", files.get("trainer.json")!.subarray(0, 20));
    await expect(loadTraining(trainer, memoryFolder(files))).rejects.toThrow(/trainer\.json/);
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect((await readAllF32(checkpoint, "model.norm.weight")).every((v) => v === 1)).toBe(true);
    for (const t of [trainer, other]) {
      t[Symbol.dispose]();
      t.model[Symbol.dispose]();
    }
  });

  it("stops before an update that is not finite, and says which figure and tensor", async () => {
    const trainer = await start();
    await trainer.trainStep();
    const { parameters } = trainer.model;
    const head = parameters.group("lm_head.weight").tensor;
    const before = Array.from(await head.data());
    const values = Float32Array.from(before);
    values[5] = Number.NaN;
    head.set(values);
    const { buffers } = trainer.model.device.backend.memory();
    const failed = trainer.trainStep();
    await expect(failed).rejects.toThrow(NotFiniteError);
    await expect(failed).rejects.toThrow(
      /^training step 2: .*not finite; name: weights of lm_head\.weight, gradient of .*found: loss NaN, .*gradientNorm NaN/,
    );
    await expect(failed).rejects.toThrow(/lower learningRate\.peak \(0\.01 now\)/);
    await expect(trainer.checkWeights()).rejects.toThrow(/after training step 1: .*name: lm_head\.weight/);
    expect(trainer.step).toBe(1);
    // Neither gradients nor moments nor other weights were touched, so the run goes on once the value is whole again.
    expect(trainer.model.device.backend.memory().buffers).toBeLessThanOrEqual(buffers);
    head.set(Float32Array.from(before));
    await trainer.checkWeights();
    expect(Number.isFinite((await trainer.trainStep()).loss)).toBe(true);
    trainer[Symbol.dispose]();
    trainer.model[Symbol.dispose]();
  });

  it.each<[string, object, RegExp]>([
    ["steps", { steps: 0 }, /name: steps; expected: an integer from 1/],
    ["an unknown option", { learningrate: {} }, /name: learningrate\. Did you mean learningRate/],
    ["beta2", { optimizer: { beta2: 1 } }, /name: optimizer\.beta2/],
    [
      "a rate",
      { learningRate: { ...tinyOptions.learningRate, peak: Number.NaN } },
      /learningRate\.peak; .*NaN/,
    ],
    [
      "decay",
      { optimizer: { weightDecay: 100 }, learningRate: { ...tinyOptions.learningRate, peak: 0.5 } },
      /below 2/,
    ],
    ["gamma", { biasGamma: 2 }, /name: biasGamma; expected: a number from 0 to 1/],
    ["mtp", { mtpWeight: [[0, Number.NaN]] }, /name: mtpWeight\[0\]\[1\]/],
    ["batch", { batch: { size: 1.5 } }, /name: batch\.size/],
  ])("refuses %s that cannot be before it makes anything", async (_, more, message) => {
    const device = await cpuDevice(1, true);
    const model = createModel(tiny, device, { seed: 3 });
    const { buffers } = device.backend.memory();
    const make = () => new Trainer(model, repeating(), { ...tinyOptions, ...more } as TrainOptions);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(message);
    expect(device.backend.memory().buffers).toBe(buffers);
    model[Symbol.dispose]();
  });

  it("takes an option that is undefined as left out", async () => {
    const model = createModel(tiny, await cpuDevice(1, true), { seed: 3 });
    using optimizer = new AdamW(model.parameters, { beta1: undefined, clipNorm: 2 });
    expect(optimizer.options).toMatchObject({ beta1: 0.9, clipNorm: 2 });
    expect(() => new AdamW(model.parameters, { epsilon: 0 })).toThrow(/AdamW: .*name: options\.epsilon/);
    model[Symbol.dispose]();
  });

  it("stands at its beginning while its length is not known", async () => {
    const model = createModel(tiny, await cpuDevice(1, true), { seed: 3, std: 0.05 });
    using trainer = new Trainer(model, repeating(), { ...tinyOptions, steps: null });
    for (let i = 0; i < 6; i++) expect((await trainer.trainStep()).tokens).toBe((i + 1) * 2 * 16);
    expect(trainer.done).toBe(false);
    trainer.setSteps(6);
    expect(trainer.done).toBe(true);
    expect(() => trainer.setSteps(Number.POSITIVE_INFINITY)).toThrow(ConfigError);
    model[Symbol.dispose]();
  });

  it("finds saved steps among other names", () => {
    expect(savedSteps([stepFolder(200), "step-1", `${stepFolder(300)}.tmp-x`, stepFolder(100)])).toEqual([
      100, 200,
    ]);
  });
});
