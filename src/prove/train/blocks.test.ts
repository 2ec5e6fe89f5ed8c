/** Blocks of a proof as `fillFile` asks for them. */
import { expect, it } from "vitest";
import type { TacticStep } from "../lean/session.ts";
import { TextPositions } from "../text/positions.ts";
import { blockExample, proofBlocks } from "./blocks.ts";

const statement = "theorem t (n : Nat) (h : 0 < n) : 0 ≤ n ∧ 1 ≤ n := by\n";
const proof = [
  "  have key : 0 ≤ n := by",
  "    have e := h",
  "    omega",
  "  constructor",
  "  · exact key",
  "  · first | omega | simp",
  "",
].join("\n");
const text = statement + proof;
const positions = new TextPositions(text);

/** A step by the text that it spans, the first such one. */
function step(
  code: string,
  depth: number,
  goals: readonly [readonly string[] | null, readonly string[]],
): TacticStep {
  const start = text.indexOf(code);
  const at = (index: number) => positions.at(index);
  const [goalsBefore, goalsAfter] = goals;
  return { start: at(start), end: at(start + code.length), kind: "", depth, goalsBefore, goalsAfter };
}

const left = ["⊢ 0 ≤ n"];
const steps = [
  step("have key : 0 ≤ n := by\n    have e := h\n    omega", 0, [["⊢ 0 ≤ n ∧ 1 ≤ n"], ["key"]]),
  step("have e := h", 1, [left, ["e"]]),
  step("omega", 1, [["e"], []]),
  step("constructor", 0, [["key"], ["a", "b"]]),
  step("· exact key", 0, [["a", "b"], ["b"]]),
  step("exact key", 1, [["a"], []]),
  step("· first | omega | simp", 0, [["b"], []]),
  step("first | omega | simp", 1, [["b"], []]),
  { ...step("omega | simp", 2, [["b"], []]), end: positions.at(text.indexOf("omega | simp") + 5) },
];

it("takes what stands behind by and bullets, whole sequences, not the alternatives of first", () => {
  expect(proofBlocks(text, statement.length, steps)).toEqual([
    {
      before: "  have key : 0 ≤ n := by\n",
      comment: "    /- tactic state:\n      ⊢ 0 ≤ n\n    -/\n",
      code: "    have e := h\n    omega",
    },
    {
      before: "  have key : 0 ≤ n := by\n    have e := h\n    omega\n  constructor\n",
      comment: "    /- tactic state:\n      a\n    -/\n",
      code: "    exact key",
    },
    {
      before: "  have key : 0 ≤ n := by\n    have e := h\n    omega\n  constructor\n  · exact key\n",
      comment: "    /- tactic state:\n      b\n    -/\n",
      code: "    first | omega | simp",
    },
  ]);
});

it("leaves out a block that does not close its goal, and one that did not run", () => {
  const open = steps.with(2, { ...steps[2], goalsAfter: ["e"] });
  expect(proofBlocks(text, statement.length, open)).toHaveLength(2);
  const failed = steps.with(5, { ...steps[5], goalsBefore: null });
  expect(proofBlocks(text, statement.length, failed)).toHaveLength(2);
});

it("asks as a fill does: the file up to the line, the state in the column of the place", () => {
  const [block] = proofBlocks(text, statement.length, steps);
  const { read, written } = blockExample({ header: "", statement }, block, { style: "short" });
  expect(read).toBe(
    `Prove:\n\n\`\`\`lean4\n${statement}  have key : 0 ≤ n := by\n    /- tactic state:\n      ⊢ 0 ≤ n\n    -/\n`,
  );
  expect(written).toBe("    have e := h\n    omega\n```");
});
