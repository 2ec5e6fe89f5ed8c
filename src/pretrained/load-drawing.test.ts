/** Models that draw, opened with and without what they draw with. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FileTree, memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { tiledEntries } from "../checkpoint/tiles.ts";
import { worldTokenizer } from "../data/world/vocabulary.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { isQuantized } from "../tensor/quantized.ts";
import type { Device } from "../tensor/tensor.ts";
import { loadFolder } from "./load.ts";
import { autoencoderOf } from "./load-drawing.ts";

const fixtures = new URL("../../test/fixtures/", import.meta.url).pathname;

/** `janus/generate` with the weights as Janus-Pro ships them. */
async function asPickle(): Promise<FileTree> {
  const files = new Map<string, Uint8Array>();
  files.set("config.json", await readFile(`${fixtures}janus/generate/config.json`));
  const name = "pytorch_model.bin";
  files.set(name, await readFile(`${fixtures}pytorch/janus-generate/${name}`));
  return memoryFolder(files, "janus-pro");
}

const folders: readonly (readonly [name: string, kind: string, open: () => Promise<FileTree>])[] = [
  ["janus/generate", "codes", async () => nodeFolder(`${fixtures}janus/generate`)],
  ["janus/generate-port", "codes", async () => nodeFolder(`${fixtures}janus/generate-port`)],
  ["pytorch/janus-generate", "codes", asPickle],
  ["janusflow/sample", "flow", async () => nodeFolder(`${fixtures}janusflow/sample`)],
];

let device: Device;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
});
afterAll(() => device[Symbol.asyncDispose]());

describe.each(folders)("%s", (_, kind, open) => {
  it("opens without what draws, and takes no memory for it", async () => {
    const tree = await open();
    await using all = await loadFolder(tree, { device, drawing: true });
    await using seeing = await loadFolder(tree, { device });
    expect(seeing.drawing).toBeNull();
    expect(seeing.vision!.model.generation).toBeNull();
    expect(all.drawing!.generation.kind).toBe(kind);
    expect(all.drawing!.model.language).toBe(all.model);
    const [whole, part] = [all.drawing!.model.parameters, seeing.vision!.model.parameters];
    expect(whole.bytes - part.bytes).toBe(all.drawing!.generation.parameters.bytes);
    for (const { name } of part.named()) {
      const { group } = part.place(name);
      if (!isQuantized(group.weight))
        expect(await part.get(name).data(), name).toEqual(await whole.get(name).data());
    }
  });

  it("refuses all the same what is no part of it", async () => {
    const tree = await open();
    // A tower with one block less than the file.
    const shorter = (text: string) => text.replace(/("layers"|"num_hidden_layers"): 2/, "$1: 1");
    const other: FileTree = { ...tree, readText: async (path) => shorter(await tree.readText(path)) };
    await expect(loadFolder(other, { device })).rejects.toThrow(/does not use|layers/);
  });

  it("keeps what draws in 8 bits or floats with a language model in 4 bits", async () => {
    const tree = await open();
    await using loaded = await loadFolder(tree, { device, dtype: "q4", drawing: true });
    const formats = new Set<string>();
    for (const { weight } of loaded.drawing!.generation.parameters.groups()) {
      formats.add(isQuantized(weight) ? weight.format : weight.dtype);
    }
    expect([...formats].sort()).toEqual(["f32", "q8"]);
  });

  it("opens from a folder of quantized weights with and without it", async () => {
    const tree = await open();
    const files = new Map<string, Uint8Array>();
    await using loaded = await loadFolder(tree, { device, dtype: "q8", drawing: true });
    const config = JSON.parse(await tree.readText("config.json"));
    await saveCheckpoint(memoryFolderSink(files), tiledEntries(loaded.drawing!.model), { config });
    await using all = await loadFolder(memoryFolder(files), { device, drawing: true });
    await using seeing = await loadFolder(memoryFolder(files), { device });
    await using floats = await loadFolder(memoryFolder(files), { device, dtype: "f32" });
    expect(seeing.drawing).toBeNull();
    expect(floats.drawing).toBeNull();
    expect(all.drawing!.model.parameters.bytes).toBe(loaded.drawing!.model.parameters.bytes);
  });
});

describe("the autoencoder of a folder", () => {
  const flow = async (...vae: readonly string[]) => {
    const files = new Map<string, Uint8Array>();
    for (const name of ["config.json", "model.safetensors"])
      files.set(name, await readFile(`${fixtures}janusflow/sample/${name}`));
    for (const name of vae) files.set(`vae/${name}`, await readFile(`${fixtures}janusflow/vae/${name}`));
    return memoryFolder(files, "flow");
  };

  it("is that of `vae` beside the model", async () => {
    const { buffers } = device.backend.memory();
    const loaded = await loadFolder(await flow("config.json", "model.safetensors"), {
      device,
      drawing: true,
    });
    expect(loaded.drawing!.vae!.name).toBe("flow/vae");
    expect(autoencoderOf(loaded.drawing!).config.scalingFactor).toBe(0.13025);
    await loaded.dispose();
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("is not needed to see, and drawing says how to get it", async () => {
    await using loaded = await loadFolder(await flow(), { device, drawing: true });
    expect(loaded.vision!.model.generation).not.toBeNull();
    expect(() => autoencoderOf(loaded.drawing!)).toThrow(
      /which is not here.*Run `deepseek-ts download stabilityai\/sdxl-vae` once/,
    );
  });

  it("is one that is named, before what lies there", async () => {
    const vae = nodeFolder(`${fixtures}janusflow/vae-original-names`);
    await using loaded = await loadFolder(await flow("config.json", "model.safetensors"), {
      ...{ device, drawing: true, vae },
    });
    expect(loaded.drawing!.vae!.name).toBe(vae.name);
    await using found = await loadFolder(await flow(), { device, drawing: true, vae: async () => vae });
    expect(found.drawing!.vae!.name).toBe(vae.name);
  });

  it("is refused for Janus where it is named, and leaves nothing", async () => {
    const tree = nodeFolder(`${fixtures}janus/generate`);
    const vae = nodeFolder(`${fixtures}janusflow/vae`);
    const { buffers } = device.backend.memory();
    const refused = loadFolder(tree, { device, drawing: true, vae });
    await expect(refused).rejects.toThrow(/only JanusFlow draws with an autoencoder/);
    const damaged = loadFolder(await flow("config.json", "config.json"), {
      device,
      drawing: true,
      vae: tree,
    });
    await expect(damaged).rejects.toThrow(/the file holds no autoencoder|config.json/);
    expect(device.backend.memory().buffers).toBe(buffers);
    await using found = await loadFolder(tree, { device, drawing: true, vae: async () => vae });
    expect(found.drawing!.vae).toBeNull();
  });
});

it("reads the same values from original names, from those of the port and from PyTorch files", async () => {
  const [original, ...others] = folders.filter(([, kind]) => kind === "codes");
  await using first = await loadFolder(await original[2](), { device, drawing: true });
  const wanted = first.drawing!.model.parameters;
  expect(others).toHaveLength(2);
  for (const [name, , open] of others) {
    await using other = await loadFolder(await open(), { device, drawing: true });
    const found = other.drawing!.model.parameters;
    // The port leaves out the pool, which nothing reads.
    const names = [...wanted.named()].map((each) => each.name).filter((each) => !each.includes("attn_pool"));
    expect([...found.named()].map((each) => each.name)).toEqual(expect.arrayContaining(names));
    for (const each of names) {
      const values = await found.get(each).data();
      expect(values, `${name} ${each}`).toEqual(await wanted.get(each).data());
    }
  }
});

describe("the prompts of a folder", () => {
  const world =
    (add: Record<string, unknown> = {}, tokens: readonly string[] = []) =>
    async () => {
      const files = new Map<string, Uint8Array>();
      const { tokenizer, config } = worldTokenizer();
      const kept = {
        ...tokenizer,
        added_tokens: tokenizer.added_tokens.filter(({ content }) => !tokens.includes(content)),
      };
      kept.model = {
        ...kept.model,
        vocab: Object.fromEntries(
          Object.entries(tokenizer.model.vocab).filter(([token]) => !tokens.includes(token)),
        ),
      };
      const contents: Record<string, unknown> = {
        "tokenizer.json": kept,
        "tokenizer_config.json": config,
        ...add,
      };
      for (const [name, json] of Object.entries(contents))
        files.set(name, new TextEncoder().encode(JSON.stringify(json)));
      for (const name of ["config.json", "model.safetensors"])
        files.set(name, await readFile(`${fixtures}janus/generate/${name}`));
      return memoryFolder(files, "janus");
    };
  const ROLES = ["<|User|>", "<|Assistant|>"];
  const old = { "processor_config.json": { sft_format: "deepseek_old" } };
  const named = { "processor_config.json": { sft_format: "deepseek" } };

  it.each([
    ["deepseek_old", world(old), undefined, "janus"],
    ["deepseek, roles as tokens", world(named), undefined, "janus-pro"],
    ["deepseek, no such tokens", world(named, ROLES), undefined, "janus"],
    ["no file, roles as tokens", world(), undefined, "janus-pro"],
    ["deepseek_old, and the caller says another", world(old), "deepseek", "janus-pro"],
    ["deepseek, and the caller says another", world(named), "deepseek_old", "janus"],
    ["PyTorch files", asPickle, undefined, "janus-pro"],
  ] as const)("%s", async (_, open, sftFormat, family) => {
    await using loaded = await loadFolder(await open(), { device, sftFormat });
    expect(loaded.vision!.family).toBe(family);
  });

  it.each([
    [
      "pixels that are not normalized",
      { "preprocessor_config.json": { do_normalize: false } },
      [],
      /^preprocessor_config.json: do_normalize is false.*set it to true$/,
    ],
    [
      "no padding token by name",
      { "tokenizer_config.json": { ...worldTokenizer().config, pad_token: null } },
      [],
      /^tokenizer_config.json names no pad_token: it is <｜▁pad▁｜>, token 0$/,
    ],
    [
      "no padding token at all",
      {},
      ["<｜▁pad▁｜>"],
      /^tokenizer.json has no <｜▁pad▁｜>: the model draws with guidance 1 only$/,
    ],
  ])("warns of %s", async (_, add, tokens, message) => {
    const notices: string[] = [];
    await using loaded = await loadFolder(await world(add, tokens)(), {
      device,
      drawing: true,
      onNotice: (text) => notices.push(text),
    });
    expect(notices).toEqual([expect.stringMatching(message)]);
    expect(loaded.drawing!.padId).toBe(tokens.length > 0 ? null : 0);
  });

  it("says nothing of files in order", async () => {
    const notices: string[] = [];
    const tree = await world({ ...old, "preprocessor_config.json": { do_normalize: true } })();
    await using loaded = await loadFolder(tree, {
      device,
      drawing: true,
      onNotice: (text) => notices.push(text),
    });
    expect([notices, loaded.drawing!.padId]).toEqual([[], 0]);
  });
});
