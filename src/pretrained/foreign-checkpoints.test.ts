/** Checkpoints as other programs save them: what they add, drop or spell differently must not stop a load. */

import { describe, expect, it } from "vitest";
import { memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { loadModel, modelEntries } from "../checkpoint/model.ts";
import { type TestTensor, torchFile } from "../checkpoint/pytorch/testing.ts";
import type { SafetensorsEntry } from "../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { generate } from "../generate/generate.ts";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import type { Json } from "../models/config-reader.ts";
import { tinyConfigs } from "../models/testing.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { Scope } from "../tensor/tensor.ts";
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
    expect(() => loaded.model.loss(batch, { mtpWeight: 0.3 })).toThrow(/no multi-token-prediction module/);
    using scope = new Scope(device);
    expect(scope && (await loaded.model.loss(batch).loss.data()).length).toBe(1);
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
      const values = (await (data as () => Promise<Uint8Array>)()).slice();
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
