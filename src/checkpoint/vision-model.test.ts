/** Checkpoints of models that see: unused tensors kept, the names of the ports both ways, faults by name. */
import { afterAll, describe, expect, it } from "vitest";
import { parseVisionConfig, visionConfigJson } from "../models/vision-architectures.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { storageRule } from "../nn/storage.ts";
import { WithoutTiles } from "../nn/weight-source.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { modelEntries } from "./entries.ts";
import { openCheckpoint } from "./folder.ts";
import { memoryFolder, memoryFolderSink } from "./index.ts";
import { modelWeights } from "./model.ts";
import { nodeFolder } from "./node-files.ts";
import { saveCheckpoint } from "./save.ts";
import { tiledConfigText, tiledEntries } from "./tiles.ts";
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

describe.each([
  ...["vl/chat", "vl/hybrid-chat", "vl2/mla-noaux", "vl/chat-port", "vl/hybrid-port"],
  ...["janus/understand", "janus/generate-port", "janusflow/velocity"],
])("%s", (name) => {
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
});

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

  it.each(["vl/hybrid-chat", "vl2/mla"])(
    "of %s stores what a dtype says: linear layers of vision 8 bits, convolutions and tables floats",
    async (name) => {
      using model = await loadVisionModel(folder(name), device, { dtype: "q4" });
      const formats = new Map<string, string>();
      for (const { key, weight } of model.parameters.groups()) {
        const kind = key
          .replace(/^vision(_model)?\.(vision_tower_\w+\.)?(vision_tower\.)?/, "")
          .replace(/\.\d+(?=\.)/g, "");
        formats.set(kind, isQuantized(weight) ? weight.format : weight.dtype);
      }
      const wanted: Record<string, string> = {
        "patch_embed.proj.weight": "f32",
        pos_embed: "f32",
        "blocks.attn.qkv.weight": "q8",
        "blocks.attn.qkv.bias": "f32",
        "blocks.mlp.fc1.weight": "q8",
        ...(name === "vl2/mla"
          ? { "projector.layers.weight": "q8", "language.model.layers.self_attn.o_proj.weight": "q4" }
          : {
              "blocks.mlp.lin2.weight": "q8",
              "blocks.attn.rel_pos_h": "f32",
              "neck.weight": "f32",
              "downsamples.weight.channels_last": "f32",
              "aligner.layers.weight": "q8",
              "language_model.model.layers.mlp.down_proj.weight": "q4",
            }),
      };
      for (const [kind, format] of Object.entries(wanted)) expect(formats.get(kind), kind).toBe(format);
    },
  );

  it.each([
    ["vl/hybrid-chat", "q8"],
    ["vl/hybrid-chat", "q4"],
    ["vl2/mha", "q8"],
    ["vl2/mha", "q4"],
  ] as const)("of %s sees in %s as the same values in floats do", async (name, vision) => {
    const storage = storageRule("q4", vision);
    using quantized = await loadVisionModel(folder(name), device, { storage });
    const json = JSON.parse(await folder(name).readText("config.json"));
    using twin = await visionModelFrom(json, new WithoutTiles(weightsOf(quantized)), device);
    const { imageSize: side } = twin;
    const pixels = Float32Array.from({ length: 2 * side * side * 3 }, (_, i) => Math.sin(i * 0.7));
    const seen = async (model: VisionLanguageModel) => {
      using tokens = device.inference(() => model.encodeViews(device.tensor(pixels, [2, side, side, 3])));
      return Array.from(await tokens.data());
    };
    const [wanted, found] = [await seen(twin), await seen(quantized)];
    const relative = Math.hypot(...wanted.map((each, i) => each - found[i])) / Math.hypot(...wanted);
    // Activations are rounded to 16 bits with 8-bit weights and to 8 bits with 4-bit ones.
    expect(relative).toBeLessThan(vision === "q8" ? 2e-4 : 0.05);
    expect(relative).toBeGreaterThan(0);
  });

  it("keeps vision in bf16 where asked, also saved and opened again, and convolutions under official names", async () => {
    const tree = folder("vl/hybrid-chat");
    using model = await loadVisionModel(tree, device, { storage: storageRule("q4", "bf16") });
    const files = new Map<string, Uint8Array>();
    const original = await tree.readText("config.json");
    await saveCheckpoint(memoryFolderSink(files), tiledEntries(model), {
      config: tiledConfigText(model, original),
    });
    const saved = memoryFolder(files);
    const checkpoint = await openCheckpoint(saved);
    const high = "vision_model.vision_tower_high.vision_tower.";
    expect(checkpoint.info(`${high}downsamples.0.weight`)).toMatchObject({
      dtype: "BF16",
      shape: [16, 12, 3, 3],
    });
    expect(checkpoint.info(`${high}blocks.0.attn.qkv.weight`).dtype).toBe("BF16");
    expect([...checkpoint.names()].filter((each) => each.includes("channels_last"))).toEqual([]);
    await checkpoint.close();
    using again = await loadVisionModel(saved, device, { dtype: "auto" });
    const stored = ({ parameters }: VisionLanguageModel) =>
      [...parameters.groups()].map(({ key, weight }) => [
        key,
        isQuantized(weight) ? weight.format : weight.dtype,
      ]);
    expect(stored(again)).toEqual(stored(model));
    for (const { name: each } of model.parameters.named()) {
      if (isQuantized(model.parameters.place(each).group.weight)) continue;
      expect(await again.parameters.get(each).data(), each).toEqual(await model.parameters.get(each).data());
    }
  });
});

describe("modelEntries", () => {
  it.each(["f32", "bf16"] as const)(
    "of a model with convolutions gives official names, in %s",
    async (dtype) => {
      const tree = folder("vl/hybrid-chat");
      using model = await loadVisionModel(tree, device, { dtype });
      const files = new Map<string, Uint8Array>();
      await saveCheckpoint(memoryFolderSink(files), modelEntries(model), {
        config: visionConfigJson(model.config) as never,
      });
      const [saved, original] = [await tensorsOf(memoryFolder(files)), await tensorsOf(tree)];
      expect([...saved.keys()].sort()).toEqual([...original.keys()].sort());
      for (const [name, { shape, values }] of original) {
        expect(saved.get(name)!.shape, name).toEqual(shape);
        if (dtype === "f32") expect(saved.get(name)!.values, name).toEqual(values);
        else
          for (const [i, value] of values.entries()) {
            expect(Math.abs(saved.get(name)!.values[i] - value)).toBeLessThanOrEqual(Math.abs(value) / 256);
          }
      }
    },
  );
});
