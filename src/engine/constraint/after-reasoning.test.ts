import { expect, it } from "vitest";
import type { TokenConstraint } from "../constraint.ts";
import { AfterReasoning } from "./after-reasoning.ts";

/** Exactly these tokens, complete at the last. */
function exactly(ids: readonly number[], at = 0): TokenConstraint {
  return {
    mask: (logits) => {
      const kept = logits[ids[at]];
      logits.fill(Number.NEGATIVE_INFINITY);
      logits[ids[at]] = kept;
    },
    accept: (id) => {
      if (ids[at++] !== id) throw new RangeError(`${id}`);
    },
    get complete() {
      return at === ids.length;
    },
    get finished() {
      return at === ids.length;
    },
    clone: () => exactly(ids, at),
  };
}

const END = 9;
function allowed(constraint: TokenConstraint): number[] {
  const logits = new Float32Array(10);
  constraint.mask(logits);
  return [...logits.keys()].filter((id) => logits[id] === 0);
}

it("lets reasoning be free but not end, and constrains what follows it", () => {
  const texts = ["", "</th", "ink>", "a"];
  const constraint = new AfterReasoning(exactly([5]), (id) => texts[id] ?? "?", [END]);
  expect(allowed(constraint)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (const id of [3, 1, 3, 1]) constraint.accept(id);
  const copy = constraint.clone();
  constraint.accept(2);
  expect(allowed(constraint)).toEqual([5]);
  expect(allowed(copy)).toHaveLength(9);
  expect(constraint.complete).toBe(false);
  constraint.accept(5);
  expect(constraint.finished).toBe(true);
});

it("knows the end of reasoning by its token where there is one", () => {
  const texts = ["</think>", "</", "think>"];
  const constraint = new AfterReasoning(exactly([5]), (id) => texts[id] ?? "?", [END], 7);
  for (const id of [0, 1, 2]) constraint.accept(id);
  expect(allowed(constraint)).toHaveLength(9);
  constraint.accept(7);
  expect(allowed(constraint)).toEqual([5]);
});
