/** Kernel definitions: what reaches the backend is in the order of the definition, and what does not fit is refused. */
import { describe, expect, it } from "vitest";
import type { Kernel } from "./backend.ts";
import { ShapeError } from "./errors.ts";
import { defineKernel } from "./kernel.ts";
import { createReferenceDevice } from "./reference/backend.ts";

const blend = defineKernel({
  name: "blend_for_test",
  operands: { x: "in float", ids: "in i32?", y: "inout f32" },
  ints: ["n", "first"],
  floats: ["alpha", "beta"],
  work: ({ n, first }) => 10 * n + first,
  reference: ({ x, ids, y }, { n, first }, { alpha, beta }) => {
    for (let i = 0; i < n; i++) y[first + i] = alpha * y[first + i] + beta * x[ids === null ? i : ids[i]];
  },
});

describe("a kernel", () => {
  it("hands operands, integers and floats on in the order of its definition", () => {
    const device = createReferenceDevice();
    const seen: unknown[] = [];
    const run = device.backend.run.bind(device.backend);
    device.backend.run = (kernel: Kernel, operands, ints, floats) => {
      seen.push(
        kernel.name,
        operands.map((o) => o?.offset ?? null),
        ints,
        floats,
      );
      run(kernel, operands, ints, floats);
    };
    const y = device.tensor([1, 1, 1, 1]);
    const x = device.tensor([5, 7, 9]).slice(1, 3);
    blend.run(device, { y, ids: null, x }, { first: 1, n: 2 }, { beta: 3, alpha: 2 });
    expect(seen).toEqual(["blend_for_test", [1, null, 0], [2, 1], [2, 3]]);
    expect(blend.operandNames).toEqual(["x", "ids", "y"]);
    expect(blend.work([3, 4])).toBe(34);
  });

  it("computes on parts of buffers", async () => {
    const device = createReferenceDevice();
    const y = device.tensor([1, 1, 1, 1]);
    const ids = device.tensor([1, 0], [2], "i32");
    const x = device.tensor([0, 7, 9]).slice(1, 3);
    blend.run(device, { x, ids, y: y.slice(1, 4) }, { n: 2, first: 1 }, { alpha: 2, beta: 10 });
    expect(Array.from(await y.data())).toEqual([1, 1, 92, 72]);
  });

  it("takes any float where its definition says float, and refuses other dtypes and missing operands", () => {
    const device = createReferenceDevice();
    const y = device.zeros([2]);
    const scalars = [
      { n: 2, first: 0 },
      { alpha: 1, beta: 1 },
    ] as const;
    for (const dtype of ["f32", "bf16", "f16"] as const) {
      blend.run(device, { x: device.zeros([2], dtype), ids: null, y }, ...scalars);
    }
    const wrong = device.zeros([2], "i32");
    expect(() => blend.run(device, { x: wrong, ids: null, y }, ...scalars)).toThrow(
      /blend_for_test.*name: x/,
    );
    const narrow = device.zeros([2], "bf16");
    expect(() => blend.run(device, { x: y, ids: null, y: narrow }, ...scalars)).toThrow(ShapeError);
    expect(() => blend.run(device, { x: null as never, ids: null, y }, ...scalars)).toThrow(
      /missing.*name: x/,
    );
  });
});
