/** `convert`, from a folder to GGUF and back: values, tokenizer, refusals. */
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { modelEntries } from "../../checkpoint/entries.ts";
import { openCheckpoint, readAllF32 } from "../../checkpoint/folder.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { ORIGINAL_CONFIG, originalConfig } from "../../checkpoint/gguf/original-config.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { ggufWeights } from "../../checkpoint/gguf/weights.ts";
import { nodeFolder, nodeFolderSink } from "../../checkpoint/node-files.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { JsonNumber, type JsonObject, parseJson, writeJson } from "../../json/index.ts";
import { createModel } from "../../models/causal-lm.ts";
import { parseConfig } from "../../models/config.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { ggufTokenizer } from "../../tokenizer/gguf-tokenizer.ts";
import { loadTokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../../tokenizer/train-bpe.ts";
import { convertCommand } from "./convert.ts";

let folder: string;
const at = (name: string) => join(folder, name);
const run = (...args: string[]) =>
  convertCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync(
      args.map((arg, i) => (i < 2 ? at(arg) : arg)),
      { from: "user" },
    );

const sample = "function add(a, b) {\n  return a + b;\n}\n".repeat(9);
const config = { ...tinyConfigs.v3, hidden_size: 32, vocab_size: 280, rope_scaling: null };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "convert-"));
  const device = createReferenceDevice();
  using model = createModel(config, device, { seed: 2, std: 0.1 });
  const tokenizer = await trainBpe([sample], { vocabSize: 275 });
  const settings = { ...trainedTokenizerConfig(256), chat_template: "{{ messages }}" };
  await saveCheckpoint(await nodeFolderSink(at("model")), modelEntries(model), {
    config: { ...config, torch_dtype: "float32" },
    files: { "tokenizer.json": JSON.stringify(tokenizer), "tokenizer_config.json": JSON.stringify(settings) },
  });
});
afterAll(() => rm(folder, { recursive: true }));
let written = "";
function listen(): void {
  written = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written += String(text);
    return true;
  });
}
afterEach(() => {
  vi.restoreAllMocks();
});

describe("convert", () => {
  it("to GGUF and back gives the folder's values, tokenizer and template", async () => {
    listen();
    const said = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    await run("model", "model.gguf");
    expect(written).toMatch(/^saved {7}.*model\.gguf: \d/);
    const whole = await openCheckpoint(nodeFolder(at("model")));
    const extra = [...whole.names()].filter((name) =>
      name.startsWith(`model.layers.${config.num_hidden_layers}.`),
    );
    await whole.close();
    expect(extra.length).toBeGreaterThan(5);
    expect(said.mock.calls.map(([text]) => String(text)).join("")).toBe(
      `left out    multi-token-prediction layers (${extra.length} tensors): GGUF has no place for them\n`,
    );
    said.mockClear();
    await run("model.gguf", "back");
    expect(said).not.toHaveBeenCalled();
    const original = await openCheckpoint(nodeFolder(at("model")));
    const back = await openCheckpoint(nodeFolder(at("back")));
    const names = [...back.names()];
    expect(names).not.toContain("model.layers.2.eh_proj.weight");
    for (const name of names)
      expect(await readAllF32(back, name), name).toEqual(await readAllF32(original, name));
    const expected = { ...parseConfig(original.config), mtpLayers: 0 };
    expect(parseConfig(back.config)).toEqual(expected);
    const read = (name: string, file: string) => readFile(join(at(name), file), "utf8");
    const settings = JSON.parse(await read("back", "tokenizer_config.json"));
    expect(settings.chat_template).toBe("{{ messages }}");
    const tokenizer = loadTokenizer(await read("back", "tokenizer.json"), settings);
    const first = loadTokenizer(await read("model", "tokenizer.json"));
    expect(tokenizer.encode(sample)).toEqual(first.encode(sample));
    await original.close();
    await back.close();
  });

  it("keeps all that config.json says, in digits and order, but for what the weights' form changes", async () => {
    listen();
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    await cp(at("model"), at("told"), { recursive: true });
    const text = await readFile(at("told/config.json"), "utf8");
    const more =
      '  "auto_map": {\n    "10": "b",\n    "2": "a"\n  },\n  "comment": "kept: 1.0",\n  "seed": 12345678901234567890,\n  "x": 1E-7\n}';
    const told = text
      .replace(/"torch_dtype": "float32"/, '"torch_dtype": "bfloat16"')
      .replace(/\n\}\s*$/, `,\n${more}\n`);
    await writeFile(at("told/config.json"), told);
    const before = parseJson(told) as JsonObject;
    await run("told", "told.gguf");
    await run("told.gguf", "told-again.gguf", "--type", "q8_0");
    const file = await openGgufFiles(nodeFolder(folder), "told-again.gguf");
    expect(originalConfig(file)).toBe(told);
    // Somebody has changed the model: the text no longer describes it.
    const metadata = new Map(file.metadata);
    metadata.set("deepseek2.block_count", { type: "u32", value: 7 });
    expect(originalConfig({ metadata })).toBeNull();
    metadata.set(ORIGINAL_CONFIG, { type: "string", value: "{" });
    expect(originalConfig({ metadata })).toBeNull();
    await file.close();
    await run("told-again.gguf", "told-back", "--type", "f16");
    const after = await readFile(at("told-back/config.json"), "utf8");
    expect(after).toContain(more.slice(0, -2));
    const expected = new Map(before);
    expected.set("torch_dtype", "float16");
    expected.set("num_nextn_predict_layers", new JsonNumber("0"));
    expect(writeJson(parseJson(after))).toBe(writeJson(expected));
  });

  it("ends where generation_config.json and the tokenizer say, not where config.json does without them", async () => {
    listen();
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const ends = async (name: string) => {
      await run("ends", name);
      const file = await openGgufFiles(nodeFolder(folder), name);
      const { bos_token_id, eos_token_id } = ggufConfig(file);
      await file.close();
      return [bos_token_id, eos_token_id];
    };
    await cp(at("model"), at("ends"), { recursive: true });
    const json = JSON.parse(await readFile(at("ends/config.json"), "utf8"));
    await writeFile(at("ends/config.json"), JSON.stringify({ ...json, bos_token_id: 4, eos_token_id: 2 }));
    expect(await ends("named.gguf")).toEqual([0, [1, 2]]);
    await writeFile(at("ends/generation_config.json"), JSON.stringify({ eos_token_id: [1, 7] }));
    expect(await ends("generation.gguf")).toEqual([0, [1, 7]]);
  });

  it("quantizes, keeps what it is told to, and copies blocks from one file to another", async () => {
    listen();
    await run("model", "q4.gguf", "--type", "q4_0", "--keep", "^output=q8_0", "--keep", "attn_output=f32");
    const file = await openGgufFiles(nodeFolder(folder), "q4.gguf");
    expect(file.tensor("output.weight").type).toBe("Q8_0");
    expect(file.tensor("blk.0.attn_output.weight").type).toBe("F32");
    expect(file.tensor("token_embd.weight").type).toBe("Q4_0");
    expect(ggufTokenizer(file).encode(sample).length).toBeGreaterThan(10);
    await run("q4.gguf", "again.gguf", "--type", "q4_0");
    const again = await openGgufFiles(nodeFolder(folder), "again.gguf");
    const blocks = async (of: typeof file) => {
      const parts: number[] = [];
      for await (const { bytes } of ggufWeights(of).readBlocks("model.embed_tokens.weight"))
        parts.push(...bytes);
      return parts;
    };
    expect(await blocks(again)).toEqual(await blocks(file));
    await file.close();
    await again.close();
  });

  it("replaces nothing without being told, and leaves nothing behind when it fails", async () => {
    listen();
    await writeFile(at("there.gguf"), "x");
    await expect(run("model", "there.gguf")).rejects.toThrow(/already exists.*--force/);
    await expect(run("model", "there.gguf", "--force")).rejects.toThrow(/not written by this program/);
    await rm(at("there.gguf"));
    await run("model", "there.gguf");
    const written = (await stat(at("there.gguf"))).ino;
    await expect(run("there.gguf", "there.gguf", "--type", "f16", "--force")).rejects.toThrow(/what is read/);
    await run("model", "there.gguf", "--force");
    expect((await stat(at("there.gguf"))).ino).not.toBe(written);
    expect((await readFile(at("there.gguf"))).subarray(0, 4).toString()).toBe("GGUF");
    const before = (await readdir(folder)).length;
    await expect(run("model", "folder")).rejects.toThrow(/NAME\.gguf/);
    await expect(run("there.gguf", "other.gguf")).rejects.toThrow(/--type/);
    await expect(run("there.gguf", "folder", "--type", "q4_0")).rejects.toThrow(/quantize/);
    await expect(run("model", "x.gguf", "--keep", "a=q2")).rejects.toThrow(/PATTERN=TYPE/);
    await expect(run("missing", "x.gguf")).rejects.toThrow(/missing/);
    expect((await readdir(folder)).length).toBe(before);
  });
});
