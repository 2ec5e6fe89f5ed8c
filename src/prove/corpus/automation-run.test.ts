import { expect, test } from "vitest";
import type { CheckAnswer, CheckInput, LeanSession } from "../lean/session.ts";
import { automated, examine, renamed, runBaselines } from "./automation-run.ts";

const problem = {
  preamble: "def f (n : Nat) : Nat := n",
  statement: "theorem t (n : Nat) : n = n ∧ f n = n := by\n",
};

/** A Lean that accepts the declarations whose text matches; `fails` ends whole checks of several without an answer. */
function scripted(accepts: RegExp, fails = false): { lean: LeanSession; asked: CheckInput[] } {
  const asked: CheckInput[] = [];
  const check = async (input: CheckInput): Promise<CheckAnswer> => {
    asked.push(input);
    const starts = [...input.code.matchAll(/^theorem /gm)].map((match) => match.index);
    const place = (index: number) => ({ line: 1, column: 0, index });
    const messages = starts.flatMap((start, i) => {
      const text = input.code.slice(start, starts[i + 1]);
      const message = {
        severity: "error" as const,
        kind: "",
        text: "no",
        start: place(start + 8),
        end: place(start + 9),
      };
      return accepts.test(text) ? [] : [message];
    });
    const failure = fails && starts.length > 1 ? ("timeout" as const) : null;
    const complete = failure === null && messages.length === 0;
    return { complete, messages, sorries: [], refused: null, failure, steps: [], milliseconds: 1 };
  };
  return { lean: { kind: "wasm", check } as unknown as LeanSession, asked };
}

test("all scripts of a statement are one check, told apart by where errors stand", async () => {
  const { lean, asked } = scripted(/repeat' constructor|induction n/);
  const result = await runBaselines(lean, problem);
  expect(result).toEqual({ B1: false, B2: false, B3: true, B4: true });
  expect(asked).toHaveLength(1);
  expect(asked[0].preamble).toBe(problem.preamble);
  expect(asked[0].code.match(/^theorem attempt\d /gm)).toHaveLength(4);
  expect(asked[0].code).not.toContain("given");
  expect(automated(result)).toBe(true);
});

test("a check without an end is taken apart, so that one script does not hide the others", async () => {
  const { lean, asked } = scripted(/^theorem attempt0 /, true);
  expect(await runBaselines(lean, problem)).toEqual({ B1: true, B2: true, B3: false, B4: false });
  expect(asked).toHaveLength(5);
  expect(asked[1].code.match(/^theorem /gm)).toHaveLength(1);
});

test("nothing is proved where Lean accepts nothing", async () => {
  const { lean } = scripted(/^never/);
  expect(automated(await runBaselines(lean, problem))).toBe(false);
  expect(renamed(problem.statement, "other")).toMatch(/^theorem other \(n : Nat\)/);
});

test("a proof that is given is looked at in the same check, and the goal is what Lean prints", async () => {
  const { lean, asked } = scripted(/^theorem (?:given|attempt0) /);
  const found = await examine(lean, problem, "  exact given_proof\n");
  expect(found).toMatchObject({ fault: null, goal: null, result: { B1: true, B4: false } });
  expect(asked[0].code).toContain("theorem given (n : Nat) : n = n ∧ f n = n := by\n  exact given_proof\n");
  expect((await examine(scripted(/^never/).lean, problem, "  rfl\n")).fault).toBe("no");
  expect((await examine(scripted(/./, true).lean, problem, "  rfl\n")).fault).toBe("timeout");
});
