/** DeepSeek-VL and VL2, whole and in parts, against the reference classes: towers, logits, tokens, gradients. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FileTree } from "../../src/checkpoint/byte-source.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { checkParity } from "../../src/parity/parity.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

/** A folder whose files of these names are others of it. */
function withFiles(tree: FileTree, files: Readonly<Record<string, string>>): FileTree {
  const actual = (path: string) => files[path] ?? path;
  return {
    name: tree.name,
    list: () => tree.list(),
    has: (path) => tree.has(actual(path)),
    open: (path) => tree.open(actual(path)),
    readText: (path) => tree.readText(actual(path)),
  };
}

const original = { "config.json": "original-config.json", "model.safetensors": "original.safetensors" };
const newer = { "config.json": "config-5.18.json", "model.safetensors": "model-short-names.safetensors" };

const cases: readonly [name: string, outputs: number, files?: Readonly<Record<string, string>>][] = [
  ["vl/siglip", 16],
  ["vl/hybrid", 17],
  ["vl/chat", 8],
  ["vl/chat-port", 8],
  ["vl/chat-port", 8, newer],
  ["vl/hybrid-chat", 2],
  ["vl/hybrid-port", 5],
  ["vl/hybrid-port", 5, original],
  ["vl2/tower-projector", 15],
  ["vl2/projectors", 9],
  ["vl2/mla", 15],
  ["vl2/mha", 15],
  ["vl2/mla-noaux", 15],
  ["vl2/grads", 168],
];

const backends: readonly [name: string, create: () => Promise<Device>][] = [
  ["reference", async () => createReferenceDevice()],
  ["cpu", () => createCpuDevice({ threads: 2 })],
];

describe.each(backends)("on %s", (_, create) => {
  let device: Device;
  beforeAll(async () => {
    device = await create();
  });
  afterAll(() => device[Symbol.asyncDispose]());

  it.each(cases)("%s, %i outputs", async (name, count, files = {}) => {
    const { buffers } = device.backend.memory();
    const { outputs, within } = await checkParity(withFiles(nodeFolder(root + name), files), device);
    expect(outputs.filter((output) => !output.within)).toEqual([]);
    expect(within).toBe(true);
    expect(outputs).toHaveLength(count);
    expect(device.backend.memory().buffers).toBe(buffers);
  });
});
