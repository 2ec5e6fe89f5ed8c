/** What the small prover learns from, and how results of its exams are kept. */
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CheckAnswer, CheckInput, LeanSession } from "../../src/prove/lean/session.ts";
import { cutProofs, type ProofCuts } from "./cuts.ts";
import { type ExampleForm, example } from "./examples.ts";
import { ruledGrade } from "./grades.ts";
import { type KeptExam, keptLines, ofSettings } from "./kept-lines.ts";
import { searchScores } from "./searches.ts";

describe("grades by rule", () => {
  it.each([
    ["theorem t : 2 + 2 = 4 := by\n", "poor", /compares numbers/],
    ["theorem t (a : Nat) : a + 1 = a + 1 := by\n", "poor", /with itself/],
    ["theorem t (a b : Nat) (h : a < b) : a < b := by\n", "poor", /one of the hypotheses/],
    ["theorem t (a b : Nat) (h : a < b) : a < b + 1 := by\n", "poor", /10 different symbols, 23 words\./],
    [
      "theorem t (a b c d : Nat) (h : a * b + c < d) (k : 2 ∣ a) : (a * b + c) % 7 < d ∧ ∃ x : Nat, x + 1 = a * 2 := by\n",
      "good",
      /23 different symbols/,
    ],
  ])("%s", (statement, grade, analysis) => {
    expect(ruledGrade(statement)).toEqual({ grade, analysis: expect.stringMatching(analysis) });
  });

  it("counts what nothing uses against a statement", () => {
    expect(ruledGrade("theorem t (a b c d : Nat) (n : Nat) : a + b * c < d := by\n").analysis).toMatch(
      /1 unused/,
    );
    expect(ruledGrade("theorem t (a b c d : Nat) : a + b * c < d := by\n").analysis).not.toMatch(/unused/);
  });
});

const at = (index: number) => ({ line: 1, column: 0, index });

/** A Lean that comes to no end of a file with a certain word, and finds an error where another word stands. */
function leanOf(asked: string[]): Pick<LeanSession, "check" | "slots"> {
  return {
    slots: 1,
    async check({ code }: CheckInput): Promise<CheckAnswer> {
      asked.push(code);
      const wrong = code.indexOf("wrong");
      const step = (text: string, index: number) => ({
        ...{ start: at(index), end: at(index + text.length), kind: "tactic", depth: 0 },
        ...{ goalsBefore: ["⊢ True"], goalsAfter: [] },
      });
      return {
        ...{ complete: wrong < 0, sorries: [], refused: null, milliseconds: 1 },
        failure: code.includes("endless") ? "timeout" : null,
        messages:
          wrong < 0
            ? []
            : [{ severity: "error", kind: "", start: at(wrong), end: at(wrong + 5), text: "unknown" }],
        steps: [...code.matchAll(/trivial|wrong/g)].map((found) => step(found[0], found.index)),
      };
    },
  };
}

describe("proofs with their states", () => {
  const proofs = ["trivial", "endless", "wrong", "trivial"].map((tactic) => ({
    ...{ preamble: "", statement: "theorem t : True := by\n", proof: `  ${tactic}\n` },
  }));

  it("loses only the proofs that Lean does not accept, whatever it says of the file that they stand in", async () => {
    const asked: string[] = [];
    const cuts = await cutProofs(leanOf(asked) as LeanSession, proofs);
    expect(cuts.map((cut) => cut?.segments.map(({ code }) => code) ?? null)).toEqual([
      ["  trivial\n"],
      null,
      null,
      ["  trivial\n"],
    ]);
    // All, the half with the endless one, each of its proofs, the other half.
    expect(asked).toHaveLength(5);
  });
});

describe("examples", () => {
  const cut: ProofCuts = {
    ...{ preamble: "", statement: "theorem t (p : Prop) (h : p) : p ∧ p := by\n" },
    proof: "  constructor\n  · exact h\n  · exact h\n",
    segments: [
      { code: "  constructor\n", comment: "  /- tactic state:\n    h : p\n    ⊢ p\n  -/\n" },
      { code: "  · exact h\n  · exact h\n", comment: "  /- tactic state:\n    no goals\n  -/\n" },
    ],
    blocks: [
      {
        ...{ before: "  constructor\n", code: "    exact h" },
        comment: "    /- tactic state:\n      h : p\n      ⊢ p\n    -/\n",
      },
    ],
  };
  const of = (form: ExampleForm, index = 3) =>
    example({ seed: 5, mixture: { whole: 0, thoughts: 0, translation: 0, [form]: 1 }, cuts: [cut] }, index);

  it.each<[ExampleForm, RegExp, RegExp]>([
    ["whole", /^Prove:\n\n```lean4\n[\s\S]* := by\n$/, /^ {2}[\s\S]*\n```$/],
    ["thoughts", /^Explain and prove:/, /--/],
    ["translation", /^Mathematical Problem in Natural Language:/, /^theorem statement [\s\S]*:= by\n```$/],
    [
      "grade",
      /^Grade:[\s\S]*Translation:$/,
      /\nAnalysis: [\s\S]*\nAssessment: (poor|fair|above average|good|excellent)\n\n$/,
    ],
    ["refutation", /theorem \w+ [\s\S]*(¬|False)[\s\S]*:= by\n$/, /\n```$/],
    ["state", / {2}constructor\n {2}\/- tactic state:$/, /⊢ p\n {2}-\/\n {2}· exact h\n {2}· exact h\n```$/],
    [
      "resume",
      / {2}constructor\n {2}\/- tactic state:\n[\s\S]*-\/\n$/,
      /^ {2}· exact h\n {2}· exact h\n```$/,
    ],
    ["block", / {4}\/- tactic state:[\s\S]*-\/\n$/, /^ {4}exact h\n```$/],
  ])("%s", (form, prompt, completion) => {
    const { prompt: read, completion: written } = of(form);
    expect(read).toMatch(prompt);
    expect(written).toMatch(completion);
    expect(of(form)).toEqual(of(form));
    expect(of(form, 4)).not.toEqual(of(form));
  });
});

describe("kept results", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "kept-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const items = ["a", "b", "c"].map((name) => ({ name }));
  const exam = (identity: unknown, worked: string[], failing = ""): KeptExam<{ name: string }, number> => ({
    ...{ name: "exam", identity, items, atOnce: 1, solved: (result) => result > 0 },
    async work({ name }, index) {
      if (name === failing) throw new Error("stopped");
      worked.push(name);
      return index;
    },
  });
  const place = () => ({ folder, print: () => {} });

  it("goes on behind what was kept, without what a kill left of a line", async () => {
    const worked: string[] = [];
    await expect(keptLines(place(), exam(1, worked, "c"))).rejects.toThrow("stopped");
    expect(worked).toEqual(["a", "b"]);
    appendFileSync(join(folder, readdirSync(folder)[0]), '["c",');
    expect(await keptLines(place(), exam(1, worked))).toEqual([0, 1, 2]);
    expect(await keptLines(place(), exam(1, worked))).toEqual([0, 1, 2]);
    expect(worked).toEqual(["a", "b", "c"]);
  });

  it("says which settings a folder's results are of, and takes no others", async () => {
    const own = join(folder, "round");
    const settings = { sampling: { temperature: 1 }, seed: 3 };
    await ofSettings(own, settings);
    await ofSettings(own, settings);
    const other = ofSettings(own, { sampling: { temperature: 0.8 }, seed: 3 });
    await expect(other).rejects.toThrow(/expected: sampling {"temperature":1}; found: sampling .*0\.8/);
    await ofSettings(own, settings);
  });

  it("keeps results of other settings apart", async () => {
    const worked: string[] = [];
    await keptLines(place(), exam(2, worked));
    expect(worked).toEqual(["a", "b", "c"]);
  });
});

it("counts what was solved within each budget", () => {
  const lines = [1, 4, 5, null].map((solvedAt) => ({ solvedAt, generations: solvedAt ?? 16, tokens: 10 }));
  const { scores, items, figures } = searchScores(lines, 16);
  expect(scores).toEqual({
    "solved@1": { right: 1, of: 4 },
    "solved@4": { right: 2, of: 4 },
    "solved@16": { right: 3, of: 4 },
  });
  expect(items?.["solved@4"]).toEqual([1, 1, 0, 0]);
  expect(figures).toEqual({ generations: 26, "tokens written": 40 });
});
