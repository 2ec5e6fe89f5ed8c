import { expect, it } from "vitest";
import { planFile } from "./plan.ts";

const source = `#check (sorry : Nat)

theorem one : 1 + 1 = 2 := sorry

theorem two : 2 + 2 = 4 := by
  sorry
`;

it("takes all sorries of a file, and says which stand in no declaration", () => {
  const { units, left } = planFile(source);
  expect(units.map(({ declaration, kind }) => [declaration.name, kind])).toEqual([
    ["one", "whole"],
    ["two", "whole"],
  ]);
  expect(left.map(({ title }) => title)).toEqual(["line 1"]);
});

it("takes those of theorems that are named, and leaves none of the others to be done", () => {
  const { units, left } = planFile(source, ["two"]);
  expect(units.map(({ declaration }) => declaration.name)).toEqual(["two"]);
  expect(left).toEqual([]);
});
