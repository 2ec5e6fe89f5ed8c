import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import type { CausalLM } from "../../src/models/causal-lm.ts";
import { checkParity } from "../../src/parity/parity.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

const cases = [
  "llm/mha",
  "llm/gqa",
  "llm/linear-rope",
  "moe/v1",
  "v2/lite",
  "v2/full",
  "v2/yarn-mscale-1",
  "v2/yarn-mscale-mixed",
  "v2/mha",
  "v3/base",
  "v3/mtp",
  "v3/fp8",
  "v3/sharded-bf16",
];

const backends: readonly [name: string, create: () => Promise<Device>][] = [
  ["reference", async () => createReferenceDevice()],
  ["cpu", () => createCpuDevice({ threads: 2 })],
  ["cpu, baseline, one thread", () => createCpuDevice({ threads: 1, relaxed: false })],
];

describe.each(backends)("parity on %s", (_, create) => {
  let device: Device;
  beforeAll(async () => {
    device = await create();
  });
  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  it.each(cases)("%s", async (name) => {
    const before = device.backend.memory().buffers;
    const report = await checkParity(nodeFolder(root + name), device);
    expect(report.outputs.filter((output) => !output.within)).toEqual([]);
    expect(report.outputs.length).toBeGreaterThan(20);
    expect(device.backend.memory().buffers).toBe(before);
  });
});

describe("a parity check that can fail", () => {
  const spoil = async (name: string, weight: string) => {
    const device = createReferenceDevice();
    const prepare = (model: CausalLM) => model.parameters.get(weight).set([0.5], 3);
    return checkParity(nodeFolder(root + name), device, { prepare });
  };

  it.each([
    ["llm/gqa", "model.layers.1.self_attn.k_proj.weight"],
    ["v3/mtp", "model.layers.2.eh_proj.weight"],
    ["v3/base", "model.layers.3.mlp.gate.e_score_correction_bias"],
    ["v2/lite", "model.layers.2.self_attn.kv_b_proj.weight"],
  ])("%s with one element of %s changed", async (name, weight) => {
    const report = await spoil(name, weight);
    expect(report.within).toBe(false);
    expect(report.outputs.find((output) => output.name === "hidden.0")?.within).toBe(true);
  });
});
