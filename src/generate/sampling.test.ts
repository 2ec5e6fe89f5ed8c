import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { argmax, candidates, checkSampling, penalizeRepetition, sample } from "./sampling.ts";

const logits = Float32Array.from([1, 3, 2, 3, -1]);

describe("sampling", () => {
  it("is greedy at temperature 0, ties to the lowest id", () => {
    expect(argmax(logits)).toBe(1);
    expect(sample(logits.slice(), {}, new Random(1))).toBe(1);
  });

  it("keeps k, p and min-p candidates", () => {
    const ids = (options: object) => Array.from(candidates(logits, { temperature: 1, ...options }).ids);
    expect(ids({ topK: 2 })).toEqual([1, 3]);
    expect(ids({ topP: 0.5 })).toEqual([1, 3]);
    expect(ids({ topP: 0.3 })).toEqual([1]);
    expect(ids({ minP: 0.3 })).toEqual([1, 3, 2]);
    expect(ids({ minP: 1 })).toEqual([1, 3]);
    expect(ids({})).toEqual([1, 3, 2, 0, 4]);
  });

  it("never draws a row beyond the vocabulary", () => {
    const padded = Float32Array.from([0, 0, 9]);
    const random = new Random(3);
    for (let i = 0; i < 50; i++)
      expect(sample(padded.slice(), { temperature: 1 }, random, [], 2)).toBeLessThan(2);
    expect(sample(padded.slice(), {}, random, [], 2)).toBe(0);
  });

  it("penalizes each token of the context once", () => {
    const values = Float32Array.from([2, -2, 1]);
    penalizeRepetition(values, [0, 0, 1, 7], 2);
    expect(Array.from(values)).toEqual([1, -4, 1]);
  });

  it("draws as often as the probabilities say", () => {
    const random = new Random(5);
    const counts = new Array(5).fill(0);
    const n = 20_000;
    for (let i = 0; i < n; i++) counts[sample(logits.slice(), { temperature: 2 }, random)]++;
    const { ids, probabilities } = candidates(logits, { temperature: 2 });
    for (let i = 0; i < ids.length; i++) expect(counts[ids[i]] / n).toBeCloseTo(probabilities[i], 1);
  });

  it("gives a distribution over a subset, sorted, for any options", () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -50, max: 50, noNaN: true }), { minLength: 1, maxLength: 40 }),
        fc.double({ min: 0.05, max: 5, noNaN: true }),
        fc.integer({ min: 0, max: 50 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, temperature, topK, topP, minP) => {
          const { ids, probabilities } = candidates(Float32Array.from(values), {
            temperature,
            topK,
            topP,
            minP,
          });
          expect(ids.length).toBeGreaterThan(0);
          if (topK > 0) expect(ids.length).toBeLessThanOrEqual(topK);
          expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
          for (let i = 1; i < ids.length; i++)
            expect(probabilities[i]).toBeLessThanOrEqual(probabilities[i - 1]);
        },
      ),
    );
  });

  it("refuses options out of range by name", () => {
    expect(() => checkSampling({ topP: 0 })).toThrow(/topP.*found: 0/);
    expect(() => checkSampling({ temperature: -1 })).toThrow(/temperature/);
    expect(() => checkSampling({ temperature: 0.7, topP: 0.9, topK: 40, minP: 0.1 })).not.toThrow();
  });
});
