import { describe, expect, it } from "vitest";
import { normalizeState, stateComment, stateText } from "./states.ts";

describe("states", () => {
  it("are goals with an empty line between them", () => {
    expect(stateText(["⊢ p", "⊢ q"])).toBe("⊢ p\n\n⊢ q");
    expect(stateText([])).toBe("no goals");
    expect(stateComment("⊢ p\n\n⊢ q", 3)).toBe("   /- tactic state:\n     ⊢ p\n     \n     ⊢ q\n   -/\n");
  });

  it("are one if only numbers that Lean draws differ", () => {
    const state = (a: number, b: number, i: string) =>
      `x✝${i} y✝ : Nat\nh : ?m.${a} = x✝${i}\n⊢ ?m.${b} = ?m.${a} + ?u.7`;
    expect(normalizeState(state(31, 9, "²"))).toBe(normalizeState(state(8, 412, "")));
    expect(normalizeState(state(31, 31, ""))).not.toBe(normalizeState(state(31, 9, "")));
    expect(normalizeState("a✝¹ a✝ : Nat\n⊢ a✝ = a✝¹")).toBe("a✝¹ a✝² : Nat\n⊢ a✝² = a✝¹");
    expect(normalizeState("h1 : a.1 = 2")).toBe("h1 : a.1 = 2");
    // Brackets and signs before a name are no part of it.
    expect(normalizeState("x✝³ x✝ : Nat\n⊢ f (x✝ + -x✝³) = (x✝³)")).toBe(
      "x✝¹ x✝² : Nat\n⊢ f (x✝² + -x✝¹) = (x✝¹)",
    );
    expect(normalizeState("p✝ : Prop\n⊢ a² = ¬p✝ ∧ ?m.7")).toBe("p✝¹ : Prop\n⊢ a² = ¬p✝¹ ∧ ?m.1");
  });
});
