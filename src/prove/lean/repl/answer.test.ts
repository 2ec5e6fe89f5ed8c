import { expect, test } from "vitest";
import { FormatError } from "../../../tensor/errors.ts";
import { messagesIn, readReplAnswer, sorriesIn, stepsIn } from "./answer.ts";
import { readAxioms } from "./judgement.ts";
import { excerptOf } from "./outcome.ts";

test("lists that are empty are left out, and a refusal is a text", () => {
  expect(readReplAnswer({ env: 3 })).toEqual({ env: 3, messages: [], infotree: [] });
  expect(readReplAnswer({ messages: null })).toEqual({ env: null, messages: [], infotree: [] });
  expect(readReplAnswer({ message: "Unknown environment." })).toBe("Unknown environment.");
  for (const wrong of [null, 3, [], { env: "0" }, { env: 0, messages: [{ severity: "fatal" }] }]) {
    expect(() => readReplAnswer(wrong)).toThrow(FormatError);
  }
});

test("places count code points from the first line of the text", () => {
  const text = "-- 𝔸𝔸\n  «𝔸» sorry";
  const [{ start, end, kind }] = messagesIn(
    [
      {
        severity: "warning",
        start: { line: 5, column: 6 },
        end: { line: 5, column: 11 },
        text: "declaration uses 'sorry'",
      },
    ],
    excerptOf(text, 3),
  );
  expect(kind).toBe("hasSorry");
  expect(start).toEqual({ line: 2, column: 6, index: text.indexOf("sorry") });
  expect(end.index).toBe(text.length);
  expect(sorriesIn(excerptOf(text))).toEqual([{ start, end }]);
  // A place behind the text, where Lean missed something, is its end.
  const beyond = {
    severity: "error",
    start: { line: 9, column: 0 },
    end: { line: 9, column: 4 },
    text: "",
  } as const;
  expect(messagesIn([beyond], excerptOf(text, 3))[0].start.index).toBe(text.length);
});

test("steps are the items of sequences, without keywords, separators, what macros made, and second runs", () => {
  const text = "by\n  constructor\n  · rfl; skip";
  const info = (
    kind: string,
    [line, column, endLine, endColumn]: number[],
    children: object[] = [],
    name: string | null = kind,
  ) => ({
    kind: "TacticInfo",
    node: {
      ...{ name, goalsBefore: [`\n⊢ before ${kind}`], goalsAfter: [] },
      stx: {
        kind,
        range: { synthetic: false, start: { line, column }, finish: { line: endLine, column: endColumn } },
      },
    },
    children,
  });
  const rfl = info("rfl", [3, 4, 3, 7], [info("exact", [3, 4, 3, 7])]);
  const inner = info(
    "Lean.Parser.Tactic.tacticSeq1Indented",
    [3, 4, 3, 13],
    [rfl, rfl, info(";", [3, 7, 3, 8], [], null), info("skip", [3, 9, 3, 13])],
  );
  const made = info("made", [2, 2, 2, 13]);
  made.node.stx.range.synthetic = true;
  const dot = info("cdot", [3, 2, 3, 13], [info("·", [3, 2, 3, 3], [inner], null)]);
  const sequence = info(
    "Lean.Parser.Tactic.tacticSeq",
    [2, 2, 3, 13],
    [dot, made, info("constructor", [2, 2, 2, 13])],
  );
  const tree = { kind: "TermInfo", node: null, children: [info("by", [1, 0, 1, 2], [sequence], null)] };
  const steps = stepsIn([tree, { children: "none" }, 3], excerptOf(text));
  expect(
    steps.map(({ start, end, kind, depth, goalsBefore }) => [
      text.slice(start.index, end.index),
      kind,
      depth,
      goalsBefore,
    ]),
  ).toEqual([
    ["constructor", "constructor", 0, ["⊢ before constructor"]],
    ["· rfl; skip", "cdot", 0, ["⊢ before cdot"]],
    ["rfl", "rfl", 1, ["⊢ before rfl"]],
    ["skip", "skip", 1, ["⊢ before skip"]],
  ]);
  let deep: unknown = tree;
  for (let i = 0; i < 3000; i++) deep = { children: [deep] };
  expect(() => stepsIn([deep], excerptOf(text))).toThrow("too deep");
});

test("lists of axioms count for the theorem that was asked for alone", () => {
  expect(readAxioms("'_j' does not depend on any axioms", "_j")).toEqual([]);
  expect(readAxioms("'_j' depends on axioms: [propext,\n Quot.sound]", "_j")).toEqual([
    "propext",
    "Quot.sound",
  ]);
  expect(readAxioms("'t' does not depend on any axioms", "_j")).toBeNull();
  expect(readAxioms("'_j' depends on axioms: [propext", "_j")).toBeNull();
  expect(readAxioms("x '_j' does not depend on any axioms", "_j")).toBeNull();
});
