/** `convert` on models that see: the language model alone, quantized weights back to floats, and what has no form. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import type { TokenModel } from "../../models/token-model.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { load } from "../../pretrained/node-load.ts";
import { quantizeModel } from "../../runs/quantize.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
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

describe.each(["vl/chat", "vl/hybrid-port", "vl2/mla", "vl2/mha"])("the language model of %s", (name) => {
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

describe("refused by name", () => {
  it.each([
    [["vl2/mla", "out.gguf"], /no place for the image tower.*--part language/],
    [["llm/mha", "out.gguf", "--part", "language"], /has no parts.*Leave --part out/],
    [["vl2/mla", "out"], /can only be converted to GGUF/],
  ])("%j", async ([model, out, ...rest], message) => {
    await expect(convert(fixture(model), at(out), ...rest)).rejects.toThrow(message);
    expect(await readdir(root)).not.toContain(out);
  });
});
