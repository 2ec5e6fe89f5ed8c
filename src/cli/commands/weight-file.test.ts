/** `inspect` and `convert` on PyTorch files: listings without a configuration, and safetensors with the same bytes. */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { modelEntries } from "../../checkpoint/entries.ts";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { type TestTensor, torchFile } from "../../checkpoint/pytorch/testing.ts";
import { pieces } from "../../checkpoint/safetensors-writer.ts";
import { createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { convertCommand } from "./convert.ts";
import { inspectCommand } from "./inspect.ts";
import { quantizeCommand } from "./quantize.ts";
import { inspectFile, openWeightFile, weightFileFormat } from "./weight-file.ts";

let root: string;
let written = "";
const at = (name: string) => join(root, name);
const inspect = (...args: string[]) => inspectCommand().exitOverride().parseAsync(args, { from: "user" });
const quantize = (...args: string[]) => quantizeCommand().exitOverride().parseAsync(args, { from: "user" });
const convert = (...args: string[]) => convertCommand().exitOverride().parseAsync(args, { from: "user" });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "weight-file-"));
  const config = { ...tinyConfigs.llama, torch_dtype: "float32" };
  using model = createModel(config, createReferenceDevice(), { seed: 1 });
  const storages: Record<string, Uint8Array> = {};
  const tensors: TestTensor[] = [];
  for (const { name, shape, data } of modelEntries(model)) {
    const parts: Uint8Array[] = [];
    for await (const part of pieces(data())) parts.push(part.slice());
    storages[name] = new Uint8Array(Buffer.concat(parts));
    tensors.push({ name, dtype: "F32", shape, key: name });
  }
  await mkdir(at("torch"));
  const widths = Object.fromEntries(Object.keys(storages).map((key) => [key, 4]));
  await writeFile(at("torch/pytorch_model.bin"), torchFile(tensors, storages, widths));
  await writeFile(at("torch/config.json"), JSON.stringify(config));
  await writeFile(at("torch/tokenizer_config.json"), '{"a": 1.0}');
  await writeFile(at("torch/training_args.bin"), "x");
  await writeFile(at("torch/notes.json"), "{}");
  const header = JSON.stringify({ codes: { dtype: "F4", shape: [3, 3], data_offsets: [0, 5] } });
  const length = new Uint8Array(8);
  length[0] = header.length;
  await writeFile(at("odd.safetensors"), Buffer.concat([length, Buffer.from(header), Buffer.alloc(5)]));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(() => {
  written = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("inspect of one file", () => {
  it("lists names, shapes, dtypes and bytes", async () => {
    await inspect("test/fixtures/pytorch/zip-dtypes/pytorch_model.bin");
    expect(written).toMatch(/^format {6}torch.save$/m);
    expect(written).toMatch(/^tensors {5}13, 224 bytes: F32 80 bytes, F16 24 bytes/m);
    expect(written).toMatch(/^bf16 +BF16 +\[2, 7\] +28 bytes$/m);
    expect(written).toMatch(/^scalar +F32 +\[\] +4 bytes$/m);
    written = "";
    await inspect("test/fixtures/pytorch/legacy/pytorch_model.bin", "--json");
    const found = JSON.parse(written);
    expect(found).toMatchObject({ format: "pytorch", bytesByDtype: { F32: expect.any(Number) } });
    expect(found.tensors).toHaveLength(11);
    expect(found.tensors[0]).toEqual({ name: "f32", dtype: "F32", shape: [3, 5], bytes: 60 });
  });

  it("lists dtypes that are not known, and refuses code by name", async () => {
    expect(await inspectFile(at("odd.safetensors"), "safetensors")).toMatchObject({
      tensors: [{ name: "codes", dtype: "F4", shape: [3, 3], bytes: 5 }],
      bytesByDtype: { F4: 5 },
    });
    await expect(inspect("test/fixtures/pytorch/hostile/os-system.bin")).rejects.toThrow(/"posix.system"/);
    expect(await weightFileFormat("test/fixtures/pytorch")).toBeNull();
    expect(await weightFileFormat(at("missing.pth"))).toBeNull();
    expect(await weightFileFormat(at("torch/config.json"))).toBeNull();
  });

  it("of a folder says what its files are", async () => {
    await inspect(at("torch"), "--json");
    expect(JSON.parse(written)).toMatchObject({ format: "pytorch", modelType: "llama" });
  });
});

describe("convert of PyTorch files", () => {
  it("makes a folder of safetensors with the same bytes and the files beside them", async () => {
    await convert(at("torch"), at("folder"));
    expect((await readdir(at("folder"))).filter((name) => !name.startsWith(".")).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer_config.json",
    ]);
    expect(await readFile(at("folder/tokenizer_config.json"), "utf8")).toBe('{"a": 1.0}');
    const [before, after] = [
      await openCheckpoint(nodeFolder(at("torch"))),
      await openCheckpoint(nodeFolder(at("folder"))),
    ];
    expect([...after.names()].sort()).toEqual([...before.names()].sort());
    for (const name of before.names()) {
      expect(after.info(name)).toMatchObject({ dtype: "F32", shape: before.info(name).shape });
      expect(Buffer.compare(await after.readRaw(name), await before.readRaw(name)), name).toBe(0);
    }
    await before.close();
    await after.close();
    await expect(convert(at("folder"), at("again"))).rejects.toThrow(
      /folder of safetensors can only be converted to GGUF/,
    );
  });

  it("takes another dtype for floats where one is given", async () => {
    await convert(at("torch"), at("half"), "--type", "bf16");
    const half = await openCheckpoint(nodeFolder(at("half")));
    expect(half.config?.torch_dtype).toBe("bfloat16");
    for (const name of half.names()) expect(half.info(name).dtype).toBe("BF16");
    await half.close();
  });

  it("keeps digits and order of the files beside the weights", async () => {
    const odd = `"ids": {"10": 1.0, "2": 1e4, "1": 9007199254740993}, "shorter": -0.10`;
    const generation = `{"temperature": 1.0, ${odd}}`;
    const settings = `{"model_max_length": 1000000000000000019884624838656, ${odd}}\n`;
    const plain = await readFile(at("torch/config.json"), "utf8");
    const config = plain.replace(/\}$/, `,"rope_theta": 1e4, ${odd}, "dtype": "float32"}`);
    await mkdir(at("digits"));
    await copyFile(at("torch/pytorch_model.bin"), at("digits/pytorch_model.bin"));
    await writeFile(at("digits/config.json"), config);
    await writeFile(at("digits/generation_config.json"), generation);
    await writeFile(at("digits/tokenizer_config.json"), settings);
    await writeFile(at("digits/chat_template.json"), '{"chat_template": "x"}');
    await convert(at("digits"), at("digits-same"));
    await convert(at("digits"), at("digits-bf16"), "--type", "bf16");
    await quantize(at("digits"), at("digits-q8"), "--dtype", "q8", "--threads", "1");
    for (const folder of ["digits-same", "digits-bf16", "digits-q8"]) {
      expect(await readFile(at(`${folder}/generation_config.json`), "utf8")).toBe(generation);
      expect(await readFile(at(`${folder}/tokenizer_config.json`), "utf8")).toBe(settings);
      expect(await readFile(at(`${folder}/chat_template.json`), "utf8")).toBe('{"chat_template": "x"}');
    }
    expect(await readFile(at("digits-same/config.json"), "utf8")).toBe(config);
    const typed = await readFile(at("digits-bf16/config.json"), "utf8");
    const expected = config.replace(/("(torch_)?dtype": ?)"float32"/g, '$1"bfloat16"');
    expect(typed.replace(/\s/g, "")).toBe(expected.replace(/\s/g, ""));
    expect(typed).toMatch(/^ {2}"rope_theta": 1e4,$/m);
    const tiled = await readFile(at("digits-q8/config.json"), "utf8");
    const own = `,"quantization_config":{"quant_method":"deepseek-ts","version":1,"tile":[8,32]}}`;
    expect(tiled.replace(/\s/g, "")).toBe(config.replace(/\s/g, "").replace(/\}$/, own));
  });

  it("makes one safetensors file of one file, views and all dtypes included", async () => {
    for (const name of ["zip-views", "zip-dtypes", "zip-float8", "zip-nested/checkpoint.bin"]) {
      const path = `test/fixtures/pytorch/${name.endsWith(".bin") ? name : `${name}/pytorch_model.bin`}`;
      const out = at(`${name.split("/")[0]}.safetensors`);
      await convert(path, out);
      const expected = await openWeightFile(join(path, "../expected.safetensors"), "safetensors");
      const found = await openWeightFile(out, "safetensors");
      expect([...found.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort());
      for (const tensor of expected.tensors.keys()) {
        expect(Buffer.compare(await found.read(tensor), await expected.read(tensor)), tensor).toBe(0);
      }
      await expected.source.close?.();
      await found.source.close?.();
      await expect(convert(path, out)).rejects.toThrow(/already exists/);
    }
    const bin = "test/fixtures/pytorch/zip-views/pytorch_model.bin";
    await expect(convert(bin, at("x.safetensors"), "--type", "f16")).rejects.toThrow(/converted as it is/);
    await expect(convert(at("torch"), at("x.safetensors"))).rejects.toThrow(/only a single PyTorch file/);
    await expect(convert(bin, at("x"))).rejects.toThrow(/a model must be a folder or a .gguf file/);
  });
});
