import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice, type OpUnderTest } from "../testing.ts";
import { conv2d } from "./conv2d.ts";
import { depthwiseConv2d } from "./depthwise.ts";
import { add } from "./elementwise.ts";

describe("depthwiseConv2d", () => {
  const op: OpUnderTest = ([x, w, b]) => depthwiseConv2d(x, w, b ?? null);

  for (const [shape, size] of [
    [[0, 3, 3, 2], 3],
    [[1, 1, 1, 1], 7],
    [[2, 3, 4, 5], 7],
    [[1, 9, 12, 6], 7],
    [[2, 5, 17, 70], 7],
    [[1, 24, 24, 36], 7],
    [[1, 6, 5, 4], 1],
    [[1, 6, 11, 130], 3],
  ] as const) {
    const n = shape[3];
    it(`agrees with the reference at [${shape}], kernel ${size}`, async () => {
      await checkBackends(op, [shape, [size, size, n], [n]]);
      await checkBackends(op, [shape, [size, size, n]]);
    });
  }

  it("has right gradients, also where inputs are used twice", async () => {
    await checkGradients(op, [[2, 4, 9, 3], [7, 7, 3], [3]]);
    const twice: OpUnderTest = ([x, w, b]) => add(depthwiseConv2d(depthwiseConv2d(x, w, b), w, b), x);
    await checkGradients(twice, [[1, 3, 4, 5], [3, 3, 5], [5]]);
    await checkBackends(twice, [[1, 3, 12, 5], [3, 3, 5], [5]]);
    for (let mask = 1; mask < 8; mask++) {
      const specs = [[1, 3, 4, 5], [3, 3, 5], [5]].map((shape, i) => ({
        shape,
        gradient: ((mask >> i) & 1) === 1,
      }));
      await checkGradients(op, specs);
    }
  });

  it("is the convolution whose weights between channels are zero", async () => {
    const device = await cpuDevice(1, false);
    const [n, size] = [3, 5];
    const taps = Float32Array.from({ length: size * size * n }, (_, i) => Math.sin(i));
    const full = new Float32Array(n * taps.length);
    taps.forEach((tap, i) => {
      const c = i % n;
      full[c * taps.length + (i - c) + c] = tap;
    });
    const x = device.tensor(
      Float32Array.from({ length: 7 * 11 * n }, (_, i) => Math.cos(3 * i)),
      [1, 7, 11, n],
    );
    using found = depthwiseConv2d(x, device.tensor(taps, [size, size, n]));
    using expected = conv2d(x, device.tensor(full, [n, size, size, n]), null, { padding: 2 });
    const values = await expected.data();
    (await found.data()).forEach((v, i) => {
      expect(Math.abs(v - values[i])).toBeLessThan(1e-5);
    });
  });

  it("refuses even kernels and other channels", () => {
    const device = createReferenceDevice();
    const x = device.zeros([1, 4, 4, 3]);
    expect(() => depthwiseConv2d(x, device.zeros([4, 4, 3]))).toThrow(/an odd size/);
    expect(() => depthwiseConv2d(x, device.zeros([3, 3, 2]))).toThrow(/weight.*\[3,3,3\].*\[3,3,2\]/);
    expect(() => depthwiseConv2d(device.zeros([4, 4, 3]), device.zeros([3, 3, 3]))).toThrow(/channels last/);
  });
});
