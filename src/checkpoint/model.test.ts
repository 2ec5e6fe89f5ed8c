/** What configurations claim against what files hold: refused before lists or memory follow from a number. */
import { describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import type { Json } from "../models/config-reader.ts";
import { tinyConfigs } from "../models/testing.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { DeepseekError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { type FileTree, memoryFolder, memoryFolderSink } from "./byte-source.ts";
import { modelEntries } from "./entries.ts";
import { openCheckpoint } from "./folder.ts";
import { checkpointConfig, loadModel } from "./model.ts";
import type { SafetensorsEntry } from "./safetensors-writer.ts";
import { saveCheckpoint } from "./save.ts";
import { tiledConfig, tiledEntries } from "./tiles.ts";

const device = createReferenceDevice();
const HUGE = 1_000_000_000;

/** A folder with the entries of one configuration and the `config.json` of another. */
async function folder(entries: Iterable<SafetensorsEntry>, config: Json): Promise<FileTree> {
  const files = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(files), entries, { config });
  return memoryFolder(files);
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("no error"),
    (error: unknown) => error as Error,
  );

describe("counts and sizes of a configuration", () => {
  it.each([
    ["llama", "num_hidden_layers", "the file has 2 layers, its configuration says 1000000000"],
    ["v3", "num_hidden_layers", "the file has 3 layers, its configuration says 1000000000"],
    ["v3", "n_routed_experts", "the file has 8 experts, its configuration says 1000000000"],
    ["deepseek", "n_routed_experts", "the file has 8 experts, its configuration says 1000000000"],
  ] as const)("%s with %s of a billion", async (family, key, message) => {
    const config = tinyConfigs[family] as Json;
    using model = createModel(config, device, { seed: 1 });
    const tree = await folder(modelEntries(model), { ...config, [key]: HUGE });
    expect((await failure(loadModel(tree, device))).message).toContain(message);
    const checkpoint = await openCheckpoint(tree);
    expect(() => checkpointConfig(checkpoint)).toThrow(message);
    await checkpoint.close();
  });

  it("holds for experts that are saved stacked, and for a layer whose number alone is large", async () => {
    const config = tinyConfigs.v3 as Json;
    using model = createModel(config, device, { seed: 1 });
    const stacked: SafetensorsEntry[] = [];
    for (const { stackedName, shape, tensor, parts } of model.parameters.groups()) {
      const data = async () => new Uint8Array(((await tensor.data()) as Float32Array).slice().buffer);
      if (stackedName !== undefined) stacked.push({ name: stackedName, dtype: "F32", shape, data });
      else for (const { name } of parts) stacked.push([...modelEntries(model)].find((e) => e.name === name)!);
    }
    using loaded = await loadModel(await folder(stacked, config), device);
    expect(loaded.config.moe?.experts).toBe(8);
    const more = await folder(stacked, { ...config, n_routed_experts: HUGE });
    expect((await failure(loadModel(more, device))).message).toMatch(/has 8 experts.*1000000000/);

    const far: SafetensorsEntry = {
      name: `model.layers.${HUGE - 1}.mlp.experts.${HUGE - 1}.down_proj.weight`,
      dtype: "F32",
      shape: [0],
      data: async () => new Uint8Array(0),
    };
    const tree = await folder([...modelEntries(model), far], { ...config, num_hidden_layers: HUGE });
    expect((await failure(loadModel(tree, device))).message).toMatch(/has 4 layers.*1000000000/);
  });

  it("takes no memory for widths that the files do not have", async () => {
    const keys = {
      llama: ["vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim"],
      v3: [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "n_shared_experts",
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "num_attention_heads",
      ],
    } as const;
    for (const family of ["llama", "v3"] as const) {
      const config = tinyConfigs[family] as Json;
      using model = createModel(config, device, { seed: 1 });
      using small = createModel(config, device, { seed: 1, dtype: "q8" });
      const [floats, tiles] = [[...modelEntries(model)], [...tiledEntries(small)]];
      for (const key of keys[family]) {
        for (const claimed of [2 * HUGE, 2 ** 52]) {
          const changed = {
            [key]: claimed,
            ...(key === "num_attention_heads" && { num_key_value_heads: claimed }),
          };
          const plain = await failure(loadModel(await folder(floats, { ...config, ...changed }), device));
          expect(plain, `${family} ${key}`).toBeInstanceOf(DeepseekError);
          expect(plain.message).toMatch(/shape|lacks|unsupported/);
          const tiled = { ...tiledConfig(small), ...changed };
          const other = await failure(loadModel(await folder(tiles, tiled), device, { dtype: "auto" }));
          expect(other, `${family} ${key} in tiles`).toBeInstanceOf(DeepseekError);
          expect(other.message).toMatch(/shape|lacks|size|unsupported/);
        }
      }
    }
  });

  it("names as many prediction layers as are stored, however many the configuration has", async () => {
    const config = tinyConfigs.v3 as Json;
    using model = createModel(config, device, { seed: 1 });
    const tree = await folder(modelEntries(model), { ...config, num_nextn_predict_layers: HUGE });
    const notices: string[] = [];
    const checkpoint = await openCheckpoint(tree);
    const found = checkpointConfig(checkpoint, (text) => notices.push(text));
    expect(found.config.mtpLayers).toBe(1);
    expect(notices).toEqual([expect.stringContaining("1000000000 multi-token-prediction layers")]);
    await checkpoint.close();
    using loaded = await loadModel(tree, device);
    expect(loaded.config.mtpLayers).toBe(1);
  });

  it("are refused without a file where no description could be held", () => {
    const layers = { ...(tinyConfigs.llama as Json), num_hidden_layers: HUGE };
    expect(() => createModel(layers, device)).toThrow(/too many layers and experts.*num_hidden_layers/);
    const experts = { ...(tinyConfigs.v3 as Json), n_routed_experts: HUGE };
    expect(() => createModel(experts, device)).toThrow(/num_hidden_layers times n_routed_experts/);
    const modules = { ...(tinyConfigs.v3 as Json), num_nextn_predict_layers: HUGE };
    expect(() => createModel(modules, device)).toThrow(/num_nextn_predict_layers/);
  });
});

describe("a folder of quantized weights", () => {
  it.each(["llama", "v3"] as const)("of %s opens in floats: the values that were stored", async (family) => {
    using small = createModel(tinyConfigs[family], device, { seed: 1, dtype: "q8" });
    const tree = await folder(tiledEntries(small), tiledConfig(small));
    using model = await loadModel(tree, device, { dtype: "f32" });
    const stored = weightsOf(small);
    expect([...model.parameters.named()].map(({ name }) => name)).toEqual([...stored.names()]);
    for (const { name } of model.parameters.named()) {
      const values: number[] = [];
      for await (const chunk of stored.readF32(name)) values.push(...chunk.values);
      expect([...(await model.parameters.get(name).data())], name).toEqual(values);
    }
  });
});
