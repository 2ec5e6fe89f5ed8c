import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Scope, type Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import {
  addCounts,
  type BalanceOptions,
  communicationBalanceLoss,
  deviceBalanceLoss,
  maxViolation,
  sequenceBalanceLoss,
  updateRouterBias,
} from "./balance.ts";
import { type RouteOptions, route } from "./routing.ts";

const uniform = (n: number, seed = 3) => {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.uniform());
};

/** The three losses as the papers write them, from scores [B][T][E] and chosen experts [B][T][K]. */
function paperLosses(
  scores: number[][][],
  ids: number[][][],
  { normalize, devices, reach }: { normalize: boolean; devices: number; reach: number },
) {
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const mean = (values: number[]) => sum(values) / values.length;
  const perSequence = scores.map((rows, b) => {
    const [tokens, experts, k] = [rows.length, rows[0].length, ids[b][0].length];
    const all = Array.from({ length: experts }, (_, e) => e);
    const blocks = Array.from({ length: devices }, (_, d) =>
      all.filter((e) => Math.floor((e * devices) / experts) === d),
    );
    const f = all.map((e) => (experts / (k * tokens)) * sum(ids[b].map((row) => Number(row.includes(e)))));
    const p = all.map((e) => mean(rows.map((row) => row[e] / (normalize ? sum(row) : 1))));
    const sent = blocks.map((block) => sum(ids[b].map((row) => Number(row.some((e) => block.includes(e))))));
    const blockP = blocks.map((block) => sum(block.map((e) => p[e])));
    return [
      sum(all.map((e) => f[e] * p[e])),
      sum(blocks.map((block, d) => mean(block.map((e) => f[e])) * blockP[d])),
      sum(blocks.map((_, d) => (devices / (reach * tokens)) * sent[d] * blockP[d])),
    ];
  });
  return [0, 1, 2].map((i) => mean(perSequence.map((losses) => losses[i])));
}

/** [values] cut into rows of `width` and those into `sequences` blocks. */
function nest(values: ArrayLike<number>, sequences: number, width: number): number[][][] {
  const tokens = values.length / width / sequences;
  return Array.from({ length: sequences }, (_, b) =>
    Array.from({ length: tokens }, (_, t) =>
      Array.from({ length: width }, (_, i) => values[(b * tokens + t) * width + i]),
    ),
  );
}

const softmaxRouter: Omit<RouteOptions, "topK"> = {
  ...{ scoring: "softmax", groups: 1, topGroups: 1, groupScore: "max", maskWith: "zero" },
  ...{ normalize: false, scale: 1 },
};

describe("balance losses", () => {
  for (const normalizeScores of [false, true]) {
    for (const sequences of [1, 3]) {
      it(`equal the papers' sums (${sequences} sequences, normalized: ${normalizeScores})`, async () => {
        const [rows, experts, topK, devices] = [12, 8, 3, 4];
        for (const device of [createReferenceDevice(), await cpuDevice(2, true)]) {
          using _scope = new Scope(device);
          const values = uniform(rows * experts);
          const scores = device.tensor(values, [rows, experts]);
          const ids = route(device.tensor(uniform(rows * experts, 9), [rows, experts]), null, {
            ...softmaxRouter,
            topK,
          }).ids;
          const options = { sequences, topK, normalizeScores, ids, devices, devicesPerToken: 2 };
          const expected = paperLosses(
            nest(values, sequences, experts),
            nest(await ids.data(), sequences, topK),
            {
              ...{ normalize: normalizeScores, devices, reach: 2 },
            },
          );
          const found = [
            await sequenceBalanceLoss(scores, options).item(),
            await deviceBalanceLoss(scores, options).item(),
            await communicationBalanceLoss(scores, options).item(),
          ];
          for (const [i, value] of found.entries()) expect(value).toBeCloseTo(expected[i], 5);
        }
      });
    }
  }

  it("without ids count the plain top-k of the scores", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const scores = device.tensor([0.9, 0.5, 0.5, 0.1, 0.2, 0.8, 0.7, 0.3], [2, 4]);
    const options = { sequences: 1, topK: 2, normalizeScores: true };
    // Ties go to the lowest index: rows choose {0, 1} and {1, 2}.
    const ids = device.tensor([0, 1, 1, 2], [2, 2], "i32");
    const found = await sequenceBalanceLoss(scores, options).item();
    expect(found).toBe(await sequenceBalanceLoss(scores, { ...options, ids }).item());
    expect(found).toBeCloseTo((0.45 + 0.1) / 2 + 2 * ((0.25 + 0.4) / 2) + (0.25 + 0.35) / 2, 6);
  });

  it("are 1 at perfect balance, and larger where the crowded expert is also the likely one", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const options = { sequences: 1, topK: 1, normalizeScores: false, devices: 2, devicesPerToken: 1 };
    const even = device.tensor(Array(16).fill(0.25), [4, 4]);
    const spread = { ...options, ids: device.tensor([0, 1, 2, 3], [4, 1], "i32") };
    expect(await sequenceBalanceLoss(even, spread).item()).toBeCloseTo(1, 6);
    expect(await deviceBalanceLoss(even, spread).item()).toBeCloseTo(1, 6);
    expect(await communicationBalanceLoss(even, spread).item()).toBeCloseTo(1, 6);
    const crowded = device.tensor(Array(4).fill([0.7, 0.1, 0.1, 0.1]).flat(), [4, 4]);
    expect(await sequenceBalanceLoss(crowded, options).item()).toBeCloseTo(2.8, 5);
    expect(await deviceBalanceLoss(crowded, options).item()).toBeCloseTo(1.6, 5);
  });

  for (const [rows, experts, sequences, topK, devices] of [
    [1, 1, 1, 1, 1],
    [6, 5, 3, 2, 1],
    [130, 36, 2, 6, 4],
    [33, 10, 3, 4, 5],
  ]) {
    for (const normalizeScores of [false, true]) {
      const options: BalanceOptions = { sequences, topK, normalizeScores };
      const op = ([scores]: Tensor[]) => [
        sequenceBalanceLoss(scores, options),
        deviceBalanceLoss(scores, { ...options, devices }),
        communicationBalanceLoss(scores, { ...options, devices, devicesPerToken: 1 }),
      ];
      const input = { shape: [rows, experts], values: uniform(rows * experts) };
      it(`agree on every backend at [${rows}, ${experts}], normalized: ${normalizeScores}`, async () => {
        await checkBackends(op, [input]);
      });
      if (rows * experts < 1000) {
        it(`have right gradients at [${rows}, ${experts}], normalized: ${normalizeScores}`, async () => {
          await checkGradients(op, [input]);
        });
      }
    }
  }

  it("send their gradient through the router to the logits, next to that of the weights", async () => {
    const op = ([logits]: Tensor[]) => {
      const { ids, weights, scores } = route(logits, null, { ...softmaxRouter, topK: 2 });
      return [sequenceBalanceLoss(scores, { sequences: 2, topK: 2, normalizeScores: false, ids }), weights];
    };
    await checkGradients(op, [[6, 8]]);
    await checkBackends(op, [[34, 8]]);
  });

  it("are 0 without tokens and refuse what does not divide", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const options = { sequences: 1, topK: 2, normalizeScores: true };
    expect(await sequenceBalanceLoss(device.zeros([0, 4]), options).item()).toBe(0);
    const scores = device.zeros([4, 6]);
    expect(() => sequenceBalanceLoss(scores, { ...options, sequences: 3 })).toThrow(
      /divisor of 4 rows; found: 3/,
    );
    expect(() => sequenceBalanceLoss(scores, { ...options, topK: 7 })).toThrow(/1 to 6; found: 7/);
    expect(() => sequenceBalanceLoss(scores, { ...options, ids: device.zeros([4, 3], "i32") })).toThrow(
      /\[4, 2\]/,
    );
    expect(() => deviceBalanceLoss(scores, { ...options, devices: 4 })).toThrow(/divisor of 6; found: 4/);
    expect(() => communicationBalanceLoss(scores, { ...options, devices: 2, devicesPerToken: 3 })).toThrow(
      /1 to 2/,
    );
  });
});

describe("router bias", () => {
  it("moves by gamma against the load, and stays where the load is the mean", async () => {
    for (const device of [createReferenceDevice(), await cpuDevice(2, false)]) {
      using _scope = new Scope(device);
      const bias = device.tensor([0, 1, -1, 0.5]);
      updateRouterBias(bias, device.tensor([5, 3, 0, 4], [4], "i32"), 0.25);
      expect(Array.from(await bias.data())).toEqual([-0.25, 1, -0.75, 0.25]);
      // The mean 7/3 is not an integer: nobody stays.
      const three = device.tensor([0, 0, 0]);
      updateRouterBias(three, device.tensor([2, 3, 2], [3], "i32"), 1);
      expect(Array.from(await three.data())).toEqual([1, -1, 1]);
      expect(() => updateRouterBias(bias, device.zeros([3], "i32"), 1)).toThrow(
        /expected: \[4\]; found: \[3\]/,
      );
    }
  });

  it("evens out a skewed router", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const random = new Random(5);
    const values = Float32Array.from({ length: 400 * 8 }, (_, i) => random.normal() + (i % 8 < 2 ? 1.5 : 0));
    const logits = device.tensor(values, [400, 8]);
    const bias = device.zeros([8]);
    const counts = async () => {
      const found = new Int32Array(8);
      const { ids } = route(logits, bias, { ...softmaxRouter, scoring: "sigmoid", topK: 2 });
      for (const id of await ids.data()) found[id]++;
      return found;
    };
    const before = maxViolation(await counts());
    for (let step = 0; step < 60; step++)
      updateRouterBias(bias, device.tensor(await counts(), [8], "i32"), 0.01);
    expect(before).toBeGreaterThan(0.8);
    expect(maxViolation(await counts())).toBeLessThan(0.1);
  });

  it("adds counts of partial batches", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    const total = device.zeros([3], "i32");
    addCounts(total, device.tensor([1, 2, 3], [3], "i32"));
    addCounts(total, device.tensor([4, 0, 1], [3], "i32"));
    expect(Array.from(await total.data())).toEqual([5, 2, 4]);
  });

  it("maxViolation is the excess of the fullest expert over the mean", () => {
    expect(maxViolation([2, 2, 2])).toBe(0);
    expect(maxViolation([4, 1, 1, 2])).toBe(1);
    expect(maxViolation([0, 0])).toBe(0);
  });
});
