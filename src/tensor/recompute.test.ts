import { describe, expect, it } from "vitest";
import { add, scale } from "./ops/elementwise.ts";
import { linear } from "./ops/linear.ts";
import { sumAll } from "./ops/reduce.ts";
import { swiglu } from "./ops/swiglu.ts";
import { recomputed } from "./recompute.ts";
import { createReferenceDevice } from "./reference/backend.ts";
import { differentiate } from "./tape.ts";
import type { Device, Tensor } from "./tensor.ts";
import { checkBackends, checkGradients } from "./testing.ts";

const shapes = [
  [3, 4],
  [8, 4],
  [4, 4],
];

/** Two parts, one after the other, each with two results; the first has a result that nothing reads. */
const parts = (once: boolean) => (inputs: Tensor[]) => {
  const [x, wide, square] = inputs;
  const part = (input: Tensor) => {
    const y = swiglu(linear(input, wide));
    return [add(y, input), scale(y, 2), linear(y, square)];
  };
  const run = (input: Tensor) => (once ? part(input) : recomputed(input, part));
  const [first, side] = run(x);
  const [second, , third] = run(first);
  return [second, add(third, side)];
};

describe("recomputed", () => {
  it("has right gradients", () => checkGradients(parts(false), shapes));

  it("is the same on every backend", () => checkBackends(parts(false), shapes));

  it("gives the bits of what is computed once", async () => {
    const found: number[][][] = [];
    for (const once of [true, false]) {
      const device = createReferenceDevice();
      const inputs = shapes.map((shape, i) => {
        const size = shape[0] * shape[1];
        const tensor = device.tensor(
          Float32Array.from({ length: size }, (_, j) => Math.sin(j + i)),
          shape,
        );
        tensor.requiresGrad = true;
        return tensor;
      });
      const { loss } = differentiate(device, () => {
        const [a, b] = parts(once)(inputs);
        return { loss: sumAll(add(a, b)) };
      });
      found.push([
        [await loss.item()],
        ...(await Promise.all(inputs.map(async ({ grad }) => [...(await grad!.data())]))),
      ]);
    }
    expect(found[1]).toEqual(found[0]);
  });

  it("reaches parameters where the input has no gradient, and is nothing where none is wanted", async () => {
    const device = createReferenceDevice();
    const x = device.tensor([1, 2], [1, 2]);
    const w = device.tensor([3, 4], [1, 2]);
    const body = (input: Tensor) => [linear(input, w)];
    const plain = differentiateWanted(device, () => recomputed(x, body)[0]);
    expect(plain).toBe(false);
    w.requiresGrad = true;
    using loss = differentiate(device, () => sumAll(recomputed(x, body)[0]));
    expect(await loss.item()).toBe(11);
    expect([...(await w.grad!.data())]).toEqual([1, 2]);
    expect(x.grad).toBeNull();
  });

  it("holds one part at a time", () => {
    const device = createReferenceDevice();
    const x = device.zeros([64, 64]);
    x.requiresGrad = true;
    const part = (input: Tensor) => {
      let y = input;
      for (let i = 0; i < 10; i++) y = scale(y, 1.5);
      return [y];
    };
    const held = (run: (input: Tensor) => readonly Tensor[]) => {
      const { buffers } = device.backend.memory();
      let most = 0;
      using _loss = differentiate(device, () => {
        let y = x;
        for (let i = 0; i < 6; i++) [y] = run(y);
        most = device.backend.memory().buffers - buffers;
        return sumAll(y);
      });
      x.grad?.dispose();
      x.grad = null;
      expect(device.backend.memory().buffers).toBeLessThanOrEqual(buffers + 1);
      return most;
    };
    expect(held(part)).toBe(60);
    expect(held((input) => recomputed(input, part))).toBe(6);
  });
});

/** Whether what `body` makes on a tape wants a gradient. */
function differentiateWanted(device: Device, body: () => Tensor): boolean {
  let wanted = true;
  const x = device.tensor([0], [1]);
  x.requiresGrad = true;
  differentiate(device, () => {
    wanted = body().requiresGrad;
    return sumAll(x);
  });
  return wanted;
}
