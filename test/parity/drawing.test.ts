/** Janus, JanusFlow and their autoencoders, whole and in parts, against the reference classes: ids, pixels, gradients. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FileTree } from "../../src/checkpoint/byte-source.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { checkParity } from "../../src/parity/parity.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

/** A folder whose file of one name is another of it. */
function withWeights(tree: FileTree, file = "model.safetensors"): FileTree {
  const actual = (path: string) => (path === "model.safetensors" ? file : path);
  return {
    name: tree.name,
    list: () => tree.list(),
    has: (path) => tree.has(actual(path)),
    open: (path) => tree.open(actual(path)),
    readText: (path) => tree.readText(actual(path)),
  };
}

const cases: readonly [name: string, outputs: number, file?: string][] = [
  ["janus/vq", 36],
  ["janus/understand", 7],
  ["janus/understand-port", 7],
  ["janus/generate", 27],
  ["janus/generate-port", 27],
  ["janusflow/uvit", 44],
  ["janusflow/understand", 7],
  ["janusflow/velocity", 12],
  ["janusflow/sample", 16],
  ["janusflow/loss", 84],
  ["janusflow/repa", 160],
  ["janusflow/vae", 23],
  ["janusflow/vae-original-names", 23],
  ["janusflow/vae-original-names", 23, "model-in-pipeline.safetensors"],
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

  it.each(cases)("%s, %i outputs", async (name, count, file) => {
    const { buffers } = device.backend.memory();
    const { outputs, within } = await checkParity(withWeights(nodeFolder(root + name), file), device);
    expect(outputs.filter((output) => !output.within)).toEqual([]);
    expect(within).toBe(true);
    expect(outputs).toHaveLength(count);
    expect(device.backend.memory().buffers).toBe(buffers);
  });
});
