import { describe, expect, it } from "vitest";
import { createCpuDevice } from "../cpu/backend.ts";
import { ShapeError } from "../errors.ts";
import type { QuantFormat } from "../quantized.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope, type Tensor } from "../tensor.ts";
import { cpuDevice, relativeError } from "../testing.ts";
import { gelu } from "./gelu.ts";
import { linear } from "./linear.ts";
import { dequantizeRows } from "./quantize.ts";
import { normals, quantizedNormals } from "./quantized.fixture.ts";
import { quantizedGroupedLinear, quantizedLinear, quantizedMatmulInto } from "./quantized-linear.ts";

const formats: readonly QuantFormat[] = ["q4", "q8"];
const cpus = [
  ["baseline", false],
  ["relaxed", true],
] as const;

async function product(
  device: Device,
  format: QuantFormat,
  m: number,
  n: number,
  k: number,
  x: Float32Array,
) {
  using _scope = new Scope(device);
  using weight = await quantizedNormals(device, format, [n, k], 3);
  return (await quantizedLinear(device.tensor(x, [m, k]), weight).data()) as Float32Array;
}

describe.each(formats)("products with %s weights", (format) => {
  it.each([
    [1, 1, 1],
    [1, 8, 32],
    [1, 33, 130],
    [2, 16, 64],
    [3, 24, 77],
    [5, 7, 33],
    [8, 130, 352],
    [17, 40, 96],
    [150, 23, 65],
    [0, 5, 7],
    [4, 3000, 40],
  ])("[%i, k] [%i, k]^T with k = %i: the reference, on any number of threads", async (m, n, k) => {
    const x = normals(m * k, 4);
    const reference = createReferenceDevice();
    using weight = await quantizedNormals(reference, format, [n, k], 3);
    using input = reference.tensor(x, [m, k]);
    using result = quantizedLinear(input, weight);
    const expected = await result.data();
    for (const [, relaxed] of cpus) {
      const one = await product(await cpuDevice(1, relaxed), format, m, n, k, x);
      expect(relativeError(one, expected)).toBeLessThan(2e-6);
      for (const threads of [2, 3]) {
        expect(await product(await cpuDevice(threads, relaxed), format, m, n, k, x)).toEqual(one);
      }
    }
  });

  it.each([
    [1, 33, 130],
    [5, 24, 64],
    [150, 70, 65],
  ])("[%i, k] [%i, k]^T with k = %i: bias and activation on the way", async (m, n, k) => {
    for (const [, relaxed] of cpus) {
      for (const threads of [1, 2, 3]) {
        const device = await cpuDevice(threads, relaxed);
        using _scope = new Scope(device);
        using weight = await quantizedNormals(device, format, [n, k], 3);
        const x = device.tensor(normals(m * k, 4), [m, k]);
        const bias = device.tensor(normals(n, 5));
        const offsets = await bias.data();
        const plain = await quantizedLinear(x, weight).data();
        const sums = plain.map((v, i) => v + offsets[i % n]);
        expect(await linear(x, weight, bias).data()).toEqual(sums);
        for (const activation of ["gelu", "gelu_tanh"] as const) {
          const bent = await gelu(device.tensor(sums as Float32Array, [m, n]), activation).data();
          expect(await linear(x, weight, bias, activation).data()).toEqual(bent);
        }
      }
    }
  });

  it("differ from the product with the stored weights by the rounding of the activations only", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const [m, n, k] = [6, 64, 512];
    using weight = await quantizedNormals(device, format, [n, k], 5);
    const x = device.tensor(normals(m * k, 6), [m, k]);
    const exact = await linear(x, dequantizeRows(weight, 0, 0, n)).data();
    const found = await linear(x, weight).data();
    const error = relativeError(found, exact);
    expect(error).toBeLessThan(format === "q4" ? 6e-3 : 3e-5);
    if (format === "q4") expect(error).toBeGreaterThan(1e-5);
  });

  it("have the same bits for a row alone, in a batch and in parts of a batch", async () => {
    for (const [, relaxed] of cpus) {
      const device = await cpuDevice(2, relaxed);
      using _scope = new Scope(device);
      const [m, n, k] = [37, 52, 288];
      using weight = await quantizedNormals(device, format, [n, k], 7);
      const x = device.tensor(normals(m * k, 8), [m, k]);
      const all = await quantizedLinear(x, weight).data();
      for (const size of [1, 2, 5, 8, 20]) {
        for (let begin = 0; begin < m; begin += size) {
          const end = Math.min(m, begin + size);
          const part = await quantizedLinear(x.slice(begin, end), weight).data();
          expect(part).toEqual(all.subarray(begin * n, end * n));
        }
      }
    }
  });

  it.each([1, 3, 100])("batched by strides, %i rows, over several shards", async (m) => {
    const [batch, n, k] = [5, 20, 96];
    const results: Float32Array[] = [];
    for (const device of [createReferenceDevice(), await cpuDevice(1, false), await cpuDevice(2, true)]) {
      using _scope = new Scope(device);
      for (const shardBytes of [undefined, 1]) {
        using weight = await quantizedNormals(device, format, [batch, n, k], 9, shardBytes);
        // x [m, batch, k + 4], y [m, batch, n + 3], as heads lie in memory.
        const x = device.tensor(normals(m * batch * (k + 4), 10), [m, batch, k + 4]);
        const y = device.zeros([m, batch, n + 3]);
        quantizedMatmulInto(
          device,
          { m, n, k, batch },
          { tensor: x, offset: 4, row: batch * (k + 4), batch: k + 4 },
          weight,
          { tensor: y, offset: 2, row: batch * (n + 3), batch: n + 3 },
        );
        results.push((await y.data()) as Float32Array);
      }
    }
    for (const found of results.slice(1)) expect(relativeError(found, results[0])).toBeLessThan(2e-6);
    expect(results[3]).toEqual(results[2]);
    expect(results[5]).toEqual(results[4]);
    for (let i = 0; i < m * batch; i++) expect(results[4][i * 23]).toBe(0);
  });

  it("grouped rows have the bits of group after group", async () => {
    const [groups, n, k] = [6, 27, 80];
    const offsets = [0, 1, 1, 4, 140, 140, 147];
    for (const [, relaxed] of cpus) {
      for (const threads of [1, 2]) {
        const device = await cpuDevice(threads, relaxed);
        using _scope = new Scope(device);
        const x = device.tensor(normals(147 * k, 11), [147, k]);
        const bounds = device.tensor(offsets, [groups + 1], "i32");
        for (const shardBytes of [undefined, 1]) {
          using weight = await quantizedNormals(device, format, [groups, n, k], 12, shardBytes);
          const found = await quantizedGroupedLinear(x, bounds, weight).data();
          for (let g = 0; g < groups; g++) {
            using single = await quantizedNormals(device, format, [1, n, k], 12);
            const from = weight.shards.find(({ begin, end }) => g >= begin && g < end)!;
            const bytes = await from.tiles.data();
            const at = (g - from.begin) * weight.matrixBytes;
            single.shards[0].tiles.set(bytes.subarray(at, at + weight.matrixBytes));
            const rows = x.slice(offsets[g], offsets[g + 1]);
            const y = device.zeros([rows.shape[0], n]);
            quantizedMatmulInto(device, { m: rows.shape[0], n, k }, { tensor: rows, row: k }, single, {
              tensor: y,
              row: n,
            });
            expect(await y.data()).toEqual(found.subarray(offsets[g] * n, offsets[g + 1] * n));
          }
        }
      }
    }
  });

  it("reach weights and activations beyond 2 GiB, and weights of another memory", async () => {
    const expected = await product(await cpuDevice(1, true), format, 3, 40, 96, normals(3 * 96, 4));
    await using device = await createCpuDevice({ threads: 2, parallelWork: 0 });
    // Never touched, so the system gives it no memory.
    using below = device.empty([2.5 * 2 ** 30], "u8");
    const address = (tensor: Tensor) =>
      (tensor.operand() as unknown as { buffer: { address: number; arena: number } }).buffer;
    using weight = await quantizedNormals(device, format, [40, 96], 3);
    expect(address(weight.shards[0].tiles).address).toBeGreaterThan(below.size);
    {
      using x = device.tensor(normals(3 * 96, 4), [3, 96]);
      using y = quantizedLinear(x, weight);
      expect(await y.data()).toEqual(expected);
    }
    using filler = device.empty([900 * 2 ** 20], "u8");
    using far = await quantizedNormals(device, format, [40, 96], 3);
    expect(address(far.shards[0].tiles).arena).toBe(1);
    using x = device.tensor(normals(3 * 96, 4), [3, 96]);
    expect(address(x).arena).toBe(0);
    using y = quantizedLinear(x, far);
    expect(await y.data()).toEqual(expected);
    expect(filler.size).toBeGreaterThan(0);
  });

  it("show a NaN or an infinity of the activations", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    using weight = await quantizedNormals(device, format, [16, 64], 13);
    const rows = [Number.NaN, Number.POSITIVE_INFINITY, 1e-38, 0].map((v) => {
      const row = new Float32Array(64);
      row[40] = v;
      return row;
    });
    const values = Float32Array.from(rows.flatMap((row) => Array.from(row)));
    const y = await quantizedLinear(device.tensor(values, [4, 64]), weight).data();
    expect(y.subarray(0, 32).every((v) => !Number.isFinite(v))).toBe(true);
    expect(y.subarray(32).every((v) => Math.abs(v) < 1e-30)).toBe(true);
  });

  it("leave no memory behind and refuse gradients", async () => {
    const device = await cpuDevice(2, true);
    const before = device.backend.memory().buffers;
    {
      using _scope = new Scope(device);
      using weight = await quantizedNormals(device, format, [16, 2048], 14);
      const x = device.zeros([40, 2048]);
      quantizedLinear(x, weight);
      x.requiresGrad = true;
      using _tape = new Tape(device);
      expect(() => quantizedLinear(x, weight)).toThrow(ShapeError);
      expect(() => linear(device.zeros([1, 5]) as Tensor, weight)).toThrow(ShapeError);
    }
    expect(device.backend.memory().buffers).toBe(before);
  });
});
