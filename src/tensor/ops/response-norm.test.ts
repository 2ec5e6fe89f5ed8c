import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice, type OpUnderTest } from "../testing.ts";
import { add } from "./elementwise.ts";
import { responseNorm } from "./response-norm.ts";

describe("responseNorm", () => {
  const op: OpUnderTest = ([x, w, b]) => responseNorm(x, w, b, 1e-6);

  for (const shape of [
    [0, 2, 2, 3],
    [1, 1, 1, 1],
    [2, 3, 5, 6],
    [3, 7, 9],
    [2, 33, 21, 20],
    [1, 130, 96],
    [2, 5, 3, 1028],
  ]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      const n = shape[shape.length - 1];
      await checkBackends(op, [shape, [n], [n]]);
    });
  }

  it("has right gradients, also where inputs are used twice", async () => {
    await checkGradients(op, [[2, 2, 3, 5], [5], [5]]);
    await checkGradients(([x, w, b]) => responseNorm(x, w, b, 0.4), [[1, 4, 3], [3], [3]]);
    const twice: OpUnderTest = ([x, w, b]) => add(responseNorm(responseNorm(x, w, b, 1e-3), w, b, 1e-3), x);
    await checkGradients(twice, [[2, 3, 6], [6], [6]]);
    await checkBackends(twice, [[2, 3, 6], [6], [6]]);
    for (let mask = 1; mask < 8; mask++) {
      const specs = [[2, 5, 8], [8], [8]].map((shape, i) => ({ shape, gradient: ((mask >> i) & 1) === 1 }));
      await checkGradients(op, specs);
      await checkBackends(op, specs);
    }
  });

  it("lets channels of zeros through, with a gradient that is finite", async () => {
    const values = [0, 1, 0, 2, 0, 3];
    const specs = [{ shape: [1, 3, 2], values }, [2], [2]];
    await checkBackends(op, specs);
    const device = await cpuDevice(1, false);
    using y = responseNorm(device.tensor(values, [1, 3, 2]), device.zeros([2]), device.tensor([5, 7]), 1e-6);
    expect(Array.from(await y.data())).toEqual([5, 8, 5, 9, 5, 10]);
  });

  it("refuses parameters of other shapes", () => {
    const device = createReferenceDevice();
    expect(() => responseNorm(device.zeros([1, 2, 3]), device.zeros([2]), device.zeros([3]), 1e-6)).toThrow(
      /weight.*f32 \[3\].*f32 \[2\]/,
    );
  });
});
