import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { sizeOf } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { permute } from "./permute.ts";

/** The definition: element [i0, i1, ..] of the result is that of the input with its index put back. */
function expected(values: ArrayLike<number>, shape: readonly number[], axes: readonly number[]): number[] {
  const strides = shape.map((_, i) => sizeOf(shape.slice(i + 1)));
  const to = axes.map((axis) => shape[axis]);
  return Array.from({ length: sizeOf(shape) }, (_, flat) => {
    let rest = flat;
    let from = 0;
    for (let i = axes.length - 1; i >= 0; i--) {
      from += (rest % to[i]) * strides[axes[i]];
      rest = Math.floor(rest / to[i]);
    }
    return values[from];
  });
}

const cases: [shape: number[], axes: number[]][] = [
  [[5], [0]],
  [
    [7, 9],
    [1, 0],
  ],
  [
    [3, 70, 37],
    [0, 2, 1],
  ],
  [
    [4, 6, 5],
    [1, 0, 2],
  ],
  [
    [4, 6, 5],
    [2, 0, 1],
  ],
  [
    [2, 3, 33, 40],
    [0, 2, 3, 1],
  ],
  [
    [2, 33, 40, 3],
    [0, 3, 1, 2],
  ],
  [
    [2, 3, 4, 5, 70],
    [0, 1, 3, 2, 4],
  ],
  [
    [2, 1, 3, 2, 3, 2],
    [5, 2, 0, 4, 1, 3],
  ],
  [
    [2, 3, 2, 3, 2, 3],
    [5, 4, 3, 2, 1, 0],
  ],
  [
    [0, 3],
    [1, 0],
  ],
];

describe("permute", () => {
  for (const [shape, axes] of cases) {
    it(`[${shape}] by [${axes}]`, async () => {
      const random = new Random(1);
      const values = Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
      for (const device of [createReferenceDevice(), await cpuDevice(3, true)]) {
        using y = permute(device.tensor(values, shape), axes);
        expect(y.shape).toEqual(axes.map((axis) => shape[axis]));
        expect(Array.from(await y.data())).toEqual(expected(values, shape, axes));
      }
      await checkBackends(([x]) => permute(x, axes), [shape]);
    });
  }

  it("has right gradients, also where the input is used twice", async () => {
    await checkGradients(([x]) => permute(x, [2, 0, 1]), [[2, 3, 4]]);
    const twice = ([x]: Parameters<typeof add>[0][]) => add(permute(x, [1, 0]), x);
    await checkGradients(twice, [[3, 3]]);
    await checkBackends(twice, [[3, 3]]);
  });

  it("refuses orders that are none", () => {
    const x = createReferenceDevice().zeros([2, 3]);
    for (const axes of [[0], [0, 0], [0, 2], [0, 1, 2]]) {
      expect(() => permute(x, axes)).toThrow(/each axis once.*found: \[0/);
    }
    const many = createReferenceDevice().zeros([2, 2, 2, 2, 2, 2, 2]);
    expect(() => permute(many, [6, 5, 4, 3, 2, 1, 0])).toThrow(/two steps/);
  });
});
