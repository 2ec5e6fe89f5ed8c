/** Sums of 4-bit products in 16 bits beside sums of four at a time: the same integers, so the same bits. */
import { afterAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../cpu/backend.ts";
import { QuantizedTensor } from "../quantized.ts";
import { type Device, Scope } from "../tensor.ts";
import { quantizeInto } from "./quantize.ts";
import { normals } from "./quantized.fixture.ts";
import { quantizedLinear } from "./quantized-linear.ts";

const device = (pairSums: boolean) => createCpuDevice({ threads: 2, parallelWork: 0, pairSums });
const [pairs, fours] = [await device(true), await device(false)];
afterAll(() => Promise.all([pairs[Symbol.asyncDispose](), fours[Symbol.asyncDispose]()]));

async function product(device: Device, x: Float32Array, w: Float32Array, n: number, k: number) {
  using _scope = new Scope(device);
  using weight = new QuantizedTensor(device, "q4", [n, k]);
  quantizeInto(weight, 0, 0, device.tensor(w, [n, k]));
  return (await quantizedLinear(device.tensor(x, [x.length / k, k]), weight).data()) as Float32Array;
}

describe("sums of 4-bit products in 16 bits", () => {
  it.each([
    [1, 8, 32],
    [1, 23, 130],
    [2, 40, 96],
    [3, 17, 64],
    [4, 16, 32],
    [7, 33, 77],
    [12, 24, 352],
  ])("have the bits of sums of four: [%i, k] [%i, k]^T with k = %i", async (m, n, k) => {
    const [x, w] = [normals(m * k, 5), normals(n * k, 6)];
    expect(await product(pairs, x, w, n, k)).toEqual(await product(fours, x, w, n, k));
  });

  it.each([1, 2, 8])("hold the largest that a block can have (%i rows)", async (m) => {
    // The largest magnitude of a block is stored as 0, the value opposite to seven eighths of it as 15.
    const block = (sign: number) =>
      Float32Array.from({ length: 32 }, (_, i) => (i === 9 ? sign : -sign * (7 / 8)));
    const w = new Float32Array(16 * 32);
    for (let row = 0; row < 16; row++) w.set(block(row % 2 === 0 ? -1 : 1), row * 32);
    for (const sign of [1, -1]) {
      const x = new Float32Array(m * 32).fill(127 * sign);
      const found = await product(pairs, x, w, 16, 32);
      const even = 127 * sign * (31 * (7 / 8) - 1);
      for (let i = 0; i < found.length; i++) expect(found[i]).toBe(i % 2 === 0 ? even : -even);
    }
  });
});
