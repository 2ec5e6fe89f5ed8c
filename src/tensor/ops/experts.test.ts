import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Scope, type Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { experts } from "./experts.ts";
import { type RouteOptions, route } from "./routing.ts";

const options: RouteOptions = {
  ...{ topK: 2, scoring: "sigmoid", groups: 1, topGroups: 1, groupScore: "top2", maskWith: "-inf" },
  ...{ normalize: true, scale: 2.5 },
};

const layer = ([x, logits, gateUp, down]: Tensor[]) =>
  experts(x, route(logits, null, options), gateUp, down).output;

const shapes = (n: number, e: number, d: number, f: number) => [
  [n, d],
  [n, e],
  [e, 2 * f, d],
  [e, d, f],
];

/** One token after the other, one expert after the other. */
function bruteForce(
  x: Float32Array,
  ids: ArrayLike<number>,
  weights: ArrayLike<number>,
  gateUp: Float32Array,
  down: Float32Array,
  [n, k, d, f]: number[],
): Float64Array {
  const y = new Float64Array(n * d);
  for (let t = 0; t < n; t++) {
    for (let j = 0; j < k; j++) {
      const e = ids[t * k + j];
      const project = (row: number) => {
        let sum = 0;
        for (let i = 0; i < d; i++) sum += gateUp[(e * 2 * f + row) * d + i] * x[t * d + i];
        return sum;
      };
      const hidden = Array.from({ length: f }, (_, i) => {
        const gate = project(i);
        return (gate / (1 + Math.exp(-gate))) * project(f + i);
      });
      for (let i = 0; i < d; i++) {
        let sum = 0;
        for (let c = 0; c < f; c++) sum += down[(e * d + i) * f + c] * hidden[c];
        y[t * d + i] += weights[t * k + j] * sum;
      }
    }
  }
  return y;
}

describe("experts", () => {
  it("equal the sum over tokens and experts one by one, and report the counts", async () => {
    const [n, e, d, f] = [37, 6, 12, 5];
    const random = new Random(1);
    const [x, logits, gateUp, down] = shapes(n, e, d, f).map((shape) =>
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
    );
    for (const device of [createReferenceDevice(), await cpuDevice(2, true)]) {
      using _scope = new Scope(device);
      const routing = route(device.tensor(logits, [n, e]), null, options);
      const { output, plan } = experts(
        device.tensor(x, [n, d]),
        routing,
        device.tensor(gateUp, [e, 2 * f, d]),
        device.tensor(down, [e, d, f]),
      );
      const ids = await routing.ids.data();
      const expected = bruteForce(x, ids, await routing.weights.data(), gateUp, down, [n, 2, d, f]);
      const found = await output.data();
      for (let i = 0; i < n * d; i++) {
        expect(Math.abs(found[i] - expected[i])).toBeLessThan(1e-4 * Math.max(1, Math.abs(expected[i])));
      }
      const counts = Array.from({ length: e }, (_, i) => ids.filter((id) => id === i).length);
      expect(Array.from(await plan.counts.data())).toEqual(counts);
    }
  });

  it("have right gradients for inputs, logits and weights, idle experts included", async () => {
    await checkGradients(layer, shapes(3, 8, 4, 3));
    await checkGradients(layer, shapes(6, 3, 5, 2));
  });

  for (const [n, e, d, f] of [
    [0, 4, 8, 4],
    [1, 5, 8, 3],
    [33, 8, 20, 7],
    [130, 16, 33, 12],
  ]) {
    it(`agree on every backend with ${n} tokens, ${e} experts, widths ${d} and ${f}`, async () => {
      await checkBackends(layer, shapes(n, e, d, f), { tolerance: 5e-5 });
    });
  }

  it("refuse weights that do not fit", () => {
    const device = createReferenceDevice();
    const routing = route(device.zeros([3, 4]), null, options);
    const call = (x: number[], gateUp: number[], down: number[]) => () =>
      experts(device.zeros(x), routing, device.zeros(gateUp), device.zeros(down));
    expect(call([3, 5], [4, 6, 5], [4, 5])).toThrow(/\[E, d, f\]/);
    expect(call([3, 5], [4, 5, 5], [4, 5, 3])).toThrow(
      /name: gateUp; expected: \[4, 6, 5\]; found: \[4, 5, 5\]/,
    );
    expect(call([2, 5], [4, 6, 5], [4, 5, 3])).toThrow(/name: x; expected: \[3, 5\]; found: \[2, 5\]/);
  });
});
