/** A model with an adapter beside it, opened and converted: what comes out is what the adapter adds to the model. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { saveAdapters } from "../../checkpoint/adapters.ts";
import { modelEntries } from "../../checkpoint/entries.ts";
import { nodeFolderSink } from "../../checkpoint/node-files.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { AdaptedModel, createAdapters } from "../../models/adapted-model.ts";
import { type CausalLM, createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { type LoadOptions, load } from "../../pretrained/node-load.ts";
import { Random } from "../../tensor/random.ts";
import { cpuDevice, relativeError } from "../../tensor/testing.ts";
import { trainBpe, trainedTokenizerConfig } from "../../tokenizer/train-bpe.ts";
import { convertCommand } from "./convert.ts";
import { dpoCommand } from "./dpo.ts";
import { grpoCommand } from "./grpo.ts";
import { inspectCommand } from "./inspect.ts";
import { openModel } from "./open-model.ts";
import { quantizeCommand } from "./quantize.ts";
import { sftCommand } from "./sft.ts";

const device = await cpuDevice(1, true);
afterAll(() => device[Symbol.asyncDispose]());

/** The template that the adapter was trained with; the model has none. */
const TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}";
let folder: string;
const at = (name: string) => join(folder, name);
const config = {
  ...tinyConfigs.v3,
  ...{ hidden_size: 32, vocab_size: 280, moe_intermediate_size: 16, rope_scaling: null },
  // Every token goes to every expert, so that rounding changes no choice.
  ...{ num_experts_per_tok: 8, topk_group: 4 },
};
const ids = [Int32Array.from({ length: 9 }, (_, i) => (i * 41 + 7) % 270)];
let expected: number[];
let plain: number[];

async function logitsOf(model: Pick<CausalLM, "hidden" | "logits" | "ids">): Promise<number[]> {
  using logits = device.inference(() => model.logits(model.hidden(model.ids(ids))));
  return [...(await logits.data())];
}

/** Of the model at `path`; `seen` gets what became of the adapter. */
async function loadedLogits(path: string, options: LoadOptions = {}, seen: string[] = []): Promise<number[]> {
  await using opened = await load(at(path), { device, onNotice: (text) => seen.push(text), ...options });
  return await logitsOf(opened.model);
}

const convert = (...args: string[]) =>
  convertCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(args, { from: "user" });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "adapter-"));
  using base = createModel(config, device, { seed: 2, std: 0.2 });
  const tokenizer = await trainBpe(["let a = b;\n".repeat(40)], { vocabSize: 270 });
  const files = {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": JSON.stringify(trainedTokenizerConfig(256)),
  };
  const saving = { config: { ...config, torch_dtype: "float32" }, files };
  await saveCheckpoint(await nodeFolderSink(at("model")), modelEntries(base), saving);
  await saveCheckpoint(await nodeFolderSink(at("model-bf16")), modelEntries(base), {
    ...saving,
    ...{ config: { ...config, torch_dtype: "bfloat16" }, dtype: "BF16" },
  });
  const adapters = createAdapters(base, { rank: 4, alpha: 8, targets: ["all-linear"] }, 3);
  const random = new Random(6);
  for (const { key, tensor } of adapters.parameters.groups()) {
    if (!key.includes("lora_B")) continue;
    tensor.set(Float32Array.from({ length: tensor.size }, () => 0.1 * random.normal()));
  }
  const beside = { "chat_template.jinja": TEMPLATE };
  await saveAdapters(await nodeFolderSink(at("adapter")), adapters, { base: "model", files: beside });
  plain = await logitsOf(base);
  using adapted = new AdaptedModel(base, adapters);
  expected = await logitsOf(adapted);
  expect(relativeError(plain, expected)).toBeGreaterThan(0.1);
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
});

describe("load with an adapter", () => {
  const adapter = () => at("adapter");

  it("merges it into floats", async () => {
    const seen: string[] = [];
    const { buffers } = device.backend.memory();
    expect(relativeError(await loadedLogits("model", { adapter: adapter() }, seen), expected)).toBeLessThan(
      1e-5,
    );
    expect(seen.join("\n")).toMatch(/^adapter {5}.*adapter: [\d.]+k? parameters, merged into the weights$/m);
    const rounded = await loadedLogits("model-bf16", { adapter: adapter() });
    expect(relativeError(rounded, expected)).toBeLessThan(0.05);
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("keeps it beside quantized weights, and frees it", async () => {
    const seen: string[] = [];
    const { buffers } = device.backend.memory();
    const options = { adapter: adapter(), dtype: "q8" } as const;
    expect(relativeError(await loadedLogits("model", options, seen), expected)).toBeLessThan(0.03);
    expect(seen.join("\n")).toMatch(/beside the quantized weights/);
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("says where it is from, and what there is instead", async () => {
    await using opened = await load(at("model"), { device, adapter: adapter() });
    expect(opened.source).toMatchObject({ kind: "folder", adapter: adapter() });
    expect(opened.adapter).toMatchObject({ merged: true });
    expect(opened.chatTemplate).toBe(TEMPLATE);
    await expect(load(at("model"), { device, adapter: at("nowhere") })).rejects.toThrow(/no adapter there/);
    await expect(load(at("model"), { device, adapter: at("model") })).rejects.toThrow(/adapter_config\.json/);
  });

  it("is what --adapter does", async () => {
    const said = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const flags = { dtype: "f32", adapter: adapter() } as const;
    await using opened = await openModel(at("model"), device, flags);
    expect(relativeError(await logitsOf(opened.model), expected)).toBeLessThan(1e-5);
    expect(said.mock.calls.join("")).toMatch(/merged into the weights/);
  });
});

describe("convert --adapter", () => {
  it("writes a folder and a GGUF file of the merged model", async () => {
    vi.spyOn(process.stdout, "write").mockImplementation(() => true);
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    await convert(at("model"), at("merged"), "--adapter", at("adapter"));
    expect(relativeError(await loadedLogits("merged"), expected)).toBeLessThan(1e-5);
    for (const merged of ["merged", "merged.gguf", "merged-2"]) {
      if (merged === "merged.gguf") await convert(at("model"), at(merged), "--adapter", at("adapter"));
      // From a GGUF file to a folder.
      if (merged === "merged-2") {
        await convert(at("model"), at("plain.gguf"));
        await convert(at("plain.gguf"), at(merged), "--adapter", at("adapter"));
      }
      await using opened = await load(at(merged), { device });
      expect(opened.chatTemplate, merged).toBe(TEMPLATE);
      expect(opened.tokenizer?.vocabSize, merged).toBeGreaterThan(200);
    }
    expect(relativeError(await loadedLogits("merged.gguf"), expected)).toBeLessThan(1e-5);
    expect(relativeError(await loadedLogits("merged-2"), expected)).toBeLessThan(1e-5);
    await convert(at("model-bf16"), at("merged-bf16"), "--adapter", at("adapter"));
    const text = await readFile(join(at("merged-bf16"), "config.json"), "utf8");
    expect(JSON.parse(text).torch_dtype).toBe("bfloat16");
    expect(relativeError(await loadedLogits("merged-bf16"), expected)).toBeLessThan(0.1);
  });

  it("refuses parts, single files, what is read, and a folder that is no adapter", async () => {
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const part = convert(at("model"), at("x.gguf"), "--adapter", at("adapter"), "--part", "language");
    await expect(part).rejects.toThrow(/--adapter/);
    await expect(convert(at("model"), at("x"), "--adapter", at("model"))).rejects.toThrow(/no adapter there/);
    const over = convert(at("model"), at("adapter"), "--adapter", at("adapter"), "--force");
    await expect(over).rejects.toThrow(/what is read/);
  });
});

describe("commands that take no adapter", () => {
  it.each([
    ["quantize", quantizeCommand, ["q4"]],
    ["inspect", inspectCommand, []],
    ["sft", sftCommand, ["--data", "rows.jsonl"]],
    ["dpo", dpoCommand, ["--data", "rows.jsonl"]],
    ["grpo", grpoCommand, ["--data", "rows.jsonl", "--reward", "answer"]],
  ] as const)("%s says to merge it first", async (name, create, more) => {
    const said: string[] = [];
    const command = create()
      .exitOverride()
      .configureOutput({ writeErr: (text) => said.push(text) });
    const run = command.parseAsync([at("model"), ...more, "--adapter", at("adapter")], { from: "user" });
    await expect(run).rejects.toThrow(/takes no adapter/);
    expect(said.join("")).toContain(`${name} takes no adapter beside a model; merge both first`);
    expect(said.join("")).toContain(`deepseek-ts convert MODEL MERGED --adapter ${at("adapter")}`);
    expect(command.helpInformation()).not.toContain("--adapter");
  });
});
