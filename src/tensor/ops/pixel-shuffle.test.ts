import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients } from "../testing.ts";
import { add } from "./elementwise.ts";
import { pixelShuffle, unfold } from "./pixel-shuffle.ts";

describe("unfold and pixelShuffle", () => {
  for (const [shape, size] of [
    [[2, 4, 6, 3], 2],
    [[1, 27, 27, 18], 2],
    [[1, 5, 4, 7], 2],
    [[1, 7, 8, 5], 3],
    [[1, 1, 1, 2], 2],
    [[2, 3, 2, 4], 1],
    [[0, 3, 2, 4], 2],
  ] as [number[], number][]) {
    it(`agree with the reference at [${shape}] by ${size}`, async () => {
      await checkBackends(([x]) => unfold(x, size), [shape]);
      await checkBackends(([x]) => pixelShuffle(x, size), [[...shape.slice(0, 3), shape[3] * size ** 2]]);
    });
  }

  it("have right gradients, also where the input is used twice", async () => {
    for (const size of [2, 3]) {
      await checkGradients(([x]) => unfold(x, size), [[2, 3, 4, 2]]);
      await checkGradients(([x]) => pixelShuffle(x, size), [[1, 2, 3, 2 * size ** 2]]);
    }
    const twice = ([x]: Parameters<typeof add>[0][]) => add(pixelShuffle(unfold(x, 2), 2), x);
    await checkGradients(twice, [[1, 4, 2, 3]]);
    await checkBackends(twice, [[1, 4, 2, 3]]);
  });

  it("are each other's reverse, and pad below and to the right", async () => {
    const device = createReferenceDevice();
    const x = device.tensor([1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60], [1, 2, 3, 2]);
    const y = unfold(x, 2);
    expect(y.shape).toEqual([1, 1, 2, 8]);
    const patches = [1, 2, 4, 5, 10, 20, 40, 50, 3, 0, 6, 0, 30, 0, 60, 0];
    expect([...(await y.data())]).toEqual(patches);
    expect([...(await unfold(pixelShuffle(y, 2), 2).data())]).toEqual(patches);
  });

  it("refuse what is no image or does not divide", () => {
    const device = createReferenceDevice();
    expect(() => unfold(device.zeros([2, 3, 4]), 2)).toThrow(/\[2,3,4\] and 2/);
    expect(() => unfold(device.zeros([1, 2, 3, 4]), 0)).toThrow(/and 0/);
    expect(() => pixelShuffle(device.zeros([1, 2, 3, 6]), 2)).toThrow(/multiple of 4.*found: 6/);
  });
});
