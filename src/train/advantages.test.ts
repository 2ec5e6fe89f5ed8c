/** Advantages against `test/fixtures/align` and `test/fixtures/prover`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { batchAdvantages, groupAdvantages, processAdvantages } from "./advantages.ts";

const fixtures = join(import.meta.dirname, "../../test/fixtures");
const read = (file: string) => JSON.parse(readFileSync(join(fixtures, file), "utf8"));

function expectClose(found: readonly number[], wanted: readonly number[], difference = 1e-9): void {
  expect(found.length).toBe(wanted.length);
  found.forEach((value, i) => {
    expect(Math.abs(value - wanted[i])).toBeLessThanOrEqual(difference);
  });
}

describe("groupAdvantages", () => {
  const { groups, process } = read("align/advantages/inputs.json");
  const expected = read("align/advantages/expected.json");

  it("gives the reference's numbers for equal, near-equal, huge and single rewards", () => {
    expect(groups.length).toBeGreaterThan(6);
    for (const [i, rewards] of groups.entries()) {
      const wanted = expected.groups[i];
      expectClose(groupAdvantages(rewards, "population"), wanted.population);
      expectClose(groupAdvantages(rewards), wanted.sample);
      expectClose(groupAdvantages(rewards, "sample", 1e-4), wanted["sample_plus_1e-4"]);
      expectClose(groupAdvantages(rewards, "sample", 1e-6), wanted["sample_plus_1e-6"]);
      expectClose(groupAdvantages(rewards, "mean-only"), wanted.mean_only);
      expectClose(groupAdvantages(rewards, "leave-one-out"), wanted.leave_one_out);
    }
  });

  it("sums the normalized rewards of later steps", () => {
    for (const [i, steps] of process.entries()) {
      const found = processAdvantages(steps);
      const wanted = expected.process[i].advantage_from_step;
      expect(found.length).toBe(wanted.length);
      found.forEach((each, j) => {
        expectClose(each, wanted[j]);
      });
    }
  });

  it("gives the prover's: plus sqrt((G - k) / k) and minus sqrt(k / (G - k)) for k successes of G", () => {
    for (const { rewards, advantages, "advantagesSampleStdPlus1e-4": smoothed } of read("prover/grpo.json")
      .advantages) {
      expectClose(groupAdvantages(rewards, "population"), advantages);
      expectClose(groupAdvantages(rewards, "sample", 1e-4), smoothed);
      const [G, k] = [rewards.length, rewards.filter(Boolean).length];
      if (k === 0 || k === G) continue;
      const both = rewards.map((reward: number) =>
        reward === 1 ? Math.sqrt((G - k) / k) : -Math.sqrt(k / (G - k)),
      );
      expectClose(groupAdvantages(rewards, "population"), both);
    }
  });

  it("gives zeros for equal rewards whose mean is rounded", () => {
    // Their sum is 0.30000000000000004.
    expect(groupAdvantages([0.1, 0.1, 0.1], "population")).toEqual([0, 0, 0]);
    expect(
      batchAdvantages(
        [
          [0.1, 0.1, 0.1],
          [0, 3],
        ],
        1e-4,
      )[0],
    ).toEqual([0, 0, 0]);
    expect(batchAdvantages([[2], [2]])).toEqual([[0], [0]]);
  });

  it("refuses rewards that are no numbers", () => {
    expect(() => groupAdvantages([])).toThrow(/without rewards/);
    expect(() => groupAdvantages([1, Number.NaN])).toThrow(/reward 1/);
    expect(() => batchAdvantages([[1], [Number.POSITIVE_INFINITY]])).toThrow(/finite/);
  });
});
