import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { argmax, candidates, checkSampling, draw, LogitsError, penalizeRepetition } from "./sampling.ts";

const logits = Float32Array.from([1, 3, 2, 3, -1]);

describe("sampling", () => {
  it("is greedy at temperature 0, ties to the lowest id", () => {
    expect(argmax(logits)).toBe(1);
    expect(argmax(Float32Array.from([0, 0, 9]), 2)).toBe(0);
  });

  it("finds what is no number, wherever it is", () => {
    for (const at of [0, 2, 4]) {
      const broken = logits.slice();
      broken[at] = Number.NaN;
      expect(argmax(broken)).toBe(at);
      for (const options of [{}, { topK: 2 }, { topP: 0.5 }]) {
        expect(() => candidates(broken, options)).toThrow(LogitsError);
      }
    }
    expect(argmax(Float32Array.from([0, Number.NaN, 9, Number.NaN]))).toBe(1);
    // What only pads the vocabulary does not matter.
    expect(argmax(Float32Array.from([0, 1, Number.NaN]), 2)).toBe(1);
  });

  it("keeps k, p and min-p candidates", () => {
    const ids = (options: object) => Array.from(candidates(logits, { temperature: 1, ...options }).ids);
    expect(ids({ topK: 2 })).toEqual([1, 3]);
    expect(ids({ topP: 0.5 })).toEqual([1, 3]);
    expect(ids({ topP: 0.3 })).toEqual([1]);
    expect(ids({ minP: 0.3 })).toEqual([1, 3, 2]);
    expect(ids({ minP: 1 })).toEqual([1, 3]);
    expect(ids({ topK: 9 })).toEqual([1, 3, 2, 0, 4]);
    expect(ids({})).toEqual([0, 1, 2, 3, 4]);
  });

  it("stops at p where probabilities reach it exactly, as transformers does", () => {
    const even = Float32Array.from([0, 0, 0, 0]);
    const kept = (topP: number) => candidates(even, { temperature: 1, topP }).ids.length;
    expect([0.25, 0.5, 0.75, 1].map(kept)).toEqual([1, 2, 3, 4]);
  });

  it("never draws a row beyond the vocabulary", () => {
    const padded = Float32Array.from([0, 0, 9]);
    const random = new Random(3);
    for (const options of [{}, { topK: 1 }, { topP: 0.9 }, { minP: 0.1 }]) {
      const distribution = candidates(padded, options, 2);
      for (let i = 0; i < 50; i++) expect(draw(distribution, random)).toBeLessThan(2);
    }
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
    const distribution = candidates(logits, { temperature: 2 });
    for (let i = 0; i < n; i++) counts[draw(distribution, random)]++;
    const { ids, probabilities } = distribution;
    for (let i = 0; i < ids.length; i++) expect(counts[ids[i]] / n).toBeCloseTo(probabilities[i], 1);
  });

  it("cuts as the definition does: sort all, then top-k, top-p, min-p", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.float({ min: -50, max: 50, noNaN: true }), fc.integer({ min: -3, max: 3 })), {
          minLength: 1,
          maxLength: 60,
        }),
        fc.double({ min: 0.05, max: 5, noNaN: true }),
        fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 70 })),
        fc.oneof(fc.constant(1), fc.double({ min: 0.01, max: 0.999, noNaN: true })),
        fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
        (values, temperature, topK, topP, minP) => {
          const logits = Float32Array.from(values);
          const best = Math.max(...logits);
          const weight = (id: number) => Math.exp((logits[id] - best) / temperature);
          const total = (ids: number[]) => ids.reduce((sum, id) => sum + weight(id), 0);
          let expected = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
          if (topK > 0) expected = expected.slice(0, topK);
          const whole = total(expected);
          if (topP < 1) {
            let mass = 0;
            expected = expected.filter((id) => {
              const wanted = mass < topP * whole * (1 - 1e-9);
              mass += weight(id);
              return wanted;
            });
          }
          expected = expected.filter((id, i) => i === 0 || weight(id) >= minP);
          const { ids, probabilities } = candidates(logits, { temperature, topK, topP, minP });
          const sum = total(expected);
          const of = new Map(Array.from(ids, (id, i) => [id, probabilities[i]]));
          // What weighs nothing in double precision may be missing.
          for (const id of expected) expect(of.get(id) ?? 0).toBeCloseTo(weight(id) / sum, 9);
          for (const id of ids) expect(expected).toContain(id);
          if (topK > 0 || topP < 1 || minP > 0) {
            for (let i = 1; i < ids.length; i++)
              expect(logits[ids[i]] < logits[ids[i - 1]] || ids[i] > ids[i - 1]).toBe(true);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("says so where nothing may come next", () => {
    const none = new Float32Array(3).fill(Number.NEGATIVE_INFINITY);
    expect(() => candidates(none, {})).toThrow(/no token is allowed here/);
    expect(() => candidates(Float32Array.of(Number.NaN, 1), {})).toThrow(/not finite/);
  });

  it("refuses options out of range by name", () => {
    expect(() => checkSampling({ topP: 0 })).toThrow(/topP.*found: 0/);
    expect(() => checkSampling({ temperature: -1 })).toThrow(/temperature/);
    expect(() => checkSampling({ presencePenalty: Number.NaN })).toThrow(/presencePenalty/);
    expect(() => checkSampling({ logitBias: [[-1, 3]] })).toThrow(/logitBias/);
    expect(() => checkSampling({ temperature: 0.7, topP: 0.9, topK: 40, minP: 0.1 })).not.toThrow();
  });
});
