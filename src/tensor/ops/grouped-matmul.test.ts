import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShapeError } from "../errors.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { groupedLinear } from "./grouped-matmul.ts";

function specs(counts: readonly number[], n: number, k: number, dtype: "f32" | "bf16" | "f16" = "f32") {
  const offsets = [0];
  for (const count of counts) offsets.push(offsets.at(-1)! + count);
  return [
    { shape: [offsets.at(-1)!, k] },
    { shape: [offsets.length], dtype: "i32" as const, values: offsets },
    { shape: [counts.length, n, k], dtype },
  ];
}

const op = ([x, offsets, w]: Parameters<typeof groupedLinear>[0][]) => groupedLinear(x, offsets, w);

describe("groupedLinear", () => {
  it("has the gradients that differences give", async () => {
    await checkGradients(op, specs([2, 0, 3, 1], 3, 4));
    await checkGradients(op, specs([1], 1, 1));
    await checkGradients(op, specs([0, 0], 2, 3));
  });

  it("is the same on every backend", async () => {
    await checkBackends(op, specs([3, 0, 130, 1, 9], 33, 20));
    await checkBackends(op, specs([0, 500, 8], 20, 35));
    await checkBackends(op, specs([64, 33, 0], 130, 65));
    await checkBackends(op, specs([0, 0, 0], 5, 7));
    await checkBackends(op, specs([7], 3, 1));
    for (const dtype of ["bf16", "f16"] as const)
      await checkBackends(op, specs([1, 0, 2, 40], 19, 45, dtype));
  });

  it("is the same on every backend for any counts", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        (counts, n, k) => checkBackends(op, specs(counts, n, k)),
      ),
      { numRuns: 20 },
    );
  });

  it("gives groups without rows a gradient of exact zeros, and leaves an earlier one as it is", async () => {
    const device = await cpuDevice(2, true);
    const x = device.tensor([1, 2], [1, 2]);
    const offsets = device.tensor([0, 0, 1], [3], "i32");
    const weight = device.tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]);
    weight.requiresGrad = true;
    // Twice: the first backward overwrites memory, the second adds to it.
    for (const times of [1, 2]) {
      using tape = new Tape(device);
      const y = groupedLinear(x, offsets, weight);
      using seed = device.unscoped(() => device.tensor([1, 1], [1, 2]));
      tape.backwardFrom([y], [seed]);
      expect(Array.from(await weight.grad!.data())).toEqual([0, 0, 0, 0, 1, 2, 1, 2].map((v) => v * times));
    }
    for (const t of [x, offsets, weight.grad!, weight]) t.dispose();
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    const offsets = device.zeros([3], "i32");
    expect(() => groupedLinear(device.zeros([2, 3]), offsets, device.zeros([2, 4, 5]))).toThrow(ShapeError);
    expect(() => groupedLinear(device.zeros([2, 5]), offsets, device.zeros([3, 4, 5]))).toThrow(
      /expected: 4.*found: 3/,
    );
  });
});
