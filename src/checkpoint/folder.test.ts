/** Checkpoint folders in memory and from the reference fixtures: opening, decoding, refusals, saving. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { bf16ToF32, f32ToBf16, f32ToF16 } from "../tensor/float-formats.ts";
import { Random } from "../tensor/random.ts";
import { memoryFolder, memoryFolderSink, memorySink } from "./byte-source.ts";
import { openCheckpoint, readAllF32 } from "./folder.ts";
import { dequantizeBlocks, quantizeBlocks } from "./fp8.ts";
import { nodeFolder } from "./node-files.ts";
import { type TestTensor, torchFile } from "./pytorch/testing.ts";
import type { SafetensorsDtype } from "./safetensors-dtype.ts";
import { f32Entry, type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";
import { saveCheckpoint } from "./save.ts";

type Files = Map<string, Uint8Array>;
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const bytesOf = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

function entry(
  name: string,
  dtype: SafetensorsDtype,
  shape: number[],
  data: ArrayBufferView,
): SafetensorsEntry {
  return { name, dtype, shape, data: async () => bytesOf(data) };
}

async function put(files: Files, path: string, entries: SafetensorsEntry[]): Promise<void> {
  await writeSafetensors(
    memorySink(path, (bytes) => files.set(path, bytes)),
    entries,
    { format: "pt" },
  );
}

const w = (name: string, value: number) => f32Entry(name, [2], async () => Float32Array.of(value, value));

async function sharded(map: Record<string, unknown>, metadata?: object): Promise<Files> {
  const files: Files = new Map();
  await put(files, "a.safetensors", [w("x", 1), w("y", 2)]);
  await put(files, "b.safetensors", [w("z", 3)]);
  files.set("model.safetensors.index.json", text({ ...(metadata && { metadata }), weight_map: map }));
  return files;
}

const goodMap = { x: "a.safetensors", y: "a.safetensors", z: "b.safetensors" };

describe("openCheckpoint", () => {
  it("decodes F32, BF16, F16 and FP8 with scales of the config's block size", async () => {
    const random = new Random(1);
    const values = Float32Array.from({ length: 5 * 7 }, () => random.normal());
    const q = quantizeBlocks(values, 5, 7, [2, 4]);
    const files: Files = new Map([
      ["config.json", text({ quantization_config: { quant_method: "fp8", weight_block_size: [2, 4] } })],
    ]);
    await put(files, "model.safetensors", [
      entry("f.weight", "F32", [5, 7], values),
      entry("b.weight", "BF16", [5, 7], f32ToBf16(values)),
      entry("h.weight", "F16", [5, 7], f32ToF16(values)),
      entry("q.weight", "F8_E4M3", [5, 7], q.codes),
      entry("q.weight_scale_inv", "F32", q.scaleShape, q.scales),
      entry("lone_scale_inv", "F32", [1], new Float32Array(1)),
      entry("steps", "I64", [1], new BigInt64Array(1)),
    ]);
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect([...checkpoint.names()].sort()).toEqual([
      "b.weight",
      "f.weight",
      "h.weight",
      "lone_scale_inv",
      "q.weight",
      "steps",
    ]);
    expect(checkpoint.has("q.weight_scale_inv")).toBe(true);
    expect(checkpoint.metadata).toEqual({ format: "pt" });
    expect(await readAllF32(checkpoint, "f.weight")).toEqual(values);
    expect(await readAllF32(checkpoint, "b.weight")).toEqual(bf16ToF32(f32ToBf16(values)));
    const half = await readAllF32(checkpoint, "h.weight");
    for (let i = 0; i < 35; i++) expect(Math.abs(half[i] - values[i])).toBeLessThan(2 ** -10);
    expect(await readAllF32(checkpoint, "q.weight")).toEqual(dequantizeBlocks(q.codes, q.scales, 7, [2, 4]));
    expect(await checkpoint.readRaw("q.weight")).toEqual(q.codes);
    await expect(readAllF32(checkpoint, "steps")).rejects.toThrow(/name: steps.*found: I64/);
    await expect(readAllF32(checkpoint, "f.weight", new Float32Array(3))).rejects.toThrow(
      /expected: 35; found: 3/,
    );
    expect(() => checkpoint.info("nope")).toThrow(/no such tensor.*name: nope/);
    await expect(checkpoint.readRaw("nope")).rejects.toThrow(FormatError);
  });

  it("takes powers of two as block scales, whatever their type", async () => {
    const codes = Uint8Array.from({ length: 130 * 4 }, (_, i) => (i * 11) % 127);
    const exponents = Uint8Array.of(127 - 9, 127 + 3);
    const scales = Float32Array.of(2 ** -9, 2 ** 3);
    const wanted = dequantizeBlocks(codes, scales, 4);
    const kinds = [
      entry("q_scale_inv", "F32", [2, 1], scales),
      entry("q_scale_inv", "BF16", [2, 1], f32ToBf16(scales)),
      entry("q_scale_inv", "F8_E8M0", [2, 1], exponents),
    ];
    for (const scale of kinds) {
      const quantization_config = { quant_method: "fp8", fmt: "e4m3", scale_fmt: "ue8m0" };
      const files: Files = new Map([["config.json", text({ quantization_config })]]);
      await put(files, "model.safetensors", [entry("q", "F8_E4M3", [130, 4], codes), scale]);
      const checkpoint = await openCheckpoint(memoryFolder(files));
      expect([...checkpoint.names()]).toEqual(["q"]);
      expect(await readAllF32(checkpoint, "q")).toEqual(wanted);
    }
  });

  it("streams in chunks of 4 MiB, FP8 rows cut in the middle included", async () => {
    const cols = 1025;
    const rows = 2050;
    const codes = Uint8Array.from({ length: rows * cols }, (_, i) => (i * 7) % 127);
    const scales = Float32Array.from({ length: 17 * 9 }, (_, i) => 1 + i);
    const files: Files = new Map();
    await put(files, "model.safetensors", [
      entry("q", "F8_E4M3", [rows, cols], codes),
      entry("q_scale_inv", "F32", [17, 9], scales),
      entry("odd", "U8", [1], new Uint8Array(1)),
    ]);
    const checkpoint = await openCheckpoint(memoryFolder(files));
    let next = 0;
    const sizes: number[] = [];
    const expected = dequantizeBlocks(codes, scales, cols);
    for await (const { offset, values } of checkpoint.readF32("q")) {
      expect(offset).toBe(next);
      expect(
        Buffer.compare(bytesOf(values), bytesOf(expected.subarray(offset, offset + values.length))),
      ).toBe(0);
      next += values.length;
      sizes.push(values.byteLength);
    }
    expect(next).toBe(rows * cols);
    expect(sizes.slice(0, 2)).toEqual([1 << 22, 1 << 22]);
  });

  it("refuses FP8 weights whose scale is missing, misshapen or of another scheme, by name", async () => {
    const codes = new Uint8Array(130 * 4);
    const attempt = async (entries: SafetensorsEntry[], config?: unknown) => {
      const files: Files = new Map();
      if (config) files.set("config.json", text(config));
      await put(files, "model.safetensors", [entry("q", "F8_E4M3", [130, 4], codes), ...entries]);
      return readAllF32(await openCheckpoint(memoryFolder(files)), "q");
    };
    const scale = (shape: number[], n: number) => entry("q_scale_inv", "F32", shape, new Float32Array(n));
    await expect(attempt([])).rejects.toThrow(
      /without block scales; name: q; expected: a tensor q_scale_inv/,
    );
    await expect(attempt([scale([1, 1], 1)])).rejects.toThrow(
      /q_scale_inv; expected: \[2, 1\]; found: \[1, 1\]/,
    );
    await expect(attempt([scale([2], 2)])).rejects.toThrow(/found: \[2\]/);
    const integers = entry("q_scale_inv", "I32", [2, 1], new Int32Array(2));
    await expect(attempt([integers])).rejects.toThrow(/scale dtype.*found: I32/);
    const gptq = { quantization_config: { quant_method: "gptq" } };
    await expect(attempt([scale([2, 1], 2)], gptq)).rejects.toThrow(/found: "gptq"/);
    for (const size of [[128], [0, 128], "128", [1.5, 2]]) {
      const config = { quantization_config: { weight_block_size: size } };
      await expect(attempt([scale([2, 1], 2)], config)).rejects.toThrow(ConfigError);
    }
    expect(await attempt([scale([2, 1], 2)])).toEqual(new Float32Array(520));
  });

  it("opens shards by their index", async () => {
    const checkpoint = await openCheckpoint(memoryFolder(await sharded(goodMap, { total_size: 24 })));
    expect([...checkpoint.names()]).toEqual(["x", "y", "z"]);
    expect(await readAllF32(checkpoint, "z")).toEqual(Float32Array.of(3, 3));
    await openCheckpoint(memoryFolder(await sharded(goodMap, {})));
    await openCheckpoint(memoryFolder(await sharded(goodMap)));
  });

  const refused: [string, Record<string, unknown>, object | undefined, RegExp][] = [
    [
      "a missing shard",
      { ...goodMap, q: "c.safetensors" },
      undefined,
      /shard c.safetensors is missing; name: q/,
    ],
    [
      "a tensor in no shard",
      { ...goodMap, q: "a.safetensors" },
      undefined,
      /name: q; expected: a.*found: in no shard/,
    ],
    [
      "a tensor in another shard",
      { ...goodMap, z: "a.safetensors", x: "b.safetensors" },
      undefined,
      /not in its shard/,
    ],
    ["a shard outside", { x: "../a.safetensors" }, undefined, /leaves the checkpoint folder; name: ..\/a/],
    ["an absolute shard", { x: "/etc/a.safetensors" }, undefined, /leaves the checkpoint folder/],
    ["a shard on a drive", { x: "C:\\a.safetensors" }, undefined, /leaves the checkpoint folder/],
    ["a shard of another format", { x: "pytorch_model-1.bin" }, undefined, /another format.*safetensors/],
    ["a shard that is a number", { x: 3 }, undefined, /not a string; name: x/],
  ];
  it.each(refused)("refuses %s", async (_, map, metadata, message) => {
    const tree = memoryFolder(await sharded(map, metadata));
    const error = await openCheckpoint(tree).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as Error).message).toMatch(message);
  });

  it.each([25, "24", null, { bytes: 24 }])(
    "says so where total_size is %j, and opens",
    async (total_size) => {
      const tree = memoryFolder(await sharded(goodMap, { total_size }));
      const notices: string[] = [];
      const checkpoint = await openCheckpoint(tree, { onNotice: (text) => notices.push(text) });
      expect(await readAllF32(checkpoint, "z")).toEqual(Float32Array.of(3, 3));
      expect(notices).toHaveLength(1);
      expect(notices[0]).toMatch(/index.json: total_size is .*, the tensors have 24 bytes/);
      await openCheckpoint(tree);
    },
  );

  it("reads the whole file where an index is there too, and says so", async () => {
    const both = await sharded(goodMap);
    await put(both, "model.safetensors", [w("only", 9)]);
    const notices: string[] = [];
    const checkpoint = await openCheckpoint(memoryFolder(both), { onNotice: (text) => notices.push(text) });
    expect([...checkpoint.names()]).toEqual(["only"]);
    expect(notices).toEqual([expect.stringMatching(/holds model.safetensors and .*index.json; the first/)]);
  });

  it("refuses a tensor in two shards, a damaged index, and closes what it opened", async () => {
    const files = await sharded(goodMap);
    await put(files, "b.safetensors", [w("z", 3), w("x", 4)]);
    let opened = 0;
    let closed = 0;
    const inner = memoryFolder(files);
    const counting = {
      ...inner,
      open: async (path: string) => {
        opened++;
        return { ...(await inner.open(path)), close: async () => void closed++ };
      },
    };
    await expect(openCheckpoint(counting)).rejects.toThrow(/two shards; name: x; found: a.safetensors and b/);
    expect([opened, closed]).toEqual([2, 2]);

    for (const index of ['{"weight_map":[]}', "{", '{"weight_map":{"x":"a","x":"b"}}', "[]"]) {
      const broken: Files = new Map([["model.safetensors.index.json", new TextEncoder().encode(index)]]);
      await expect(openCheckpoint(memoryFolder(broken))).rejects.toThrow(FormatError);
    }
  });

  it("refuses an index of too many files, before it opens one", async () => {
    const map = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`t${i}`, `${i}.safetensors`]));
    const files: Files = new Map([["model.safetensors.index.json", text({ weight_map: map })]]);
    await expect(openCheckpoint(memoryFolder(files))).rejects.toThrow(/too many files.*4096/);
  });

  it("refuses empty folders and those of other formats", async () => {
    await expect(openCheckpoint(memoryFolder(new Map()))).rejects.toThrow(/no checkpoint.*an empty folder/);
    const other: Files = new Map([["consolidated.00.pth", new Uint8Array(4)]]);
    await expect(openCheckpoint(memoryFolder(other))).rejects.toThrow(/pytorch_model.bin.*consolidated/);
  });

  it("reads torch's files where there are no safetensors, doubles as floats", async () => {
    const values = [1.5, -2, 1 / 3, 1e30, 4, 5];
    const tensor: TestTensor = { name: "d", dtype: "F64", shape: [2, 3], key: "0" };
    const bytes = torchFile([tensor], { "0": bytesOf(Float64Array.from(values)) }, { "0": 8 });
    const files: Files = new Map([["pytorch_model.bin", bytes]]);
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect(checkpoint.format).toBe("pytorch");
    expect(await readAllF32(checkpoint, "d")).toEqual(Float32Array.from(values));
    await put(files, "model.safetensors", [w("x", 1)]);
    const both = await openCheckpoint(memoryFolder(files));
    expect([both.format, ...both.names()]).toEqual(["safetensors", "x"]);
  });

  it("opens torch's shards by their index, and refuses those of another format", async () => {
    const file = (name: string, value: number) =>
      torchFile(
        [{ name, dtype: "F32", shape: [1], key: "0" }],
        { "0": bytesOf(Float32Array.of(value)) },
        { "0": 4 },
      );
    const index = (map: Record<string, string>) => text({ metadata: { total_size: 1 }, weight_map: map });
    const files: Files = new Map([
      ["pytorch_model-00001-of-00002.bin", file("a", 1)],
      ["pytorch_model-00002-of-00002.bin", file("b", 2)],
    ]);
    const map = { a: "pytorch_model-00001-of-00002.bin", b: "pytorch_model-00002-of-00002.bin" };
    files.set("pytorch_model.bin.index.json", index(map));
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect([...(await readAllF32(checkpoint, "b"))]).toEqual([2]);
    files.set("pytorch_model.bin.index.json", index({ ...map, a: "model.safetensors" }));
    await expect(openCheckpoint(memoryFolder(files))).rejects.toThrow(/another format; name: a.*torch\.save/);
  });
});

describe("saveCheckpoint", () => {
  it("writes whole numbers of real keys with a point, which transformers insists on", async () => {
    const files: Files = new Map();
    const config = {
      routed_scaling_factor: 4,
      attention_dropout: 0,
      rope_theta: 1e21,
      rms_norm_eps: 1e-6,
      vocab_size: 4,
      rope_scaling: { original_max_position_embeddings: 16, mscale: -1, factor: 8 },
      note: '"factor": 8\n"factor": 8',
    };
    await saveCheckpoint(memoryFolderSink(files), [], { config });
    const written = new TextDecoder().decode(files.get("config.json"));
    expect(written.split("\n").slice(1, -2)).toEqual([
      '  "routed_scaling_factor": 4.0,',
      '  "attention_dropout": 0.0,',
      '  "rope_theta": 1e+21,',
      '  "rms_norm_eps": 0.000001,',
      '  "vocab_size": 4,',
      '  "rope_scaling": {',
      '    "original_max_position_embeddings": 16,',
      '    "mscale": -1.0,',
      '    "factor": 8.0',
      "  },",
      `  "note": ${JSON.stringify(config.note)}`,
    ]);
    expect(JSON.parse(written)).toEqual(config);
  });

  const random = new Random(9);
  const big = Float32Array.from({ length: 300 }, () => random.normal());
  const odd = async function* () {
    // Pieces that split elements.
    const bytes = bytesOf(big);
    for (let at = 0, n = 1; at < bytes.length; at += n++) yield bytes.subarray(at, at + n);
  };
  const tensors = (): SafetensorsEntry[] => [
    { name: "a.weight", dtype: "F32", shape: [30, 10], data: odd },
    f32Entry("gate.e_score_correction_bias", [300], async () => big),
    entry("b.weight", "BF16", [300], f32ToBf16(big)),
    entry("ids", "I32", [2], Int32Array.of(5, 6)),
  ];

  it("writes one file, converting floats except the kept ones", async () => {
    const files: Files = new Map([["stale", new Uint8Array(1)]]);
    const result = await saveCheckpoint(memoryFolderSink(files), tensors(), {
      config: { model_type: "deepseek_v3" },
      dtype: "BF16",
      keepF32: (name) => name.endsWith("e_score_correction_bias"),
      files: { "tokenizer.json": "{}" },
    });
    expect([...files.keys()].sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(result).toEqual({ files: ["model.safetensors"], totalSize: 600 + 1200 + 600 + 8 });
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect(checkpoint.config).toEqual({ model_type: "deepseek_v3" });
    expect(checkpoint.metadata).toEqual({ format: "pt" });
    expect(checkpoint.info("a.weight").dtype).toBe("BF16");
    expect(await readAllF32(checkpoint, "a.weight")).toEqual(bf16ToF32(f32ToBf16(big)));
    expect(checkpoint.info("gate.e_score_correction_bias").dtype).toBe("F32");
    expect(await readAllF32(checkpoint, "gate.e_score_correction_bias")).toEqual(big);
    expect(checkpoint.info("ids").dtype).toBe("I32");
  });

  it("writes shards and an index that opens", async () => {
    const files: Files = new Map();
    const result = await saveCheckpoint(memoryFolderSink(files), tensors(), {
      config: {},
      maxShardBytes: 1300,
    });
    expect(result.files).toEqual([
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
    ]);
    const index = JSON.parse(new TextDecoder().decode(files.get("model.safetensors.index.json")));
    expect(index.metadata).toEqual({ total_size: 3008 });
    expect(index.weight_map.ids).toBe("model-00003-of-00003.safetensors");
    const checkpoint = await openCheckpoint(memoryFolder(files));
    expect(await readAllF32(checkpoint, "a.weight")).toEqual(big);
    expect([...checkpoint.names()].length).toBe(4);
  });

  it("leaves the earlier files when a tensor fails, ends inside an element or comes twice", async () => {
    const files: Files = new Map([["model.safetensors", Uint8Array.of(1)]]);
    const save = (list: SafetensorsEntry[]) =>
      saveCheckpoint(memoryFolderSink(files), list, { config: {}, dtype: "F16", maxShardBytes: 1 });
    const failing = { ...w("f", 1), data: () => Promise.reject(new Error("no memory")) };
    await expect(save([w("a", 1), failing])).rejects.toThrow("no memory");
    await expect(save([entry("a", "F32", [2], new Uint8Array(7))])).rejects.toThrow(
      /middle of an element.*name: a/,
    );
    await expect(save([w("a", 1), w("a", 1)])).rejects.toThrow(/duplicate tensor name.*name: a/);
    await expect(
      saveCheckpoint(memoryFolderSink(files), [], { config: {}, maxShardBytes: 0 }),
    ).rejects.toThrow(ConfigError);
    expect([...files]).toEqual([["model.safetensors", Uint8Array.of(1)]]);
  });
});

const fixtures = join(import.meta.dirname, "../../test/fixtures/v3");

describe("reference fixtures", () => {
  it("v3/fp8 opens and decodes", async () => {
    const checkpoint = await openCheckpoint(nodeFolder(`${fixtures}/fp8`));
    let fp8 = 0;
    for (const name of checkpoint.names()) {
      expect(name).not.toContain("scale_inv");
      if (checkpoint.info(name).dtype === "F8_E4M3") fp8++;
      const values = await readAllF32(checkpoint, name);
      expect(values.every(Number.isFinite), name).toBe(true);
      expect(
        values.some((v) => v !== 0),
        name,
      ).toBe(true);
    }
    expect(fp8).toBeGreaterThan(10);
    await checkpoint.close();
  });

  it("v3/sharded-bf16 opens and decodes", async () => {
    const checkpoint = await openCheckpoint(nodeFolder(`${fixtures}/sharded-bf16`));
    let bytes = 0;
    for (const name of checkpoint.names()) {
      bytes += checkpoint.info(name).bytes;
      expect((await readAllF32(checkpoint, name)).every(Number.isFinite), name).toBe(true);
    }
    expect(bytes).toBe(330984);
    expect(checkpoint.info("model.layers.1.mlp.gate.e_score_correction_bias").dtype).toBe("F32");
    await checkpoint.close();
  });
});
