/**
 * Qwen2 against an implementation written apart in plain loops over doubles, from the equations of the report and the
 * layout of transformers' class: no recorded outputs of that class were at hand. Then what its biases go through:
 * gradients, caches, quantized weights, GGUF, refusals of what its files switch off.
 */

import { describe, expect, it } from "vitest";
import { bytesSource, memoryFolder, memoryFolderSink, memorySink } from "../../checkpoint/byte-source.ts";
import { modelEntries } from "../../checkpoint/entries.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { exportGguf } from "../../checkpoint/gguf/export.ts";
import { openGguf } from "../../checkpoint/gguf/reader.ts";
import { ggufWeights } from "../../checkpoint/gguf/weights.ts";
import { loadModel, modelFrom } from "../../checkpoint/model.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { tiledConfig, tiledEntries } from "../../checkpoint/tiles.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { differentiate } from "../../tensor/tape.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import { doubles } from "../../tensor/testing.ts";
import { nextTokenBatch, nextTokenLoss } from "../../train/objectives/next-token.ts";
import { type CausalLM, createModel } from "../causal-lm.ts";
import { parseConfig, toConfigJson } from "../config.ts";
import { tinyConfigs } from "../testing.ts";

const config = { ...tinyConfigs.qwen2, hidden_size: 96, rope_theta: 1e6, rms_norm_eps: 1e-6 };
const device = createReferenceDevice();
const [d, H, G, D] = [96, 6, 2, 16];
const ids = [5, 9, 2, 40, 7, 7, 3, 60, 11];

/** A model with values everywhere, biases large beside the products they are added to. */
function tiny(device: Device, json: object = config): CausalLM {
  const model = createModel(json, device, { seed: 3, std: 0.15 });
  const random = new Random(8);
  for (const { name, shape } of model.parameters.named()) {
    const spread = name.endsWith(".bias") ? 0.8 : name.includes("norm") ? 0.3 : 0;
    if (spread === 0) continue;
    const values = Float32Array.from(
      { length: shape[0] },
      () => (name.includes("norm") ? 1 : 0) + spread * random.normal(),
    );
    model.parameters.get(name).set(values);
  }
  return model;
}

/** Values as the backend holds them: doubles on the reference device. */
async function valuesOf(x: Tensor): Promise<number[]> {
  return x.device === device ? [...doubles(x)] : [...(await x.data())];
}

async function logits(model: CausalLM): Promise<number[]> {
  const y = model.device.inference(() => model.logits(model.hidden(model.ids([ids]))));
  try {
    return await valuesOf(y);
  } finally {
    y.dispose();
  }
}

const off = (a: readonly number[], b: readonly number[]) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

/** Logits `[T * V]` by loops, in doubles. */
async function byLoops(model: CausalLM, theta: number): Promise<number[]> {
  const held = new Map<string, number[]>();
  for (const { name } of model.parameters.named()) {
    held.set(name, await valuesOf(model.parameters.get(name)));
  }
  const get = (name: string) => held.get(name)!;
  const product = (x: number[], name: string, bias?: string) => {
    const w = get(name);
    const n = w.length / x.length;
    return Array.from({ length: n }, (_, j) => {
      let sum = bias === undefined ? 0 : get(bias)[j];
      for (let i = 0; i < x.length; i++) sum += w[j * x.length + i] * x[i];
      return sum;
    });
  };
  const norm = (x: number[], name: string) => {
    const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
    return x.map((value, i) => (value / Math.sqrt(mean + 1e-6)) * get(name)[i]);
  };
  const turned = (head: number[], position: number) =>
    head.map((value, i) => {
      const angle = position * theta ** ((-2 * (i % (D / 2))) / D);
      const other = i < D / 2 ? -head[i + D / 2] : head[i - D / 2];
      // The tables of the package hold float32.
      return value * Math.fround(Math.cos(angle)) + other * Math.fround(Math.sin(angle));
    });
  const heads = (x: number[], count: number) =>
    Array.from({ length: count }, (_, h) => x.slice(h * D, (h + 1) * D));
  let states = ids.map((id) => get("model.embed_tokens.weight").slice(id * d, (id + 1) * d));
  for (let layer = 0; layer < 2; layer++) {
    const p = `model.layers.${layer}.`;
    const projected = (x: number[], which: string) =>
      product(x, `${p}self_attn.${which}_proj.weight`, `${p}self_attn.${which}_proj.bias`);
    const normed = states.map((x) => norm(x, `${p}input_layernorm.weight`));
    const q = normed.map((x, t) => heads(projected(x, "q"), H).map((head) => turned(head, t)));
    const k = normed.map((x, t) => heads(projected(x, "k"), G).map((head) => turned(head, t)));
    const v = normed.map((x) => heads(projected(x, "v"), G));
    states = states.map((x, t) => {
      const mixed = q[t].flatMap((query, h) => {
        const group = Math.floor(h / (H / G));
        const scores = k.slice(0, t + 1).map((key) => {
          return key[group].reduce((sum, value, i) => sum + value * query[i], 0) / Math.sqrt(D);
        });
        const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const total = weights.reduce((a, b) => a + b);
        return Array.from({ length: D }, (_, i) =>
          weights.reduce((sum, weight, s) => sum + (weight / total) * v[s][group][i], 0),
        );
      });
      const y = product(mixed, `${p}self_attn.o_proj.weight`);
      return x.map((value, i) => value + y[i]);
    });
    states = states.map((x) => {
      const inner = norm(x, `${p}post_attention_layernorm.weight`);
      const up = product(inner, `${p}mlp.up_proj.weight`);
      const gated = product(inner, `${p}mlp.gate_proj.weight`).map(
        (g, i) => (g / (1 + Math.exp(-g))) * up[i],
      );
      const y = product(gated, `${p}mlp.down_proj.weight`);
      return x.map((value, i) => value + y[i]);
    });
  }
  const head = held.has("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight";
  return states.flatMap((x) => product(norm(x, "model.norm.weight"), head));
}

describe("Qwen2", () => {
  it.each([false, true])("computes what plain loops compute (tied embeddings: %s)", async (tied) => {
    const json = { ...config, tie_word_embeddings: tied };
    using model = tiny(device, json);
    const wanted = await byLoops(model, 1e6);
    expect(off(await logits(model), wanted)).toBeLessThan(1e-11);
    model.parameters.get("model.layers.1.self_attn.k_proj.bias").set([3], 5);
    expect(off(await logits(model), wanted)).toBeGreaterThan(1e-6);
  });

  it("computes the same on the CPU, at once and token by token from a cache", async () => {
    await using cpu = await createCpuDevice({ threads: 1 });
    using model = tiny(cpu);
    const wanted = await byLoops(model, 1e6);
    expect(off(await logits(model), wanted)).toBeLessThan(2e-4);
    using cache = model.createCache();
    for (const [t, id] of ids.entries()) {
      const y = cpu.inference(() => model.logits(model.hidden(model.ids([[id]]), { cache })));
      const found = [...(await y.data())];
      y.dispose();
      expect(off(found, wanted.slice(t * 61, (t + 1) * 61))).toBeLessThan(2e-4);
    }
  });

  it("trains its biases: gradients agree with differences, no decay", async () => {
    using model = tiny(device);
    const batch = nextTokenBatch(Int32Array.from(ids), 1);
    const value = async () => {
      const { loss } = device.tidy(() => nextTokenLoss(model, batch));
      const [found] = await valuesOf(loss);
      loss.dispose();
      return found;
    };
    differentiate(device, () => nextTokenLoss(model, batch).loss).dispose();
    for (const which of ["q_proj", "k_proj", "v_proj"]) {
      const name = `model.layers.0.self_attn.${which}.bias`;
      const part = model.parameters.place(name);
      expect(part.group).toMatchObject({ initial: "zeros", decay: false, trained: true });
      using gradient = model.parameters.gradient(name)!;
      const found = await valuesOf(gradient);
      const stored = model.parameters.get(name);
      const before = await valuesOf(stored);
      for (const i of [0, 5, part.shape[0] - 1]) {
        const at = async (delta: number) => {
          // What is stored is rounded to float32, so the step is what came of it.
          stored.set([before[i] + delta], i);
          return { x: (await valuesOf(stored))[i], y: await value() };
        };
        const [up, down] = [await at(2 ** -10), await at(-(2 ** -10))];
        const slope = (up.y - down.y) / (up.x - down.x);
        stored.set([before[i]], i);
        expect(Math.abs(slope - found[i])).toBeLessThan(1e-7);
      }
      if (which === "v_proj") expect(Math.max(...found.map(Math.abs))).toBeGreaterThan(1e-4);
    }
    model.parameters.clearGradients();
  });

  it("keeps its biases in floats beside quantized weights, saved and loaded", async () => {
    using model = tiny(device);
    const files = new Map<string, Uint8Array>();
    await saveCheckpoint(memoryFolderSink(files), modelEntries(model), {
      config: toConfigJson(model.config),
    });
    const tree = memoryFolder(files);
    expect((await tree.readText("config.json")).includes("attention_bias")).toBe(false);
    using again = await loadModel(tree, device);
    expect(await logits(again)).toEqual(await logits(model));
    using q8 = await loadModel(tree, device, { dtype: "q8" });
    const saved = new Map<string, Uint8Array>();
    await saveCheckpoint(memoryFolderSink(saved), tiledEntries(q8), { config: tiledConfig(q8) });
    using tiled = await loadModel(memoryFolder(saved), device, { dtype: "auto" });
    expect(await logits(tiled)).toEqual(await logits(q8));
    const exact = await logits(model);
    const spread = Math.max(...exact) - Math.min(...exact);
    const distance = off(await logits(q8), exact);
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(0.1 * spread);
  });

  it("goes through GGUF as qwen2, rows in their order", async () => {
    using model = tiny(device, { ...config, bos_token_id: 3 });
    let bytes = new Uint8Array(0);
    const sink = memorySink("q.gguf", (whole) => {
      bytes = new Uint8Array(whole);
    });
    await exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F32" });
    const file = await openGguf(bytesSource(bytes, "q.gguf"));
    expect(file.metadata.get("general.architecture")).toMatchObject({ value: "qwen2" });
    expect(file.tensor("blk.1.attn_k.bias")).toMatchObject({ type: "F32", ne: [G * D] });
    const query = file.tensor("blk.0.attn_q.weight");
    const stored = await file.read(query, 0, query.bytes);
    const official = await model.parameters.get("model.layers.0.self_attn.q_proj.weight").data();
    expect(new Float32Array(stored.slice().buffer)).toEqual(Float32Array.from(official));
    expect(parseConfig(ggufConfig(file))).toEqual(model.config);
    using back = await modelFrom(ggufConfig(file), ggufWeights(file), device);
    expect(await logits(back)).toEqual(await logits(model));
  });

  it("refuses windows, whole or by layer, and checkpoints without the biases", async () => {
    expect(() => parseConfig({ ...config, use_sliding_window: true })).toThrow(/use_sliding_window.*false/);
    const layers = (kind: string) => ({ ...config, layer_types: ["full_attention", kind] });
    expect(() => parseConfig(layers("sliding_attention"))).toThrow(/layer_types.*full_attention/);
    expect(parseConfig({ ...layers("full_attention"), sliding_window: 4096, max_window_layers: 21 })).toEqual(
      parseConfig(config),
    );
    expect(parseConfig({ ...config, bos_token_id: undefined, eos_token_id: null })).toMatchObject({
      bosTokenIds: [],
      eosTokenIds: [],
    });
    using model = tiny(device);
    const files = new Map<string, Uint8Array>();
    const entries = [...modelEntries(model)].filter(
      ({ name }) => name !== "model.layers.1.self_attn.v_proj.bias",
    );
    await saveCheckpoint(memoryFolderSink(files), entries, { config });
    await expect(loadModel(memoryFolder(files), device)).rejects.toThrow(
      /lacks a tensor.*layers.1.self_attn.v_proj.bias/,
    );
  });
});
