import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { readStatement, refuseAnswer, refusePreamble } from "./rules.ts";

const reason = (text: string) => refuseAnswer(text)?.reason ?? null;

test("proofs in earnest are not refused", () => {
  for (const text of [
    "/-- A doc comment with `sorry` and axiom in it. -/\ntheorem t : True := by\n  -- native_decide\n  trivial",
    "theorem t (xs : List Nat) (h' : 1 < xs.length) : xs[1]'h' = xs[1]'(by omega) := rfl",
    "theorem t : 'a' = 'a' := by decide",
    'theorem t : "a" ++ "b" = "ab" := by decide',
    "attribute [-instance, local simp ↓] foo in\n@[local simp, grind =] theorem t : f '' s = ∑' i, g i := rfl",
    "theorem t : (#s) = #(t \\ s) := by simp (config := { decide := true, maxSteps := 100 })",
    "theorem t : xs.prefix.native_length = «x y» := by have config := f 3; exact meta.class",
    "set_option maxHeartbeats 400000 in\nset_option linter.all false in\ntheorem t : True := trivial",
  ]) {
    expect.soft([text, reason(text)]).toEqual([text, null]);
  }
});

test("words that run code, change syntax or leave the kernel are refused where they stand", () => {
  for (const [text, why] of [
    ["theorem t : P := by run_tac x", "word run_tac"],
    ['macro "easy" : tactic => `(tactic| sorry)', "word macro"],
    ["@[simp, implemented_by f] def g := 1", "attribute implemented_by"],
    ["attribute [local tactic x] f", "attribute tactic"],
    ["set_option debug.skipKernelTC true in\ntheorem t : P := x", "option debug.skipKernelTC"],
    ["theorem t : P := by decide +native", "name native"],
    ["theorem t : P := by decide (config := c)", "computed configuration: c"],
    ["theorem t : P := «sorryAx» _", "name «sorryAx»"],
    ["theorem t : P := Lean.ofReduceBool a b rfl", "name Lean.ofReduceBool"],
    ["#eval 1", "command #eval"],
    ["def true := 1", "declaration called true"],
    ["declare_config_elab e C", "word declare_config_elab"],
    ["theorem t : P := x\nstructure S where", "word structure"],
    ["theorem t : P :=\n  axiom", "word axiom"],
  ]) {
    expect.soft([text, reason(text)]).toEqual([text, why]);
  }
  expect(refuseAnswer("theorem t : P := by\n  run_tac x")?.index).toBe(22);
});

test("texts in which Lean may see other tokens than we do are refused", () => {
  for (const text of [
    // Lean: a bracket with a prime, a string, and then code. Read as a character it hides the code in a string.
    `theorem t : P := xs[0]'"'; a"\nrun_cmd evil\n-- "`,
    `theorem t : P := xs[0]'--' "\nrun_cmd evil\n-- "`,
    `theorem t : P := xs[0]'\\"' "\nrun_cmd evil\n-- "`,
    // Code within a string, and a quote within that code.
    'def s := s!"{by run_tac evil}"',
    `def s := s!"{'"'}"\nrun_cmd evil\n-- "`,
    // Lean: a doc comment that ends at the second mark.
    '/--/ " -/ run_cmd evil -- "',
    'def «a\n"» := 1\nrun_cmd evil -- "',
    // Kimina's server ends lines there, so that what follows is no comment.
    ..."\v\f\x1c\x1d\x1e\x85\u2028\u2029\r\0"
      .split("")
      .map((end) => `-- ${end}run_cmd evil\ntheorem t : P := x`),
    'def s := r#"a"#',
    "def a := x</- a -/\nb",
  ]) {
    expect.soft([text, reason(text) === null]).toEqual([text, false]);
  }
});

test("preambles may declare types and notation, trusted ones what they like", () => {
  const types = 'structure P where\n  x : Nat\nderiving DecidableEq\nnotation:65 a " ⊕⊕ " b => a + b';
  expect(refusePreamble(types, false)).toBeNull();
  expect(refusePreamble('macro "ring" : tactic => `(tactic| grind)', false)?.reason).toBe("word macro");
  expect(refusePreamble('macro "ring" : tactic => `(tactic| grind)', true)).toBeNull();
  expect(refusePreamble("deriving instance Inhabited for P", false)?.reason).toBe(
    "command deriving instance",
  );
  expect(refusePreamble("axiom a : False", false)?.reason).toBe("word axiom");
  expect(refusePreamble("-- \u2028axiom a : False", true)?.reason).toContain("U+2028");
});

test("large texts are refused before Lean would end at them", () => {
  expect(reason(`-- ${"a".repeat(70_000)}`)).toContain("at most 65536");
  expect(reason(`theorem t : P := ${"(".repeat(1001)}`)).toContain("more than 1000");
});

test("statements are declared under another name of the same namespace, without their attributes", () => {
  const renamed = (text: string) => {
    const statement = readStatement(text);
    return "reason" in statement
      ? statement.reason
      : [statement.name, statement.shortName, statement.renamed("r")];
  };
  expect(
    renamed("/-- doc -/\n@[simp, grind =] protected theorem A.«x y».t.{u} (t : Sort u) : t = t := sorry"),
  ).toEqual([...["A.«x y».t", "t", "theorem A.«x y».r.{u} (t : Sort u) : t = t := sorry"]]);
  expect(renamed("theorem _root_.A.t : True := sorry")).toEqual([
    "A.t",
    "t",
    "theorem _root_.A.r : True := sorry",
  ]);
  expect(renamed("theorem t : True := trivial\naxiom a : False")).toBe("word axiom");
  expect(renamed("theorem t : True := trivial\ntheorem s : True := trivial")).toBe(
    "a statement must be one theorem alone",
  );
  expect(renamed("def t : Nat := 1")).toBe("a statement must be one theorem");
  expect(renamed("theorem : True := trivial")).toBe("a theorem without a name");
  expect(renamed("")).toBe("a statement must be one theorem");
});

test("of the lists of proofs and cheats, all proofs pass, and all cheats do not that the embedded Lean's rules refuse", () => {
  const lines = (
    name: string,
  ): { name: string; preamble: string; statement: string; proof: string; verdict: string }[] =>
    readFileSync(new URL(`../../../../test/fixtures/lean/${name}.jsonl`, import.meta.url), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  for (const { name, preamble, statement, proof } of lines("genuine")) {
    const read = readStatement(statement);
    const why = [
      refuseAnswer(proof)?.reason,
      refusePreamble(preamble, false)?.reason,
      "reason" in read && read.reason,
    ];
    expect.soft([name, ...why]).toEqual([name, undefined, undefined, false]);
  }
  const refused = lines("soundness").filter(({ proof }) => refuseAnswer(proof) !== null);
  const wanted = lines("soundness").filter(({ verdict }) => verdict === "refused");
  const names = refused.map(({ name }) => name);
  expect(wanted.filter(({ name }) => !names.includes(name))).toEqual([]);
  expect(refused.filter(({ verdict }) => verdict !== "refused").map(({ name }) => name)).toEqual([
    "forged-by-goal-text",
  ]);
});
