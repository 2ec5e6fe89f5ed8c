import { describe, expect, test } from "vitest";
import { stepsWithin } from "./run-length.ts";
import { MOST_STEPS } from "./schedule.ts";

const budget = { seconds: 120, batchSize: 8, evaluateSequences: 48, evaluateEvery: 10 };
/** Six steps of which the first ones were slow: 1 s each once the kernels are compiled. */
const speed = { durations: [9, 4, 2, 0.5, 1, 3], elapsed: 19.5, step: 6 };

describe("the steps of a run limited by time", () => {
  test("leave room for the last evaluation and for those between", () => {
    // An evaluation is 48 / 8 forward passes of 1/3 s: 2 s. 120 - 19.5 - 2 = 98.5 s are left, 1.2 s for each step with
    // its share of an evaluation.
    expect(stepsWithin(budget, speed)).toBe(6 + 82);
    expect(stepsWithin({ ...budget, evaluateSequences: 0 }, speed)).toBe(6 + 100);
    expect(stepsWithin({ ...budget, evaluateSequences: 480 }, speed)).toBe(6 + 26);
    expect(stepsWithin({ ...budget, evaluateEvery: 1 }, speed)).toBe(6 + 32);
  });

  test("follow the median of the later half, whatever its order", () => {
    const slow = [50, 50, 50, 50];
    const at = (...later: number[]) =>
      stepsWithin(
        { ...budget, evaluateSequences: 0 },
        { durations: [...slow, ...later], elapsed: 20, step: 8 },
      );
    expect(at(1, 2, 2, 100)).toBe(8 + 50);
    expect(at(100, 2, 1, 2)).toBe(8 + 50);
  });

  test("count on from the step that is reached, which a resumed run did not measure", () => {
    expect(stepsWithin(budget, { ...speed, step: 1006 })).toBe(1006 + 82);
  });

  test("are one more where the time is over, and never more than a run may have", () => {
    expect(stepsWithin({ ...budget, seconds: 1 }, speed)).toBe(7);
    expect(stepsWithin({ ...budget, seconds: 1e300 }, speed)).toBe(MOST_STEPS);
  });
});
