import { describe, expect, it } from "vitest";
import { ShapeError } from "../errors.ts";
import type { QuantFormat, QuantizedTensor } from "../quantized.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope } from "../tensor.ts";
import { cpuDevice, relativeError } from "../testing.ts";
import { experts } from "./experts.ts";
import { linear } from "./linear.ts";
import { dequantizeRows } from "./quantize.ts";
import { normals, quantizedNormals } from "./quantized.fixture.ts";
import { quantizedExperts, quantizedMlp } from "./quantized-experts.ts";
import { quantizedLinear } from "./quantized-linear.ts";
import { swiglu } from "./swiglu.ts";

const formats: readonly QuantFormat[] = ["q4", "q8"];

interface Case {
  readonly tokens: number;
  readonly count: number;
  readonly topK: number;
  readonly d: number;
  readonly f: number;
}

function routing({ tokens, count, topK }: Case, seed: number) {
  const random = new Random(seed);
  const ids: number[] = [];
  for (let t = 0; t < tokens; t++) {
    const free = Array.from({ length: count }, (_, e) => e);
    const chosen = Array.from({ length: topK }, () => free.splice(random.int(free.length), 1)[0]);
    ids.push(...chosen.sort((a, b) => a - b));
  }
  return { ids, weights: Float32Array.from(ids, () => random.uniform()) };
}

async function run(device: Device, format: QuantFormat, each: Case, shardBytes?: number) {
  using _scope = new Scope(device);
  const { tokens, count, topK, d, f } = each;
  using gateUp = await quantizedNormals(device, format, [count, 2 * f, d], 1, shardBytes);
  using down = await quantizedNormals(device, format, [count, d, f], 2, shardBytes);
  const { ids, weights } = routing(each, 3);
  const x = device.tensor(normals(tokens * d, 4), [tokens, d]);
  const chosen = {
    ids: device.tensor(ids, [tokens, topK], "i32"),
    weights: device.tensor(weights, [tokens, topK]),
  };
  const { output, plan } = experts(x, chosen, gateUp, down);
  // Every token alone must have the same bits.
  const alone: number[] = [];
  for (let t = 0; t < Math.min(tokens, 5); t++) {
    const one = { ids: chosen.ids.slice(t, t + 1), weights: chosen.weights.slice(t, t + 1) };
    alone.push(...(await quantizedExperts(x.slice(t, t + 1), one, gateUp, down).output.data()));
  }
  return { values: (await output.data()) as Float32Array, alone, counts: await plan.counts.data() };
}

describe.each(formats)("experts with %s weights", (format) => {
  it.each<Case>([
    { tokens: 1, count: 3, topK: 2, d: 32, f: 8 },
    { tokens: 1, count: 9, topK: 6, d: 160, f: 72 },
    { tokens: 7, count: 5, topK: 3, d: 45, f: 40 },
    { tokens: 40, count: 6, topK: 2, d: 99, f: 16 },
    { tokens: 0, count: 4, topK: 2, d: 32, f: 8 },
  ])("%o: the reference, any threads, shards and batches", async (each) => {
    const reference = await run(createReferenceDevice(), format, each);
    for (const relaxed of [false, true]) {
      const one = await run(await cpuDevice(1, relaxed), format, each);
      // A rounding of hidden activations may fall the other way beside the reference.
      expect(relativeError(one.values, reference.values)).toBeLessThan(format === "q4" ? 4e-3 : 2e-5);
      expect(one.counts).toEqual(reference.counts);
      expect(one.alone).toEqual(Array.from(one.values.subarray(0, one.alone.length)));
      expect(await run(await cpuDevice(2, relaxed), format, each)).toEqual(one);
      expect(await run(await cpuDevice(2, relaxed), format, each, 1)).toEqual(one);
    }
  });

  it("come near the same experts in floats", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const each = { tokens: 12, count: 4, topK: 2, d: 128, f: 64 };
    const { tokens, count, topK, d, f } = each;
    using gateUp = await quantizedNormals(device, format, [count, 2 * f, d], 5);
    using down = await quantizedNormals(device, format, [count, d, f], 6);
    const floats = async (weight: QuantizedTensor) => {
      const parts: number[] = [];
      for (let g = 0; g < count; g++) parts.push(...(await dequantizeRows(weight, g, 0, weight.rows).data()));
      return device.tensor(parts, weight.shape);
    };
    const { ids, weights } = routing(each, 7);
    const x = device.tensor(normals(tokens * d, 8), [tokens, d]);
    const chosen = {
      ids: device.tensor(ids, [tokens, topK], "i32"),
      weights: device.tensor(weights, [tokens, topK]),
    };
    const found = await experts(x, chosen, gateUp, down).output.data();
    const expected = await experts(x, chosen, await floats(gateUp), await floats(down)).output.data();
    expect(relativeError(found, expected)).toBeLessThan(format === "q4" ? 2e-2 : 1e-4);
  });

  it("many tokens go piece by piece with the same bits", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const each = { tokens: 6000, count: 4, topK: 3, d: 8, f: 8 };
    const { values, alone, counts } = await run(device, format, each);
    expect(Array.from(values.subarray(0, alone.length))).toEqual(alone);
    expect(Array.from(counts).reduce((a, b) => a + b, 0)).toBe(18000);
    const { ids, weights } = routing(each, 3);
    using gateUp = await quantizedNormals(device, format, [4, 16, 8], 1);
    using down = await quantizedNormals(device, format, [4, 8, 8], 2);
    const last = {
      ids: device.tensor(ids.slice(-3), [1, 3], "i32"),
      weights: device.tensor(weights.slice(-3), [1, 3]),
    };
    const x = device.tensor(normals(6000 * 8, 4).subarray(-8), [1, 8]);
    const one = await quantizedExperts(x, last, gateUp, down).output.data();
    expect(values.subarray(-8)).toEqual(one);
  });

  it.each([
    [1, 64, 40],
    [9, 70, 24],
    [130, 64, 13],
  ])("the fused network of %i tokens, d %i, f %i has the bits of its parts", async (tokens, d, f) => {
    for (const [threads, relaxed] of [
      [1, false],
      [2, true],
    ] as const) {
      const device = await cpuDevice(threads, relaxed);
      using scope = new Scope(device);
      using gateUp = await quantizedNormals(device, format, [2 * f, d], 9);
      using down = await quantizedNormals(device, format, [d, f], 10);
      const x = device.tensor(normals(tokens * d, 11), [1, tokens, d]);
      const made = scope.tensors.length;
      const fused = quantizedMlp(x, gateUp, down);
      expect(scope.tensors.length).toBe(made + 1);
      expect(fused.shape).toEqual([1, tokens, d]);
      const parts = linear(swiglu(quantizedLinear(x, gateUp)), down);
      expect(await fused.data()).toEqual(await parts.data());
    }
  });

  it("refuse halves that begin inside a group and leave no memory behind", async () => {
    const device = await cpuDevice(2, true);
    const before = device.backend.memory().buffers;
    {
      using _scope = new Scope(device);
      using gateUp = await quantizedNormals(device, format, [2, 24, 32], 1);
      using down = await quantizedNormals(device, format, [2, 32, 12], 2);
      const chosen = { ids: device.tensor([0, 1], [1, 2], "i32"), weights: device.zeros([1, 2]) };
      expect(() => quantizedExperts(device.zeros([1, 32]), chosen, gateUp, down)).toThrow(ShapeError);
      expect(() => experts(device.zeros([1, 32]), chosen, gateUp, device.zeros([2, 32, 12]))).toThrow(
        /mixed/,
      );
    }
    expect(device.backend.memory().buffers).toBe(before);
  });
});
