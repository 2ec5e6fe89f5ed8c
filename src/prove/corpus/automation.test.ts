import { describe, expect, test } from "vitest";
import { baselineProofs, definedNames, deniedTactic } from "./automation.ts";

describe("baselines", () => {
  test("try induction on each number, list and boolean, with the definitions", () => {
    const { proofs } = baselineProofs({
      preamble: "def f : Nat → Nat\n  | 0 => 2\n  | n + 1 => f n\n\ndef go (n : Nat) : Nat := n",
      statement: "theorem t (n m : Nat) (p : Prop) (h : n ≤ m) (xs : List Nat) : f n = m := by\n",
    });
    const { B4 } = proofs;
    expect(B4.map((proof) => proof.trim().split(" <;> ")[0])).toEqual([
      "induction n",
      "induction m",
      "induction xs",
    ]);
    expect(B4[0]).toContain("simp_all [f, go]; done");
    expect(B4[0]).toContain("simp [*, f, go]; omega");
    expect(definedNames("theorem f : True := trivial\ndef g : Nat := 1")).toEqual(["g"]);
  });
  test("end every step with `done`, so that a step which only makes progress does not win", () => {
    const { proofs, secondIncludesFirst } = baselineProofs({
      statement: "theorem t (p : Prop) : p → p ∧ p := by\n",
    });
    for (const proof of [...proofs.B2, ...proofs.B3]) {
      expect(proof).toContain("(simp; done) | (simp_all; done) | decide | (grind -verbose; done)");
    }
    expect(proofs.B3[0]).toMatch(/^ {2}repeat' constructor\n {2}all_goals/);
    expect(proofs.B1).toHaveLength(1);
    expect(proofs.B4).toEqual([]);
    expect(secondIncludesFirst).toBe(false);
  });
  test("do not repeat what another one has shown to fail", () => {
    const { proofs, secondIncludesFirst } = baselineProofs({
      statement: "theorem t (n : Nat) : n = n := by\n",
    });
    expect(proofs.B2[0]).not.toContain("grind");
    expect(secondIncludesFirst).toBe(true);
    expect([proofs.B3, proofs.B4]).toEqual([[], []]);
  });
});

describe("the restricted track", () => {
  test.each([
    ["  omega\n", "omega"],
    ["  intro h\n  exact h.elim (by decide)\n", "decide"],
    ["  simp\n", "simp"],
    ["  simp [h] at *\n", "simp"],
    ["  simpa using h\n", "simpa"],
    ["  simp +arith\n", "simp"],
    ["  first | rfl | simp_all\n", "simp_all"],
    ["  constructor <;> grind\n", "grind"],
    ["  native_decide\n", "native_decide"],
    ["  lia\n", "lia"],
    ["  exact?\n", "exact?"],
  ])("denies %j", (proof, tactic) => {
    expect(deniedTactic(proof, "restricted")).toBe(tactic);
  });
  test.each([
    "  simp only [h]\n",
    "  simp +arith only [h]\n",
    "  -- omega would do\n  exact Nat.le_of_lt h\n",
    "  rw [h.decide_eq]\n",
    "  have omega' := h\n  exact omega'\n",
  ])("allows %j", (proof) => {
    expect(deniedTactic(proof, "restricted")).toBeNull();
  });
  test("is not the open one, which denies what rests on other axioms", () => {
    expect(deniedTactic("  omega\n", "open")).toBeNull();
    expect(deniedTactic("  bv_decide\n", "open")).toBe("bv_decide");
  });
});
