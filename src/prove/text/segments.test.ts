import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { proofText } from "./prompts.ts";
import { segment } from "./segments.ts";
import { NO_GOALS, stateText } from "./states.ts";
import {
  leanAnswer,
  proverFixture,
  type RecordedAnswer,
  type RecordedProof,
  recordedAnswer,
} from "./testing.ts";
import { keptEnd } from "./truncate.ts";

interface Case {
  name: string;
  header: string;
  formalStatement: string;
  code: string;
  tailer: string;
  result: RecordedAnswer;
  expected: {
    fullCode: string;
    cleanedCode: string;
    segments: { tacticCode: string; stateComment: string; goal: string; indent: number }[];
  };
}

const { cases } = proverFixture<{ cases: Case[] }>("segmentation.json");

describe("segments by lines", () => {
  it.each(cases)(
    "are those of the reference: $name",
    ({ header, formalStatement, code, tailer, result, expected }) => {
      const start = header.length + formalStatement.length;
      const full = proofText(header + formalStatement, code, tailer);
      expect(full).toBe(expected.fullCode);
      const end = full.length - tailer.length;
      expect(full.slice(start, end)).toBe(expected.cleanedCode);
      const found = segment(full, start, recordedAnswer(full, result), { rule: "line", end });
      expect(
        found.map(({ code, comment, state, indent }) => ({
          tacticCode: code,
          stateComment: comment,
          goal: state,
          indent,
        })),
      ).toEqual(expected.segments);
    },
  );
});

const recorded = new Map(
  proverFixture<{ cases: RecordedProof[] }>("lean-steps.json").cases.map((proof) => [proof.name, proof]),
);

/** Code and what is to be shown, of each segment. */
function cut(name: string): (readonly [code: string, ...goals: string[]])[] {
  const proof = recorded.get(name)!;
  const found = segment(proof.statement + proof.proof, proof.statement.length, leanAnswer(proof));
  return found.map(({ code, state }) => [code, ...[...state.matchAll(/⊢ (.*)/g)].map(([, goal]) => goal)]);
}

interface StatedCuts {
  name: string;
  segments: { code: string; goals: string[]; indent: number; column: number }[];
}
const stated = readFileSync(new URL("../../../test/fixtures/lean/steps.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as StatedCuts);

describe("segments of real proofs by lines", () => {
  it.each(stated)("are as stated: $name", ({ name, segments }) => {
    const proof = recorded.get(name)!;
    const found = segment(proof.statement + proof.proof, proof.statement.length, leanAnswer(proof), {
      rule: "line",
    });
    const expected = segments.map(({ code, goals, indent, column }) => {
      // Stated for a rule that takes no tactic before a bracket; the reference does, and indents as that line.
      const bracket = code.endsWith("omega⟩\n") ? 4 : null;
      return { code, state: stateText(goals), indent: bracket ?? indent, column: bracket ?? column };
    });
    expect(found.map(({ code, state, indent, column }) => ({ code, state, indent, column }))).toEqual(
      expected,
    );
  });
});

describe("segments by tactics", () => {
  it("count goals that wait outside a bullet, a case and a `next`", () => {
    expect(cut("error in an inner bullet, another waits")).toEqual([
      ["  constructor\n", "p ∧ q", "r"],
      ["  · constructor\n", "p", "q", "r"],
      ["    · exact hp\n", "q", "r"],
    ]);
    expect(cut("case by name, out of order")).toEqual([
      ["  constructor\n", "p ∧ q", "r"],
      ["  case right =>\n    skip\n", "r", "p ∧ q"],
      ["    exact hr\n", "p ∧ q"],
      ["  case left =>\n    constructor\n", "p", "q"],
      ["    exact hp\n", "q"],
    ]);
    expect(cut("next").at(1)).toEqual(["  next =>\n    constructor\n", "p", "q", "r"]);
    expect(cut("braces").at(1)).toEqual(["  { skip\n", "n = n", "True"]);
  });

  it("count the goals of later alternatives", () => {
    expect(cut("error in the second alternative")).toEqual([
      ["  refine ⟨?_, ?_⟩\n", "0 + n = n", "m = m"],
      ["  induction n with\n  | zero =>\n    rfl\n", "0 + (k + 1) = k + 1", "m = m"],
      ["  | succ k ih =>\n    rw [← Nat.add_assoc]\n", "0 + k + 1 = k + 1", "m = m"],
    ]);
    expect(cut("if then else").at(-1)).toEqual(["  else\n    right\n", "0 < n"]);
    expect(cut("match with an error").at(0)).toEqual([
      "  match n with\n  | 0 =>\n    left\n",
      "0 = 0",
      "k + 1 = 0 ∨ 0 < k + 1",
    ]);
    expect(cut("a goal left by an alternative without tactics")).toEqual([
      ["  cases h with\n  | inl hp =>\n    exact .inr hp\n  | inr hq => ?_\n", "q ∨ p"],
    ]);
    // The goal of the alternative that holds no tactic is not known.
    expect(cut("text ends in an alternative")).toEqual([["  refine ⟨?_, ?_⟩\n", "0 + n = n", "m = m"]]);
  });

  it("never keep a block that was left with open goals", () => {
    expect(cut("have left open inside")).toEqual([]);
    expect(cut("bullet left open").map(([code]) => code)).toEqual([
      "  constructor\n",
      "  · constructor\n",
      "    · exact hp\n",
    ]);
  });

  it("do not cut inside tactics whose inner state is not the proof's", () => {
    expect(cut("nested have").map(([code]) => code)).toEqual([
      "  have key : x = 0 ∨ x = 0 := by\n    have := Int.mul_eq_zero.mp h\n    exact this\n",
      "  cases key <;> assumption\n",
    ]);
    expect(cut("first, try, all_goals").map(([code]) => code)).toEqual([
      "  first\n  | omega\n  | constructor\n",
      "  all_goals\n    try\n      skip\n    skip\n",
      "  exact ⟨hp, hq⟩\n",
    ]);
    expect(cut("term with by")).toHaveLength(1);
    expect(cut("statement ends with :=")).toEqual([
      [" by\n  constructor\n", "n = n", "True"],
      ["  rfl\n", "True"],
    ]);
  });

  it("read no goals where the proof is finished, and only there", () => {
    for (const proof of recorded.values()) {
      const found = segment(proof.statement + proof.proof, proof.statement.length, leanAnswer(proof));
      const finished = found.map(({ state }) => state === NO_GOALS);
      const expected = proof.answer.complete || proof.name === "tactics after the end";
      expect([proof.name, finished.indexOf(true)]).toEqual([proof.name, expected ? found.length - 1 : -1]);
    }
  });

  it("do not take a block for finished that is not closed", () => {
    expect(cut("braces over lines").slice(2)).toEqual([
      ["    { rfl\n", "True"],
      ["    }\n", "True"],
      ["  { exact trivial\n  }\n"],
    ]);
  });

  it("say in which column the block goes on", () => {
    const proof = recorded.get("bullets")!;
    const found = segment(proof.statement + proof.proof, proof.statement.length, leanAnswer(proof));
    expect(found.map(({ indent, column }) => [indent, column])).toEqual([
      [2, 2],
      [2, 2],
      [2, 4],
      [4, 4],
      [2, 2],
    ]);
  });
});

const proofs = fc.constantFrom(...recorded.values());

describe("segments", () => {
  it("add up to the kept text, by both rules", () => {
    fc.assert(
      fc.property(proofs, fc.constantFrom("line" as const, "tactic" as const), (proof, rule) => {
        const text = proof.statement + proof.proof;
        const start = proof.statement.length;
        const answer = leanAnswer(proof);
        const kept = keptEnd(answer, start, text.length);
        const codes = segment(text, start, answer, { rule }).map(({ code }) => code);
        const joined = codes.join("");
        expect(`${text.slice(start, kept)}\n`.startsWith(joined)).toBe(true);
        if (answer.complete) expect(joined.trimEnd()).toBe(proof.proof.trimEnd());
      }),
    );
  });

  it("are the same where names hold characters of two units", () => {
    fc.assert(
      fc.property(proofs, fc.constantFrom("line" as const, "tactic" as const), (proof, rule) => {
        // A name of one letter becomes another of one code point and two units: all that Lean counts stays.
        const wide = (text: string) => text.replace(/\bh\b|\bn\b/g, (name) => (name === "h" ? "𝔸" : "𝔹"));
        const widened: RecordedProof = JSON.parse(JSON.stringify(proof), (_, value) =>
          typeof value === "string" && value !== proof.name ? wide(value) : value,
        );
        const of = ({ statement, proof: text, ...rest }: RecordedProof) =>
          segment(statement + text, statement.length, leanAnswer({ statement, proof: text, ...rest }), {
            rule,
          });
        expect(of(widened)).toEqual(
          of(proof).map((part) => ({
            ...part,
            code: wide(part.code),
            state: wide(part.state),
            comment: wide(part.comment),
          })),
        );
      }),
    );
  });

  it("are none of a check that was cut off, and end before what was refused", () => {
    const proof = recorded.get("bullets")!;
    const text = proof.statement + proof.proof;
    const answer = leanAnswer(proof);
    expect(segment(text, proof.statement.length, { ...answer, failure: "crash" })).toEqual([]);
    const at = answer.steps[3].start;
    const refused = { ...answer, complete: false, refused: { reason: "a word", at } };
    expect(segment(text, proof.statement.length, refused).map(({ code }) => code)).toEqual([
      "  constructor\n",
      "  · exact hp\n",
    ]);
  });
});
