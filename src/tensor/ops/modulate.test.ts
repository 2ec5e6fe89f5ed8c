import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice, type OpUnderTest } from "../testing.ts";
import { add } from "./elementwise.ts";
import { modulate } from "./modulate.ts";

describe("modulate", () => {
  const op: OpUnderTest = ([x, m]) => modulate(x, m);

  for (const shape of [
    [0, 2, 3],
    [1, 1],
    [2, 3, 5, 6],
    [3, 7, 9],
    [2, 33, 21, 20],
    [2, 5, 1028],
  ]) {
    it(`agrees with the reference at [${shape}]`, async () => {
      await checkBackends(op, [shape, [shape[0], 2 * shape[shape.length - 1]]]);
    });
  }

  it("has right gradients, also where inputs are used twice", async () => {
    await checkGradients(op, [
      [2, 2, 3, 5],
      [2, 10],
    ]);
    const twice: OpUnderTest = ([x, m]) => add(modulate(modulate(x, m), m), x);
    for (const gradient of [true, false]) {
      const specs = [
        { shape: [2, 3, 6], gradient },
        { shape: [2, 12], gradient: true },
      ];
      await checkGradients(twice, specs);
      await checkBackends(twice, specs);
    }
    await checkGradients(op, [[2, 3, 6], { shape: [2, 12], gradient: false }]);
    await checkBackends(op, [[2, 3, 6], { shape: [2, 12], gradient: false }]);
  });

  it("takes scales first, each sample's own", async () => {
    const device = await cpuDevice(2, true);
    using y = modulate(
      device.tensor([1, 2, 3, 4], [2, 1, 2]),
      device.tensor([1, 0, 10, 20, -1, 2, 30, 40], [2, 4]),
    );
    expect(Array.from(await y.data())).toEqual([12, 22, 30, 52]);
  });

  it("refuses a condition of another shape", () => {
    const device = createReferenceDevice();
    expect(() => modulate(device.zeros([2, 3]), device.zeros([2, 3]))).toThrow(
      /condition.*f32 \[2,6\].*f32 \[2,3\]/,
    );
  });
});
