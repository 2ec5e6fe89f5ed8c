import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add } from "./elementwise.ts";
import { addLayerNorm, layerNorm } from "./layer-norm.ts";

describe("layerNorm", () => {
  for (const [rows, n] of [
    [0, 4],
    [3, 5],
    [7, 33],
    [130, 130],
    [33, 256],
    [3, 2049],
  ]) {
    it(`agrees with the reference at ${rows} x ${n}`, async () => {
      await checkBackends(([x, w, b]) => layerNorm(x, w, b, 1e-6), [[rows, n], [n], [n]]);
      await checkBackends(
        ([x, r, w, b]) => {
          const { sum, normalized } = addLayerNorm(x, r, w, b, 1e-6);
          return [normalized, sum];
        },
        [[rows, n], [rows, n], [n], [n]],
      );
    });
  }

  it("has right gradients, also where the inputs are used twice", async () => {
    await checkGradients(([x, w, b]) => layerNorm(x, w, b, 1e-6), [[2, 3, 7], [7], [7]]);
    await checkGradients(([x, w, b]) => layerNorm(x, w, b, 0.3), [[3, 1], [1], [1]]);
    const twice = ([x, w, b]: Parameters<typeof add>[0][]) =>
      add(layerNorm(layerNorm(x, w, b, 1e-3), w, b, 1e-3), x);
    await checkGradients(twice, [[5, 6], [6], [6]]);
    await checkBackends(twice, [[5, 6], [6], [6]]);
  });

  it("passes gradients of the sum and of the norm to both terms", async () => {
    const specs = [[4, 6], [4, 6], [6], [6]];
    for (const pick of ["both", "sum", "normalized"] as const) {
      const op = ([x, r, w, b]: Parameters<typeof add>[0][]) => {
        const { sum, normalized } = addLayerNorm(x, r, w, b, 1e-4);
        return pick === "both" ? [normalized, sum] : pick === "sum" ? sum : normalized;
      };
      await checkGradients(op, specs);
      await checkBackends(op, specs);
    }
    const again = ([x, w, b]: Parameters<typeof add>[0][]) => {
      const { sum, normalized } = addLayerNorm(x, x, w, b, 1e-4);
      return add(add(normalized, sum), x);
    };
    await checkGradients(again, [[4, 6], [6], [6]]);
    await checkBackends(again, [[4, 6], [6], [6]]);
  });

  it("computes only the gradients that are asked for", async () => {
    for (let mask = 1; mask < 8; mask++) {
      const specs = [[5, 9], [9], [9]].map((shape, i) => ({ shape, gradient: ((mask >> i) & 1) === 1 }));
      await checkGradients(([x, w, b]) => layerNorm(x, w, b, 1e-6), specs);
      await checkBackends(([x, w, b]) => layerNorm(x, w, b, 1e-6), specs);
    }
    for (const [x, r] of [
      [true, false],
      [false, true],
    ]) {
      const specs = [
        { shape: [5, 9], gradient: x },
        { shape: [5, 9], gradient: r },
        { shape: [9], gradient: false },
        [9],
      ];
      await checkGradients(([p, q, w, b]) => addLayerNorm(p, q, w, b, 1e-6).normalized, specs);
    }
  });

  it("gives the bits of a sum and a norm", async () => {
    const device = await cpuDevice(2, true);
    const random = new Random(5);
    const [x, r] = [0, 1].map(() =>
      device.tensor(
        Float32Array.from({ length: 7 * 37 }, () => random.normal()),
        [7, 37],
      ),
    );
    const [w, b] = [0, 1].map(() => device.tensor(Float32Array.from({ length: 37 }, () => random.normal())));
    const { sum, normalized } = addLayerNorm(x, r, w, b, 1e-5);
    expect(await sum.data()).toEqual(await add(x, r).data());
    expect(await normalized.data()).toEqual(await layerNorm(add(x, r), w, b, 1e-5).data());
  });

  it("does not lose a small variance around a large mean", async () => {
    const random = new Random(3);
    const n = 1152;
    // Multiples of 2^-9 around 1000 are exact.
    const values = Float32Array.from({ length: n }, () => 1000 + random.int(512) / 512);
    const mean = values.reduce((sum, v) => sum + v, 0) / n;
    const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n);
    const device = await cpuDevice(1, false);
    using y = layerNorm(
      device.tensor(values, [1, n]),
      device.tensor(new Float32Array(n).fill(1)),
      device.zeros([n]),
      0,
    );
    (await y.data()).forEach((v, i) => {
      expect(Math.abs(v - (values[i] - mean) / deviation)).toBeLessThan(1e-3);
    });
  });

  it("refuses parameters and residuals of other shapes", () => {
    const device = createReferenceDevice();
    const x = device.zeros([2, 3]);
    expect(() => layerNorm(x, device.zeros([4]), device.zeros([3]), 1e-6)).toThrow(
      /weight.*expected: f32 \[3\].*found: f32 \[4\]/,
    );
    expect(() => layerNorm(x, device.zeros([3]), device.zeros([3], "bf16"), 1e-6)).toThrow(
      /bias.*found: bf16/,
    );
    expect(() => addLayerNorm(x, device.zeros([3, 2]), device.zeros([3]), device.zeros([3]), 1e-6)).toThrow(
      /residual.*\[2, 3\].*\[3, 2\]/,
    );
  });
});
