/** Verdicts over seeds, whichever way they fall, and what a page says of runs that are missing. */
import { describe, expect, it } from "vitest";
import type { ArmResult } from "../shared/results.ts";
import type { TextClaim } from "./declaration.ts";
import { lossGroups } from "./held-out.ts";
import { piecesOf } from "./pieces.ts";
import { judge, seedsNeeded, sideOf, verdictOf } from "./verdicts.ts";

const run = (arm: string, seed: number, loss: number, more: Partial<ArmResult> = {}): ArmResult => ({
  ...{ arm, seed, figures: { loss }, scores: {}, stages: {}, commit: "c", machine: "m", date: "d" },
  ...more,
});
const claim: TextClaim = {
  ...{ claim: "a learns more", paper: "figure", arm: "a", with: "b", measure: "loss" },
  expects: { kind: "lower" },
};
const seeds = (a: readonly number[], b: readonly number[]) => [
  ...a.map((loss, i) => run("a", i + 1, loss)),
  ...b.map((loss, i) => run("b", i + 1, loss)),
];

describe("verdicts", () => {
  it("pair runs within seeds, as parts of the second arm's loss", () => {
    // Differences -0.02, -0.03, -0.04 of a mean of 2: mean -1.5 %, t(2) = 4.3027, deviation 0.5 %.
    const results = seeds([0.98, 1.97, 2.96], [1, 2, 3]);
    const { verdict, text } = verdictOf(results, claim, "run");
    expect(verdict).toBe("reproduced");
    const reach = (4.302653 * 0.5) / Math.sqrt(3);
    expect(text).toBe(`-1.50 % (${(-1.5 - reach).toFixed(2)} to ${(-1.5 + reach).toFixed(2)}, 3 seeds)`);
    expect(verdictOf(seeds([1, 2, 3], [0.98, 1.97, 2.96]), claim, "run").verdict).toBe("contradicted");
    const open = verdictOf(seeds([0.9, 2.1, 2.9], [1, 2, 3]), claim, "run");
    expect(open.verdict).toBe("not decided");
    expect(open.text).toMatch(/, 3 seeds\); about \d+ seeds would decide/);
  });

  it("tell equality from what is merely not told apart", () => {
    const same: TextClaim = { ...claim, expects: { kind: "same", within: 0.005 } };
    expect(verdictOf(seeds([1.001, 1, 0.999], [1, 1, 1]), same, "run").verdict).toBe("reproduced");
    expect(verdictOf(seeds([1.05, 1, 0.95], [1, 1, 1]), same, "run").verdict).toBe("not decided");
    expect(verdictOf(seeds([1.051, 1.05, 1.049], [1, 1, 1]), same, "run")).toMatchObject({
      verdict: "contradicted",
      text: expect.stringMatching(/^higher by 5\.00 % \(\+4\.75 to \+5\.25, 3 seeds\)$/),
    });
    // A claim of equality is as much contradicted by what is better: the page says which it is.
    expect(verdictOf(seeds([0.951, 0.95, 0.949], [1, 1, 1]), same, "run").text).toMatch(/^lower by 5\.00 %/);
    expect(sideOf([-0.01, 0.002], same.expects)).toBeNull();
    expect(sideOf([0.2, 0.3], { kind: "between", low: 0.85, high: 0.9 })).toBe("lower");
    expect(sideOf([0.2, 0.3], { kind: "lower" })).toBeNull();
    expect(judge([0.86, 0.89], { kind: "between", low: 0.85, high: 0.9 })).toBe("reproduced");
    expect(judge([0.2, 0.3], { kind: "between", low: 0.85, high: 0.9 })).toBe("contradicted");
  });

  it("let one seed decide shares, not losses", () => {
    const items = { loss: [1, 1, 1, 1], solved: [1, 1, 1, 1] };
    const none = { loss: [2, 2, 2, 2], solved: [0, 0, 0, 0] };
    const results = [
      run("a", 1, 1, { items, scores: { solved: { right: 4, of: 4 } } }),
      run("b", 1, 2, { items: none, scores: { solved: { right: 0, of: 4 } } }),
    ];
    expect(verdictOf(results, claim, "run").verdict).toBe("not decided");
    const solved: TextClaim = { ...claim, measure: "solved", expects: { kind: "higher" } };
    expect(verdictOf(results, solved, "run")).toMatchObject({
      verdict: "reproduced",
      text: expect.stringMatching(/\+100.00 points .*one seed/),
    });
  });

  it("let the interval of a share end at 1", () => {
    const told = [0.99, 1, 0.97].map((rate, i) =>
      run("a", i + 1, 1, { scores: { told: { right: 100 * rate, of: 100 } } }),
    );
    const nearly: TextClaim = {
      ...{ claim: "nearly all", paper: "all", arm: "a", measure: "told" },
      expects: { kind: "between", low: 0.9, high: 1 },
    };
    expect(verdictOf(told, nearly, "run")).toMatchObject({
      verdict: "reproduced",
      text: expect.stringMatching(/^98\.67 % \(94\.87 to 100\.00, 3 seeds\)$/),
    });
  });

  it("name the command where a run is missing, and no number of seeds where the mean is at the edge", () => {
    expect(verdictOf([run("a", 1, 1)], claim, "npm run x").text).toContain("npm run x -- --arm a,b");
    expect(seedsNeeded([0.01, -0.01], { kind: "lower" })).toBeNull();
  });
});

it("groups of documents have the loss as their mean", () => {
  const tokens = Int32Array.from([5, 5, 1, 5, 5, 5, 1, 5, 5]);
  const nats = Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
  const groups = lossGroups({ tokens, nats, loss: 4.5, bitsPerByte: 0, loads: [] }, 1);
  expect(groups.length).toBeGreaterThan(1);
  expect(groups.reduce((a, b) => a + b) / groups.length).toBeCloseTo(4.5, 3);
});

it("pieces are whole lines, and together the text", () => {
  const text = "aaaa\nbb\ncccccccccccc\nd";
  expect(piecesOf(text, 8)).toEqual(["aaaa\nbb\n", "cccccccccccc\n", "d"]);
  expect(piecesOf("", 8)).toEqual([]);
});
