/** Kernels that measure what a machine can do: the bare inner loop of a product, and reading memory. */
import { defineKernel } from "../../src/tensor/kernel.ts";

/** `units` times `repeats` products of the inner loop's tile, from registers and the nearest cache. */
export const peakKernel = defineKernel({
  name: "gemm_peak",
  operands: { c: "out f32" },
  ints: ["units", "repeats", "wide"],
  work: ({ units, repeats }) => units * repeats * 1e4,
  reference: ({ c }) => void c.fill(0),
});

/** Sums of `units` stretches of `n` floats. */
export const readKernel = defineKernel({
  name: "read_peak",
  operands: { x: "in f32", y: "out f32" },
  ints: ["units", "n"],
  work: ({ units, n }) => units * n,
  reference: ({ x, y }, { units, n }) => {
    for (let u = 0; u < units; u++) y[u] = x.slice(u * n, (u + 1) * n).reduce((s, v) => s + v, 0);
  },
});
