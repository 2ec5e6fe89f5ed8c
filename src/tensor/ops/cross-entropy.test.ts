import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { crossEntropy, tokenLosses } from "./cross-entropy.ts";
import { addScaled, scale } from "./elementwise.ts";

const inf = Number.POSITIVE_INFINITY;

function targets(rows: number, n: number, ignored = true) {
  const random = new Random(5);
  const values = Array.from({ length: rows }, () =>
    ignored && random.uniform() < 0.3 ? -100 : random.int(n),
  );
  return { shape: [rows], dtype: "i32" as const, values };
}

describe("crossEntropy", () => {
  for (const [rows, n] of [
    [0, 3],
    [1, 1],
    [3, 5],
    [7, 33],
    [33, 130],
    [5, 4099],
    [2, 20_001],
  ]) {
    it(`agrees with the reference at ${rows} x ${n}`, async () => {
      const specs = [[rows, n], targets(rows, n)];
      await checkBackends(([x, t]) => crossEntropy(x, t), specs);
      await checkBackends(([x, t]) => crossEntropy(x, t, { denominator: 3 }), specs);
      await checkBackends(([x, t]) => tokenLosses(x, t), specs);
      await checkBackends(([x, t]) => crossEntropy(scale(x, 20), t, { consumeLogits: true }), specs);
    });
  }

  it("has right gradients", async () => {
    await checkGradients(([x, t]) => crossEntropy(x, t), [[6, 7], targets(6, 7)]);
    await checkGradients(([x, t]) => crossEntropy(x, t, { denominator: 4 }), [[2, 3, 5], targets(6, 5)]);
    await checkGradients(
      ([x, t]) => crossEntropy(scale(x, 2), t, { consumeLogits: true }),
      [[4, 5], targets(4, 5)],
    );
    const twice = ([x, t, u]: Parameters<typeof scale>[0][]) =>
      addScaled(crossEntropy(x, t), crossEntropy(x, u), 1, -0.3);
    await checkGradients(twice, [[4, 5], targets(4, 5), targets(4, 5, false)]);
    await checkBackends(twice, [[4, 5], targets(4, 5), targets(4, 5, false)]);
  });

  it("ignores negative targets, and all of them gives 0 and no gradient", async () => {
    const none = { shape: [3], dtype: "i32" as const, values: [-1, -100, -2] };
    await checkGradients(([x, t]) => crossEntropy(x, t), [[3, 4], none]);
    await checkBackends(([x, t]) => crossEntropy(x, t), [[3, 4], none]);
    const device = await cpuDevice(1, true);
    using logits = device.tensor([inf, Number.NaN, 0, 0], [2, 2]);
    using t = device.tensor([-1, 1], [2], "i32");
    using loss = crossEntropy(logits, t);
    expect(await loss.item()).toBeCloseTo(Math.LN2, 6);
  });

  it("is right for logits of any size", async () => {
    const rows = [
      [1000, 0, -1000, 999],
      [-1e30, -1e30, -1e30, -1e30],
      [-inf, 0, -inf, 0],
      [-inf, -inf, -inf, 5],
      [88, 89, 90, -88],
    ];
    const t = [3, 1, 1, 3, 0];
    const expected = [
      1 + Math.log1p(Math.exp(-1)),
      Math.log(4),
      Math.LN2,
      0,
      2 + Math.log1p(Math.E ** -1 + Math.E ** -2),
    ];
    for (const relaxed of [false, true]) {
      const device = await cpuDevice(1, relaxed);
      using logits = device.tensor(rows.flat(), [5, 4]);
      using ids = device.tensor(t, [5], "i32");
      using losses = tokenLosses(logits, ids);
      (await losses.data()).forEach((v, i) => {
        expect(v).toBeCloseTo(expected[i], 5);
      });
    }
  });

  it("keeps NaN visible: in the logits, and for targets past the row", async () => {
    const device = await cpuDevice(2, true);
    for (const values of [Array(40).fill(Number.NaN), [...Array(39).fill(1), Number.NaN]]) {
      using logits = device.tensor(values, [1, 40]);
      using ids = device.tensor([0], [1], "i32");
      using losses = tokenLosses(logits, ids);
      expect(await losses.item()).toBeNaN();
    }
    const past = { shape: [2], dtype: "i32" as const, values: [5, 1] };
    await checkBackends(([x, t]) => crossEntropy(x, t), [[2, 5], past]);
  });

  it("is precise over a long row that rises", async () => {
    const n = 102_400;
    const values = Float32Array.from({ length: n }, (_, i) => i / 10_000 + Math.sin(i));
    const exact = Math.log(values.reduce((sum, v) => sum + Math.exp(v), 0)) - values[7];
    const device = await cpuDevice(2, true);
    using logits = device.tensor(values, [1, n]);
    using ids = device.tensor([7], [1], "i32");
    using losses = tokenLosses(logits, ids);
    expect(Math.abs((await losses.item()) - exact)).toBeLessThan(2e-6);
  });

  it("with consumeLogits allocates no second array", async () => {
    const device = createReferenceDevice();
    const x = device.tensor(new Float32Array(4 * 1000), [4, 1000]);
    x.requiresGrad = true;
    x.grad = device.zeros([4, 1000]);
    const t = device.tensor([1, 2, 3, 4], [4], "i32");
    using tape = new Tape(device);
    const loss = crossEntropy(scale(x, 1), t, { consumeLogits: true });
    tape.backward(loss);
    // x, its gradient, the logits, and the gradient of `scale`; plus some scalars.
    expect(device.backend.memory().peakBytes).toBeLessThan(4 * 16_000 + 1000);
  });

  it("refuses targets that do not match", () => {
    const device = createReferenceDevice();
    expect(() => crossEntropy(device.zeros([3, 4]), device.zeros([2], "i32"))).toThrow(
      /3 targets.*found: \[2\]/,
    );
    expect(() => crossEntropy(device.zeros([3, 4]), device.zeros([3], "i32"), { denominator: -1 })).toThrow(
      /-1/,
    );
  });
});
