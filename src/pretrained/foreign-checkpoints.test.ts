/** Checkpoints as other programs save them: what they add, drop or spell differently must not stop a load. */

import { describe, expect, it } from "vitest";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { modelEntries } from "../checkpoint/entries.ts";
import { loadModel } from "../checkpoint/model.ts";
import { type TestTensor, torchFile } from "../checkpoint/pytorch/testing.ts";
import { pieces, type SafetensorsEntry } from "../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { generate } from "../engine/generate.ts";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import type { Json } from "../models/config-reader.ts";
import { tinyConfigs } from "../models/testing.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { Scope } from "../tensor/tensor.ts";
import { nextTokenLoss } from "../train/objectives/next-token.ts";
import { loadFolder } from "./load.ts";

const device = createReferenceDevice();

async function logits(model: CausalLM): Promise<number[]> {
  using _scope = new Scope(device);
  return [...(await model.logits(model.hidden(model.ids([[5, 9, 2]]))).data())];
}

/** A folder of `model` as `change` makes of its tensors, with `config`. */
async function folder(
  model: CausalLM,
  config: Json,
  change: (entries: SafetensorsEntry[]) => SafetensorsEntry[] = (entries) => entries,
) {
  const files = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(files), change([...modelEntries(model)]), { config });
  return memoryFolder(files);
}

describe("a V3 as transformers saves it, announcing a prediction layer that is absent", () => {
  const config = tinyConfigs.v3;
  const absent = (entries: SafetensorsEntry[]) =>
    entries.filter(({ name }) => !name.startsWith("model.layers.2."));

  it("loads, says so in one line, and refuses only speculation and training of the layer", async () => {
    using model = createModel(config, device, { seed: 4 });
    const tree = await folder(model, config, absent);
    const notices: string[] = [];
    await using loaded = await loadFolder(tree, { device, onNotice: (text) => notices.push(text) });
    expect(await logits(loaded.model)).toEqual(await logits(model));
    expect(notices).toEqual([expect.stringMatching(/^config.json names 1 .*the files hold none/)]);
    expect(loaded.model.config.mtpLayers).toBe(0);
    const speculating = () => generate(loaded.model, [5], { maxTokens: 2, speculative: true });
    expect(speculating).toThrow(/no multi-token-prediction module.*the files.*transformers/);
    const batch = { sequences: 1, ids: Int32Array.of(1, 2), targets: Int32Array.of(2, 3) };
    expect(() => nextTokenLoss(loaded.model, batch, { mtpWeight: 0.3 })).toThrow(
      /no multi-token-prediction module/,
    );
    using scope = new Scope(device);
    expect(scope && (await nextTokenLoss(loaded.model, batch).loss.data()).length).toBe(1);
  });

  it("quantizes and loads again without a word", async () => {
    using model = createModel(config, device, { seed: 4 });
    const tree = await folder(model, config, absent);
    using q8 = await loadModel(tree, device, { dtype: "q8" });
    expect(q8.config.mtpLayers).toBe(0);
  });

  it("takes the layers that are there, and calls a layer with holes damaged", async () => {
    const two = { ...config, num_nextn_predict_layers: 2 };
    using model = createModel(two, device, { seed: 5 });
    const first = (entries: SafetensorsEntry[]) =>
      entries.filter(({ name }) => !name.startsWith("model.layers.3."));
    using loaded = await loadModel(await folder(model, two, first), device);
    expect(loaded.config.mtpLayers).toBe(1);
    const holes = (entries: SafetensorsEntry[]) =>
      entries.filter(({ name }) => !name.startsWith("model.layers.3.") || name.endsWith("enorm.weight"));
    await expect(loadModel(await folder(model, two, holes), device)).rejects.toThrow(
      /lacks a tensor.*layers\.3\./,
    );
  });
});

describe("a folder that holds only torch's files", () => {
  it("loads to the same logits, projections saved transposed and weights of one storage included", async () => {
    const config = { ...tinyConfigs.llama, tie_word_embeddings: false };
    using model = createModel(config, device, { seed: 6 });
    const entries = [...modelEntries(model)];
    const storages: Record<string, Uint8Array> = {};
    const tensors: TestTensor[] = [];
    for (const { name, shape, data } of entries) {
      const parts: Uint8Array[] = [];
      for await (const part of pieces(data())) parts.push(part.slice());
      const values = new Uint8Array(Buffer.concat(parts));
      const [rows, columns] = shape;
      if (!name.endsWith("o_proj.weight")) {
        storages[name] = values;
        tensors.push({ name, dtype: "F32", shape, key: name });
        continue;
      }
      const turned = new Float32Array(rows * columns);
      const floats = new Float32Array(values.buffer);
      for (let i = 0; i < floats.length; i++) {
        turned[(i % columns) * rows + Math.floor(i / columns)] = floats[i];
      }
      storages[name] = new Uint8Array(turned.buffer);
      tensors.push({ name, dtype: "F32", shape, strides: [1, rows], key: name });
    }
    const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const widths = Object.fromEntries(Object.keys(storages).map((key) => [key, 4]));
    const files = new Map([
      ["config.json", text(config)],
      ["pytorch_model.bin", torchFile(tensors, storages, widths)],
      ["optimizer.pt", new Uint8Array(3)],
    ]);
    using loaded = await loadModel(memoryFolder(files), device);
    expect(await logits(loaded)).toEqual(await logits(model));
    using quantized = await loadModel(memoryFolder(files), device, { dtype: "q8" });
    expect((await logits(quantized)).every(Number.isFinite)).toBe(true);
  });
});

describe("what merges, fine-tunes and other programs leave in a folder", () => {
  const config = tinyConfigs.llama;
  const renamed = (entries: SafetensorsEntry[], rename: (name: string) => string) =>
    entries.map((entry) => ({ ...entry, name: rename(entry.name) }));

  it("names without `model.`, as the class without a head saves them", async () => {
    using model = createModel(config, device, { seed: 6 });
    const bare = await folder(model, config, (entries) =>
      renamed(entries, (name) => name.replace(/^model\./, "")),
    );
    using loaded = await loadModel(bare, device);
    expect(await logits(loaded)).toEqual(await logits(model));
    const headless = await folder(model, config, (entries) =>
      renamed(entries, (name) => name.replace(/^model\./, "")).filter(
        ({ name }) => name !== "lm_head.weight",
      ),
    );
    await expect(loadModel(headless, device)).rejects.toThrow(/lm_head.weight/);
  });

  it("a head beside tied embeddings, rotary buffers, keys that say nothing", async () => {
    using model = createModel(config, device, { seed: 6 });
    const buffer = { dtype: "F32", shape: [2], data: async () => new Uint8Array(8) } as const;
    const more = {
      ...config,
      tie_word_embeddings: true,
      dtype: "bfloat16",
      auto_map: { AutoConfig: "configuration_llama.LlamaConfig" },
      pad_token_id: -1,
      unsloth_fixed: true,
      _name_or_path: "/somewhere",
      layer_types: null,
      mlp_bias: null,
    };
    const tree = await folder(model, more, (entries) => [
      ...entries,
      { ...buffer, name: "model.rotary_emb.inv_freq" },
      { ...buffer, name: "model.layers.1.self_attn.rotary_emb.inv_freq" },
    ]);
    await using loaded = await loadFolder(tree, { device });
    expect(loaded.model.config.tieEmbeddings).toBe(true);
    expect(loaded.model.parameters.get("model.layers.0.mlp.up_proj.weight").dtype).toBe("bf16");
    expect(loaded.model.parameters.get("model.norm.weight").dtype).toBe("f32");
  });

  it("bfloat16 weights with float32 norms", async () => {
    using model = createModel(config, device, { seed: 6 });
    const files = new Map<string, Uint8Array>();
    await saveCheckpoint(memoryFolderSink(files), modelEntries(model), {
      config,
      dtype: "BF16",
      keepF32: (name) => name.includes("norm"),
    });
    using loaded = await loadModel(memoryFolder(files), device);
    expect(Math.max(...(await logits(loaded)).map(Math.abs))).toBeGreaterThan(0);
  });

  it.each(["awq", "gptq", "bitsandbytes", "compressed-tensors"])("refuses %s by name", async (method) => {
    using model = createModel(config, device, { seed: 6 });
    const tree = await folder(model, { ...config, quantization_config: { quant_method: method, bits: 4 } });
    await expect(loadModel(tree, device)).rejects.toThrow(
      new RegExp(`quant_method.*fp8.*found: ${method}.*GGUF`),
    );
  });

  it("says that an adapter is one", async () => {
    const text = (value: object) => new TextEncoder().encode(JSON.stringify(value));
    const files = new Map([
      ["adapter_config.json", text({ peft_type: "LORA" })],
      ["adapter_model.safetensors", new Uint8Array(9)],
    ]);
    await expect(loadModel(memoryFolder(files), device)).rejects.toThrow(
      /no checkpoint.*adapter: open its base model/,
    );
  });
});
