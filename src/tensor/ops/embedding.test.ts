import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { checkIds, embedding } from "./embedding.ts";

function ids(n: number, vocabulary: number, seed = 1): number[] {
  const random = new Random(seed);
  return Array.from({ length: n }, () => random.int(vocabulary));
}

describe("embedding", () => {
  for (const [rows, vocabulary, n] of [
    [0, 3, 4],
    [1, 1, 1],
    [5, 3, 7],
    [33, 130, 33],
    [300, 20, 100],
    [9, 1500, 130],
  ]) {
    it(`agrees with the reference at ${rows} of ${vocabulary} x ${n}`, async () => {
      const spec = { shape: [rows], dtype: "i32" as const, values: ids(rows, vocabulary) };
      await checkBackends(([w, i]) => embedding(w, i), [[vocabulary, n], spec]);
      for (const dtype of ["bf16", "f16"] as const) {
        await checkBackends(([w, i]) => embedding(w, i), [{ shape: [vocabulary, n], dtype }, spec]);
      }
    });
  }

  it("has right gradients with repeated ids, also where the table is used twice", async () => {
    const first = { shape: [2, 3], dtype: "i32" as const, values: [0, 4, 4, 1, 4, 0] };
    const second = { shape: [2, 3], dtype: "i32" as const, values: [1, 1, 4, 2, 2, 0] };
    await checkGradients(([w, i]) => embedding(w, i), [[5, 3], first]);
    const twice = ([w, i, j]: Parameters<typeof add>[0][]) => add(embedding(w, i), embedding(w, j));
    await checkGradients(twice, [[5, 3], first, second]);
    await checkBackends(twice, [[5, 3], first, second]);
  });

  it("adds to a gradient that is already there", async () => {
    const device = await cpuDevice(2, true);
    using w = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    w.requiresGrad = true;
    for (let step = 0; step < 2; step++) {
      using tape = new Tape(device);
      const y = embedding(w, device.tensor([2, 0, 2], [3], "i32"));
      using seed = device.unscoped(() => device.tensor([1, 2, 10, 20, 100, 200], [3, 2]));
      tape.backwardFrom([y], [seed]);
    }
    using grad = w.grad!;
    expect(Array.from(await grad.data())).toEqual([20, 40, 0, 0, 202, 404]);
  });

  it("reads NaN for ids out of range and writes no gradient for them", async () => {
    const values = [-1, 3, 1, 2 ** 31 - 1];
    const spec = { shape: [4], dtype: "i32" as const, values };
    await checkBackends(([w, i]) => embedding(w, i), [[3, 5], spec]);
    const device = await cpuDevice(1, true);
    using w = device.tensor([1, 2, 3], [3, 1]);
    using bad = device.tensor([-1, 3, 1, -(2 ** 31)], [4], "i32");
    using y = embedding(w, bad);
    expect(Array.from(await y.data())).toEqual([Number.NaN, Number.NaN, 2, Number.NaN]);
  });

  it("checks ids on the host", () => {
    expect(() => checkIds([0, 1, 2], 3)).not.toThrow();
    expect(() => checkIds([0, 3], 3)).toThrow(/ids\[1\]; expected: 0 to 2; found: 3/);
    expect(() => checkIds([-1], 3)).toThrow(/found: -1/);
  });

  it("refuses a table that cannot have the gradient asked for", () => {
    const device = createReferenceDevice();
    const w = device.zeros([2, 2], "bf16");
    w.requiresGrad = true;
    expect(() => embedding(w, device.zeros([1], "i32"))).toThrow(/bf16/);
    expect(() => embedding(device.zeros([2]), device.zeros([1], "i32"))).toThrow(/\[V, d\]/);
  });
});
