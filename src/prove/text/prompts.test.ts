import { describe, expect, it } from "vitest";
import { formalizedStatement, formalizePrompt, gradeOf, gradingAnswer, gradingPrompt } from "./formalize.ts";
import {
  answerOf,
  type PromptProblem,
  proofMode,
  proofPrompt,
  proofText,
  resumePrompt,
  STYLES,
  shotText,
} from "./prompts.ts";
import { proverFixture } from "./testing.ts";

interface Row {
  header?: string;
  informal_prefix?: string;
  formal_statement: string;
  formal_proof?: string;
}
type Case =
  | { kind: "prompt" | "fewShot"; mode: string; row: Row; expected: string }
  | {
      kind: "resume";
      mode: string;
      row: Row;
      tacticCode: string;
      stateComment: string;
      expected: string;
      verifiedCodeAfterGeneration: { generated: string; code: string };
    }
  | { kind: "output"; raw: string; expected: string }
  | { kind: "autoformalize"; informal: string; expected: string; response: string; parsed: string };

const { defaultHeader, cases } = proverFixture<{ defaultHeader: string; cases: Case[] }>("prompts.json");

const problem = (row: Row): PromptProblem => ({
  header: row.header,
  informalPrefix: row.informal_prefix,
  statement: row.formal_statement,
});

describe("prompts", () => {
  it("open with the reference's header", () => {
    expect(STYLES.official.header).toBe(defaultHeader);
  });

  it.each(cases.map((each) => [each.kind, each] as const))(
    "are the reference's to the letter: %s",
    (_, each) => {
      switch (each.kind) {
        case "prompt":
          expect(proofPrompt(problem(each.row), { mode: proofMode(each.mode) })).toBe(each.expected);
          break;
        case "fewShot": {
          const shot = { ...problem(each.row), proof: each.row.formal_proof! };
          expect(shotText(shot, { mode: proofMode(each.mode) })).toBe(each.expected);
          break;
        }
        case "resume": {
          const place = { code: each.tacticCode, comment: each.stateComment };
          expect(resumePrompt(problem(each.row), place, { mode: proofMode(each.mode) })).toBe(each.expected);
          const { generated, code } = each.verifiedCodeAfterGeneration;
          expect(each.tacticCode + answerOf(generated)).toBe(code);
          break;
        }
        case "output":
          expect(answerOf(each.raw)).toBe(each.expected);
          break;
        case "autoformalize":
          expect(formalizePrompt(each.informal)).toBe(each.expected);
          expect(formalizedStatement(each.response)).toBe(each.parsed);
      }
    },
  );

  it("put shots before the problem, and are short for small models", () => {
    const a = { statement: "theorem a : 1 = 1 := by\n", proof: "  rfl" };
    const b = { statement: "theorem b : 2 = 2 := by\n" };
    expect(proofPrompt(b, { style: "short", mode: "cot", shots: [a] })).toBe(
      `${shotText(a, { style: "short", mode: "cot" })}Explain and prove:\n\n\`\`\`lean4\n${b.statement}`,
    );
  });

  it("refuse an unknown mode", () => {
    expect(() => proofMode("noncot")).toThrow(/expected: cot or non-cot; found: noncot/);
  });

  it("keep the text below the proof apart from it", () => {
    expect(proofText("s := by\n", "  rfl \n\n", "\n\n#print axioms s")).toBe(
      "s := by\n  rfl\n\n#print axioms s",
    );
  });
});

describe("grading", () => {
  it("reads the last assessment, the longest class first", () => {
    expect(gradeOf("Translation: x\nAssessment: poor\nAssessment: **Above average**, not good")).toBe(
      "above average",
    );
    expect(gradeOf("assessment\nexcellent")).toBe("excellent");
    expect(gradeOf("Analysis: good\nAssessment: none")).toBeNull();
    expect(gradeOf("this is good")).toBeNull();
  });

  it("asks in three parts and reads its own answers back", () => {
    const shot = { translation: "one is one", analysis: "trivial", grade: "poor" as const };
    expect(gradeOf(gradingAnswer(shot))).toBe("poor");
    const prompt = gradingPrompt("theorem t : 2 = 2 := by", {
      shots: [{ statement: "theorem a : 1 = 1 := by\n", ...shot }],
    });
    expect(prompt.indexOf("Assessment: poor")).toBeLessThan(prompt.indexOf("theorem t"));
    expect(prompt.endsWith("theorem t : 2 = 2 := by\n```\nTranslation:")).toBe(true);
  });

  it("tells an answer without a statement", () => {
    expect(formalizedStatement("  \n```\n")).toBeNull();
  });
});
