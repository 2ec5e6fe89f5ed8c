import { describe, expect, it } from "vitest";
import { canonicalForm, canonicalHash, templateKey } from "./canonical.ts";
import { falseGoal, negate, parseStatement } from "./statements.ts";
import { proverFixture } from "./testing.ts";

interface Derived {
  statement: string;
  name: string;
  binders: string;
  conclusion: string;
  falseGoal: string;
  negationSameContext: string;
  negationUniversal: string;
}
interface Pair {
  a: string;
  b: string;
  same: boolean;
  canonicalA: string;
  canonicalB: string;
  sha256A: string;
}

const { derived } = proverFixture<{ derived: Derived[] }>("statements.json");
const { pairs } = proverFixture<{ pairs: Pair[] }>("dedup.json");
const { items } = proverFixture<{
  items: {
    statement: string;
    forms: Pick<Derived, "falseGoal" | "negationSameContext" | "negationUniversal">;
  }[];
}>("dual.json");

describe("derived statements", () => {
  it.each(derived)("of $statement", ({ statement, name, binders, conclusion, ...forms }) => {
    expect(parseStatement(statement)).toEqual({ name, levels: "", binders, conclusion });
    expect(falseGoal(statement)).toBe(forms.falseGoal);
    expect(negate(statement, "sameContext")).toBe(forms.negationSameContext);
    expect(negate(statement)).toBe(forms.negationUniversal);
  });

  it.each(items)("of $statement", ({ statement, forms }) => {
    expect(falseGoal(statement)).toBe(forms.falseGoal);
    expect(negate(statement, "sameContext")).toBe(forms.negationSameContext);
    expect(negate(statement, "universal")).toBe(forms.negationUniversal);
  });

  it("see through comments, attributes, colons in brackets and universes", () => {
    const source =
      "/-- a: b -/\n@[simp] theorem A.b.{u} {α : Type u} (x : α := (f : α)) -- c :\n : x = x := sorry";
    expect(parseStatement(source)).toEqual({
      name: "A.b",
      levels: ".{u}",
      binders: "{α : Type u} (x : α := (f : α))",
      conclusion: "x = x",
    });
    expect(negate(source)).toBe("theorem A.b_not.{u} : ¬ (∀ {α : Type u} (x : α := (f : α)), x = x) := by\n");
  });

  it("name what an example has not", () => {
    expect(falseGoal("example (h : 1 = 2) : 3 = 4 := by")).toBe(
      "theorem statement_false (h : 1 = 2) : False := by\n",
    );
  });

  it("are refused for what is no statement", () => {
    expect(() => parseStatement("def f := 1")).toThrow(/no theorem/);
    expect(() => parseStatement("theorem t := by")).toThrow(/without a colon/);
    expect(() => parseStatement("theorem t : := by")).toThrow(/without a conclusion/);
    expect(() => parseStatement("theorem t : 1 = 1 := by simp")).toThrow(/behind its last `:=`/);
    const nested = (depth: number) =>
      `theorem t : ${"∀ (x : ".repeat(depth)}Nat${"), Nat".repeat(depth)} := by`;
    expect(canonicalForm(nested(900))).toMatch(/^: ∀ \( v899 : ∀ \( v898 :/);
    expect(() => canonicalForm(nested(1001))).toThrow(/nested too deeply/);
    const braces = `theorem t : ${"∀ ⦃x : ".repeat(1001)}Nat${"⦄, Nat".repeat(1001)} := by`;
    expect(() => parseStatement(braces)).toThrow(/nested too deeply/);
    expect(() => parseStatement(`theorem t : ${"a ∧ ".repeat(20_000)}a := by`)).toThrow(/too long/);
  });
});

describe("canonical forms", () => {
  it.each(pairs)("of $a and $b", async ({ a, b, same, canonicalA, canonicalB, sha256A }) => {
    expect(canonicalForm(a)).toBe(canonicalA);
    expect(canonicalForm(b)).toBe(canonicalB);
    expect(canonicalA === canonicalB).toBe(same);
    expect(await canonicalHash(a)).toBe(sha256A);
  });

  it.each([
    ["theorem t : (∃ x, x = 1) ∧ x = 2 := by", ": ( ∃ v0 , v0 = 1 ) ∧ x = 2"],
    ["theorem t : [fun x => x, x] = [∀ y, y, y] := by", ": [ fun v0 => v0 , x ] = [ ∀ v1 , v1 , y ]"],
    ["theorem t : f (fun ⟨a, b⟩ => a + b) = a := by", ": f ( fun ⟨ v0 , v1 ⟩ => v0 + v1 ) = a"],
    ["theorem t : {n | n < 2} = {m : Nat // m < n} := by", ": { v0 | v0 < 2 } = { v1 : Nat // v1 < n }"],
    ["theorem t : ∑ i in s, i = let k := 2; k := by", ": ∑ v0 in s , v0 = let v1 := 2 ; v1"],
    ["theorem t [Foo α] : ∀ x ∈ s, ∃ y > x, y.1 = _ := by", "[ Foo α ] : ∀ v0 ∈ s , ∃ v1 > v0 , v1.1 = _"],
    [
      "theorem t (a b : Nat) : ∀ (c : Fin a) {d}, d = c := by",
      "( v0 v1 : Nat ) : ∀ ( v2 : Fin v0 ) { v3 } , v3 = v2",
    ],
  ])("keep bound names to where they are bound: %s", (statement, form) => {
    expect(canonicalForm(statement)).toBe(form);
  });

  it("differ in numerals alone under one template key", () => {
    const [a, b] = ["(x1 : Nat) : x1 + 12 = 0x1F", "(y : Nat) : y + 3 = 4"].map(
      (t) => `theorem t ${t} := by`,
    );
    expect(templateKey(a)).toBe("( v0 : Nat ) : v0 + # = #");
    expect(templateKey(b)).toBe(templateKey(a));
    expect(canonicalForm(b)).not.toBe(canonicalForm(a));
  });
});
