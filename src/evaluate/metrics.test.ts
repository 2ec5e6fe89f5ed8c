import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import {
  ACCURACY,
  BITS_PER_BYTE,
  BYTE_PERPLEXITY,
  compareValues,
  EDIT_SIMILARITY,
  estimate,
  metricNamed,
  passMetric,
} from "./metrics.ts";

const random = new Random(4);
const shares = (count: number, share: number) =>
  Array.from({ length: count }, () => (random.uniform() < share ? 1 : 0));

describe("estimate", () => {
  it("has the standard error of a mean, and Wilson's interval of a share", () => {
    const values = [1, 0, 0, 1, 1, 0, 1, 1];
    const { value, standardError, interval } = estimate(ACCURACY, values);
    expect(value).toBe(5 / 8);
    expect(standardError).toBeCloseTo(Math.sqrt((5 * (3 / 8) ** 2 + 3 * (5 / 8) ** 2) / 7 / 8), 12);
    // By the formula in Wilson's paper, worked out by hand.
    expect(interval![0]).toBeCloseTo(0.3057, 3);
    expect(interval![1]).toBeCloseTo(0.8632, 3);
    expect(estimate(ACCURACY, [1])).toMatchObject({ value: 1, standardError: null });
    expect(estimate(ACCURACY, [1]).interval![0]).toBeGreaterThan(0.2);
    expect(estimate(ACCURACY, [0, 0, 0]).interval![0]).toBe(0);
    expect(estimate(ACCURACY, [1, 1, 1]).interval![1]).toBe(1);
  });

  it("covers shares as often as it says", () => {
    const count = 30;
    const intervals = Array.from({ length: count + 1 }, (_, right) =>
      estimate(
        ACCURACY,
        Array.from({ length: count }, (_, i) => (i < right ? 1 : 0)),
      ),
    );
    const coverages = Array.from({ length: 91 }, (_, i) => {
      const share = (5 + i) / 100;
      // How often so many of 30 are right.
      let chance = (1 - share) ** count;
      let covered = 0;
      for (let right = 0; right <= count; right++) {
        const [low, high] = intervals[right].interval!;
        if (low <= share && share <= high) covered += chance;
        chance *= ((count - right) / (right + 1)) * (share / (1 - share));
      }
      return covered;
    });
    expect(coverages.reduce((x, y) => x + y, 0) / coverages.length).toBeCloseTo(0.95, 2);
    expect(Math.min(...coverages)).toBeGreaterThan(0.9);
  });

  it("weighs texts by their bytes, and draws them again for its error", () => {
    const values = Array.from({ length: 200 }, () => {
      const bytes = 50 + random.int(100);
      return [-(0.8 + 0.3 * random.normal()) * bytes, bytes] as const;
    });
    const [nats, bytes] = values.reduce(([a, b], [x, y]) => [a - x, b + y], [0, 0]);
    const { value, standardError, interval } = estimate(BITS_PER_BYTE, values);
    expect(value).toBeCloseTo(nats / bytes / Math.LN2, 12);
    expect(estimate(BYTE_PERPLEXITY, values).value).toBeCloseTo(Math.exp(nats / bytes), 12);
    // The deviation of the texts over the root of their number, about.
    const expected = 0.3 / Math.LN2 / Math.sqrt(200);
    expect(standardError! / expected).toBeGreaterThan(0.75);
    expect(standardError! / expected).toBeLessThan(1.35);
    expect(interval![0]).toBeLessThan(value - standardError!);
    expect(interval![1]).toBeGreaterThan(value + standardError!);
    expect(estimate(BITS_PER_BYTE, values.slice(0, 1))).toMatchObject({
      standardError: null,
      interval: null,
    });
  });
});

describe("compareValues", () => {
  it("decides by rows that both judged, however much rows differ", () => {
    const hard = Array.from({ length: 300 }, () => 400 + random.int(2000));
    const a = hard.map((bytes) => [-(0.5 + random.uniform()) * bytes, bytes] as const);
    const b = a.map(([sum, bytes]) => [sum * (0.985 + 0.01 * random.uniform()), bytes] as const);
    const compared = compareValues(BITS_PER_BYTE, a, b);
    expect(compared).toMatchObject({ rows: 300, winner: "b", better: { a: 0, b: 300 } });
    expect(compared.difference).toBeLessThan(0);
    expect(compared.interval![1]).toBeLessThan(0);
    // Side by side their intervals cannot tell them apart.
    expect(estimate(BITS_PER_BYTE, b).interval![1]).toBeGreaterThan(estimate(BITS_PER_BYTE, a).interval![0]);
    expect(compareValues(BITS_PER_BYTE, b, a)).toMatchObject({ winner: "a", better: { a: 300, b: 0 } });
    expect(compareValues(EDIT_SIMILARITY, [0.2], [0.4])).toMatchObject({ winner: null, interval: null });
  });

  it("leaves undecided what chance may have made", () => {
    let decided = 0;
    for (let i = 0; i < 60; i++) {
      if (compareValues(ACCURACY, shares(100, 0.5), shares(100, 0.5)).winner !== null) decided++;
    }
    expect(decided).toBeLessThan(9);
    const a = shares(200, 0.4);
    const compared = compareValues(
      ACCURACY,
      a,
      a.map((value, i) => (i % 5 === 0 ? 1 : value)),
    );
    expect(compared.winner).toBe("b");
    expect(compared.better.b).toBe(Math.round(200 * compared.difference));
  });
});

it("knows metrics by their names", () => {
  expect(metricNamed("acc")).toBe(ACCURACY);
  expect(metricNamed("pass@12")).toEqual(passMetric(12));
  expect([metricNamed("pass@0"), metricNamed("bleu")]).toEqual([null, null]);
});
