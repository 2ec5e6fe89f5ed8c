/** Tensors and scopes: views share memory and its life, scopes free what was made in them. */
import { describe, expect, it } from "vitest";
import { DisposedError, ShapeError } from "./errors.ts";
import { add, scale } from "./ops/elementwise.ts";
import { sumAll } from "./ops/reduce.ts";
import { createReferenceDevice } from "./reference/backend.ts";
import { differentiate } from "./tape.ts";
import { disposeAll, Scope, sizeOf, type Tensor, tensorsIn } from "./tensor.ts";

const values = async (tensor: { data(): Promise<ArrayLike<number>> }) => Array.from(await tensor.data());

describe("views", () => {
  it("share elements, and the buffer lives as long as one of them", async () => {
    const device = createReferenceDevice();
    const whole = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    const rows = whole.slice(1, 3);
    const flat = rows.view([-1]);
    expect(whole.shared).toBe(true);
    flat.set([30], 0);
    expect(await values(whole)).toEqual([1, 2, 30, 4, 5, 6]);
    whole.dispose();
    rows.dispose();
    expect(flat.shared).toBe(false);
    expect(device.backend.memory().buffers).toBe(1);
    expect(await values(flat)).toEqual([30, 4, 5, 6]);
    flat.dispose();
    flat.dispose();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("a slice of a slice counts from the first row of its parent", async () => {
    const device = createReferenceDevice();
    const x = device.tensor(
      Array.from({ length: 24 }, (_, i) => i),
      [4, 3, 2],
    );
    const inner = x.slice(1, 4).slice(1, 2);
    expect(inner.shape).toEqual([1, 3, 2]);
    expect(await values(inner)).toEqual([12, 13, 14, 15, 16, 17]);
    expect(await values(inner.view([6]).slice(2, 4))).toEqual([14, 15]);
    expect(x.slice(2, 2).size).toBe(0);
  });

  it.each([[[4]], [[-1, -1]], [[2, -1, 4]], [[5, -1]]])("refuse the shape %j for six elements", (shape) => {
    const device = createReferenceDevice();
    expect(() => device.zeros([3, 2]).view(shape)).toThrow(ShapeError);
  });

  it("refuse rows and values out of range", () => {
    const x = createReferenceDevice().zeros([3, 2]);
    for (const [begin, end] of [
      [-1, 2],
      [2, 1],
      [0, 4],
      [Number.NaN, 1],
    ]) {
      expect(() => x.slice(begin, end)).toThrow(ShapeError);
    }
    expect(() => x.set([1, 2], 5)).toThrow(ShapeError);
    expect(() => x.set([1], -1)).toThrow(ShapeError);
  });
});

describe("tidy", () => {
  it("frees what the body made, except what it returns in arrays, maps and objects", () => {
    const device = createReferenceDevice();
    const made = [1, 2, 3, 4, 5].map((value) => () => device.tensor([value]));
    let middle: Tensor | null = null;
    const result = device.tidy(() => {
      middle = device.zeros([8]);
      return { one: made[0](), list: [made[1](), "text", null], map: new Map([["k", { deep: made[2]() }]]) };
    });
    expect(middle!.disposed).toBe(true);
    expect(tensorsIn(result).map((tensor) => tensor.disposed)).toEqual([false, false, false]);
    expect(device.backend.memory().buffers).toBe(3);
    disposeAll(result);
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("hands results to the enclosing body, and frees all where the body throws", () => {
    const device = createReferenceDevice();
    const outside = device.tensor([1]);
    device.tidy(() => {
      const inner = device.tidy(() => scale(scale(outside, 2), 3));
      expect(inner.disposed).toBe(false);
      expect(device.backend.memory().buffers).toBe(2);
    });
    expect(device.backend.memory().buffers).toBe(1);
    expect(() =>
      device.tidy(() => {
        device.zeros([3]);
        throw new Error("stopped");
      }),
    ).toThrow("stopped");
    expect(device.backend.memory().buffers).toBe(1);
    expect(device.scopes.length).toBe(0);
  });

  it("does not free a tensor that was there before, though the body returns it", () => {
    const device = createReferenceDevice();
    const x = device.tensor([1]);
    expect(device.tidy(() => x)).toBe(x);
    expect(x.disposed).toBe(false);
  });

  it("refuses asynchronous bodies", () => {
    const device = createReferenceDevice();
    expect(() => device.tidy(async () => device.zeros([1]))).toThrow(/asynchronous.*Return the tensors/);
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("two tasks that wait in between do not free each other's tensors", async () => {
    const device = createReferenceDevice();
    const pause = () => new Promise((resolve) => setTimeout(resolve, 0));
    const task = async (value: number) => {
      using first = device.tidy(() => scale(device.tensor([value]), 2));
      await pause();
      using second = device.tidy(() => scale(device.tensor([value]), 3));
      await pause();
      using sum = device.tidy(() => add(first, second));
      return sum.item();
    };
    expect(await Promise.all([task(1), task(10), task(100)])).toEqual([5, 50, 500]);
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("inference stands outside enclosing bodies and records nothing", () => {
    const device = createReferenceDevice();
    const p = device.tensor([1]);
    p.requiresGrad = true;
    let result: Tensor | null = null;
    differentiate(device, () => {
      result = device.inference(() => scale(p, 5));
      expect(result.requiresGrad).toBe(false);
      return sumAll(p);
    });
    expect(result!.disposed).toBe(false);
  });
});

describe("scopes", () => {
  it("free what was made in them, except what they hand to the scope around them", () => {
    const device = createReferenceDevice();
    const outer = new Scope(device);
    const inner = new Scope(device);
    const kept = inner.keep(device.zeros([1]));
    const gone = device.zeros([1]);
    inner[Symbol.dispose]();
    expect([kept.disposed, gone.disposed]).toEqual([false, true]);
    outer[Symbol.dispose]();
    expect(kept.disposed).toBe(true);
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("free a view but not what it views", async () => {
    const device = createReferenceDevice();
    const x = device.tensor([1, 2]);
    const scope = new Scope(device);
    const view = x.view([2, 1]);
    scope[Symbol.dispose]();
    expect(view.disposed).toBe(true);
    expect(await values(x)).toEqual([1, 2]);
  });

  it("have no say over what is made outside them", () => {
    const device = createReferenceDevice();
    const scope = new Scope(device);
    const free = device.unscoped(() => device.zeros([1]));
    expect(() =>
      device.unscoped(() => {
        throw new Error("stopped");
      }),
    ).toThrow("stopped");
    const inside = device.zeros([1]);
    scope[Symbol.dispose]();
    expect([free.disposed, inside.disposed]).toEqual([false, true]);
  });
});

describe("refusals", () => {
  it("a freed tensor says so, and what to do", () => {
    const x = createReferenceDevice().zeros([2, 3]);
    x.dispose();
    expect(() => scale(x, 2)).toThrow(DisposedError);
    expect(() => x.dtype).toThrow(/\[2,3\].*device\.tidy/);
    expect(() => x.view([6])).toThrow(DisposedError);
  });

  it.each([[[-1]], [[1.5]], [[Number.NaN, 2]], [[2 ** 60]]])("the shape %j", (shape) => {
    expect(() => createReferenceDevice().empty(shape)).toThrow(ShapeError);
  });

  it("too few values, and an item of several", async () => {
    const device = createReferenceDevice();
    expect(() => device.tensor([1, 2], [3])).toThrow(ShapeError);
    await expect(device.zeros([2]).item()).rejects.toThrow(ShapeError);
    expect(await device.tensor([7], [1, 1]).item()).toBe(7);
  });
});

it("sizeOf of a scalar and of an empty axis", () => {
  expect([sizeOf([]), sizeOf([3, 0, 2]), sizeOf([2, 3])]).toEqual([1, 0, 6]);
});
