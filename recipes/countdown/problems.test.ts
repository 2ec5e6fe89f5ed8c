/** Problems, their solutions and their parts, judged by the reward that training uses. */
import { expect, it } from "vitest";
import { countdownReward } from "../../src/train/policy/checked-rewards.ts";
import { alphabet } from "../tasks/alphabet.ts";
import {
  CHARACTERS,
  checkedProblems,
  demonstrations,
  type Problem,
  problemParts,
  promptOf,
} from "./problems.ts";

const parts = problemParts(250);
const key = ({ numbers, target }: Problem) => [...[...numbers].sort((a, b) => a - b), target].join(" ");

it("no problem stands in two parts, in whatever order of its numbers", () => {
  const all = [...parts.heldOut, ...parts.shown, ...parts.checked].map(key);
  expect(parts.heldOut).toHaveLength(250);
  expect(parts.checked.length).toBeGreaterThan(1000);
  expect(new Set(all).size).toBe(all.length);
});

it("every demonstration is a solution, in characters that the model has", async () => {
  const { size, encode, decode } = alphabet(CHARACTERS);
  const reward = countdownReward<Problem>(({ row }) => row!, "whole");
  const shown = new Set(parts.shown.map(key));
  for (const { prompt, answer } of demonstrations(parts, 3, 500)) {
    const values = prompt.slice(0, -1).split(" ").map(Number);
    const row = { numbers: values.slice(0, 3), target: values[3] };
    expect(shown).toContain(key(row));
    const sample = {
      ...{ prompt, completion: answer, key: null, row },
      ...{ promptIds: [], completionIds: [], truncated: false },
    };
    expect(await reward([sample], new AbortController())).toEqual([1]);
    const ids = encode(prompt + answer);
    expect(Math.min(...ids)).toBeGreaterThan(1);
    expect(Math.max(...ids)).toBeLessThan(size);
    expect(decode(ids)).toBe(prompt + answer);
  }
});

it("seeds draw other demonstrations and orders from the same parts", () => {
  expect(demonstrations(parts, 1, 20)).toEqual(demonstrations(problemParts(250), 1, 20));
  expect(demonstrations(parts, 2, 20)).not.toEqual(demonstrations(parts, 1, 20));
  const [first, second] = [checkedProblems(parts, 1), checkedProblems(parts, 2)];
  expect(first.map(promptOf)).not.toEqual(second.map(promptOf));
  expect(new Set(first.map(key))).toEqual(new Set(second.map(key)));
});
