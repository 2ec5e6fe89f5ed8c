/** Tensors and scopes: views share memory and its life, scopes free what was made in them. */
import { describe, expect, it } from "vitest";
import { DisposedError, ShapeError } from "./errors.ts";
import { scale } from "./ops/elementwise.ts";
import { createReferenceDevice } from "./reference/backend.ts";
import { sizeOf } from "./tensor.ts";

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

describe("scopes", () => {
  it("free what was made in them, except what they hand to the scope around them", () => {
    const device = createReferenceDevice();
    const outer = device.scope();
    const inner = device.scope();
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
    const scope = device.scope();
    const view = x.view([2, 1]);
    scope[Symbol.dispose]();
    expect(view.disposed).toBe(true);
    expect(await values(x)).toEqual([1, 2]);
  });

  it("have no say over what is made outside them", () => {
    const device = createReferenceDevice();
    const scope = device.scope();
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
    expect(() => x.dtype).toThrow(/\[2,3\].*scope\.keep/);
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
