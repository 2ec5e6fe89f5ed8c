/** What `inspect` computes, and the commands that read models, against files and a hub on this machine. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { bytesSource, memoryFolderSink, memorySink } from "../../checkpoint/byte-source.ts";
import { modelEntries } from "../../checkpoint/entries.ts";
import { exportGguf } from "../../checkpoint/gguf/export.ts";
import { openGguf } from "../../checkpoint/gguf/reader.ts";
import { type GgufEntry, writeGguf } from "../../checkpoint/gguf/writer.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { createModel } from "../../models/causal-lm.ts";
import { parseConfig } from "../../models/config.ts";
import { cacheValues, memoryNeeds } from "../../models/memory-needs.ts";
import { presets } from "../../models/presets.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { load } from "../../pretrained/node-load.ts";
import { TestingHub } from "../../pretrained/testing-hub.ts";
import { quantizeModel } from "../../runs/quantize.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { ProgressLine, progressText } from "../progress-line.ts";
import { downloadCommand } from "./download.ts";
import { inspect, inspectCommand } from "./inspect.ts";

const commit = "89abcdef0123456789abcdef0123456789abcdef";
const machine = { total: 1e9, free: 5e8 };
/** Without stretched positions, which GGUF has no form for. */
const config = { ...tinyConfigs.v2, rope_scaling: null };
const device = createReferenceDevice();
let root: string;
let hub: TestingHub;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "inspect-"));
  hub = await TestingHub.start();
  const files = new Map<string, Uint8Array>();
  using model = createModel(config, device, { seed: 1 });
  await saveCheckpoint(memoryFolderSink(files), modelEntries(model), {
    config,
    maxShardBytes: 20_000,
  });
  hub.repos.set("org/tiny", { commit, files });
  const sink = memorySink("out", (bytes) => files.set("tiny.gguf", bytes.slice()));
  await exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F16" });
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});
beforeEach(() => {
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HUB_CACHE", join(root, "cache"));
  vi.stubEnv("HF_TOKEN", "");
  vi.stubEnv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
  return () => vi.unstubAllEnvs();
});

/** The small model's GGUF file, one of its tensors in a type whose values are not read. */
async function unreadable(path: string): Promise<void> {
  const bytes = hub.repos.get("org/tiny")!.files.get("tiny.gguf")!;
  const file = await openGguf(bytesSource(bytes, "tiny.gguf"));
  const entries = [...file.tensors.values()].map((tensor): GgufEntry => {
    const { name, shape, type } = tensor;
    if (name !== "token_embd.weight") {
      return {
        name,
        shape,
        type,
        data: async function* () {
          yield await file.read(tensor, 0, tensor.bytes);
        },
      };
    }
    const count = shape.reduce((a, b) => a * b, 1);
    return {
      name,
      shape,
      type: "I8",
      data: async function* () {
        yield new Uint8Array(count);
      },
    };
  });
  const sink = memorySink("out", (written) => void (result = written.slice()));
  let result = new Uint8Array();
  await writeGguf(sink, { metadata: file.metadata, tensors: entries });
  await writeFile(path, result);
}

describe("inspect", () => {
  it("lists tensors of GGUF types that cannot be run, which loading refuses by name", async () => {
    const path = join(root, "unreadable.gguf");
    await unreadable(path);
    const { inspection } = await inspect(path, {}, machine);
    const shape = [config.vocab_size, config.hidden_size];
    const bytes = shape[0] * shape[1];
    expect(inspection.unread).toEqual([{ name: "token_embd.weight", dtype: "I8", shape, bytes }]);
    expect(inspection.bytesByDtype.I8).toBe(bytes);
    const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    await inspectCommand().parseAsync([path], { from: "user" });
    const told = write.mock.calls.map(([text]) => String(text)).join("");
    write.mockRestore();
    expect(told).toMatch(/^type +deepseek_v2$/m);
    expect(told).toContain("cannot run: 1 tensor of types that are not read (I8)");
    expect(told).toMatch(/^token_embd\.weight +I8 +\[\d+, \d+\] +[\d,]+ bytes$/m);
    await expect(load(path)).rejects.toThrow(
      /tensor type is not supported; name: token_embd.weight.*found: I8/,
    );
  });

  it("reads a model on the hub by its headers alone, and the same from the cache", async () => {
    hub.seen.length = 0;
    const { inspection } = await inspect("org/tiny", {}, machine);
    expect(inspection).toMatchObject({ format: "safetensors", modelType: "deepseek_v2", machine });
    const shards = new Set(hub.seen.map(({ url }) => url).filter((url) => url.endsWith(".safetensors")));
    expect(shards.size).toBeGreaterThan(2);
    expect(
      hub.seen.filter(({ url }) => url.endsWith(".safetensors")).every(({ range }) => range !== null),
    ).toBe(true);
    expect(inspection.bytesByDtype).toEqual({ F32: 4 * inspection.parameters.total });
    expect(inspection.bytes).toBe(4 * inspection.parameters.total);
    const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    await downloadCommand().parseAsync(["org/tiny"], { from: "user" });
    const path = String(write.mock.calls[0][0]).trim();
    await downloadCommand().parseAsync(["org/tiny", "--json"], { from: "user" });
    expect(JSON.parse(String(write.mock.calls[1][0]))).toMatchObject({ path, commit, kind: "safetensors" });
    write.mockRestore();
    expect(JSON.parse(await readFile(join(path, "config.json"), "utf8")).model_type).toBe("deepseek_v2");
    const local = await inspect(path, {}, machine);
    expect(local.inspection).toEqual({ ...inspection, folder: path });
    hub.seen.length = 0;
    expect((await inspect("org/tiny", { offline: true }, machine)).inspection).toEqual(local.inspection);
    expect(hub.seen).toEqual([]);
  });

  it("reads GGUF files, on the hub too", async () => {
    const bytes = hub.repos.get("org/tiny")!.files.get("tiny.gguf")!;
    const path = join(root, "tiny.gguf");
    await writeFile(path, bytes);
    const { inspection } = await inspect(path, {}, machine);
    expect(inspection).toMatchObject({ format: "gguf", modelType: "deepseek_v2", folder: path });
    expect(Object.keys(inspection.bytesByDtype).sort()).toEqual(["F16", "F32"]);
    const remote = await inspect("org/tiny", { gguf: "tiny.gguf" }, machine);
    expect({ ...remote.inspection, folder: path }).toEqual(inspection);
  });

  it("tells what a model draws with, which quantizing keeps", async () => {
    const folder = join(root, "draws");
    await mkdir(folder);
    for (const [name, bytes] of await worldCheckpoint("janus", device))
      await writeFile(join(folder, name), bytes);
    const { config, inspection } = await inspect(folder, {}, machine);
    expect(config).toBeDefined();
    const { parts } = inspection.vision!;
    expect(parts.map(({ part }) => part)).toEqual(["tower", "projector", "language", "drawing"]);
    for (const { part, parameters, stored } of parts) expect(stored, part).toBe(4 * parameters);
    expect(parts.reduce((sum, { stored }) => sum + stored, 0)).toBe(inspection.bytes);
    const out = join(root, "draws-q8");
    await quantizeModel({ model: folder, out, dtype: "q8", threads: 1 });
    const { inspection: quantized } = await inspect(out, {}, machine);
    expect(quantized.vision!.parts.map(({ stored }) => stored)).toEqual(parts.map(({ bytes }) => bytes.q8));
    await using opened = await load(out, { device, drawing: true });
    expect(opened.drawing!.generation.kind).toBe("codes");
  });

  it("tells of a model that sees its parts, images and processor, also once it is quantized", async () => {
    const folder = join(root, "sees");
    await mkdir(folder);
    for (const [name, bytes] of await worldCheckpoint("vl2", device))
      await writeFile(join(folder, name), bytes);
    const { config, vision, inspection } = await inspect(folder, {}, machine);
    expect(inspection.modelType).toBe("deepseek_vl_v2");
    expect(config).toEqual(vision!.language);
    const { parts, images, processor, warnings, imageSize } = inspection.vision!;
    expect(parts.map(({ part }) => part)).toEqual(["tower", "projector", "language"]);
    for (const { parameters, bytes, stored } of parts)
      expect([bytes.f32, stored]).toEqual([4 * parameters, 4 * parameters]);
    expect(parts.reduce((sum, { stored }) => sum + stored, 0)).toBe(inspection.bytes);
    expect(images.map(({ width, height }) => [width, height])).toEqual([
      [384, 384],
      [1000, 700],
      [1920, 1080],
    ]);
    expect([imageSize, processor!.side, warnings]).toEqual([32, 32, []]);
    const out = join(root, "sees-q4");
    await quantizeModel({ model: folder, out, dtype: "q4", threads: 1 });
    const quantized = await inspect(out, {}, machine);
    const need = inspection.memory.find(({ dtype }) => dtype === "q4")!;
    expect(quantized.inspection.bytes).toBe(need.weights);
    expect(quantized.inspection.vision!.parts.map(({ stored }) => stored)).toEqual(
      parts.map(({ bytes }) => bytes.q4),
    );
    const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    await inspectCommand().parseAsync([folder], { from: "user" });
    await inspectCommand().parseAsync([folder, "--json"], { from: "user" });
    const [text, json] = write.mock.calls.map(([written]) => String(written));
    write.mockRestore();
    expect(text).toMatch(/^1000 x 700 +2 x 2 tiles, 5 views, 27 tokens/m);
    expect(text).toMatch(/^processor +processor_config\.json: 32 x 32 pixels/m);
    expect(JSON.parse(json).vision).toEqual(JSON.parse(JSON.stringify(inspection.vision)));
  });

  it("names what is neither file nor model", async () => {
    await expect(inspect("nowhere")).rejects.toThrow(/neither an existing file or folder nor/);
    await expect(inspect("org/none")).rejects.toThrow(/nor a model on the hub/);
    await expect(inspect(join(root, "cache"))).rejects.toThrow(/neither a model nor a training run/);
  });
});

describe("memory", () => {
  it("of DeepSeek-V3 is what the paper and the files say", () => {
    const config = parseConfig(presets["deepseek-v3"]);
    const { own, multiHead, groupedQuery } = cacheValues(config);
    expect(own).toBe(61 * (512 + 64));
    expect(multiHead).toBe(61 * 128 * (128 + 64 + 128));
    expect(groupedQuery).toBe(61 * 8 * (128 + 64 + 128));
    const needs = Object.fromEntries(
      memoryNeeds(config, { total: 2e12, free: 1e12 }).map((need) => [need.dtype, need]),
    );
    expect(needs.f32.weights / 4).toBeGreaterThan(671e9);
    expect(needs.f32.weights / needs.bf16.weights).toBeCloseTo(2, 2);
    expect(needs.bf16.weights / needs.q8.weights).toBeCloseTo(16 / 8.5, 1);
    expect(needs.bf16.weights / needs.q4.weights).toBeGreaterThan(3.3);
    expect([needs.f32.fits, needs.bf16.fits, needs.q4.fits]).toEqual(["no", "tight", "yes"]);
    expect(needs.q4.contextThatFits).toBe(config.maxPositions);
    expect(needs.bf16.contextThatFits).toBe(0);
    expect(needs.q4.weightsPerToken).toBeLessThan(needs.q4.weights / 10);
  });

  it("of few heads names no groups", () => {
    expect(cacheValues(parseConfig(tinyConfigs.llama))).toEqual({
      own: 2 * 2 * 2 * 4,
      multiHead: 96,
      groupedQuery: 96,
    });
  });

  it("tells how much context fits", () => {
    const config = parseConfig(tinyConfigs.llama);
    const [{ total }] = memoryNeeds(config, machine);
    const per = 4 * cacheValues(config).own;
    const tight = memoryNeeds(config, { total, free: total - 10 * per })[0];
    expect(tight).toMatchObject({ fits: "tight", contextThatFits: config.maxPositions - 10 });
  });
});

describe("progress", () => {
  it("says what is done, how fast and for how long", () => {
    expect(progressText({ stage: "load", done: 5e8, total: 2e9 })).toBe("loading  0.50 of 2.00 GB");
    const base = { stage: "download", file: "a", fileDone: 1, fileTotal: 2, filesDone: 1, files: 3 } as const;
    expect(progressText({ ...base, done: 1e6, total: 61e6, bytesPerSecond: 1e6 })).toBe(
      "downloading  1.0 of 61.0 MB  1.00 MB/s, 1:00 left  1 of 3 files  a",
    );
    expect(progressText({ ...base, done: 1, total: 9, bytesPerSecond: 0 })).toContain(
      "1 of 9 bytes  0 bytes/s  1 of",
    );
  });

  it("draws on terminals only, in one line, and cleans up", () => {
    const written: string[] = [];
    const write = (text: string) => written.push(text);
    const load = { stage: "load", done: 1, total: 2 } as const;
    const silent = new ProgressLine({ write, isTTY: false }, 0);
    silent.update(load);
    silent.clear();
    new ProgressLine({ write, isTTY: true }, 1000).update(load);
    expect(written).toEqual([]);
    const line = new ProgressLine({ write, isTTY: true, columns: 12 }, 0);
    line.update(load);
    line.update(load);
    line.clear();
    line.clear();
    expect(written).toEqual(["\r\x1b[Kloading  1 ", "\r\x1b[K"]);
  });
});
