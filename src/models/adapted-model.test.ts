/** Adapters of every family over every storage: gradients against finite differences, results against merged weights. */
import { afterAll, describe, expect, it } from "vitest";
import { mergeAdapters } from "../nn/merged-source.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { allocateModule } from "../nn/scope.ts";
import { WithoutTiles } from "../nn/weight-source.ts";
import { crossEntropy } from "../tensor/ops/cross-entropy.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { Random } from "../tensor/random.ts";
import { differentiate, Tape } from "../tensor/tape.ts";
import { cpuDevice, relativeError } from "../tensor/testing.ts";
import { AdaptedModel, createAdapters, targetMatrices } from "./adapted-model.ts";
import { CausalLM, createModel } from "./causal-lm.ts";
import { parseConfig } from "./config.ts";
import { tinyConfigs } from "./testing.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

const settings = { rank: 3, alpha: 5, targets: ["all-linear"] };
const rows = [
  Int32Array.from({ length: 12 }, (_, i) => (i * 17 + 5) % 61),
  Int32Array.from({ length: 12 }, (_, i) => (i * 23 + 11) % 61),
];
const targets = Int32Array.from({ length: 24 }, (_, i) => (i * 11 + 3) % 61);

type Name = keyof typeof tinyConfigs;
type Dtype = "f32" | "bf16" | "q8" | "q4";

/** Every token goes to every expert, so that no small difference changes the choice. */
function configOf(name: Name) {
  const config = { ...tinyConfigs[name], moe_intermediate_size: 16, num_nextn_predict_layers: 0 };
  return "n_routed_experts" in config ? { ...config, num_experts_per_tok: 8, topk_group: 4 } : config;
}

function adaptedModel(name: Name, dtype: Dtype, wanted: readonly string[] = settings.targets) {
  const config = configOf(name);
  const base = createModel(config, device, { seed: 4, std: 0.2, dtype });
  const adapters = createAdapters(base, { ...settings, targets: wanted }, 9);
  // B begins at zero, where the gradient of A is zero too.
  const random = new Random(12);
  for (const { key, tensor } of adapters.parameters.groups()) {
    if (!key.includes("lora_B")) continue;
    tensor.set(Float32Array.from({ length: tensor.size }, () => 0.1 * random.normal()));
  }
  const model = new AdaptedModel(base, adapters);
  return {
    base,
    model,
    [Symbol.dispose]() {
      model[Symbol.dispose]();
      base[Symbol.dispose]();
    },
  };
}

function lossOf(model: AdaptedModel) {
  const logits = model.logits(model.hidden(model.ids(rows), { routing: "batched" })); // [2, 12, V]
  const wanted = device.tensor(targets, [24], "i32");
  return crossEntropy(reshape(logits, [24, 61]), wanted, { denominator: 24 });
}

/** The loss while gradients are recorded, as in training: quantized products differ without. */
async function recordedLoss(model: AdaptedModel): Promise<number> {
  const tape = new Tape(device);
  const value = tape.keep(lossOf(model));
  device.tape = null;
  const found = await value.item();
  tape[Symbol.dispose]();
  return found;
}

async function logitsOf(model: AdaptedModel | CausalLM): Promise<Float32Array> {
  using logits = device.inference(() => model.logits(model.hidden(model.ids(rows))));
  return (await logits.data()) as Float32Array;
}

/** Of one sequence, its beginning in one pass and the rest token by token, over a cache. */
async function cachedLogits(model: AdaptedModel | CausalLM, mlaForm: "absorbed" | "expanded" | "auto") {
  using cache = model.createCache(12);
  const found: number[] = [];
  const pass = async (tokens: Int32Array) => {
    using logits = device.inference(() =>
      model.logits(model.hidden(model.ids([tokens]), { cache, mlaForm })),
    );
    found.push(...(await logits.data()));
  };
  await pass(rows[0].subarray(0, 7));
  for (let i = 7; i < 12; i++) await pass(rows[0].subarray(i, i + 1));
  return found;
}

describe.each(Object.keys(tinyConfigs) as Name[])("%s", (name) => {
  it.each(["f32", "bf16", "q8", "q4"] as const)("has right gradients over %s", async (dtype) => {
    using adapted = adaptedModel(name, dtype);
    const { base, model } = adapted;
    const { buffers } = device.backend.memory();
    (differentiate(device, () => lossOf(model)) satisfies Disposable).dispose();
    for (const { weight, key } of base.parameters.groups()) {
      if (!isQuantized(weight)) expect(weight.grad, key).toBeNull();
    }
    const groups = [...model.parameters.groups()];
    const gradients = await Promise.all(
      groups.map(async ({ tensor }) => Array.from(await tensor.grad!.data())),
    );
    model.parameters.clearGradients();
    expect(device.backend.memory().buffers).toBeLessThanOrEqual(buffers + 8);
    const random = new Random(77);
    const directions = gradients.map((gradient) => {
      const noise = gradient.map(() => random.normal());
      const [size, norm] = [Math.hypot(...gradient), Math.hypot(...noise)];
      expect(size).toBeGreaterThan(0);
      return gradient.map((value, j) => value / size + (0.5 * noise[j]) / norm);
    });
    const before = await Promise.all(
      groups.map(async ({ tensor }) => (await tensor.data()).slice() as Float32Array),
    );
    /** The derivative along the directions of these groups, by the gradient and by central differences. */
    const check = async (chosen: readonly number[]) => {
      const expected = chosen.reduce(
        (sum, i) => sum + directions[i].reduce((part, value, j) => part + value * gradients[i][j], 0),
        0,
      );
      const step = Math.min(0.02, 0.003 / expected);
      const at = async (sign: number) => {
        for (const i of chosen) {
          groups[i].tensor.set(before[i].map((value, j) => value + sign * step * directions[i][j]));
        }
        return await recordedLoss(model);
      };
      const found = ((await at(1)) - (await at(-1))) / (2 * step);
      for (const i of chosen) groups[i].tensor.set(before[i]);
      expect(Math.abs(found - expected), groups[chosen[0]].key).toBeLessThan(0.01 * expected + 1e-4);
    };
    const all = groups.map((_, i) => i);
    // One by one where every kind of layer is.
    if (dtype === "f32" && name === "v3") for (const i of all) await check([i]);
    await check(all);
  });

  it.each(["f32", "q4"] as const)("has the same bits over %s where blocks are recomputed", async (dtype) => {
    using adapted = adaptedModel(name, dtype);
    const { model } = adapted;
    const found: number[][] = [];
    for (const recompute of [false, true]) {
      model.recompute = recompute;
      const { buffers } = device.backend.memory();
      using value = differentiate(device, () => lossOf(model));
      const values = [await value.item()];
      for (const { tensor } of model.parameters.groups()) values.push(...(await tensor.grad!.data()));
      found.push(values);
      model.parameters.clearGradients();
      expect(device.backend.memory().buffers).toBeLessThanOrEqual(buffers + 8);
    }
    expect(found[1]).toEqual(found[0]);
  });

  it("gives what merged weights give, in every form of attention", async () => {
    using adapted = adaptedModel(name, "f32", ["all-linear", "lm_head"]);
    const { base, model } = adapted;
    const plain = await (async () => {
      model.adapters.detach();
      const logits = await logitsOf(model);
      model.adapters.attach();
      return logits;
    })();
    const forms = ["auto", "absorbed", "expanded"] as const;
    const found = [await logitsOf(model)];
    const cached: number[][] = [];
    for (const form of forms) cached.push(await cachedLogits(model, form));
    await mergeAdapters(base, model.adapters);
    model.adapters.detach();
    const merged = await logitsOf(base);
    expect(relativeError(plain, merged)).toBeGreaterThan(0.01);
    expect(relativeError(found[0], merged)).toBeLessThan(1e-5);
    for (const [i, form] of forms.entries()) {
      expect(relativeError(cached[i], await cachedLogits(base, form)), form).toBeLessThan(2e-5);
    }
  });

  it.each(["q8", "q4"] as const)(
    "adds the same over %s as over the same weights in floats",
    async (dtype) => {
      using adapted = adaptedModel(name, dtype);
      const { base, model } = adapted;
      const config = parseConfig(configOf(name));
      using floats = allocateModule(device, "f32", (scope) => new CausalLM(scope, config));
      await floats.load(new WithoutTiles(weightsOf(base)));
      const found = await logitsOf(model);
      const cached = [await cachedLogits(model, "absorbed"), await cachedLogits(model, "expanded")];
      model.adapters.detach();
      const plain = await logitsOf(base);
      // The same adapters beside the other model's matrices.
      using others = createAdapters(floats, settings, 9);
      for (const group of others.parameters.groups()) {
        group.tensor.set((await model.parameters.group(group.key).tensor.data()) as Float32Array);
      }
      await mergeAdapters(floats, others);
      const expected = await logitsOf(floats);
      const close = dtype === "q8" ? 2e-3 : 0.1;
      expect(relativeError(found, expected)).toBeLessThan(close);
      expect(relativeError(plain, expected)).toBeGreaterThan(2 * close);
      for (const each of cached) {
        expect(relativeError(each, await cachedLogits(floats, "auto"))).toBeLessThan(close);
      }
    },
  );
});

describe("targets", () => {
  const groupsOf = (name: Name) => {
    const model = createModel(tinyConfigs[name], device);
    return {
      model,
      find: (wanted: readonly string[]) => targetMatrices(model.mainParameters, wanted, { where: "test" }),
    };
  };

  it("finds matrices by the ends of official names", () => {
    const { model, find } = groupsOf("v3");
    using _model = model;
    const modules = (wanted: readonly string[]) => find(wanted).flatMap((matrix) => matrix.modules);
    expect(modules(["kv_a_proj_with_mqa"])).toEqual([
      "model.layers.0.self_attn.kv_a_proj_with_mqa",
      "model.layers.1.self_attn.kv_a_proj_with_mqa",
    ]);
    expect(modules(["layers.1.self_attn.kv_b_proj"])).toEqual(["model.layers.1.self_attn.kv_b_proj"]);
    // A dense layer, shared experts and eight routed ones.
    expect(modules(["gate_proj"]).length).toBe(1 + 1 + 8);
    const everything = modules(["all-linear"]);
    expect(everything.length).toBe(2 * 5 + 3 + 3 + 8 * 3);
    expect(everything.some((module) => /lm_head|embed|mlp\.gate$|layers\.2/.test(module))).toBe(false);
    expect(modules(["all-linear", "lm_head"]).length).toBe(everything.length + 1);
  });

  it("refuses what no matrix is called, routers and tables among them, and single experts", () => {
    const { model, find } = groupsOf("v3");
    using _model = model;
    expect(() => find(["qproj"])).toThrow(/q_b_proj|q_a_proj/);
    expect(() => find(["embed_tokens"])).toThrow(/no matrix of the model/);
    expect(() => find(["mlp.gate"])).toThrow(/no matrix of the model/);
    expect(() => find(["experts.3.up_proj"])).toThrow(/all 8 experts or none/);
  });

  it("refuses settings out of range and a second set", () => {
    const model = createModel(tinyConfigs.llama, device);
    using _model = model;
    const make = (change: object) => createAdapters(model, { ...settings, ...change }, 1);
    expect(() => make({ rank: 0 })).toThrow(/rank/);
    expect(() => make({ alpha: Number.NaN })).toThrow(/alpha/);
    expect(() => make({ targets: [] })).toThrow(/targets/);
    using one = make({});
    using two = make({});
    one.attach();
    expect(() => two.attach()).toThrow(/one set of adapters/);
    one.detach();
    two.attach();
  });
});
