import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice, type OpUnderTest } from "../testing.ts";
import { add } from "./elementwise.ts";
import { groupNorm } from "./group-norm.ts";
import { silu } from "./silu.ts";

const forms = [null, "silu"] as const;

describe.each(forms)("groupNorm with %s", (activation) => {
  const op =
    (groups: number, eps = 1e-6): OpUnderTest =>
    ([x, w, b]) =>
      groupNorm(x, w, b, groups, eps, activation);

  for (const [shape, groups] of [
    [[0, 3, 2, 4], 2],
    [[2, 0, 4], 4],
    [[1, 1, 1, 1], 1],
    [[2, 3, 5, 6], 3],
    [[3, 7, 9], 9],
    [[2, 33, 21, 20], 4],
    [[1, 130, 96], 32],
    [[2, 5, 3, 1028], 4],
  ] as const) {
    it(`agrees with the reference at [${shape}] in ${groups} groups`, async () => {
      const n = shape[shape.length - 1];
      await checkBackends(op(groups), [shape, [n], [n]]);
    });
  }

  it("has right gradients, also where inputs are used twice", async () => {
    await checkGradients(op(3), [[2, 2, 3, 6], [6], [6]]);
    await checkGradients(op(2, 0.3), [[1, 4, 4], [4], [4]]);
    const twice: OpUnderTest = ([x, w, b]) =>
      add(groupNorm(groupNorm(x, w, b, 3, 1e-3, activation), w, b, 2, 1e-3, activation), x);
    await checkGradients(twice, [[2, 3, 6], [6], [6]]);
    await checkBackends(twice, [[2, 3, 6], [6], [6]]);
  });

  it("computes only the gradients that are asked for", async () => {
    for (let mask = 1; mask < 8; mask++) {
      const specs = [[2, 5, 8], [8], [8]].map((shape, i) => ({ shape, gradient: ((mask >> i) & 1) === 1 }));
      await checkGradients(op(4), specs);
      await checkBackends(op(4), specs);
    }
  });
});

it("keeps samples apart, and joins SiLU as if it came after", async () => {
  const device = await cpuDevice(2, true);
  const random = new Random(4);
  const values = Float32Array.from({ length: 2 * 50 * 12 }, () => random.normal());
  const [w, b] = [0, 1].map(() => device.tensor(Float32Array.from({ length: 12 }, () => random.normal())));
  using both = groupNorm(device.tensor(values, [2, 50, 12]), w, b, 3, 1e-6, "silu");
  using one = groupNorm(device.tensor(values.subarray(600), [1, 50, 12]), w, b, 3, 1e-6, "silu");
  expect((await both.data()).subarray(600)).toEqual(await one.data());
  using plain = groupNorm(device.tensor(values, [2, 50, 12]), w, b, 3, 1e-6);
  using after = silu(plain);
  expect(await both.data()).toEqual(await after.data());
});

it("does not lose a small variance around a large mean", async () => {
  const random = new Random(3);
  const values = Float32Array.from({ length: 4096 }, () => 1000 + random.int(512) / 512);
  const mean = values.reduce((sum, v) => sum + v, 0) / 4096;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 4096);
  const device = await cpuDevice(1, false);
  const [ones, zeros] = [device.tensor(new Float32Array(8).fill(1)), device.zeros([8])];
  using y = groupNorm(device.tensor(values, [1, 512, 8]), ones, zeros, 1, 0);
  const found = await y.data();
  values.forEach((v, i) => {
    expect(Math.abs(found[i] - (v - mean) / deviation)).toBeLessThan(1e-3);
  });
});

it("refuses groups and parameters that do not fit", () => {
  const device = createReferenceDevice();
  const x = device.zeros([1, 2, 2, 6]);
  const [w, b] = [device.zeros([6]), device.zeros([6])];
  expect(() => groupNorm(x, w, b, 4, 1e-6)).toThrow(/groups; expected: a divisor of 6; found: 4/);
  expect(() => groupNorm(x, w, b, 0, 1e-6)).toThrow(/groups/);
  expect(() => groupNorm(x, device.zeros([5]), b, 2, 1e-6)).toThrow(/weight.*f32 \[6\].*f32 \[5\]/);
  expect(() => groupNorm(x, w, device.zeros([6], "bf16"), 2, 1e-6)).toThrow(/bias.*bf16/);
  expect(() => groupNorm(device.zeros([6]), w, b, 2, 1e-6)).toThrow(/channels last/);
});
