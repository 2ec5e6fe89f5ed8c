/** Opening models: from folders and the hub, at every storage, with what belongs to them; what is refused. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ByteSource,
  type FileTree,
  memoryFolder,
  memoryFolderSink,
  memorySink,
} from "../checkpoint/byte-source.ts";
import { modelEntries } from "../checkpoint/entries.ts";
import { exportGguf } from "../checkpoint/gguf/export.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { tiledConfig, tiledEntries } from "../checkpoint/tiles.ts";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError, DisposedError, FormatError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import { folderTemplate } from "./chat-template-source.ts";
import { readGenerationConfig } from "./generation-config.ts";
import { type LoadProgress, loadFolder, loadGguf } from "./load.ts";
import { type LoadOptions, load, locateModel } from "./node-load.ts";
import { TestingHub } from "./testing-hub.ts";

type Files = Map<string, Uint8Array>;
const text = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const commit = "0123456789abcdef0123456789abcdef01234567";

const device = createReferenceDevice();
let root: string;
let files: Files;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "load-"));
  files = new Map();
  const tokenizer = await trainBpe(["const a = 1;\n".repeat(9)], { vocabSize: 270 });
  const config = { ...tinyConfigs.llama, vocab_size: 300, hidden_size: 48, torch_dtype: "float32" };
  using model = createModel(config, device, { seed: 3 });
  await saveCheckpoint(memoryFolderSink(files), modelEntries(model), { config });
  files.set("tokenizer.json", text(tokenizer));
  files.set("tokenizer_config.json", text({ ...trainedTokenizerConfig(256), chat_template: "{{ 1 }}" }));
  files.set("generation_config.json", text({ temperature: 0.6, do_sample: true, eos_token_id: [7, 3] }));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function onDisk(name: string, content: Files = files): Promise<string> {
  const folder = join(root, name);
  await mkdir(folder, { recursive: true });
  for (const [path, bytes] of content) await writeFile(join(folder, path), bytes);
  return folder;
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("no error"),
    (error: unknown) => error as Error,
  );

async function logits(model: ReturnType<typeof createModel>): Promise<Float32Array> {
  using ids = model.ids([[5, 9, 2]]);
  using hidden = model.hidden(ids);
  using out = model.logits(hidden);
  return (await out.data()) as Float32Array;
}

describe("load", () => {
  it("gives model, tokenizer, template and settings of a folder", async () => {
    const folder = await onDisk("whole");
    const progress: LoadProgress[] = [];
    const onProgress: LoadOptions["onProgress"] = (p) => progress.push(p as LoadProgress);
    await using loaded = await load(folder, { device, onProgress });
    expect(loaded.name).toBe("whole");
    expect(loaded.source).toEqual({ kind: "folder", path: folder });
    expect(loaded.chatTemplate).toBe("{{ 1 }}");
    expect(loaded.generationConfig).toMatchObject({ temperature: 0.6, doSample: true, topP: null });
    expect(loaded.generationConfig.eosTokenIds).toEqual([7, 3]);
    expect(loaded.model.config.eosTokenIds).toEqual([7, 3]);
    expect(loaded.tokenizer!.decode(loaded.tokenizer!.encode("const a"))).toContain("const a");
    expect(progress.length).toBeGreaterThan(5);
    expect(progress.at(-1)).toEqual({ stage: "load", done: progress[0].total, total: progress[0].total });
  });

  it.each(["f32", "bf16", "f16", "auto"] as const)("stores as %s", async (dtype) => {
    const tree = memoryFolder(files);
    await using loaded = await loadFolder(tree, { device, dtype });
    const stored = loaded.model.parameters.group("lm_head.weight").tensor.dtype;
    expect(stored).toBe(dtype === "auto" ? "f32" : dtype);
    await using exact = await loadFolder(tree, { device, dtype: "f32" });
    const [a, b] = [await logits(loaded.model), await logits(exact.model)];
    const most = Math.max(...a.map((value, i) => Math.abs(value - b[i])));
    expect(most).toBeLessThan(stored === "f32" ? 1e-12 : 2e-3);
  });

  it("does with weights alone", async () => {
    const kept = new Map([...files].filter(([path]) => /^(config|model)\./.test(path)));
    await using loaded = await loadFolder(memoryFolder(kept), { device });
    expect(loaded.tokenizer).toBeNull();
    expect(loaded.chatTemplate).toBeNull();
    expect(loaded.generationConfig.temperature).toBeNull();
    expect(loaded.generationConfig.eosTokenIds).toEqual([1]);
  });

  it("frees the model, and its device where it made it", async () => {
    const loaded = await loadFolder(memoryFolder(files));
    await loaded.dispose();
    await loaded.dispose();
    expect(() => loaded.device.empty([1])).toThrow(DisposedError);
    const own = createReferenceDevice();
    const other = await loadFolder(memoryFolder(files), { device: own });
    await other.dispose();
    own.empty([1]).dispose();
  });

  it("stops on a signal", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    let seen = 0;
    const onProgress = () => {
      if (++seen === 2) controller.abort(reason);
    };
    const failed = loadFolder(memoryFolder(files), { device, signal: controller.signal, onProgress });
    expect(await failure(failed)).toBe(reason);
    expect(seen).toBe(2);
  });

  it("downloads from the hub, and reads the copy offline", async () => {
    await using hub = await TestingHub.start();
    hub.repos.set("org/tiny", { commit, files });
    const options: LoadOptions = {
      endpoint: hub.endpoint,
      cacheDir: join(root, "cache"),
      token: null,
      device,
    };
    const stages = new Set<string>();
    await using loaded = await load("org/tiny", { ...options, onProgress: ({ stage }) => stages.add(stage) });
    expect([...stages]).toEqual(["download", "load"]);
    expect(loaded.name).toBe("org/tiny");
    expect(loaded.source).toMatchObject({ kind: "hub", repo: "org/tiny", revision: "main", commit });
    await using local = await loadFolder(memoryFolder(files), { device });
    expect(await logits(loaded.model)).toEqual(await logits(local.model));
    hub.seen.length = 0;
    await using again = await load("org/tiny@main", { ...options, offline: true });
    expect(again.source).toEqual(loaded.source);
    expect(hub.seen).toEqual([]);
    const place = await locateModel("org/tiny", { ...options, download: false });
    expect(await place.tree.list()).toContain("config.json");
    expect((await failure(load("org/none", options))).message).toMatch(
      /org\/none: neither a file or folder here nor a model on the hub.*nothing at .*org.none; org\/none: no such model/,
    );
  });

  it("says that a path may be mistyped where the hub cannot be reached", async () => {
    const failed = failure(load("runs/demo-9", { endpoint: "http://127.0.0.1:9", attempts: 1, token: null }));
    expect((await failed).message).toMatch(
      /runs\/demo-9: no file or folder here, and the hub does not answer/,
    );
  });

  it("takes a path before a name on the hub", async () => {
    const before = process.cwd();
    await onDisk(join("org", "tiny"));
    process.chdir(root);
    try {
      await using loaded = await load("org/tiny", { device, endpoint: "http://127.0.0.1:9", attempts: 1 });
      expect(loaded.source).toEqual({ kind: "folder", path: "org/tiny" });
    } finally {
      process.chdir(before);
    }
  });

  it("says what is wrong with a name", async () => {
    const error = await failure(load("nowhere"));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/nowhere: neither.*org\/name.*nothing at .*nowhere/);
    expect((await failure(load(join(root, "a", "b")))).message).toMatch(/neither/);
    const folder = await onDisk("refused");
    const weights = join(folder, "model.safetensors");
    expect((await failure(load(weights))).message).toMatch(
      /folder or a .gguf file.*the folder that the file is in/,
    );
    expect((await failure(load(folder, { revision: "v1" }))).message).toMatch(/--revision applies/);
    await mkdir(join(root, "empty"), { recursive: true });
    expect(await failure(load(join(root, "empty")))).toBeInstanceOf(FormatError);
    expect(relative(root, folder)).toBe("refused");
  });

  it("takes a broken link for missing", async () => {
    const path = join(root, "broken");
    await symlink(join(root, "gone"), path);
    expect((await failure(load(path))).message).toMatch(/neither/);
  });
});

describe("GGUF", () => {
  const gguf = async (type: "F32" | "F16" | "Q8_0" | "Q4_0") => {
    let bytes = new Uint8Array(0);
    using model = createModel({ ...tinyConfigs.llama, hidden_size: 192, intermediate_size: 64 }, device, {
      seed: 3,
    });
    const sink = memorySink("out", (all) => {
      bytes = all.slice();
    });
    await exportGguf(sink, { weights: weightsOf(model), config: model.config, name: "x" }, { type });
    return { bytes, expected: await logits(model) };
  };

  it("loads a file as it is stored, from a path, a folder and the hub", async () => {
    const { bytes, expected } = await gguf("F32");
    const folder = await onDisk("gguf", new Map([["tiny-F32.gguf", bytes]]));
    const path = join(folder, "tiny-F32.gguf");
    await using loaded = await load(path, { device });
    expect(loaded.name).toBe("tiny-F32");
    expect(loaded.source).toEqual({ kind: "gguf", path });
    expect(loaded.tokenizer).toBeNull();
    expect(loaded.chatTemplate).toBeNull();
    expect(loaded.generationConfig.eosTokenIds).toEqual(loaded.model.config.eosTokenIds);
    const found = await logits(loaded.model);
    expect(found.every((value, i) => Math.abs(value - expected[i]) < 1e-6)).toBe(true);
    await using inFolder = await load(folder, { device });
    expect(inFolder.source.path).toBe(path);
    await onDisk("gguf", new Map([["tiny-F16.gguf", (await gguf("F16")).bytes]]));
    expect((await failure(load(folder, { device }))).message).toMatch(/several GGUF files/);
    await using chosen = await load(folder, { device, file: "f16" });
    expect(chosen.source.path).toBe(join(folder, "tiny-F16.gguf"));
    await using hub = await TestingHub.start();
    hub.repos.set("org/tiny-GGUF", { commit, files: new Map([["sub/tiny-F32.gguf", bytes]]) });
    const options = { endpoint: hub.endpoint, cacheDir: join(root, "gguf-cache"), token: null, device };
    await using remote = await load("org/tiny-GGUF", options);
    expect(remote.source).toMatchObject({ kind: "hub", repo: "org/tiny-GGUF" });
    expect(await logits(remote.model)).toEqual(found);
  });

  it.each(["Q8_0", "Q4_0"] as const)("keeps %s blocks", async (type) => {
    const cpu = await createCpuDevice({ threads: 1 });
    const { bytes } = await gguf(type);
    const tree = memoryFolder(new Map([["m.gguf", bytes]]));
    await using loaded = await loadGguf(tree, "m.gguf", { device: cpu });
    const { weight } = loaded.model.parameters.group("model.layers.0.self_attn.o_proj.weight");
    expect("format" in weight && weight.format).toBe(type === "Q4_0" ? "q4" : "q8");
    await cpu[Symbol.asyncDispose]();
  });

  it.each(["blocks", "tiles"])("reads %s in place under a signal, and stops on it", async (kind) => {
    await using cpu = await createCpuDevice({ threads: 1 });
    const content: Files = new Map();
    if (kind === "blocks") content.set("m.gguf", (await gguf("Q4_0")).bytes);
    else {
      const config = { ...tinyConfigs.llama, hidden_size: 192, intermediate_size: 64 };
      using model = createModel(config, cpu, { seed: 3, storage: () => "q4" });
      await saveCheckpoint(memoryFolderSink(content), tiledEntries(model), { config: tiledConfig(model) });
    }
    const controller = new AbortController();
    let [given, stopAt] = [0, Number.POSITIVE_INFINITY];
    const files = memoryFolder(content);
    const tree: FileTree = {
      ...files,
      open: async (path) => {
        const source = await files.open(path);
        const read: ByteSource["read"] = (offset, length, into) => {
          if (into && ++given === stopAt) controller.abort(reason);
          return source.read(offset, length, into);
        };
        return { ...source, read };
      },
    };
    const reason = new Error("enough");
    const open = () => {
      const options = { device: cpu, signal: controller.signal };
      return kind === "blocks" ? loadGguf(tree, "m.gguf", options) : loadFolder(tree, options);
    };
    const { buffers } = cpu.backend.memory();
    await (await open()).dispose();
    expect(given).toBeGreaterThan(5);
    [given, stopAt] = [0, 3];
    expect(await failure(open())).toBe(reason);
    expect(given).toBe(3);
    expect(cpu.backend.memory().buffers).toBe(buffers);
  });
});

describe("readGenerationConfig", () => {
  it("takes the end tokens of its file, else those of config.json; refuses what is malformed, by name", () => {
    expect(readGenerationConfig(null, [4])).toEqual({
      ...{ doSample: null, temperature: null, topP: null, topK: null, minP: null },
      ...{ repetitionPenalty: null, maxNewTokens: null, guidanceScale: null, eosTokenIds: [4] },
    });
    expect(readGenerationConfig({ eos_token_id: 5, top_k: 50 }, [4])).toMatchObject({
      topK: 50,
      eosTokenIds: [5],
    });
    expect(readGenerationConfig({ eos_token_id: [5, 6, 5] }, [4]).eosTokenIds).toEqual([5, 6]);
    expect(readGenerationConfig({ eos_token_id: null }, [4]).eosTokenIds).toEqual([4]);
    expect(readGenerationConfig({ eos_token_id: null }, []).eosTokenIds).toEqual([]);
    expect(() => readGenerationConfig({ temperature: "hot" }, [])).toThrow(
      /generation_config.json.*temperature/,
    );
    expect(() => readGenerationConfig({ eos_token_id: "x" }, [])).toThrow(ConfigError);
    expect(() => readGenerationConfig([], [])).toThrow(ConfigError);
  });
});

describe("folderTemplate", () => {
  const find = (content: Record<string, unknown>) =>
    folderTemplate(
      memoryFolder(new Map(Object.entries(content).map(([path, value]) => [path, text(value)]))),
    );

  it("looks where transformers looks", async () => {
    expect(await find({})).toBeNull();
    expect(await find({ "tokenizer_config.json": {} })).toBeNull();
    const config = { "tokenizer_config.json": { chat_template: "c" } };
    expect(await find(config)).toBe("c");
    expect(await find({ ...config, "chat_template.json": { chat_template: "j" } })).toBe("j");
    expect(await find({ ...config, "chat_template.jinja": "file" })).toBe("file");
    const list = [
      { name: "default", template: "d" },
      { name: "tool_use", template: "t" },
    ];
    expect(await find({ "tokenizer_config.json": { chat_template: list } })).toEqual({
      default: "d",
      tool_use: "t",
    });
    await expect(find({ "tokenizer_config.json": { chat_template: 3 } })).rejects.toThrow(
      /not a chat template.*3/,
    );
    await expect(find({ "tokenizer_config.json": { chat_template: [{}] } })).rejects.toThrow(ConfigError);
  });
});
