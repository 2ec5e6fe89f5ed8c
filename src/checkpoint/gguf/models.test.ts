/** Models through GGUF and back: weights bit for bit, configurations in meaning, logits; refusals by name. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/causal-lm.ts";
import { type LanguageConfig, parseConfig, toConfigJson } from "../../models/config.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { isQuantized } from "../../tensor/quantized.ts";
import { Random } from "../../tensor/random.ts";
import type { Device } from "../../tensor/tensor.ts";
import { bytesSource, memorySink } from "../byte-source.ts";
import { openCheckpoint } from "../folder.ts";
import { modelFrom, modelWeights } from "../model.ts";
import { nodeFileSink, nodeFolder } from "../node-files.ts";
import { dequantize } from "./blocks.ts";
import { ggufConfig } from "./config.ts";
import { type ExportOptions, exportGguf, type GgufModel } from "./export.ts";
import { quantize, type WritableType } from "./quantize.ts";
import { type GgufFile, openGguf } from "./reader.ts";
import { f32, type GgufValue, ggmlTypes, u32 } from "./types.ts";
import { ggufWeights } from "./weights.ts";
import { type GgufEntry, writeGguf } from "./writer.ts";

const FIXTURES = new URL("../../../test/fixtures/", import.meta.url);
const fixtures = [
  ...["llm/mha", "llm/gqa", "llm/linear-rope", "moe/v1", "v2/full", "v2/lite", "v2/mha", "v2/yarn-mscale-1"],
  ...["v3/base", "v3/mtp", "v3/fp8", "v3/sharded-bf16"],
];

let device: Device;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
});
afterAll(() => device[Symbol.asyncDispose]());

async function exported(model: GgufModel, options: ExportOptions): Promise<GgufFile> {
  let bytes = new Uint8Array(0);
  const sink = memorySink("model.gguf", (whole) => {
    bytes = new Uint8Array(whole);
  });
  expect(await exportGguf(sink, model, options)).toBe(bytes.length);
  return openGguf(bytesSource(bytes, "model.gguf"));
}

/** The file with other metadata or tensors. */
async function rewritten(
  file: GgufFile,
  change: (metadata: Map<string, GgufValue>, tensors: Map<string, GgufEntry>) => void,
): Promise<GgufFile> {
  const metadata = new Map(file.metadata);
  const tensors = new Map<string, GgufEntry>();
  for (const tensor of file.tensors.values()) {
    const { name, shape, type, bytes } = tensor;
    tensors.set(name, {
      name,
      shape,
      type,
      data: async function* () {
        yield await file.read(tensor, 0, bytes);
      },
    });
  }
  change(metadata, tensors);
  let whole = new Uint8Array(0);
  const sink = memorySink("changed.gguf", (bytes) => {
    whole = new Uint8Array(bytes);
  });
  await writeGguf(sink, { metadata, tensors: [...tensors.values()] });
  return openGguf(bytesSource(whole, "changed.gguf"));
}

async function all(source: WeightSource, name: string): Promise<Float32Array> {
  const size = source.shape(name).reduce((a, b) => a * b, 1);
  const values = new Float32Array(size);
  let at = 0;
  for await (const { offset, values: part } of source.readF32(name)) {
    expect(offset).toBe(at);
    values.set(part, offset);
    at += part.length;
  }
  expect(at).toBe(size);
  return values;
}

const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
/** What GGUF keeps of a configuration. */
const kept = (config: LanguageConfig): LanguageConfig => ({ ...config, mtpLayers: 0, quantization: null });

async function logits(configJson: unknown, source: WeightSource): Promise<Float32Array> {
  using model = createModel(configJson, device, { mtpLayers: 0 });
  await model.load(source);
  const random = new Random(4);
  using ids = model.ids([Array.from({ length: 40 }, () => random.int(model.config.vocabSize))]);
  using hidden = model.hidden(ids);
  using output = model.logits(hidden);
  return (await output.data()) as Float32Array;
}

async function openFixture(name: string) {
  const checkpoint = await openCheckpoint(nodeFolder(new URL(name, FIXTURES).pathname));
  const config = parseConfig(checkpoint.config);
  return { checkpoint, config, weights: modelWeights(checkpoint) };
}

describe("reference models", () => {
  it.each(fixtures)("%s comes back from an F32 file bit for bit", async (name) => {
    const { checkpoint, config, weights } = await openFixture(name);
    const file = await exported({ weights, config }, { type: "F32" });
    const back = ggufWeights(file);
    const names = [...back.names()];
    const layer = (tensor: string) => Number(/^model\.layers\.(\d+)\./.exec(tensor)?.[1] ?? -1);
    expect(new Set(names)).toEqual(
      new Set([...weights.names()].filter((tensor) => layer(tensor) < config.layers)),
    );
    for (const tensor of names) {
      expect(back.shape(tensor), tensor).toEqual(weights.shape(tensor));
      expect(bits(await all(back, tensor)), tensor).toEqual(bits(await all(weights, tensor)));
    }
    const json = ggufConfig(file);
    // V2 with plain attention is the first generation's model.
    const type = name === "v2/mha" ? "deepseek" : config.modelType;
    expect(parseConfig(json)).toEqual({ ...kept(config), modelType: type });
    const original = await logits({ ...checkpoint.config, quantization_config: undefined }, weights);
    expect(bits(await logits(json, back))).toEqual(bits(original));
    await checkpoint.close();
  });

  it.each(["F16", "BF16", "Q8_0", "Q4_0"] as const)("are near the originals in %s", async (type) => {
    const bound = { F16: 0.0005, BF16: 0.003, Q8_0: 0.01, Q4_0: 0.15 }[type];
    for (const name of ["llm/mha", "moe/v1", "v3/base"]) {
      const { checkpoint, config, weights } = await openFixture(name);
      const file = await exported({ weights, config }, { type });
      const back = ggufWeights(file);
      for (const tensor of back.names()) {
        const original = await all(weights, tensor);
        const found = await all(back, tensor);
        const norm = Math.hypot(...original.subarray(0, 4096));
        const error = Math.hypot(...original.subarray(0, 4096).map((value, i) => value - found[i]));
        expect(error, tensor).toBeLessThanOrEqual(bound * norm);
        const exact = /norm|gate\.weight|bias/.test(tensor);
        if (exact) expect(error, tensor).toBe(0);
      }
      for (const { name: stored, ne, type: storedType } of file.tensors.values()) {
        const plain = ne.length === 1 || stored.includes("ffn_gate_inp");
        const narrow = ne[0] % ggmlTypes[type].values !== 0;
        expect(storedType, stored).toBe(plain ? "F32" : narrow ? "F16" : type);
      }
      await checkpoint.close();
    }
  });

  it("are parsed by @huggingface/gguf with the metadata of the specification", async () => {
    const { checkpoint, config, weights } = await openFixture("v3/base");
    const folder = await mkdtemp(join(tmpdir(), "gguf-"));
    try {
      const path = join(folder, "v3.gguf");
      await exportGguf(await nodeFileSink(path), { weights, config, name: "tiny" }, { type: "Q8_0" });
      const { metadata, tensorInfos } = await gguf(path, { allowLocalFile: true });
      expect(metadata).toMatchObject({
        "general.architecture": "deepseek2",
        "general.name": "tiny",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "deepseek2.block_count": 4,
        "deepseek2.attention.head_count": 4,
        "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.key_length": 40,
        "deepseek2.attention.value_length": 24,
        "deepseek2.attention.key_length_mla": 28,
        "deepseek2.attention.value_length_mla": 10,
        "deepseek2.attention.q_lora_rank": 20,
        "deepseek2.rope.dimension_count": 16,
        "deepseek2.rope.scaling.type": "yarn",
        "deepseek2.rope.scaling.yarn_log_multiplier": Math.fround(0.1),
        "deepseek2.expert_gating_func": 2,
        "deepseek2.expert_weights_norm": true,
        "deepseek2.expert_group_count": 4,
        "deepseek2.expert_group_used_count": 2,
        "deepseek2.leading_dense_block_count": 2,
        "tokenizer.ggml.model": "none",
      });
      const info = (name: string) => tensorInfos.find((tensor) => tensor.name === name);
      expect(info("blk.0.attn_k_b.weight")).toMatchObject({ shape: [12n, 24n, 4n], dtype: 1 });
      expect(info("blk.0.attn_v_b.weight")).toMatchObject({ shape: [24n, 10n, 4n], dtype: 1 });
      expect(info("blk.2.ffn_gate_exps.weight")).toMatchObject({ shape: [64n, 12n, 16n], dtype: 8 });
      expect(info("blk.2.ffn_gate_inp.weight")).toMatchObject({ shape: [64n, 16n], dtype: 0 });
      expect(info("blk.2.exp_probs_b.bias")).toMatchObject({ shape: [16n], dtype: 0 });
      expect(tensorInfos.some(({ name }) => name.startsWith("blk.4."))).toBe(false);
    } finally {
      await rm(folder, { recursive: true });
      await checkpoint.close();
    }
  });

  it("refuses the mixed temperatures of YaRN that llama.cpp has no form for", async () => {
    const json = JSON.parse(readFileSync(new URL("v2/yarn-mscale-mixed/config.json", FIXTURES), "utf8"));
    const config = parseConfig(json);
    await expect(exported({ weights: nothing, config }, { type: "F32" })).rejects.toThrow(
      /rope_scaling.mscale/,
    );
  });
});

const nothing: WeightSource = {
  names: () => [],
  has: () => false,
  shape: () => [],
  readF32: () => {
    throw new Error("not to be read");
  },
};

/** A small model of each family whose rows are whole blocks. */
const wide = {
  hidden_size: 64,
  intermediate_size: 96,
  num_attention_heads: 2,
  moe_intermediate_size: 32,
  vocab_size: 40,
};
const wideLatent = {
  kv_lora_rank: 32,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 8,
  v_head_dim: 16,
  q_lora_rank: 32,
  rope_scaling: null,
};
const blockModels = {
  llama: { ...tinyConfigs.llama, ...wide, num_key_value_heads: 1 },
  deepseek: { ...tinyConfigs.deepseek, ...wide },
  v2: { ...tinyConfigs.v2, ...wide, ...wideLatent },
  v3: {
    ...tinyConfigs.v3,
    ...wide,
    ...wideLatent,
    num_attention_heads: 3,
    v_head_dim: 32,
    num_nextn_predict_layers: 0,
  },
};

async function blockModel(name: keyof typeof blockModels, type: WritableType): Promise<GgufFile> {
  using model = createModel(blockModels[name], device, { seed: 8, std: 0.1 });
  return await exported({ weights: weightsOf(model), config: model.config }, { type });
}

describe("stored blocks", () => {
  it.each(Object.keys(blockModels) as (keyof typeof blockModels)[])(
    "of %s are the rows of the official tensors",
    async (name) => {
      for (const type of ["Q8_0", "Q4_0"] as const) {
        const weights = ggufWeights(await blockModel(name, type));
        const names = [...weights.names()];
        if (name[0] === "v")
          names.push("model.layers.0.self_attn.k_b_proj.weight", "model.layers.0.self_attn.v_b_proj.weight");
        for (const tensor of names) {
          const joined = tensor.endsWith("kv_b_proj.weight");
          const plain = /norm|mlp\.gate\.|bias/.test(tensor) || joined;
          expect(weights.blockType(tensor), tensor).toBe(plain ? null : type);
          if (plain) {
            await expect(weights.readBlocks(tensor)[Symbol.asyncIterator]().next()).rejects.toThrow(
              /not stored blocks/,
            );
            continue;
          }
          const parts: number[] = [];
          let row = 0;
          for await (const chunk of weights.readBlocks(tensor)) {
            expect(chunk.row).toBe(row);
            row += chunk.rows;
            parts.push(...dequantize(type, chunk.bytes));
          }
          expect(row).toBe(
            weights
              .shape(tensor)
              .slice(0, -1)
              .reduce((a, b) => a * b, 1),
          );
          expect(Float32Array.from(parts), tensor).toEqual(await all(weights, tensor));
        }
      }
    },
  );

  it.each(Object.keys(blockModels) as (keyof typeof blockModels)[])(
    "of %s are read into given memory, in any pieces, where they lie one after another",
    async (name) => {
      const file = await blockModel(name, "Q4_0");
      const weights = ggufWeights(file);
      const names = [...weights.names()];
      if (name[0] === "v")
        names.push("model.layers.0.self_attn.k_b_proj.weight", "model.layers.0.self_attn.v_b_proj.weight");
      let read = 0;
      for (const tensor of names) {
        const reader = weights.rowReader(tensor);
        // Files of Llama interleave the rows of heads.
        const turned = name[0] !== "v" && /self_attn\.[qk]_proj/.test(tensor);
        expect(reader === null, tensor).toBe(weights.blockType(tensor) === null || turned);
        if (!reader) continue;
        const chunks: Uint8Array[] = [];
        for await (const { bytes } of weights.readBlocks(tensor)) chunks.push(bytes);
        const expected = Buffer.concat(chunks);
        const shape = weights.shape(tensor);
        const rowBytes = (shape.at(-1)! / 32) * 18;
        const half = Math.ceil(expected.length / rowBytes / 2) * rowBytes;
        const found = new Uint8Array(expected.length + 1).fill(99);
        await Promise.all([
          reader(half / rowBytes, found.subarray(half, expected.length)),
          reader(0, found.subarray(0, half)),
        ]);
        expect(Buffer.from(found.subarray(0, -1)).equals(expected), tensor).toBe(true);
        expect(found.at(-1)).toBe(99);
        // Experts lie side by side in one tensor: what follows is not this one's.
        await expect(reader(1, new Uint8Array(expected.length))).rejects.toThrow(ShapeError);
        read++;
      }
      expect(read).toBeGreaterThan(8);
    },
  );

  it.each(Object.keys(blockModels) as (keyof typeof blockModels)[])(
    "of %s make the same model whether they are read in place or not",
    async (name) => {
      for (const type of ["Q8_0", "Q4_0"] as const) {
        const file = await blockModel(name, type);
        const source = ggufWeights(file);
        const { rowReader, ...rest } = {
          blockType: (tensor: string) => source.blockType(tensor),
          readBlocks: (tensor: string) => source.readBlocks(tensor),
          rowReader: (tensor: string) => source.rowReader(tensor),
        };
        const tiles: Uint8Array[][] = [];
        for (const blocks of [{ ...rest, rowReader }, rest]) {
          const given: WeightSource = {
            names: () => source.names(),
            has: (tensor) => source.has(tensor),
            shape: (tensor) => source.shape(tensor),
            readF32: (tensor) => source.readF32(tensor),
            blocks,
          };
          using model = await modelFrom(ggufConfig(file), given, device, { dtype: "auto" });
          const found: Uint8Array[] = [];
          for (const { weight } of model.parameters.groups()) {
            if (!isQuantized(weight)) continue;
            for (const shard of weight.shards) found.push((await shard.tiles.data()) as Uint8Array);
          }
          tiles.push(found);
        }
        expect(tiles[0].length).toBeGreaterThan(3);
        expect(tiles[0]).toEqual(tiles[1]);
      }
    },
  );

  it("of a file that becomes shorter are refused with the names of file and tensor", async () => {
    let bytes = new Uint8Array(0);
    using model = createModel(blockModels.v3, device, { seed: 8, std: 0.1 });
    const sink = memorySink("model.gguf", (whole) => {
      bytes = new Uint8Array(whole);
    });
    await exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "Q4_0" });
    const source = bytesSource(bytes, "model.gguf");
    // The last byte of one tensor can no longer be read.
    let gone = bytes.length;
    const file = await openGguf({
      ...source,
      read: async (offset, length, into) => {
        const found = await source.read(offset, length, into);
        return offset <= gone && gone < offset + length ? found.subarray(0, gone - offset) : found;
      },
    });
    const { begin, bytes: length } = file.tensor("blk.1.ffn_down_exps.weight");
    gone = begin + length - 1;
    const { buffers, bytes: held } = device.backend.memory();
    const failed = modelFrom(ggufConfig(file), ggufWeights(file), device, { dtype: "auto" });
    await expect(failed).rejects.toThrow(/short read at byte \d+.*truncated/);
    await expect(failed).rejects.toThrow(/model\.gguf.*blk\.1\.ffn_down_exps\.weight/);
    await expect(failed).rejects.toBeInstanceOf(FormatError);
    expect(device.backend.memory()).toMatchObject({ buffers, bytes: held });
  });

  it.each(Object.keys(blockModels) as (keyof typeof blockModels)[])(
    "of %s are copied by an export of their type",
    async (name) => {
      for (const type of ["Q8_0", "Q4_0"] as const) {
        const file = await blockModel(name, type);
        const config = parseConfig(ggufConfig(file));
        const again = await exported({ weights: ggufWeights(file), config }, { type });
        expect([...again.tensors.keys()]).toEqual([...file.tensors.keys()]);
        for (const tensor of file.tensors.values()) {
          const copy = again.tensor(tensor.name);
          expect(copy.type).toBe(tensor.type);
          expect(await again.read(copy, 0, copy.bytes)).toEqual(await file.read(tensor, 0, tensor.bytes));
        }
        // Encoded again they would differ: Q4_0 with a searched scale is not a fixed point by construction.
        const other = await exported(
          { weights: ggufWeights(file), config },
          { type: type === "Q8_0" ? "Q4_0" : "Q8_0" },
        );
        expect(other.tensor("token_embd.weight").type).not.toBe(type);
      }
    },
  );

  it("keeps single tensors in another type", async () => {
    using model = createModel(blockModels.v3, device, { seed: 8 });
    const perTensor = (name: string) => (name === "output.weight" ? ("F16" as const) : undefined);
    const file = await exported(
      { weights: weightsOf(model), config: model.config },
      { type: "Q4_0", perTensor },
    );
    expect(file.tensor("output.weight").type).toBe("F16");
    expect(file.tensor("token_embd.weight").type).toBe("Q4_0");
  });
});

describe("other layouts of the same model", () => {
  it("reads a whole kv_b_proj and derives its halves", async () => {
    const { attention } = parseConfig(blockModels.v2);
    if (attention.kind !== "mla") throw new Error("latent");
    const { heads, nopeDim, valueDim, ropeDim, latentRank } = attention;
    for (const type of ["F32", "Q8_0"] as const) {
      const file = await blockModel("v2", type);
      const weights = ggufWeights(file);
      const name = "model.layers.1.self_attn.kv_b_proj.weight";
      const whole = await all(weights, name);
      const legacy = await rewritten(file, (metadata, tensors) => {
        for (const key of ["key_length_mla", "value_length_mla"])
          metadata.delete(`deepseek2.attention.${key}`);
        metadata.set("deepseek2.attention.head_count_kv", u32(heads));
        metadata.set("deepseek2.attention.key_length", u32(nopeDim + ropeDim));
        metadata.set("deepseek2.attention.value_length", u32(valueDim));
        for (let layer = 0; layer < 3; layer++) {
          tensors.delete(`blk.${layer}.attn_k_b.weight`);
          tensors.delete(`blk.${layer}.attn_v_b.weight`);
          tensors.set(`blk.${layer}.attn_kv_b.weight`, {
            name: `blk.${layer}.attn_kv_b.weight`,
            shape: [heads * (nopeDim + valueDim), latentRank],
            type,
            data: async function* () {
              yield quantize(type, await all(weights, name.replace(".1.", `.${layer}.`)));
            },
          });
        }
      });
      expect(ggufConfig(legacy)).toEqual(ggufConfig(file));
      const back = ggufWeights(legacy);
      if (type === "F32") expect(await all(back, name)).toEqual(whole);
      const current = await all(back, name);
      const keys = name.replace("kv_b", "k_b");
      const values = name.replace("kv_b", "v_b");
      expect(back.shape(keys)).toEqual([heads, latentRank, nopeDim]);
      const k = await all(back, keys);
      const v = await all(back, values);
      for (let h = 0; h < heads; h++) {
        for (let c = 0; c < latentRank; c++) {
          const column = (row: number) => current[(h * (nopeDim + valueDim) + row) * latentRank + c];
          for (let n = 0; n < nopeDim; n++) expect(k[(h * latentRank + c) * nopeDim + n]).toBe(column(n));
          for (let n = 0; n < valueDim; n++)
            expect(v[(h * valueDim + n) * latentRank + c]).toBe(column(nopeDim + n));
        }
      }
      expect(back.blockType(keys)).toBeNull();
      expect(back.blockType(values)).toBe(type === "F32" ? null : type);
      // A head's rows of either half lie apart in the whole.
      expect(back.rowReader(values)).toBeNull();
      expect(back.blockType(name)).toBe(type === "F32" ? null : type);
      expect(back.has(keys) && ![...back.names()].includes(keys)).toBe(true);
    }
  });

  it("reads experts whose gate and up projections are one tensor", async () => {
    const file = await blockModel("deepseek", "F32");
    const weights = ggufWeights(file);
    const merged = await rewritten(file, (_, tensors) => {
      const { experts, expertWidth } = parseConfig(blockModels.deepseek).moe!;
      tensors.delete("blk.1.ffn_gate_exps.weight");
      tensors.delete("blk.1.ffn_up_exps.weight");
      tensors.set("blk.1.ffn_gate_up_exps.weight", {
        name: "blk.1.ffn_gate_up_exps.weight",
        shape: [experts, 2 * expertWidth, 64],
        type: "F32",
        data: async function* () {
          for (let e = 0; e < experts; e++) {
            for (const part of ["gate", "up"]) {
              yield quantize(
                "F32",
                await all(weights, `model.layers.1.mlp.experts.${e}.${part}_proj.weight`),
              );
            }
          }
        },
      });
    });
    const back = ggufWeights(merged);
    for (const name of weights.names()) expect(await all(back, name), name).toEqual(await all(weights, name));
  });

  it("exports experts that are saved stacked", async () => {
    using model = createModel(blockModels.deepseek, device, { seed: 8, std: 0.1 });
    const single = weightsOf(model);
    const stacked = new Map<string, Float32Array>();
    for (const group of model.parameters.groups()) {
      if (group.stackedName) stacked.set(group.stackedName, (await group.tensor.data()) as Float32Array);
    }
    expect(stacked.size).toBe(2);
    const weights: WeightSource = {
      ...single,
      has: (name) => stacked.has(name) || (!name.includes(".experts.") && single.has(name)),
      async *readF32(name) {
        const values = stacked.get(name);
        if (!values) yield* single.readF32(name);
        else
          for (let at = 0; at < values.length; at += 1000)
            yield { offset: at, values: values.slice(at, at + 1000) };
      },
    };
    const { config } = model;
    const a = await exported({ weights, config }, { type: "F32" });
    const b = await exported({ weights: single, config }, { type: "F32" });
    for (const tensor of b.tensors.values()) {
      const found = await a.read(a.tensor(tensor.name), 0, tensor.bytes);
      expect(found, tensor.name).toEqual(await b.read(tensor, 0, tensor.bytes));
    }
  });

  it("ties the head where the file has none, and leaves out layers after the main ones", async () => {
    const file = await blockModel("llama", "F32");
    const tied = await rewritten(file, (metadata, tensors) => {
      tensors.delete("output.weight");
      tensors.set("blk.2.attn_norm.weight", {
        ...tensors.get("blk.0.attn_norm.weight")!,
        name: "blk.2.attn_norm.weight",
      });
      metadata.set("llama.block_count", u32(3));
      metadata.set("llama.nextn_predict_layers", u32(1));
    });
    expect(parseConfig(ggufConfig(tied))).toMatchObject({ tieEmbeddings: true, layers: 2 });
    const names = [...ggufWeights(tied).names()];
    expect(names).not.toContain("lm_head.weight");
    expect(names.some((name) => name.startsWith("model.layers.2."))).toBe(false);
  });

  it("takes linear scaling by its old key and three ends of text", async () => {
    const file = await rewritten(await blockModel("llama", "F32"), (metadata) => {
      metadata.delete("llama.rope.scaling.type");
      metadata.set("llama.rope.scale_linear", f32(4));
      metadata.set("tokenizer.ggml.eot_token_id", u32(7));
      metadata.set("tokenizer.ggml.eom_token_id", u32(5));
    });
    expect(ggufConfig(file)).toMatchObject({
      rope_scaling: { type: "linear", factor: 4 },
      eos_token_id: [1, 7, 5],
    });
    const config = parseConfig(ggufConfig(file));
    const again = await exported({ weights: ggufWeights(file), config }, { type: "F32" });
    expect(parseConfig(ggufConfig(again))).toEqual(config);
  });

  it("takes BOS and EOS from the tokenizer where config.json names others, and adds those ends", async () => {
    const file = await blockModel("llama", "F32");
    const config = { ...parseConfig(ggufConfig(file)), bosTokenIds: [3], eosTokenIds: [4, 6] };
    const weights = ggufWeights(file);
    const special = { bos: u32(9), eos: u32(6), padding: u32(4) };
    const tokenizer = new Map(
      Object.entries(special).map(([name, id]) => [`tokenizer.ggml.${name}_token_id`, id]),
    );
    const told = await exported({ weights, config, tokenizer }, { type: "F32" });
    expect(ggufConfig(told)).toMatchObject({ bos_token_id: 9, eos_token_id: [6, 4] });
    expect(told.metadata.get("tokenizer.ggml.padding_token_id")).toEqual(u32(4));
    const alone = await exported({ weights, config }, { type: "F32" });
    expect(ggufConfig(alone)).toMatchObject({ bos_token_id: 3, eos_token_id: [4, 6] });
  });
});

describe("metadata that other converters write", () => {
  it("sizes as lists of one value for each layer, equal ones", async () => {
    const layers = (of: "u32" | "i32" | "u64", value: number): GgufValue => {
      const items =
        of === "u64"
          ? BigUint64Array.of(BigInt(value), BigInt(value))
          : of === "u32"
            ? Uint32Array.of(value, value)
            : Int32Array.of(value, value);
      return { type: "array", of, items };
    };
    const file = await blockModel("deepseek", "F32");
    const listed = await rewritten(file, (metadata) => {
      const list = (name: string, of: "u32" | "i32" | "u64") => {
        const entry = metadata.get(`deepseek.${name}`);
        if (entry?.type !== "u32") throw new Error(name);
        metadata.set(`deepseek.${name}`, layers(of, Number(entry.value)));
      };
      for (const name of ["attention.head_count", "feed_forward_length", "expert_count"]) list(name, "i32");
      for (const name of ["attention.head_count_kv", "expert_feed_forward_length"]) list(name, "u32");
      list("expert_used_count", "u64");
    });
    expect(ggufConfig(listed)).toEqual(ggufConfig(file));
    const uneven = await rewritten(file, (metadata) =>
      metadata.set("deepseek.attention.head_count_kv", {
        type: "array",
        of: "i32",
        items: Int32Array.of(2, 1),
      }),
    );
    expect(() => ggufConfig(uneven)).toThrow(
      /different sizes.*head_count_kv.*the same for all.*2 values: 2, 1/,
    );
  });

  it("ids beyond the vocabulary of optional tokens, not of BOS and EOS", async () => {
    const file = await blockModel("deepseek", "F32");
    const ids = (values: Record<string, GgufValue>) =>
      rewritten(file, (metadata) => {
        for (const [name, value] of Object.entries(values))
          metadata.set(`tokenizer.ggml.${name}_token_id`, value);
      });
    const none = u32(2 ** 32 - 1);
    expect(ggufConfig(await ids({ eot: none, eom: u32(9999), padding: none, separator: u32(9999) }))).toEqual(
      ggufConfig(file),
    );
    expect(ggufConfig(await ids({ eot: u32(9999) }))).toEqual(ggufConfig(file));
    expect(ggufConfig(await ids({ bos: none, eos: none }))).toMatchObject({
      bos_token_id: null,
      eos_token_id: null,
    });
    const beyond = await ids({ eos: u32(9999) });
    expect(() => ggufConfig(beyond)).toThrow(/eos_token_id.*an id below.*9999/);
  });
});

describe("refusals of files, by name", () => {
  const set = (key: string, value: GgufValue | null) => (metadata: Map<string, GgufValue>) => {
    if (value === null) metadata.delete(key);
    else metadata.set(key, value);
  };
  it.each([
    ["llama", "general.architecture", { type: "string", value: "phi3" }, /general.architecture.*llama.*phi3/],
    ["llama", "llama.embedding_length", null, /llama.embedding_length/],
    ["llama", "llama.embedding_length", f32(64), /llama.embedding_length.*integer/],
    ["llama", "llama.expert_count", u32(8), /llama.expert_count/],
    ["llama", "llama.attention.sliding_window", u32(128), /sliding_window/],
    ["llama", "llama.attention.value_length", u32(16), /value_length/],
    ["llama", "llama.rope.dimension_count", u32(8), /rope.dimension_count/],
    ["deepseek", "deepseek.expert_weights_scale", f32(2), /expert_weights_scale/],
    ["deepseek", "deepseek.rope.scaling.type", { type: "string", value: "yarn" }, /rope.scaling.type/],
    ["v2", "deepseek2.expert_gating_func", u32(3), /expert_gating_func/],
    ["v2", "deepseek2.rope.scaling.type", { type: "string", value: "longrope" }, /rope.scaling.type/],
    ["v2", "deepseek2.attention.key_length_mla", u32(4), /key_length_mla/],
    ["v2", "deepseek2.attention.key_length", u32(4), /attention.key_length/],
    ["v3", "deepseek2.expert_used_count", u32(9), /num_experts_per_tok/],
    ["llama", "llama.block_count", u32(2 ** 32 - 1), /the file has 2 layers, its metadata say 4294967295/],
    ["v3", "deepseek2.block_count", u32(10 ** 9), /the file has \d layers, its metadata say 1000000000/],
    ["v3", "deepseek2.expert_count", u32(10 ** 9), /the file has 8 experts, its metadata say 1000000000/],
    ["deepseek", "deepseek.expert_count", u32(10 ** 9), /the file has 8 experts.*say 1000000000/],
  ] as const)("%s: %s", async (name, key, value, message) => {
    const file = await rewritten(await blockModel(name, "F32"), set(key, value as GgufValue | null));
    expect(() => ggufConfig(file)).toThrow(message);
  });

  it("tensors that are missing, misshapen or without a place", async () => {
    const file = await blockModel("v3", "F32");
    const weights = async (change: (tensors: Map<string, GgufEntry>) => void) =>
      ggufWeights(await rewritten(file, (_, tensors) => change(tensors)));
    await expect(weights((t) => t.delete("blk.0.attn_k_b.weight"))).rejects.toThrow(
      /lacks a tensor.*attn_k_b/,
    );
    await expect(weights((t) => t.set("x", { ...t.get("output_norm.weight")!, name: "x" }))).rejects.toThrow(
      /does not use; name: x/,
    );
    const shape = weights((t) =>
      t.set("output_norm.weight", { ...t.get("output_norm.weight")!, shape: [1, 8, 8] }),
    );
    await expect(shape).rejects.toThrow(/sizes do not fit model.norm.weight.*output_norm/);
    await expect(shape).rejects.toBeInstanceOf(FormatError);
  });

  it("YaRN without its temperature", async () => {
    const yarn = { ...blockModels.v3, rope_scaling: { ...tinyConfigs.v3.rope_scaling, mscale: 0.7 } };
    using model = createModel(yarn, device, { seed: 1 });
    const file = await exported({ weights: weightsOf(model), config: model.config }, { type: "F32" });
    expect(parseConfig(ggufConfig(file)).rope).toEqual(model.config.rope);
    const without = await rewritten(file, set("deepseek2.rope.scaling.yarn_log_multiplier", null));
    expect(() => ggufConfig(without)).toThrow(/yarn_log_multiplier/);
  });
});

describe("refusals of models, by name", () => {
  const json = (change: object, base: object = tinyConfigs.v3) => parseConfig({ ...base, ...change });
  it.each([
    ["rope_scaling.mscale", json({})],
    ["q_lora_rank", json({ rope_scaling: null, num_hidden_layers: 27 })],
    ["moe_layer_freq", json({ rope_scaling: null, moe_layer_freq: 2 })],
    ["eos_token_id", json({ rope_scaling: null, eos_token_id: [1, 2, 3, 4] })],
    ["bos_token_id", json({ rope_scaling: null, bos_token_id: [1, 2] })],
    ["n_group", json({ rope_scaling: null, topk_method: "noaux_tc" }, tinyConfigs.v2)],
    ["norm_topk_prob", json({ norm_topk_prob: true }, tinyConfigs.deepseek)],
  ])("%s", async (name, config) => {
    await expect(exported({ weights: nothing, config }, { type: "F32" })).rejects.toThrow(`name: ${name}`);
  });

  it("tensors that the model lacks", async () => {
    const config = parseConfig(blockModels.v3);
    await expect(exported({ weights: nothing, config }, { type: "F32" })).rejects.toThrow(
      /lacks a tensor.*embed_tokens/,
    );
  });

  it("says how far it is", async () => {
    using model = createModel(blockModels.llama, device, { seed: 8 });
    const seen: number[] = [];
    let total = 0;
    await exported(
      { weights: weightsOf(model), config: model.config },
      {
        type: "F32",
        onProgress: (progress) => {
          seen.push(progress.written);
          total = progress.total;
        },
      },
    );
    expect(seen.at(-1)).toBe(total);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(toConfigJson(model.config).vocab_size).toBe(40);
  });
});
