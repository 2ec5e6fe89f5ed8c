/** Checkpoints of models that see: unused tensors kept, the names of the ports both ways, faults by name. */
import { afterAll, describe, expect, it } from "vitest";
import { parseVisionConfig, visionConfigJson } from "../models/vision-architectures.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { openCheckpoint } from "./folder.ts";
import { memoryFolder, memoryFolderSink } from "./index.ts";
import { modelWeights } from "./model.ts";
import { nodeFolder } from "./node-files.ts";
import { saveCheckpoint } from "./save.ts";
import { tiledEntries } from "./tiles.ts";
import { loadVisionModel, visionEntries, visionModelFrom } from "./vision-model.ts";

const device = createReferenceDevice();
afterAll(() => device[Symbol.asyncDispose]());
const folder = (name: string) => nodeFolder(new URL(`../../test/fixtures/${name}`, import.meta.url).pathname);

/** All tensors of a folder. */
async function tensorsOf(tree: ReturnType<typeof memoryFolder>) {
  const checkpoint = await openCheckpoint(tree);
  const found = new Map<string, { shape: readonly number[]; values: number[] }>();
  for (const name of checkpoint.names()) {
    const values: number[] = [];
    for await (const chunk of checkpoint.readF32(name)) values.push(...chunk.values);
    found.set(name, { shape: checkpoint.info(name).shape, values });
  }
  await checkpoint.close();
  return found;
}

describe.each(["vl/chat", "vl/hybrid-chat", "vl2/mla-noaux", "vl/chat-port", "vl/hybrid-port"])(
  "%s",
  (name) => {
    it("is saved as it was, unused tensors included", async () => {
      const tree = folder(name);
      using model = await loadVisionModel(tree, device);
      const files = new Map<string, Uint8Array>();
      await saveCheckpoint(memoryFolderSink(files), visionEntries(model), {
        config: visionConfigJson(model.config) as never,
      });
      const saved = memoryFolder(files);
      expect(await tensorsOf(saved)).toEqual(await tensorsOf(tree));
      expect(parseVisionConfig(JSON.parse(await saved.readText("config.json")))).toEqual(model.config);
      for (const { key, trained } of model.parameters.groups()) {
        expect(trained, key).toBe(!/attn_pool|high_layer_norm|low_layer_norm|e_score/.test(key));
      }
    });
  },
);

describe("a checkpoint of a model that sees", () => {
  const sourceOf = async (name: string, without: string) => {
    const checkpoint = await openCheckpoint(folder(name));
    const source = modelWeights(checkpoint);
    return {
      json: checkpoint.config!,
      source: {
        ...source,
        *names() {
          for (const each of source.names()) if (each !== without) yield each;
        },
        has: (each: string) => each !== without && source.has(each),
      },
      close: () => checkpoint.close(),
    };
  };

  it.each([
    ["vl/chat", "vision_model.vision_tower.norm.bias"],
    ["vl/chat", "vision_model.vision_tower.attn_pool.q.bias"],
    ["vl2/mla", "image_newline"],
    ["vl/chat-port", "model.vision_model.vision_model.encoder.layers.1.self_attn.k_proj.bias"],
    ["vl/hybrid-port", "model.high_res_vision_alpha"],
  ])("of %s is refused without %s, by that name", async (name, without) => {
    const { buffers } = device.backend.memory();
    const { json, source, close } = await sourceOf(name, without);
    await expect(visionModelFrom(json, source, device)).rejects.toThrow(`lacks a tensor; name: ${without}`);
    expect(device.backend.memory().buffers).toBe(buffers);
    await close();
  });

  it.each(["vl/chat", "vl/chat-port"])(
    "of %s is refused with more layers than its files have, before they are described",
    async (name) => {
      const { json, source, close } = await sourceOf(name, "");
      const wrong = structuredClone(json) as Record<string, Record<string, unknown>>;
      const language = wrong.text_config ?? wrong.language_config;
      // The most that a description would be made of: a minute and gigabytes.
      language.num_hidden_layers = 2 ** 18;
      await expect(visionModelFrom(wrong as never, source, device)).rejects.toThrow("the file has 2 layers");
      await close();
    },
  );

  it("is refused with a tensor that has no place", async () => {
    const { json, source, close } = await sourceOf("vl/chat", "");
    const more = {
      ...source,
      *names() {
        yield* source.names();
        yield "vision_model.vision_tower.blocks.7.norm1.bias";
      },
    };
    await expect(visionModelFrom(json, more, device)).rejects.toThrow("blocks.7.norm1.bias");
    await close();
  });

  it("is refused where shapes are others than config.json says, before memory is taken", async () => {
    const { buffers } = device.backend.memory();
    for (const name of ["vl/chat", "vl/chat-port"]) {
      const { json, source, close } = await sourceOf(name, "");
      const wrong = structuredClone(json) as { vision_config: Record<string, unknown> };
      const sizes = (wrong.vision_config.params ?? wrong.vision_config) as Record<string, unknown>;
      Object.assign(sizes, { image_size: 4096 });
      await expect(visionModelFrom(wrong as never, source, device)).rejects.toThrow(/wrong shape.*pos/);
      await close();
    }
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("gives quantized models, towers too, that see nearly the same", async () => {
    using exact = await loadVisionModel(folder("vl/chat"), device);
    using rounded = await loadVisionModel(folder("vl/chat"), device, { dtype: "q8" });
    const side = exact.imageSize;
    const pixels = Float32Array.from({ length: side * side * 3 }, (_, i) => Math.sin(i * 0.7));
    const [[a], [b]] = [
      await exact.encodeImages({ pixels, tiles: [[0, 0]] }),
      await rounded.encodeImages({ pixels, tiles: [[0, 0]] }),
    ];
    expect(a.hash).toBe(b.hash);
    const [x, y] = [Array.from(await a.embeddings.data()), Array.from(await b.embeddings.data())];
    const distance = Math.hypot(...x.map((each, i) => each - y[i])) / Math.hypot(...x);
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(0.05);
    const names = [...weightsOf(rounded).names()];
    expect(names).toEqual([...weightsOf(exact).names()]);
    for (const each of [a, b]) each[Symbol.dispose]();
  });

  it.each(["vl/chat", "vl/chat-port", "vl2/mla"])(
    "of %s is saved in 8 bits and opened again, also as floats",
    async (name) => {
      using rounded = await loadVisionModel(folder(name), device, { dtype: "q8" });
      const files = new Map<string, Uint8Array>();
      const config = JSON.parse(await folder(name).readText("config.json"));
      await saveCheckpoint(memoryFolderSink(files), tiledEntries(rounded), { config });
      const side = rounded.imageSize;
      const tiles = rounded.tiles === null ? ([0, 0] as const) : ([2, 1] as const);
      const views = 1 + tiles[0] * tiles[1];
      const pixels = Float32Array.from({ length: views * side * side * 3 }, (_, i) => Math.sin(i * 0.7));
      const see = async (model: VisionLanguageModel) => {
        const [image] = await model.encodeImages({ pixels, tiles: [tiles] });
        const values = Array.from(await image.embeddings.data());
        image[Symbol.dispose]();
        expect(values.length).toBe(model.imageTokens(tiles) * model.config.language.hiddenSize);
        return values;
      };
      using same = await loadVisionModel(memoryFolder(files), device, { dtype: "auto" });
      const wanted = await see(rounded);
      expect(await see(same)).toEqual(wanted);
      using floats = await loadVisionModel(memoryFolder(files), device);
      expect([...floats.parameters.groups()].every(({ weight }) => !isQuantized(weight))).toBe(true);
      const found = await see(floats);
      const distance = Math.hypot(...found.map((each, i) => each - wanted[i])) / Math.hypot(...wanted);
      expect(distance).toBeLessThan(0.05);
    },
  );
});
