/** `convert` on models that see: the language model alone, quantized weights back to floats, and what has no form. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { openGguf } from "../../checkpoint/gguf/reader.ts";
import { nodeFileSource, nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import type { TokenModel } from "../../models/token-model.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { load } from "../../pretrained/node-load.ts";
import { quantizeModel } from "../../runs/quantize.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import type { SiglipConfig } from "../../vision/tower-config.ts";
import { convertCommand } from "./convert.ts";

const device = createReferenceDevice();
let root: string;
const at = (name: string) => join(root, name);
const fixture = (name: string) => new URL(`../../../test/fixtures/${name}`, import.meta.url).pathname;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "convert-vision-"));
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
});
afterAll(async () => {
  vi.restoreAllMocks();
  await device[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const convert = (...args: string[]) => convertCommand().parseAsync(args, { from: "user" });

async function logitsOf(model: TokenModel): Promise<Float32Array> {
  const ids = Array.from({ length: 12 }, (_, i) => (i * 5 + 3) % 60);
  using logits = device.inference(() => model.logits(model.hidden(model.ids([ids]))));
  return (await logits.data()) as Float32Array;
}

const families = ["vl/chat", "vl/hybrid-port", "vl2/mla", "vl2/mha"];
const drawing = ["janus/understand", "janus/understand-port", "janusflow/understand"];

describe.each([...families, ...drawing])("the language model of %s", (name) => {
  it("computes the same from a folder of its own", async () => {
    const out = at(name.replace("/", "-"));
    await convert(fixture(name), out, "--part", "language");
    using whole = await loadVisionModel(nodeFolder(fixture(name)), device);
    await using alone = await load(out, { device });
    expect(alone.vision).toBeNull();
    expect(await logitsOf(alone.model)).toEqual(await logitsOf(whole.language));
    const names = [...weightsOf(alone.model).names()];
    expect(names).toContain("model.layers.0.self_attn.o_proj.weight");
  });

  it("computes the same from a GGUF file, also of a quantized folder", async () => {
    const file = at(`${name.replace("/", "-")}.gguf`);
    await convert(fixture(name), file, "--part", "language", "--type", "f32");
    using whole = await loadVisionModel(nodeFolder(fixture(name)), device);
    await using alone = await load(file, { device });
    const [wanted, found] = [await logitsOf(whole.language), await logitsOf(alone.model)];
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(wanted[i], 4);
    });
    const quantized = at(`${name.replace("/", "-")}-q8`);
    await quantizeModel({ model: fixture(name), out: quantized, dtype: "q8", threads: 1 });
    await convert(quantized, `${quantized}.gguf`, "--part", "language", "--type", "f32");
    await using rounded = await load(`${quantized}.gguf`, { device });
    using twin = await loadVisionModel(nodeFolder(quantized), device, { dtype: "f32" });
    const [floats, again] = [await logitsOf(twin.language), await logitsOf(rounded.model)];
    again.forEach((value, i) => {
      expect(value).toBeCloseTo(floats[i], 4);
    });
  });
});

describe("a quantized folder", () => {
  it("becomes one of floats under the names of the original, with its files", async () => {
    await mkdir(at("world"));
    for (const [name, bytes] of await worldCheckpoint("vl2", device))
      await writeFile(join(at("world"), name), bytes);
    for (const model of [at("world"), fixture("vl/hybrid-port"), fixture("llm/mha")]) {
      const [quantized, floats] = [await mkdtemp(at("q")), await mkdtemp(at("f"))];
      await quantizeModel({ model, out: quantized, dtype: "q8", threads: 1 });
      await convert(quantized, floats, "--type", "bf16");
      const [before, after] = [
        await openCheckpoint(nodeFolder(model)),
        await openCheckpoint(nodeFolder(floats)),
      ];
      expect([...after.names()].sort()).toEqual([...before.names()].sort());
      for (const name of before.names()) {
        expect(after.info(name)).toMatchObject({ shape: before.info(name).shape, dtype: "BF16" });
      }
      expect(after.config).toEqual({ ...before.config, torch_dtype: "bfloat16" });
      await before.close();
      await after.close();
      for (const name of await readdir(model)) {
        if (!/^(tokenizer.*|processor_config)\.json$/.test(name)) continue;
        expect(await readFile(join(floats, name), "utf8")).toBe(await readFile(join(model, name), "utf8"));
      }
    }
  });
});

describe.each(["janus/understand", "janus/understand-port"])("what %s sees with", (name) => {
  const folder = async (more: object = {}) => {
    const out = await mkdtemp(at("janus"));
    await cp(fixture(name), out, { recursive: true });
    const preprocessor = { image_mean: [0.5, 0.25, 0.125], image_std: [0.5, 0.75, 1], ...more };
    await writeFile(join(out, "preprocessor_config.json"), JSON.stringify(preprocessor));
    return out;
  };

  it("becomes a file that llama.cpp reads beside the language model, with the same values", async () => {
    const out = `${at(name.replace("/", "-"))}-mmproj.gguf`;
    await convert(await folder(), out, "--part", "vision", "--type", "f32");
    // The reader of another project, then ours for the values.
    const { metadata, tensorInfos } = await gguf(out, { allowLocalFile: true });
    using model = await loadVisionModel(nodeFolder(fixture(name)), device);
    const tower = model.config.tower as SiglipConfig;
    const language = model.config.language.hiddenSize;
    expect(metadata).toMatchObject({
      ...{
        "general.architecture": "clip",
        "clip.projector_type": "janus_pro",
        "clip.has_vision_encoder": true,
      },
      ...{ "clip.use_gelu": true, "clip.vision.image_size": tower.imageSize },
      ...{ "clip.vision.patch_size": tower.patchSize, "clip.vision.embedding_length": tower.width },
      ...{ "clip.vision.feed_forward_length": tower.mlpWidth, "clip.vision.block_count": tower.layers },
      ...{ "clip.vision.attention.head_count": tower.heads, "clip.vision.projection_dim": language },
      ...{ "clip.vision.image_mean": [0.5, 0.25, 0.125], "clip.vision.image_std": [0.5, 0.75, 1] },
    });
    expect(metadata).toHaveProperty(["clip.vision.attention.layer_norm_epsilon"], Math.fround(1e-6));
    expect(tensorInfos).toHaveLength(5 + 16 * tower.layers + 4);

    const own = weightsOf(model);
    const values = async (source: WeightSource, tensor: string) => {
      const all: number[] = [];
      for await (const chunk of source.readF32(tensor)) all.push(...chunk.values);
      return all;
    };
    const bytes = await nodeFileSource(out);
    const file = await openGguf(bytes);
    const read = async (tensor: string) => {
      const info = file.tensors.get(tensor)!;
      const raw = await info.source.read(info.begin, info.bytes);
      return Array.from(new Float32Array(raw.slice().buffer));
    };
    const same = async (official: string, ...parts: string[]) => {
      const found: number[] = [];
      for (const part of parts) found.push(...(await read(part)));
      expect(found).toEqual(await values(own, official));
    };
    const [root, last] = ["vision_model.vision_tower", tower.layers - 1];
    await same(`${root}.patch_embed.proj.weight`, "v.patch_embd.weight");
    await same(`${root}.pos_embed`, "v.position_embd.weight");
    await same(`${root}.norm.bias`, "v.post_ln.bias");
    const thirds = (what: string) => ["q", "k", "v"].map((each) => `v.blk.${last}.attn_${each}.${what}`);
    await same(`${root}.blocks.${last}.attn.qkv.weight`, ...thirds("weight"));
    await same(`${root}.blocks.${last}.attn.qkv.bias`, ...thirds("bias"));
    await same(`${root}.blocks.${last}.attn.proj.weight`, `v.blk.${last}.attn_out.weight`);
    await same(`${root}.blocks.${last}.mlp.fc1.weight`, `v.blk.${last}.ffn_up.weight`);
    await same(`${root}.blocks.${last}.mlp.fc2.weight`, `v.blk.${last}.ffn_down.weight`);
    await same(`${root}.blocks.${last}.norm2.weight`, `v.blk.${last}.ln2.weight`);
    await same("aligner.layers.0.weight", "mm.0.weight");
    await same("aligner.layers.2.bias", "mm.1.bias");
    await bytes.close?.();
  });

  it("is f16 where it convolves, and pixels that are not normalized stay so", async () => {
    const out = `${at(name.replace("/", "-"))}-mmproj-q8.gguf`;
    await convert(await folder({ do_normalize: false }), out, "--part", "vision", "--type", "q8_0");
    const bytes = await nodeFileSource(out);
    const file = await openGguf(bytes);
    const type = (tensor: string) => file.tensors.get(tensor)!.type;
    expect([type("v.patch_embd.weight"), type("v.position_embd.weight"), type("mm.0.bias")]).toEqual([
      "F16",
      "F32",
      "F32",
    ]);
    expect(["Q8_0", "F16"]).toContain(type("v.blk.0.attn_q.weight"));
    expect(file.metadata.get("clip.vision.image_std")).toMatchObject({ items: new Float32Array([1, 1, 1]) });
    await bytes.close?.();
  });
});

describe("refused by name", () => {
  it("a model that llama.cpp does not see with, and a folder that does not say how pixels are prepared", async () => {
    const vl = await mkdtemp(at("vl"));
    await cp(fixture("vl/chat"), vl, { recursive: true });
    await writeFile(join(vl, "preprocessor_config.json"), "{}");
    await expect(convert(vl, at("vl.gguf"), "--part", "vision")).rejects.toThrow(
      /no projector for the model.*Janus/,
    );
    const bare = convert(fixture("janus/understand"), at("bare.gguf"), "--part", "vision");
    await expect(bare).rejects.toThrow(/preprocessor_config\.json/);
    expect((await readdir(root)).filter((name) => /^(vl|bare)\.gguf/.test(name))).toEqual([]);
  });

  it.each([
    [["vl2/mla", "out.gguf"], /no place for the image tower.*--part language/],
    [["llm/mha", "out.gguf", "--part", "language"], /has no parts.*Leave --part out/],
    [["vl2/mla", "out"], /can only be converted to GGUF/],
  ])("%j", async ([model, out, ...rest], message) => {
    await expect(convert(fixture(model), at(out), ...rest)).rejects.toThrow(message);
    expect(await readdir(root)).not.toContain(out);
  });
});
