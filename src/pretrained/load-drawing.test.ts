/** Models that draw, opened with and without what they draw with. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FileTree, memoryFolder, memoryFolderSink } from "../checkpoint/byte-source.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { tiledEntries } from "../checkpoint/tiles.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { isQuantized } from "../tensor/quantized.ts";
import type { Device } from "../tensor/tensor.ts";
import { loadFolder } from "./load.ts";

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
