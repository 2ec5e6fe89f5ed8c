import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { combineRows, expertPlan, gatherRows, type RouteOptions, route } from "./routing.ts";

const greedy: RouteOptions = {
  ...{ topK: 3, scoring: "softmax", groups: 1, topGroups: 1, groupScore: "max", maskWith: "zero" },
  ...{ normalize: false, scale: 1 },
};
const v2: RouteOptions = { ...greedy, groups: 4, topGroups: 2, scale: 16 };
const v3: RouteOptions = {
  ...{ topK: 3, scoring: "sigmoid", groups: 4, topGroups: 2, groupScore: "top2", maskWith: "-inf" },
  ...{ normalize: true, scale: 2.5 },
};
const routers = { greedy, v2, v3, v3Zero: { ...v3, maskWith: "zero" } } as Record<string, RouteOptions>;

/** Index of the largest value that is not yet taken; the lowest one if several are equal. */
function argmax(values: readonly number[], taken: ReadonlySet<number>): number {
  let at = -1;
  values.forEach((v, i) => {
    if (!taken.has(i) && (at < 0 || v > values[at])) at = i;
  });
  return at;
}

function topK(values: readonly number[], k: number): number[] {
  const taken = new Set<number>();
  while (taken.size < k) taken.add(argmax(values, taken));
  return [...taken];
}

/** One row as the released modeling code writes it: masks over all experts, then top-k. */
function bruteForce(logits: readonly number[], bias: readonly number[] | null, o: RouteOptions) {
  const exps = logits.map((x) => Math.exp(x));
  const total = exps.reduce((a, b) => a + b, 0);
  const scores = logits.map((x, e) => (o.scoring === "softmax" ? exps[e] / total : 1 / (1 + Math.exp(-x))));
  const biased = scores.map((s, e) => s + (bias?.[e] ?? 0));
  const size = logits.length / o.groups;
  const groupScores = Array.from({ length: o.groups }, (_, g) => {
    const sorted = biased.slice(g * size, (g + 1) * size).sort((a, b) => a - b);
    return o.groupScore === "max" ? sorted[size - 1] : sorted[size - 1] + sorted[size - 2];
  });
  const kept = o.topGroups === o.groups ? groupScores.map((_, g) => g) : topK(groupScores, o.topGroups);
  const lost = o.maskWith === "zero" ? 0 : Number.NEGATIVE_INFINITY;
  const masked = biased.map((b, e) => (kept.includes(Math.floor(e / size)) ? b : lost));
  const ids = topK(masked, o.topK).sort((a, b) => a - b);
  const sum = ids.reduce((a, e) => a + scores[e], 0) + 1e-20;
  return { scores, ids, weights: ids.map((e) => (o.normalize ? scores[e] / sum : scores[e]) * o.scale) };
}

async function routed(device: Device, logits: number[][], bias: number[] | null, options: RouteOptions) {
  using _scope = new Scope(device);
  const x = device.tensor(logits.flat(), [logits.length, logits[0].length]);
  const { ids, weights, scores } = route(x, bias && device.tensor(bias), options);
  const rows = async (t: typeof ids) => {
    const values = Array.from(await t.data());
    const width = t.shape[1];
    return logits.map((_, r) => values.slice(r * width, (r + 1) * width));
  };
  return { ids: await rows(ids), weights: await rows(weights), scores: await rows(scores) };
}

const matrix = (rows: number, columns: number, seed = 1) => {
  const random = new Random(seed);
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => random.normal()));
};

describe("route", () => {
  it("chooses and weighs as the released code does, ties included", async () => {
    const devices = [createReferenceDevice(), await cpuDevice(1, false), await cpuDevice(2, true)];
    // A grid of few values makes ties common. Positive logits: sums of two sigmoids then tie only if they are equal.
    const option = fc
      .record({
        ...{
          groups: fc.integer({ min: 1, max: 8 }),
          size: fc.oneof(fc.integer({ min: 2, max: 9 }), fc.integer({ min: 10, max: 80 })),
        },
        scoring: fc.constantFrom("softmax" as const, "sigmoid" as const),
        groupScore: fc.constantFrom("max" as const, "top2" as const),
        maskWith: fc.constantFrom("-inf" as const, "zero" as const),
        ...{ normalize: fc.boolean(), scale: fc.constantFrom(1, 2.5, 16), biased: fc.boolean() },
        ...{ keep: fc.nat(), take: fc.nat(), rows: fc.integer({ min: 1, max: 4 }), seed: fc.nat() },
      })
      .map(({ size, keep, take, ...o }) => {
        const topGroups = 1 + (keep % o.groups);
        return {
          ...o,
          topGroups,
          topK: 1 + (take % Math.min(8, topGroups * size)),
          experts: o.groups * size,
        };
      });
    await fc.assert(
      fc.asyncProperty(option, async ({ experts, biased, rows, seed, ...options }) => {
        const random = new Random(seed);
        const pick = (grid: number[]) => grid[random.int(grid.length)];
        const logits = Array.from({ length: rows }, () =>
          Array.from({ length: experts }, () => pick([0.1, 0.3, 0.7, 1.1, 1.9, 3.1])),
        );
        // Biases of two groups differ, because (s1 + b1) + (s2 + b2) and (s1 + b2) + (s2 + b1) are one sum of two
        // roundings: no choice between such groups is right. With 0.01 no two sums are nearer than 1e-4.
        const perGroup = options.groupScore === "top2" ? 0.01 : 0;
        const groupOf = (expert: number) => Math.floor(expert / (experts / options.groups));
        const draw = (_: unknown, e: number) => pick([-2, -1.25, -0.5, 0, 0.25]) + perGroup * groupOf(e);
        const bias = biased ? Array.from({ length: experts }, draw) : null;
        const expected = logits.map((row) => bruteForce(row, bias, options));
        for (const device of devices) {
          const found = await routed(device, logits, bias, options);
          expected.forEach((row, r) => {
            expect(found.ids[r]).toEqual(row.ids);
            row.weights.forEach((w, j) => {
              expect(Math.abs(found.weights[r][j] - w)).toBeLessThan(1e-5 * Math.max(1, w));
            });
            row.scores.forEach((s, e) => {
              expect(Math.abs(found.scores[r][e] - s)).toBeLessThan(1e-6);
            });
          });
        }
      }),
      { numRuns: 300 },
    );
  });

  for (const [name, options] of Object.entries(routers)) {
    for (const [rows, experts] of [
      [0, 8],
      [1, 8],
      [33, 12],
      [130, 20],
      [70, 256],
    ]) {
      it(`${name}: every backend agrees on ${rows} rows of ${experts} experts`, async () => {
        const bias = options.scoring === "sigmoid" ? [{ shape: [experts], gradient: false }] : [];
        await checkBackends(
          ([logits, b]) => {
            const { ids, weights, scores } = route(logits, b ?? null, options);
            return [ids, weights, scores];
          },
          [[rows, experts], ...bias],
        );
      });
    }

    it(`${name}: gradients reach the logits through weights, scores and both`, async () => {
      const logits = [{ shape: [5, 12] }];
      await checkGradients(([x]) => route(x, null, options).weights, logits);
      await checkGradients(([x]) => route(x, null, options).scores, logits);
      await checkGradients(([x]) => {
        const { weights, scores } = route(x, null, options);
        return [weights, scores];
      }, logits);
    });
  }

  it("adds to a gradient that is already there", async () => {
    const twice = ([x]: Parameters<typeof route>[0][]) => {
      const first = route(x, null, v3);
      const second = route(x, null, greedy);
      return [first.weights, second.scores, second.weights];
    };
    await checkGradients(twice, [[3, 12]]);
    await checkBackends(twice, [[33, 12]]);
  });

  it("with negative biases chooses differently under the two masks", async () => {
    // The first group wins with its -0.4; masked with 0, the experts of the other one beat both of its own.
    const logits = [[0, 0, 0, 0]];
    const bias = [-0.9, -2.1, -1.9, -1.9];
    const options: RouteOptions = { ...v3, topK: 2, groups: 2, topGroups: 1, groupScore: "max" };
    for (const device of [createReferenceDevice(), await cpuDevice(1, true)]) {
      expect((await routed(device, logits, bias, options)).ids).toEqual([[0, 1]]);
      expect((await routed(device, logits, bias, { ...options, maskWith: "zero" })).ids).toEqual([[2, 3]]);
    }
  });

  it("lets the bias change the choice and not the weight", async () => {
    const device = await cpuDevice(1, true);
    const logits = [[1, 0.5, -1, -2]];
    const options: RouteOptions = { ...v3, topK: 2, groups: 1, topGroups: 1, normalize: false, scale: 1 };
    const plain = await routed(device, logits, [0, 0, 0, 0], options);
    const biased = await routed(device, logits, [0, -1, 0, 0], options);
    expect(plain.ids).toEqual([[0, 1]]);
    expect(biased.ids).toEqual([[0, 2]]);
    expect(biased.weights[0][0]).toBe(plain.weights[0][0]);
    expect(biased.weights[0][1]).toBeCloseTo(1 / (1 + Math.E), 6);
  });

  it("gives weights that sum to the scale in V3 and not in V2", async () => {
    const device = await cpuDevice(1, true);
    const logits = matrix(20, 16);
    const sums = async (o: RouteOptions) =>
      (await routed(device, logits, null, o)).weights.map((w) => w.reduce((a, b) => a + b, 0));
    for (const sum of await sums(v3)) expect(sum).toBeCloseTo(2.5, 5);
    for (const sum of await sums(v2)) expect(sum).toBeLessThan(15.9);
  });

  it("survives large, infinite and NaN logits with ids that stay usable", async () => {
    const device = await cpuDevice(1, true);
    const logits = [
      [1e30, -1e30, 200, -200, 0, 1, 2, 3],
      [Number.NEGATIVE_INFINITY, 0, 1, Number.NEGATIVE_INFINITY, 2, 3, 4, 5],
      Array(8).fill(Number.NaN),
      [0, Number.NaN, 1, 2, Number.NaN, 3, 4, 5],
    ];
    for (const options of Object.values(routers)) {
      const { ids, scores } = await routed(device, logits, null, options);
      for (const row of ids) {
        expect(new Set(row).size).toBe(3);
        expect(row).toEqual([...row].sort((a, b) => a - b));
        for (const id of row) expect(id >= 0 && id < 8).toBe(true);
      }
      for (const row of scores.slice(0, 2)) expect(row.every(Number.isFinite)).toBe(true);
      expect(scores[1][0]).toBe(0);
    }
  });

  it("lets no NaN pass unseen, of a logit or a bias, wherever it is and whatever its sign", async () => {
    // As bits: arrays of JavaScript know one NaN.
    const floats = (length: number, at: number, nan: number, value: (i: number) => number) => {
      const values = Float32Array.from({ length }, (_, i) => value(i));
      new Uint32Array(values.buffer)[at] = nan;
      return values;
    };
    const devices = [await cpuDevice(1, true), await cpuDevice(1, false), createReferenceDevice()];
    for (const device of devices) {
      for (const [name, options] of Object.entries(routers)) {
        for (const nan of [0xffc00001, 0x7fc00001]) {
          for (let at = 0; at < 8; at++) {
            using _scope = new Scope(device);
            const numbers = device.tensor([1, 2, 3, 4, 5, 6, 7, 8], [1, 8]);
            const logits = device.tensor(
              floats(8, at, nan, (i) => (i * 3) % 8),
              [1, 8],
            );
            const bias = device.tensor(
              floats(8, at, nan, (i) => i / 8),
              [8],
            );
            for (const routing of [route(logits, null, options), route(numbers, bias, options)]) {
              const weights = await routing.weights.data();
              expect(weights.some(Number.isNaN), `${name} ${at} ${nan.toString(16)}: ${weights}`).toBe(true);
            }
          }
        }
      }
    }
  });

  it("refuses options that cannot be met", () => {
    const device = createReferenceDevice();
    const logits = device.zeros([2, 12]);
    const bad = (o: Partial<RouteOptions>) => () => route(logits, null, { ...v3, ...o });
    expect(bad({ groups: 5 })).toThrow(/divisor of 12; found: 5/);
    expect(bad({ topGroups: 5 })).toThrow(/name: topGroups; expected: 1 to 4; found: 5/);
    expect(bad({ topK: 7 })).toThrow(/name: topK; expected: 1 to 6; found: 7/);
    expect(bad({ groups: 12, topGroups: 12 })).toThrow(/at most 6/);
    expect(() => route(logits, device.zeros([3]), v3)).toThrow(/expected: \[12\]; found: \[3\]/);
    expect(() => route(device.zeros([2]), null, v3)).toThrow(/\[N, E\]/);
  });
});

const randomIds = (rows: number, k: number, experts: number, seed = 1) => {
  const random = new Random(seed);
  return Array.from({ length: rows }, () => {
    const row = new Set<number>();
    while (row.size < k) row.add(random.int(experts));
    return [...row].sort((a, b) => a - b);
  }).flat();
};

describe("expertPlan", () => {
  it("is a stable sort by expert", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const plan = expertPlan(device.tensor([0, 2, 0, 1, 1, 2], [3, 2], "i32"), 4);
    const read = async (t: typeof plan.rows) => Array.from(await t.data());
    expect(await read(plan.counts)).toEqual([2, 2, 2, 0]);
    expect(await read(plan.offsets)).toEqual([0, 2, 4, 6, 6]);
    expect(await read(plan.rows)).toEqual([0, 1, 1, 2, 0, 2]);
    expect(await read(plan.slots)).toEqual([0, 4, 1, 2, 3, 5]);
  });

  for (const [rows, k, experts] of [
    [0, 2, 4],
    [1, 1, 1],
    [33, 3, 7],
    [130, 6, 64],
  ]) {
    it(`agrees with the reference on ${rows} tokens, ${k} of ${experts} experts`, async () => {
      const ids = { shape: [rows, k], dtype: "i32" as const, values: randomIds(rows, k, experts) };
      await checkBackends(
        ([t]) => {
          const plan = expertPlan(t, experts);
          return [plan.counts, plan.offsets, plan.rows, plan.slots];
        },
        [ids],
      );
    });
  }

  it("stops at an id that no expert has", async () => {
    const reference = createReferenceDevice();
    expect(() => expertPlan(reference.tensor([0, 4], [1, 2], "i32"), 4)).toThrow(
      /expected: 0 to 3; found: 4/,
    );
    expect(() => expertPlan(reference.tensor([-1, 0], [1, 2], "i32"), 4)).toThrow(/found: -1/);
  });
});

describe("gatherRows and combineRows", () => {
  for (const [rows, k, experts, width] of [
    [0, 2, 4, 5],
    [1, 1, 1, 1],
    [5, 2, 3, 3],
    [33, 3, 7, 17],
    [130, 6, 16, 33],
    [40, 4, 8, 64],
  ]) {
    const ids = { shape: [rows, k], dtype: "i32" as const, values: randomIds(rows, k, experts) };
    const gather = ([x, i]: Parameters<typeof gatherRows>[0][]) => gatherRows(x, expertPlan(i, experts));
    const combine = ([y, w, i]: Parameters<typeof gatherRows>[0][]) =>
      combineRows(y, w, expertPlan(i, experts));
    const both = ([x, w, i]: Parameters<typeof gatherRows>[0][]) => {
      const plan = expertPlan(i, experts);
      const y = gatherRows(x, plan);
      return [combineRows(y, w, plan), combineRows(y, w, plan), gatherRows(x, plan)];
    };
    it(`agree with the reference on ${rows} tokens, ${k} of ${experts} experts, width ${width}`, async () => {
      await checkBackends(gather, [[rows, width], ids]);
      await checkBackends(combine, [[rows * k, width], [rows, k], ids]);
      await checkBackends(both, [[rows, width], [rows, k], ids]);
    });
    if (rows > 0 && rows < 40) {
      it(`have right gradients on ${rows} tokens, width ${width}`, async () => {
        await checkGradients(gather, [[rows, width], ids]);
        await checkGradients(combine, [[rows * k, width], [rows, k], ids]);
        await checkGradients(both, [[rows, width], [rows, k], ids]);
      });
    }
  }

  it("give back the sum of weights times the row", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const plan = expertPlan(device.tensor([0, 2, 0, 1, 1, 2], [3, 2], "i32"), 3);
    const x = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    const weights = device.tensor([0.5, 0.25, 1, 1, 0, 2], [3, 2]);
    const y = combineRows(gatherRows(x, plan), weights, plan);
    expect(Array.from(await y.data())).toEqual([0.75, 1.5, 6, 8, 10, 12]);
  });

  it("compute only the gradient that is wanted", async () => {
    const device = await cpuDevice(1, true);
    const y = device.tensor([1, 2], [2, 1]);
    const weights = device.tensor([3, 4], [1, 2]);
    weights.requiresGrad = true;
    const before = device.backend.memory().buffers;
    {
      using tape = new Tape(device);
      const plan = expertPlan(device.tensor([0, 1], [1, 2], "i32"), 2);
      tape.backward(combineRows(y, weights, plan));
    }
    expect(y.grad).toBeNull();
    expect(Array.from(await weights.grad!.data())).toEqual([1, 2]);
    expect(device.backend.memory().buffers).toBe(before + 1);
    for (const t of [weights.grad!, weights, y]) t.dispose();
  });

  it("refuse rows that the plan does not have", () => {
    const device = createReferenceDevice();
    const plan = expertPlan(device.tensor([0, 1], [1, 2], "i32"), 2);
    expect(() => gatherRows(device.zeros([2, 3]), plan)).toThrow(/expected: \[1, d\]; found: \[2, 3\]/);
    expect(() => combineRows(device.zeros([3, 3]), device.zeros([1, 2]), plan)).toThrow(/\[2, d\]/);
    expect(() => combineRows(device.zeros([2, 3]), device.zeros([2, 1]), plan)).toThrow(/found: \[2, 1\]/);
  });
});
