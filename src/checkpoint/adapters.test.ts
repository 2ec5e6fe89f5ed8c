import { afterAll, describe, expect, it } from "vitest";
import { createAdapters } from "../models/adapted-model.ts";
import { createModel } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import { describeDecoder } from "../models/decoder.ts";
import { tinyConfigs } from "../models/testing.ts";
import { f32ToBf16 } from "../tensor/float-formats.ts";
import { Random } from "../tensor/random.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { openAdapters, saveAdapters } from "./adapters.ts";
import { bytesSource, memoryFolder, memoryFolderSink, memorySink } from "./byte-source.ts";
import { openSafetensors } from "./safetensors.ts";
import { type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";

const device = await cpuDevice(1, true);
afterAll(() => device[Symbol.asyncDispose]());

/** `adapter_config.json` as PEFT 0.17 writes it. */
const PEFT_CONFIG = {
  alpha_pattern: {},
  auto_mapping: null,
  base_model_name_or_path: "deepseek-ai/deepseek-coder-1.3b-base",
  bias: "none",
  corda_config: null,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_alpha: 6,
  lora_bias: false,
  lora_dropout: 0.05,
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: null,
  peft_type: "LORA",
  qalora_group_size: 16,
  r: 2,
  rank_pattern: {},
  revision: null,
  target_modules: ["v_proj", "q_proj"],
  target_parameters: null,
  task_type: "CAUSAL_LM",
  trainable_token_indices: null,
  use_dora: false,
  use_qalora: false,
  use_rslora: false,
};

const parameters = describeDecoder(parseConfig(tinyConfigs.llama)).mainParameters;
const encoder = new TextEncoder();

interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
  readonly dtype?: "F32" | "BF16";
}

/** What PEFT saves for `q_proj` and `v_proj` of the tiny llama: hidden 24, six heads and two for values of width 4. */
function peftTensors(rank = 2): Stored[] {
  const random = new Random(5);
  const tensors: Stored[] = [];
  for (const layer of [0, 1]) {
    for (const [module, rows] of [
      ["q_proj", 24],
      ["v_proj", 8],
    ] as const) {
      const at = `base_model.model.model.layers.${layer}.self_attn.${module}`;
      for (const [name, shape] of [
        ["lora_A", [rank, 24]],
        ["lora_B", [rows, rank]],
      ] as const) {
        const values = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal());
        tensors.push({ name: `${at}.${name}.weight`, shape, values });
      }
    }
  }
  return tensors;
}

async function folder(config: object, tensors: readonly Stored[], name = "adapter") {
  let weights = new Uint8Array(0);
  const sink = memorySink("weights", (bytes) => {
    weights = bytes as Uint8Array<ArrayBuffer>;
  });
  const entries = tensors.map(({ name, shape, values, dtype = "F32" }): SafetensorsEntry => {
    const stored = dtype === "F32" ? values : f32ToBf16(values);
    const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    return {
      name,
      dtype,
      shape,
      data: async function* () {
        yield bytes;
      },
    };
  });
  await writeSafetensors(sink, entries, { format: "pt" });
  const files = new Map([
    ["adapter_config.json", encoder.encode(JSON.stringify(config))],
    ["adapter_model.safetensors", weights],
    ["README.md", encoder.encode("# Adapter")],
  ]);
  return memoryFolder(files, name);
}

describe("openAdapters", () => {
  it("reads what PEFT writes", async () => {
    const tensors = peftTensors().map((tensor) => ({ ...tensor, dtype: "BF16" as const }));
    using adapters = await openAdapters(await folder(PEFT_CONFIG, tensors), device, parameters);
    expect(adapters.factor).toBe(3);
    expect(adapters.modules).toEqual([
      "model.layers.0.self_attn.q_proj",
      "model.layers.0.self_attn.v_proj",
      "model.layers.1.self_attn.q_proj",
      "model.layers.1.self_attn.v_proj",
    ]);
    for (const { name, values } of tensors) {
      const found = await adapters.parameters.get(name).data();
      for (const [i, value] of values.entries())
        expect(Math.abs(found[i] - value)).toBeLessThan(0.01 * Math.abs(value) + 1e-6);
    }
  });

  it("takes the factor of rank-stabilized adapters, and any way to name targets", async () => {
    const config = { ...PEFT_CONFIG, use_rslora: true, target_modules: ".*\\.[qv]_proj" };
    using adapters = await openAdapters(await folder(config, peftTensors()), device, parameters);
    expect(adapters.factor).toBeCloseTo(6 / Math.SQRT2, 12);
    expect(adapters.modules.length).toBe(4);
  });

  it.each([
    ["peft_type", "IA3"],
    ["use_dora", true],
    ["bias", "all"],
    ["modules_to_save", ["lm_head"]],
    ["rank_pattern", { q_proj: 4 }],
    ["alpha_pattern", { q_proj: 4 }],
    ["fan_in_fan_out", true],
    ["lora_bias", true],
    ["layer_replication", [[0, 2]]],
    ["trainable_token_indices", [1]],
    ["target_parameters", ["mlp.experts.gate_up_proj"]],
    ["init_lora_weights", "pissa_niter_4"],
    ["init_lora_weights", "olora"],
    ["use_qalora", true],
    ["a_field_of_tomorrow", 3],
    ["r", 0],
    ["r", 1e9],
    ["lora_alpha", "6"],
    ["use_rslora", 1],
  ])("refuses %s = %j by name", async (name, value) => {
    const tree = await folder({ ...PEFT_CONFIG, [name]: value }, peftTensors());
    await expect(openAdapters(tree, device, parameters)).rejects.toThrow(new RegExp(`\\b${name}\\b`));
  });

  it("refuses tensors of other kinds, of other models and of other sizes, before it takes memory", async () => {
    const open = async (tensors: readonly Stored[], config: object = PEFT_CONFIG) =>
      openAdapters(await folder(config, tensors), device, parameters);
    const { buffers } = device.backend.memory();
    const first = peftTensors()[0];
    const called = (name: string) => [{ ...first, name }];
    await expect(open(called("base_model.model.model.embed_tokens.lora_embedding_A"))).rejects.toThrow(
      /embeddings/,
    );
    await expect(open(called(first.name.replace("lora_A.weight", "lora_magnitude_vector")))).rejects.toThrow(
      /DoRA/,
    );
    await expect(open(called("model.layers.0.self_attn.q_proj.weight"))).rejects.toThrow(
      /no low-rank adapter/,
    );
    await expect(open(called(first.name.replace("layers.0", "layers.7")))).rejects.toThrow(/another model/);
    await expect(open(called(first.name.replace("q_proj", "gate")))).rejects.toThrow(/another model/);
    await expect(open([])).rejects.toThrow(/no adapters/);
    await expect(open(peftTensors().slice(1))).rejects.toThrow(/lacks a tensor.*lora_A/s);
    await expect(open(peftTensors(3))).rejects.toThrow(/wrong shape/);
    await expect(open(peftTensors(), { ...PEFT_CONFIG, r: 4096 })).rejects.toThrow(/wrong shape/);
    const broken = peftTensors();
    broken[1].values[5] = Number.NaN;
    await expect(open(broken)).rejects.toThrow(/not a number.*lora_B/s);
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("says what a folder lacks", async () => {
    const empty = memoryFolder(new Map(), "empty");
    await expect(openAdapters(empty, device, parameters)).rejects.toThrow(/no adapter_config\.json/);
    const config = encoder.encode(JSON.stringify(PEFT_CONFIG));
    const pickled = memoryFolder(new Map([["adapter_config.json", config]]), "old");
    await expect(openAdapters(pickled, device, parameters)).rejects.toThrow(/adapter_model\.bin is not read/);
    const damaged = memoryFolder(
      new Map([
        ["adapter_config.json", config],
        ["adapter_model.safetensors", new Uint8Array(20)],
      ]),
    );
    await expect(openAdapters(damaged, device, parameters)).rejects.toThrow();
  });

  it("refuses experts of which some have no adapter", async () => {
    const model = createModel(tinyConfigs.deepseek, device, { seed: 1 });
    using _model = model;
    using adapters = createAdapters(model, { rank: 2, alpha: 2, targets: ["up_proj"] }, 1);
    const tensors: Stored[] = [];
    for (const { name, shape } of adapters.parameters.named()) {
      if (name.includes("experts.3.")) continue;
      tensors.push({
        name,
        shape,
        values: (await adapters.parameters.get(name).data()).slice() as Float32Array,
      });
    }
    const tree = await folder({ ...PEFT_CONFIG, target_modules: ["up_proj"] }, tensors);
    await expect(openAdapters(tree, device, model.mainParameters)).rejects.toThrow(/all 8 experts or none/);
  });
});

describe("saveAdapters", () => {
  it.each(["llama", "v3"] as const)(
    "writes PEFT's layout, which is read back to the bit: %s",
    async (name) => {
      const model = createModel(tinyConfigs[name], device, { seed: 1 });
      using _model = model;
      using adapters = createAdapters(
        model,
        { rank: 3, alpha: 5, targets: ["all-linear"], rankStabilized: true },
        8,
      );
      const random = new Random(2);
      for (const { tensor } of adapters.parameters.groups()) {
        tensor.set(Float32Array.from({ length: tensor.size }, () => random.normal()));
      }
      const files = new Map<string, Uint8Array>();
      await saveAdapters(memoryFolderSink(files), adapters, { base: "some/model" });
      const config = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
      expect(config).toMatchObject({
        ...{
          peft_type: "LORA",
          r: 3,
          lora_alpha: 5,
          use_rslora: true,
          base_model_name_or_path: "some/model",
        },
      });
      expect(config.target_modules).toContain("down_proj");
      expect(config.target_modules).not.toContain("all-linear");
      const stored = await openSafetensors(bytesSource(files.get("adapter_model.safetensors")!, "weights"));
      const modules = adapters.modules.flatMap((module) =>
        ["A", "B"].map((matrix) => `base_model.model.${module}.lora_${matrix}.weight`),
      );
      expect([...stored.tensors.keys()].sort()).toEqual(modules.sort());
      if (name === "v3") {
        const expert = "base_model.model.model.layers.1.mlp.experts.5.up_proj.lora_B.weight";
        expect(stored.tensors.get(expert)?.shape).toEqual([8, 3]);
      }
      using again = await openAdapters(memoryFolder(files), device, model.mainParameters);
      expect(again.factor).toBe(adapters.factor);
      for (const { key, tensor } of adapters.parameters.groups()) {
        expect([...(await again.parameters.group(key).tensor.data())]).toEqual([...(await tensor.data())]);
      }
    },
  );
});
