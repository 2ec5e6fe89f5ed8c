/**
 * Models larger than one WebAssembly memory: weights, gradients and moments in several small memories give the same
 * bits as in one large memory.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it, vi } from "vitest";
import { createModel } from "../src/models/causal-lm.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { bytesPerElement, type RawArray } from "../src/tensor/dtype.ts";
import { attentionSequences } from "../src/tensor/ops/attention-sequences.ts";
import { add } from "../src/tensor/ops/elementwise.ts";
import { experts } from "../src/tensor/ops/experts.ts";
import { linear } from "../src/tensor/ops/linear.ts";
import { matmul } from "../src/tensor/ops/matmul.ts";
import { adamw } from "../src/tensor/ops/optimizer.ts";
import { storeRows } from "../src/tensor/ops/store-rows.ts";
import { QuantizedTensor } from "../src/tensor/quantized.ts";
import { Random } from "../src/tensor/random.ts";
import { Tape } from "../src/tensor/tape.ts";
import { type Device, Scope, type Tensor } from "../src/tensor/tensor.ts";
import { Trainer } from "../src/train/trainer.ts";

const MB = 2 ** 20;
const adamOptions = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
/** Two threads' scratch of 8 MiB, and a little less than 4 MiB for tensors, of which weights leave a quarter. */
const SMALL = 12 * MB;
/** Bytes of weights after which a small memory takes no weight of 100 kB more. */
const FULL = 2_950_000;

const devices: Device[] = [];
afterAll(() => Promise.all(devices.map((d) => d[Symbol.asyncDispose]())));

async function cpu(arenaBytes?: number): Promise<Device> {
  const device = await createCpuDevice({ threads: 2, parallelWork: 0, arenaBytes });
  devices.push(device);
  return device;
}

const arenaOf = (tensor: Tensor) => (tensor.operand().buffer as unknown as { arena: number }).arena;

function normals(n: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.normal());
}

interface WeightOptions {
  readonly dtype?: "f32" | "bf16";
  readonly values?: (x: number) => number;
}

/** Weights of random values, each in its own memory if memories are small. */
function weightsApart(
  device: Device,
  specs: readonly (WeightOptions & { readonly shape: readonly number[] })[],
): Tensor[] {
  const fillers: Tensor[] = [];
  const weights = specs.map(({ shape, dtype = "f32", values = (x) => x }, i) => {
    const tensor = device.empty(shape, dtype, true);
    tensor.set(normals(tensor.size, i).map(values));
    tensor.requiresGrad = dtype === "f32";
    const bytes = tensor.size * bytesPerElement[dtype];
    fillers.push(device.empty([(FULL - bytes) / 4], "f32", true));
    return tensor;
  });
  for (const filler of fillers) filler.dispose();
  return weights;
}

/** Which of the tensors of two runs differ in a bit. */
function differing(found: readonly RawArray[], expected: readonly RawArray[]): number[] {
  expect(found.length).toBe(expected.length);
  const bytes = (a: RawArray) => Buffer.from(a.buffer, a.byteOffset, a.byteLength);
  return found.flatMap((array, i) => (bytes(array).equals(bytes(expected[i])) ? [] : [i]));
}

it("linear, matmul and experts compute where the weights are, gradients included", async () => {
  const results: RawArray[][] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    const weights = weightsApart(device, [
      { shape: [1000, 300] },
      { shape: [300, 1000] },
      { shape: [4, 2 * 120, 300] },
      { shape: [4, 300, 120] },
      { shape: [700, 300], dtype: "bf16" },
    ]);
    expect(new Set(weights.map(arenaOf)).size).toBe(arenaBytes ? 5 : 1);
    const [forLinear, forMatmul, gateUp, down, half] = weights;
    const x = device.tensor(normals(6 * 300, 6), [6, 300]);
    x.requiresGrad = true;
    const route = {
      ids: device.tensor([0, 1, 1, 3, 0, 2, 2, 3, 0, 3, 1, 2], [6, 2], "i32"),
      weights: device.tensor(normals(12, 7), [6, 2]),
    };
    const outputs: RawArray[] = [];
    {
      using tape = new Tape(device);
      const sum = add(linear(x, forLinear), matmul(x, forMatmul));
      const mixed = experts(x, route, gateUp, down).output;
      for (const t of [sum, mixed]) outputs.push(await tape.keep(t).raw());
      const dSum = device.unscoped(() => device.tensor(normals(6 * 1000, 8), [6, 1000]));
      const dMixed = device.unscoped(() => device.tensor(normals(6 * 300, 9), [6, 300]));
      tape.backwardFrom([sum, mixed], [dSum, dMixed]);
    }
    using narrow = device.noGrad(() => linear(x, half));
    outputs.push(await narrow.raw());
    for (const t of [x, forLinear, forMatmul, gateUp, down]) outputs.push(await t.grad!.raw());
    results.push(outputs);
  }
  expect(differing(results[1], results[0])).toEqual([]);
});

it("AdamW updates a parameter whose gradient and moments lie in other memories", async () => {
  const results: RawArray[][] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    const tensors = weightsApart(device, [
      { shape: [220_000] },
      { shape: [220_000] },
      { shape: [220_000] },
      { shape: [220_000], values: Math.abs },
    ]);
    expect(new Set(tensors.map(arenaOf)).size).toBe(arenaBytes ? 4 : 1);
    const [w, g, m, v] = tensors;
    const before = device.backend.memory().bytes;
    for (let step = 1; step <= 3; step++) adamw(w, g, m, v, { ...adamOptions, step });
    expect(device.backend.memory().bytes).toBe(before);
    results.push(await Promise.all(tensors.map((t) => t.raw())));
  }
  expect(differing(results[1], results[0])).toEqual([]);
  // The gradient is only read; everything else changed.
  const device = await cpu();
  const untouched = weightsApart(device, [{ shape: [220_000] }, { shape: [220_000] }]);
  const initial = await Promise.all(untouched.map((t) => t.raw()));
  expect(differing(results[1].slice(0, 2), initial)).toEqual([0]);
});

it("operands that view one buffer are copied as one, and both results come back", async () => {
  const results: RawArray[][] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    const [w, moments] = weightsApart(device, [
      { shape: [250_000] },
      { shape: [3, 40_000], values: Math.abs },
    ]);
    using part = w.slice(0, 40_000);
    // The second moment lies before the first: its copy would reach over the other's.
    using v = moments.slice(1, 2);
    using m = moments.slice(2, 3);
    for (let step = 1; step <= 2; step++) adamw(part, part, m, v, { ...adamOptions, step });
    expect(arenaOf(moments)).toBe(arenaBytes ? 1 : 0);
    results.push(await Promise.all([w.raw(), moments.raw()]));
  }
  expect(differing(results[1], results[0])).toEqual([]);
});

it("activations go on to other memories when the first is full; one buffer must fit in one", async () => {
  const device = await cpu(SMALL);
  const values = normals(300_000, 3);
  const tensors = Array.from({ length: 6 }, () => device.tensor(values));
  expect(tensors.map(arenaOf)).toEqual([0, 0, 0, 1, 1, 1]);
  using sum = add(tensors[0], tensors[5]);
  expect(differing([await sum.raw()], [values.map((value) => 2 * value)])).toEqual([]);
  const { buffers } = device.backend.memory();
  expect(() => device.empty([MB])).toThrow(
    /does not fit in one WebAssembly memory; expected: at most \d+ bytes/,
  );
  expect(device.backend.memory().buffers).toBe(buffers);
  const large = Array.from({ length: 3 }, () => device.empty([600_000]));
  expect(() => add.into(large[0], large[1])).toThrow(/operands of a call do not fit.*add_scaled/);
  expect(device.backend.memory().buffers).toBe(buffers + 3);
});

it("a model trains with the same bits in many small memories as in one", async () => {
  const config = {
    ...{ model_type: "deepseek_v3", architectures: ["DeepseekV3ForCausalLM"], vocab_size: 1200 },
    ...{ hidden_size: 128, intermediate_size: 512, moe_intermediate_size: 96, num_hidden_layers: 3 },
    ...{ first_k_dense_replace: 1, moe_layer_freq: 1, n_routed_experts: 8, n_shared_experts: 1 },
    ...{
      num_experts_per_tok: 2,
      n_group: 2,
      topk_group: 1,
      topk_method: "noaux_tc",
      scoring_func: "sigmoid",
    },
    ...{ norm_topk_prob: true, routed_scaling_factor: 2.5, num_attention_heads: 4, num_key_value_heads: 4 },
    ...{ q_lora_rank: 32, kv_lora_rank: 32, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16 },
    ...{ num_nextn_predict_layers: 1, max_position_embeddings: 64, rms_norm_eps: 1e-6, rope_theta: 10000 },
    hidden_act: "silu",
  };
  const results: { losses: unknown[]; parameters: RawArray[] }[] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    using model = createModel(config, device, { seed: 5, std: 0.05 });
    const used = new Set([...model.parameters.groups()].map(({ tensor }) => arenaOf(tensor)));
    if (arenaBytes) expect(used.size).toBeGreaterThan(1);
    else expect(used.size).toBe(1);
    const random = new Random(3);
    const batches = {
      next: async (batch: number) => {
        const tokens = Int32Array.from({ length: batch * 9 }, () => random.int(1200));
        const targets = Int32Array.from({ length: batch * 8 }, (_, i) => tokens[i + Math.floor(i / 8) + 1]);
        return { tokens, targets, batch, length: 8 };
      },
      state: () => null,
      restore: () => {},
    };
    using trainer = new Trainer(model, batches, {
      steps: 3,
      batch: { size: 2 },
      learningRate: { peak: 1e-2, warmupSteps: 1, shape: "cosine" },
      mtpWeight: 0.3,
      balanceAlpha: 1e-4,
      biasGamma: 1e-3,
    });
    const losses: unknown[] = [];
    while (!trainer.done) {
      const { speed: _, ...metrics } = await trainer.trainStep();
      losses.push(metrics);
    }
    const parameters: RawArray[] = [];
    for (const { name } of model.parameters.named()) parameters.push(await model.parameters.get(name).raw());
    results.push({ losses, parameters });
  }
  expect(results[1].losses).toEqual(results[0].losses);
  expect(differing(results[1].parameters, results[0].parameters)).toEqual([]);
});

it("a quantized model spread over several memories gives the bits of one memory, without moving weights", async () => {
  const config = {
    ...{ model_type: "deepseek_v2", architectures: ["DeepseekV2ForCausalLM"], vocab_size: 1200 },
    ...{ hidden_size: 256, intermediate_size: 1024, moe_intermediate_size: 96, num_hidden_layers: 4 },
    ...{ first_k_dense_replace: 1, moe_layer_freq: 1, n_routed_experts: 16, n_shared_experts: 1 },
    ...{ num_experts_per_tok: 3, topk_method: "greedy", scoring_func: "softmax", norm_topk_prob: false },
    ...{ routed_scaling_factor: 1, num_attention_heads: 4, num_key_value_heads: 4, q_lora_rank: null },
    ...{ kv_lora_rank: 64, qk_nope_head_dim: 32, qk_rope_head_dim: 16, v_head_dim: 32, hidden_act: "silu" },
    ...{ max_position_embeddings: 128, rms_norm_eps: 1e-6, rope_theta: 10000 },
  };
  const results: RawArray[] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    using model = createModel(config, device, { dtype: "q4", seed: 5, std: 0.05 });
    const places = () =>
      [...model.parameters.groups()].flatMap(({ weight }) =>
        weight instanceof QuantizedTensor ? weight.shards.map(({ tiles }) => arenaOf(tiles)) : [],
      );
    const before = places();
    expect(new Set(before).size > 1).toBe(arenaBytes !== undefined);
    using cache = model.createCache(64, "f16");
    for (const ids of [Array.from({ length: 20 }, (_, i) => (i * 53) % 1200), [7], [11]]) {
      using _scope = new Scope(device);
      results.push(await model.logits(model.hidden(model.ids([ids]), { cache })).raw());
    }
    expect(places()).toEqual(before);
  }
  expect(differing(results.slice(3), results.slice(0, 3))).toEqual([]);
});

it("sequences whose caches lie in several memories are computed memory by memory, without copies of caches", async () => {
  const [heads, width, capacity] = [4, 32, 3000];
  const results: RawArray[][] = [];
  for (const arenaBytes of [undefined, SMALL]) {
    const device = await cpu(arenaBytes);
    // 384 kB each.
    const caches = Array.from({ length: 12 }, (_, i) => {
      const tensor = device.empty([capacity, width]);
      tensor.set(normals(tensor.size, i));
      return tensor;
    });
    const apart = new Set(caches.map(arenaOf)).size;
    expect(apart).toBe(arenaBytes === undefined ? 1 : 2);
    const run = vi.spyOn(device.backend, "run");
    const x = device.tensor(normals(12 * 8, 50), [12, 8]);
    storeRows(
      x,
      caches.map((tensor, i) => ({ tensor, from: i, rows: 1, to: 10 * i })),
      3,
    );
    const q = device.tensor(normals(12 * heads * width, 51), [12, heads, width]);
    const sequences = caches.map((keys, i) => {
      return { runs: [{ keys, values: null, row: 0, count: capacity }], rows: 1, length: 1 + 200 * i };
    });
    const y = attentionSequences(q, sequences, { scale: 0.2, keyValueHeads: 1 });
    const calls = run.mock.calls.filter(([{ name }]) => /store_rows|attention_runs/.test(name));
    expect(calls.length).toBeGreaterThanOrEqual(4);
    const held = new Set(caches.map((tensor) => tensor.operand().buffer));
    for (const [, operands] of calls) {
      const homes = operands.flatMap((operand) =>
        operand && held.has(operand.buffer) ? [(operand.buffer as unknown as { arena: number }).arena] : [],
      );
      expect(new Set(homes).size).toBe(1);
    }
    run.mockRestore();
    results.push(await Promise.all([y, ...caches].map((tensor) => tensor.raw())));
  }
  expect(differing(results[1], results[0])).toEqual([]);
});

it("a process waits for a device with several memories to end", () => {
  const backend = fileURLToPath(new URL("../src/tensor/cpu/backend.ts", import.meta.url));
  const program = `
    import { createCpuDevice } from ${JSON.stringify(backend)};
    const device = await createCpuDevice({ threads: 2, arenaBytes: ${SMALL} });
    for (let i = 0; i < 6; i++) device.empty([300_000]);
    await device[Symbol.asyncDispose]();
    console.log("ended");`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--input-type=module-typescript", "-e", program],
    { encoding: "utf8" },
  );
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "ended\n", stderr: "" });
});
