/** Arms that answered the same items, against values by hand and against each other. */
import { expect, it } from "vitest";
import { mcNemar, pairedText, pairsOf } from "./paired.ts";

const of = (arm: string, items: readonly number[], seed = 1) => ({ arm, seed, items: { solved: items } });

it("McNemar's exact test by hand", () => {
  // 2 * (1 + 10) / 1024, and 2 * (1 + 8 + 28) / 256.
  expect(mcNemar([9, 1])).toBeCloseTo(22 / 1024, 12);
  expect(mcNemar([2, 6])).toBeCloseTo(74 / 256, 12);
  expect(mcNemar([3, 3])).toBe(1);
  expect(mcNemar([0, 0])).toBe(1);
});

it("pairs items of the same seed, and tells a difference that unpaired shares would not", () => {
  const a = Array.from({ length: 100 }, (_, i) => (i < 50 ? 1 : 0));
  const b = Array.from({ length: 100 }, (_, i) => (i < 42 ? 1 : 0));
  const pairs = pairsOf([of("a", a), of("b", b)], "a", "b", "solved")!;
  expect(pairs.difference).toBeCloseTo(0.08, 12);
  expect(pairs.discordant).toEqual([8, 0]);
  expect(pairs.interval[0]).toBeGreaterThan(0);
  expect(pairs.interval[1]).toBeLessThan(0.16);
  expect(pairedText(pairs)).toMatch(/100 items; alone 8 against 0, McNemar p = 0\.0078/);
});

it("means over seeds have no test, seeds and sizes that differ no pairs", () => {
  const two = [of("a", [1, 1]), of("a", [1, 0], 2), of("b", [0, 1]), of("b", [0, 0], 2)];
  expect(pairsOf(two, "a", "b", "solved")).toMatchObject({ difference: 0.5, discordant: null, seeds: 2 });
  // What only one arm has is left out.
  expect(pairsOf(two.slice(0, 3), "a", "b", "solved")).toMatchObject({ difference: 0.5, seeds: 1 });
  expect(pairsOf([of("a", [1, 1]), of("b", [1, 1], 2)], "a", "b", "solved")).toBeNull();
  expect(pairsOf([of("a", [1, 1]), of("b", [1])], "a", "b", "solved")).toBeNull();
  expect(pairsOf([of("a", [1]), of("b", [1])], "a", "b", "other")).toBeNull();
});
