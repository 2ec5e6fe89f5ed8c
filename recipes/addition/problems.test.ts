/** Sums are in three parts that share none, in either order of their numbers. */
import { expect, it } from "vitest";
import { answerOf, promptOf, type Sum, sumProblems } from "./problems.ts";

it("no sum stands in two parts, and demonstrations are right", () => {
  const { heldOut, demonstrations, checked } = sumProblems(50, 400);
  const shown = demonstrations(2).map(({ prompt, answer }) => {
    const [a, b] = prompt.slice(0, -1).split("+").map(Number);
    expect(answer).toBe(`${a + b}`);
    return { a, b };
  });
  const key = ({ a, b }: Sum) => `${Math.min(a, b)}+${Math.max(a, b)}`;
  const all = [...heldOut, ...shown, ...checked(2)].map(key);
  expect(new Set(all).size).toBe(all.length);
  expect(promptOf({ a: 123, b: 989 }) + answerOf({ a: 123, b: 989 })).toBe("123+989=1112");
  expect(sumProblems(50, 400).heldOut).toEqual(heldOut);
  expect(demonstrations(3)).not.toEqual(demonstrations(2));
});
