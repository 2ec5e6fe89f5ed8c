/** The tape: accumulation where branches share gradients, ownership, what is freed and when. */
import { describe, expect, it } from "vitest";
import { DeepseekError, ShapeError } from "./errors.ts";
import { add, addScaled, scale } from "./ops/elementwise.ts";
import { linear } from "./ops/linear.ts";
import { sumAll } from "./ops/reduce.ts";
import { reshape } from "./ops/reshape.ts";
import { swiglu } from "./ops/swiglu.ts";
import { createReferenceDevice } from "./reference/backend.ts";
import { differentiate, Tape } from "./tape.ts";
import { type Device, disposeAll, type Tensor } from "./tensor.ts";
import { checkGradients, doubles } from "./testing.ts";

const parameter = (device: Device, values: number[], shape = [values.length]) => {
  const tensor = device.tensor(values, shape);
  tensor.requiresGrad = true;
  return tensor;
};
const gradientOf = (tensor: Tensor) => Array.from(doubles(tensor.grad!));

describe("branches that share a gradient", () => {
  it("an added-to gradient does not change what another branch still waits for", () =>
    // c's gradient is lent to both a and b; a's grows by d's before b's own consumers read it.
    checkGradients(
      ([p, q, w]) => {
        const b = linear(p, w);
        const a = linear(q, w);
        const d = swiglu(a);
        return [add(a, b), d];
      },
      [
        [2, 4],
        [2, 4],
        [6, 4],
      ],
    ));

  it("one tensor twice in a sum, and a sum used three times", () =>
    checkGradients(
      ([x, y]) => {
        const twice = add(x, x);
        const sum = add(twice, y);
        return [add(sum, sum), scale(sum, 3), sum];
      },
      [[5], [5]],
    ));

  it("views share the gradient of what they view", () =>
    checkGradients(
      ([x, w]) => {
        const y = linear(x, w);
        const flat = reshape(y, [6]);
        return [scale(flat, 2), y, flat];
      },
      [
        [2, 4],
        [3, 4],
      ],
    ));

  it("outputs given together, one computed from the other", () =>
    checkGradients(
      ([x, w]) => {
        const first = linear(x, w);
        return [first, scale(first, 0.5), addScaled(first, first, 2, -1)];
      },
      [
        [2, 3],
        [4, 3],
      ],
    ));
});

describe("gradients of parameters", () => {
  it("add up over backward passes until they are taken away", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1, 2]);
    for (let pass = 1; pass <= 3; pass++) {
      using tape = new Tape(device);
      tape.backward(sumAll(scale(p, 2)));
      expect(gradientOf(p)).toEqual([2 * pass, 2 * pass]);
    }
    p.grad!.dispose();
    p.grad = null;
    using tape = new Tape(device);
    tape.backward(sumAll(p));
    expect(gradientOf(p)).toEqual([1, 1]);
  });

  it("stay away from tensors that ask for none, and from branches without a gradient", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1]);
    const unused = parameter(device, [1]);
    const fixed = device.tensor([5]);
    using tape = new Tape(device);
    scale(unused, 2);
    tape.backward(sumAll(add(p, fixed)));
    expect(gradientOf(p)).toEqual([1]);
    expect(fixed.grad).toBeNull();
    expect(unused.grad).toBeNull();
  });

  it("do not lend: the gradient handed in is left as it was", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1, 1]);
    const seed = device.tensor([1, 10]);
    const other = device.tensor([100, 100]);
    using tape = new Tape(device);
    const a = scale(p, 1);
    const b = add(a, a);
    tape.backwardFrom([a, b], [seed, other]);
    expect(Array.from(doubles(seed))).toEqual([1, 10]);
    expect(Array.from(doubles(other))).toEqual([100, 100]);
    expect(gradientOf(p)).toEqual([201, 210]);
  });
});

describe("memory", () => {
  it("is free after backward but for parameters, gradients and what was kept", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1, 2, 3]);
    const before = device.backend.memory().buffers;
    const tape = new Tape(device);
    const middle = scale(p, 2);
    const kept = tape.keep(scale(middle, 3));
    const loss = sumAll(kept);
    tape.backward(loss);
    expect(middle.disposed).toBe(true);
    expect(kept.disposed).toBe(false);
    expect(loss.disposed).toBe(false);
    expect(Array.from(doubles(kept))).toEqual([6, 12, 18]);
    tape[Symbol.dispose]();
    expect(kept.disposed).toBe(true);
    expect(device.backend.memory().buffers).toBe(before + 1);
  });

  it("is free after a tape that was never played back, and after one whose body threw", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1]);
    const before = device.backend.memory().buffers;
    expect(() => {
      using _tape = new Tape(device);
      scale(scale(p, 2), 2);
      throw new Error("stopped");
    }).toThrow("stopped");
    expect(device.backend.memory().buffers).toBe(before);
    expect(device.tape).toBeNull();
    using _next = new Tape(device);
  });
});

describe("differentiate", () => {
  it("keeps what the body returns, frees the rest, and hands results to the enclosing body", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1, 2]);
    const result = differentiate(device, () => {
      const doubled = scale(p, 2);
      return { loss: sumAll(scale(doubled, 3)), parts: [doubled] };
    });
    expect(gradientOf(p)).toEqual([6, 6]);
    expect(doubles(result.loss)[0]).toBe(18);
    expect(Array.from(doubles(result.parts[0]))).toEqual([2, 4]);
    expect(device.backend.memory().buffers).toBe(4);
    disposeAll(result);
    device.tidy(() => {
      differentiate(device, () => sumAll(p));
    });
    expect(gradientOf(p)).toEqual([7, 7]);
    expect(device.backend.memory().buffers).toBe(2);
  });

  it("two tasks differentiate in turns", async () => {
    const device = createReferenceDevice();
    const task = async (factor: number) => {
      const p = parameter(device, [1]);
      for (let step = 0; step < 3; step++) {
        using loss = differentiate(device, () => sumAll(scale(p, factor)));
        expect(await loss.item()).toBe(factor);
      }
      return gradientOf(p)[0];
    };
    expect(await Promise.all([task(2), task(5)])).toEqual([6, 15]);
  });

  it("ends the recording where the body throws or is asynchronous", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1]);
    expect(() =>
      differentiate(device, () => {
        throw new Error("stopped");
      }),
    ).toThrow("stopped");
    expect(() => differentiate(device, (async () => sumAll(p)) as never)).toThrow(/asynchronous/);
    expect(device.tape).toBeNull();
    expect(device.backend.memory().buffers).toBe(1);
  });
});

describe("refusals", () => {
  it("a second tape, and a loss of several elements", () => {
    const device = createReferenceDevice();
    using tape = new Tape(device);
    expect(() => new Tape(device)).toThrow(DeepseekError);
    expect(() => tape.backward(parameter(device, [1, 2]))).toThrow(ShapeError);
  });

  it("nothing is recorded outside a tape", () => {
    const device = createReferenceDevice();
    const p = parameter(device, [1]);
    expect(scale(p, 2).requiresGrad).toBe(false);
    using _tape = new Tape(device);
    expect(scale(p, 2).requiresGrad).toBe(true);
    expect(scale(device.tensor([1]), 2).requiresGrad).toBe(false);
  });
});
