import { describe, expect, it } from "vitest";
import { proofPrompt } from "../text/prompts.ts";
import { segment } from "../text/segments.ts";
import { NO_GOALS, stateComment } from "../text/states.ts";
import { leanAnswer, proverFixture, type RecordedProof } from "../text/testing.ts";
import { exampleLesson, proofExamples } from "./forms.ts";

const problem = { header: "", statement: "theorem t (a b : Nat) (h : a < b) : a + 1 ≤ b ∧ a ≤ b := by\n" };
const proof = "  constructor\n  · omega\n  · exact Nat.le_of_lt h\n";
const state = "a b : Nat\nh : a < b\n⊢ a + 1 ≤ b\n\na b : Nat\nh : a < b\n⊢ a ≤ b";
const segments = [
  { code: "  constructor\n", comment: stateComment(state, 2) },
  { code: "  · omega\n  · exact Nat.le_of_lt h\n", comment: stateComment(NO_GOALS, 2) },
];
const options = { style: "short" } as const;

describe("proofExamples", () => {
  it("writes the forms to the letter", () => {
    const head = `Prove:\n\n\`\`\`lean4\n${problem.statement}`;
    const shown = [
      "",
      "    a b : Nat",
      "    h : a < b",
      "    ⊢ a + 1 ≤ b",
      "    ",
      "    a b : Nat",
      "    h : a < b",
      "    ⊢ a ≤ b",
      "  -/",
      "",
    ].join("\n");
    const rest = "  · omega\n  · exact Nat.le_of_lt h\n```";
    const done = "\n    no goals\n  -/\n";
    expect(proofExamples({ problem, proof, segments }, options)).toEqual([
      { form: "whole", read: head, written: `${proof}\`\`\`` },
      { form: "state", read: `${head}  constructor\n  /- tactic state:`, written: shown + rest },
      { form: "resume", read: `${head}  constructor\n  /- tactic state:${shown}`, written: rest },
      { form: "state", read: `${head}${proof}  /- tactic state:`, written: `${done}\`\`\`` },
      { form: "resume", read: `${head}${proof}  /- tactic state:${done}`, written: "```" },
    ]);
  });

  it("asks for thoughts where the proof has them", () => {
    const thoughtful = `  /-\n  Both are arithmetic.\n  -/\n  -- all at once\n  omega`;
    const [example, ...others] = proofExamples({ problem, proof: thoughtful }, { mode: "cot" });
    expect(others).toEqual([]);
    expect(example.read).toBe(proofPrompt(problem, { mode: "cot" }));
    expect(example.read).toContain("with explanatory comments");
    expect(example.written).toBe(`${thoughtful}\n\`\`\``);
  });

  const recorded = proverFixture<{ cases: RecordedProof[] }>("lean-steps.json").cases;
  const complete = recorded.filter(({ answer }) => answer.complete);

  it("has t + 1 examples of t cuts, each of which says the checked proof without its comment", () => {
    expect(complete.length).toBeGreaterThan(10);
    for (const given of complete) {
      const { statement, proof } = given;
      for (const rule of ["line", "tactic"] as const) {
        const segments = segment(statement + proof, statement.length, leanAnswer(given), { rule });
        const own = { header: "", statement };
        const examples = proofExamples(
          { problem: own, proof, segments },
          { ...options, forms: ["whole", "state"] },
        );
        expect(examples.length).toBe(segments.length + 1);
        const head = proofPrompt(own, options).length;
        examples.forEach(({ read, written }, i) => {
          let text = (read + written).slice(head);
          if (i > 0) {
            const at = text.lastIndexOf(segments[i - 1].comment);
            expect(at).toBeGreaterThan(0);
            text = text.slice(0, at) + text.slice(at + segments[i - 1].comment.length);
          }
          expect(text.replace(/\n```$/, "")).toBe(proof.trimEnd());
        });
      }
    }
  });

  it("refuses segments of another proof, and forms that need them", () => {
    const other = [{ code: "  simp\n", comment: stateComment(NO_GOALS, 2) }];
    expect(() => proofExamples({ problem, proof, segments: other })).toThrow(/segment 0.*constructor.*simp/);
    expect(() => proofExamples({ problem, proof, segments: [...segments, ...other] })).toThrow(/segment 2/);
    expect(() => proofExamples({ problem, proof }, { forms: ["resume"] })).toThrow(/segments/);
    const mute = [{ ...segments[0], comment: "" }];
    expect(() => proofExamples({ problem, proof, segments: mute })).toThrow(/shows no state/);
  });
});

describe("exampleLesson", () => {
  it("learns what is written and the end, with a border between tokens", () => {
    // Pairs of characters are one token: a border inside a pair would be lost if both were encoded at once.
    const encode = (text: string) => (text.match(/.{1,2}/gsu) ?? []).map((pair) => 10 + pair.codePointAt(0)!);
    const encoding = { encode, begin: [1], end: [2] };
    const { ids, learned } = exampleLesson({ form: "whole", read: "abc", written: "defg" }, encoding);
    const code = (letter: string) => 10 + letter.codePointAt(0)!;
    expect(Array.from(ids)).toEqual([1, code("a"), code("c"), code("d"), code("f"), 2]);
    expect(Array.from(learned)).toEqual([0, 0, 0, 1, 1, 1]);
  });
});
