import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { checkBackends, checkGradients } from "../testing.ts";
import { add, addScaled, scale } from "./elementwise.ts";
import { concat, reshape, split } from "./reshape.ts";

describe("elementwise ops", () => {
  for (const n of [0, 1, 3, 5, 130, 20_000]) {
    it(`agree with the reference at ${n} elements`, async () => {
      await checkBackends(([a, b]) => addScaled(a, b, 0.5, -2), [[n], [n]]);
      await checkBackends(([a]) => scale(a, 3), [[n]]);
    });
  }

  it("have right gradients, also where an input is used twice", async () => {
    await checkGradients(([a, b]) => addScaled(a, b, 0.5, -2), [[7], [7]]);
    await checkGradients(([a]) => add(scale(a, 3), a), [[2, 3]]);
    await checkGradients(([a]) => add(a, a), [[5]]);
  });

  it("refuse different shapes with both in the message", () => {
    const device = createReferenceDevice();
    expect(() => add(device.zeros([2]), device.zeros([3]))).toThrow(/expected: \[2\]; found: \[3\]/);
  });
});

describe("reshape, split and concat", () => {
  it("agree with the reference and have right gradients", async () => {
    const op = ([x]: Parameters<typeof scale>[0][]) => {
      const [a, b, c] = split(reshape(x, [3, 7]), [2, 1, 4]);
      return [concat([c, scale(a, 2)]), b];
    };
    await checkGradients(op, [[21]]);
    await checkBackends(op, [[21]]);
  });

  it("give a part that nobody used a zero gradient", async () => {
    await checkGradients(([x]) => scale(split(x, [2, 3])[1], 2), [[4, 5]]);
  });
});

describe("the tape", () => {
  it("frees everything, and keeps what it is asked to keep", async () => {
    const device = createReferenceDevice();
    const x = device.tensor([1, 2, 3]);
    x.requiresGrad = true;
    {
      using tape = new Tape(device);
      const middle = tape.keep(scale(x, 2));
      tape.backwardFrom([scale(middle, 3)], [device.unscoped(() => device.tensor([1, 1, 1]))]);
      expect(await middle.data()).toEqual(new Float32Array([2, 4, 6]));
    }
    expect(await x.grad!.data()).toEqual(new Float32Array([6, 6, 6]));
    expect(device.backend.memory().buffers).toBe(3); // x, its gradient, the seed
  });
});
