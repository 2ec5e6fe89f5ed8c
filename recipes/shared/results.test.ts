/** Intervals, verdicts and what a table says of runs that are missing. */
import { expect, it } from "vitest";
import { type ArmResult, difference, type RecipePage, resultsPage, resultsPicture } from "./results.ts";
import { interval } from "./score.ts";

const result = (arm: string, right: number, of = 100): ArmResult => ({
  arm,
  seed: 1,
  scores: { "text z=1": { right, of } },
  stages: { "stage-1": { steps: 10, minutes: 1.25 } },
  commit: "0123456789",
  machine: "a processor",
  date: "2026-01-01",
});
const page: RecipePage = {
  title: "A title",
  command: "npm run recipe:x",
  arms: { a: "first", b: "second" },
  comparisons: [{ claim: "a reads", better: "a", worse: "b", measure: "text z=1" }],
  measures: ["text z=1"],
  seeds: [1],
  notes: "Notes.",
};

it("intervals are Wilson's and Newcombe's", () => {
  // Newcombe 1998, Statistics in Medicine 17: 81/263 alone (table I), 56/70 against 48/80 (table II, method 10).
  const [low, high] = interval({ right: 81, of: 263 });
  expect(low).toBeCloseTo(0.2553, 4);
  expect(high).toBeCloseTo(0.3662, 4);
  const [from, to] = difference({ right: 56, of: 70 }, { right: 48, of: 80 });
  expect(from).toBeCloseTo(0.0524, 4);
  expect(to).toBeCloseTo(0.3339, 4);
  expect(interval({ right: 0, of: 0 })).toEqual([0, 1]);
});

it("a claim is supported, contradicted or open, whichever way it comes out", () => {
  const verdict = (a: number, b: number) => resultsPage(page, [result("a", a), result("b", b)], "p.svg");
  expect(verdict(90, 10)).toMatch(/supported: difference 80\.0 points.*one seed/);
  expect(verdict(10, 90)).toMatch(/contradicted: difference -80\.0/);
  expect(verdict(50, 49)).toMatch(/no difference shown/);
  const uneven = [result("a", 50), { ...result("a", 50), seed: 2 }, result("b", 50)];
  expect(resultsPage(page, uneven, "p.svg")).toMatch(/no difference shown.*, 2 seeds and 1 \|/);
  const items = { "text z=1": [1, 0] };
  const paired = uneven.map((each) => ({ ...each, items }));
  expect(resultsPage(page, paired, "p.svg")).toMatch(/no difference shown.*, one seed: the interval/);
});

it("says what is not decided, and the command that goes on", () => {
  const text = resultsPage(page, [result("a", 90)], "p.svg");
  expect(text).toMatch(/not decided: `npm run recipe:x -- --arm b`/);
  expect(text).toMatch(
    /1 of 2 runs are missing\. `npm run recipe:x -- --seed 1` goes on with the first, b of seed 1/,
  );
  expect(text).toMatch(/\| b \| not decided \|/);
  expect(resultsPage(page, [], "p.svg")).not.toMatch(/!\[/);
});

it("draws a bar for each arm that was run", () => {
  const svg = resultsPicture(page, [result("a", 90), result("b", 10)]);
  expect(svg.match(/<rect x="[\d.]+" y="[\d.]+" width="12"/g)).toHaveLength(2);
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
});
