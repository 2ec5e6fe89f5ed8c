import { describe, expect, it } from "vitest";
import type { CheckOptions, LeanProblem, LeanSession } from "../lean/session.ts";
import { recordedAnswer } from "../text/testing.ts";
import { findContradiction, findContradictions, type VacuityFinding } from "./vacuity.ts";

/** Proves `False` where hypotheses say so by name: `h_omega` by omega; `h_slow` never ends. */
class NamedLean implements LeanSession {
  readonly kind = "wasm";
  readonly version = "named";
  readonly slots = 3;
  readonly asked: string[] = [];
  running = 0;
  most = 0;

  async ready() {}

  async check({ code }: { code: string }, { signal }: CheckOptions = {}) {
    signal?.throwIfAborted();
    const errors = code.includes("unknown")
      ? [{ pos: { line: 1, column: 0 }, data: "unknown identifier" }]
      : [];
    return recordedAnswer(code, { complete: false, errors });
  }

  async verify(problem: LeanProblem, code: string, { signal }: CheckOptions = {}) {
    this.asked.push(`${problem.preamble ?? ""}|${code}`);
    this.running++;
    this.most = Math.max(this.most, this.running);
    // The later ones answer first.
    await new Promise((resolve) => setTimeout(resolve, code.includes("first") ? 12 : 3));
    this.running--;
    signal?.throwIfAborted();
    const script = /(\w+)$/.exec(code)?.[1] ?? "";
    const proved = code.includes(`h_${script}`);
    const verdict = proved
      ? ("proved" as const)
      : code.includes("h_slow")
        ? ("timeout" as const)
        : ("error" as const);
    const answer = recordedAnswer(code, { complete: proved, errors: [] });
    return { ...answer, verdict, detail: "", name: "t_false", axioms: [] };
  }

  async [Symbol.asyncDispose]() {}
}

const problem = (text: string): LeanProblem => ({
  statement: `theorem t ${text} := sorry`,
  preamble: "open Nat",
});

describe("a contradiction among hypotheses", () => {
  it("is found by the first script that proves False from them alone", async () => {
    const lean = new NamedLean();
    expect(await findContradiction(lean, problem("(x : Nat) (h_omega : x < 1) : x = 7"))).toEqual({
      finding: "vacuous",
      script: "omega",
      code: "theorem t_false (x : Nat) (h_omega : x < 1) : False := by\n  omega",
    });
    expect(lean.asked).toEqual([
      "open Nat|theorem t_false (x : Nat) (h_omega : x < 1) : False := by\n  contradiction",
      "open Nat|theorem t_false (x : Nat) (h_omega : x < 1) : False := by\n  omega",
    ]);
  });

  it("is not found where no script finds one, and not looked for without hypotheses", async () => {
    const lean = new NamedLean();
    expect(await findContradiction(lean, problem("(h : p) : q"))).toEqual({
      finding: "none",
      unfinished: [],
    });
    expect(lean.asked.length).toBe(4);
    const own = { scripts: ["nlinarith", "norm_num"] };
    expect(await findContradiction(lean, problem("(h_slow : p) : q"), own)).toEqual({
      finding: "none",
      unfinished: own.scripts,
    });
    lean.asked.length = 0;
    expect(await findContradiction(lean, problem(": h_omega = 1"))).toEqual({
      finding: "none",
      unfinished: [],
    });
    expect(lean.asked).toEqual([]);
  });

  it("is told apart from a statement that Lean does not accept", async () => {
    expect(await findContradiction(new NamedLean(), problem("(h : unknown) : q"))).toEqual({
      finding: "broken",
      detail: "unknown identifier",
    });
    expect(await findContradiction(new NamedLean(), { statement: "def f := 1" })).toMatchObject({
      finding: "broken",
      detail: expect.stringMatching(/no theorem/),
    });
  });

  it("is looked for in many problems at once, and told in their order", async () => {
    const lean = new NamedLean();
    const texts = [
      "(first : p) : q",
      "(h_omega : p) : q",
      "(h : unknown) : q",
      "(h_grind : p) : q",
      "(h : p) : q",
    ];
    const found: (VacuityFinding & { index: number })[] = [];
    for await (const each of findContradictions(lean, texts.map(problem))) found.push(each);
    expect(found.map(({ index, finding }) => [index, finding])).toEqual([
      [0, "none"],
      [1, "vacuous"],
      [2, "broken"],
      [3, "vacuous"],
      [4, "none"],
    ]);
    expect(lean.most).toBeGreaterThan(1);
    expect(lean.most).toBeLessThanOrEqual(3);
  });

  it("is no longer looked for when the reader leaves, or the signal says so", async () => {
    const lean = new NamedLean();
    for await (const _ of findContradictions(lean, Array(50).fill(problem("(h : p) : q")))) break;
    expect(lean.running).toBe(0);
    const asked = lean.asked.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(lean.asked.length).toBe(asked);
    const signal = AbortSignal.abort(new Error("enough"));
    const next = findContradictions(lean, [problem("(h : p) : q")], { signal }).next();
    await expect(next).rejects.toThrow("enough");
  });
});
