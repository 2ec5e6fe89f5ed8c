import { describe, expect, it } from "vitest";
import { batchSizeAt, learningRateAt, piecewiseAt } from "./schedule.ts";

describe("learning rate", () => {
  it("warms up linearly to the peak and then stays, drops or decays", () => {
    const warm = { peak: 1, warmupSteps: 10, shape: "constant" } as const;
    expect(learningRateAt(warm, 0, 100)).toBeCloseTo(0.1);
    expect(learningRateAt(warm, 9, 100)).toBe(1);
    expect(learningRateAt(warm, 99, 100)).toBe(1);
    const step = { ...warm, shape: "step" } as const;
    expect(learningRateAt(step, 79, 100)).toBe(1);
    expect(learningRateAt(step, 80, 100)).toBeCloseTo(0.316, 3);
    expect(learningRateAt(step, 90, 100)).toBeCloseTo(0.1);
    const cosine = { ...warm, shape: "cosine", finalFraction: 0.1 } as const;
    expect(learningRateAt(cosine, 10, 100)).toBe(1);
    expect(learningRateAt(cosine, 55, 100)).toBeCloseTo(0.55);
    expect(learningRateAt(cosine, 100, 100)).toBeCloseTo(0.1);
    const linear = { ...warm, shape: "linear", finalFraction: 0 } as const;
    expect([10, 28, 55, 91, 100].map((step) => learningRateAt(linear, step, 100))).toEqual(
      [1, 0.8, 0.5, 0.1, 0].map((rate) => expect.closeTo(rate, 12)),
    );
  });

  it("refuses unknown shapes by name", () => {
    const bad = { peak: 1, warmupSteps: 0, shape: "square" as "cosine" };
    expect(() => learningRateAt(bad, 1, 2)).toThrow(/learningRate.shape.*square/);
    const misplaced = { peak: 1, warmupSteps: 0, shape: "step", finalFraction: 0.5 } as const;
    expect(() => learningRateAt(misplaced, 1, 2)).toThrow(/only the shape "cosine" or "linear" has it/);
  });
});

describe("other schedules", () => {
  it("piecewise constants change where they say", () => {
    const mtp = [
      [0, 0.3],
      [0.67, 0.1],
    ] as const;
    expect([0, 66, 67, 99].map((s) => piecewiseAt(mtp, s, 100))).toEqual([0.3, 0.3, 0.1, 0.1]);
    expect(piecewiseAt(0.5, 7, 10)).toBe(0.5);
  });

  it("the batch grows linearly and stays at its size", () => {
    const ramp = { size: 8, startSize: 2, rampFraction: 0.5 };
    expect([0, 25, 49, 50, 99].map((s) => batchSizeAt(ramp, s, 100))).toEqual([2, 5, 8, 8, 8]);
    expect(batchSizeAt({ size: 4 }, 0, 100)).toBe(4);
  });
});
