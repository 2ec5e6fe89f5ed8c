import { describe, expect, it } from "vitest";
import { diffGoals, goalComment, goalsAt, parseGoal } from "./goal-diff.ts";

const before = "case succ\na b : Nat\nh : a = b\nlong : a +\n    b = b\n⊢ b = a";

describe("a goal", () => {
  it("is taken apart by its lines, names that share one each alone", () => {
    expect(parseGoal(before)).toEqual({
      name: "succ",
      hypotheses: [
        { name: "a", type: "Nat" },
        { name: "b", type: "Nat" },
        { name: "h", type: "a = b" },
        { name: "long", type: "a +\n    b = b" },
      ],
      target: "b = a",
    });
    expect(parseGoal("⊢ True")).toEqual({ name: null, hypotheses: [], target: "True" });
  });

  it("shows what a tactic added, removed and changed, each where it stands", () => {
    const [{ lines, target, touched }] = diffGoals([before], ["a : Nat\nnew : a = a\nlong : a = a\n⊢ a = a"]);
    expect(lines.map(({ name, change }) => `${change} ${name}`)).toEqual([
      "same a",
      "removed b",
      "removed h",
      "added new",
      "changed long",
    ]);
    expect(lines.at(-1)!.before).toBe("a +\n    b = b");
    expect(target).toMatchObject({ change: "changed", before: "b = a", type: "a = a" });
    expect(touched).toBe(true);
  });

  it("is the same where the tactic worked on another one", () => {
    const [first, second] = diffGoals(["⊢ P", "⊢ Q"], ["⊢ P'", "⊢ Q"]);
    expect([first.touched, second.touched]).toEqual([true, false]);
    expect(diffGoals(null, ["h : P\n⊢ Q"])[0].lines[0].change).toBe("same");
  });

  it("is a comment that ends where it should", () => {
    expect(goalComment(["⊢ a -/ b", "⊢ c"])).toBe("/-\n⊢ a - / b\n\n⊢ c\n-/\n");
    expect(goalComment([])).toContain("no goals");
  });
});

describe("the goals at the cursor", () => {
  const text = "theorem t : P ∧ Q := by\n  constructor\n  · exact p\n  · skip\n\ntheorem u : P := p\n";
  const step = (tactic: string, goalsBefore: string[], goalsAfter: string[] | null) => {
    const index = text.indexOf(tactic);
    return { start: { index }, end: { index: index + tactic.length }, goalsBefore, goalsAfter };
  };
  const steps = [
    step("constructor", ["⊢ P ∧ Q"], ["⊢ P", "⊢ Q"]),
    step("· exact p", ["⊢ P", "⊢ Q"], ["⊢ Q"]),
    step("exact p", ["⊢ P"], []),
    step("· skip", ["⊢ Q"], null),
    step("skip", ["⊢ Q"], null),
  ];
  const at = (place: string, after = 0) => goalsAt(text, steps, text.indexOf(place) + after);

  it("are those before the tactic where it begins, and those behind it from there on", () => {
    expect(at("constructor")).toMatchObject({ before: true, goals: ["⊢ P ∧ Q"], against: null });
    expect(at("constructor", 3)).toMatchObject({
      before: false,
      goals: ["⊢ P", "⊢ Q"],
      against: ["⊢ P ∧ Q"],
    });
    expect(at("exact", 7)).toMatchObject({ tactic: "exact p", goals: [] });
  });

  it("stay on the blanks behind it, and are those before one that failed", () => {
    expect(at("constructor", 13)).toMatchObject({ tactic: "constructor", before: false });
    expect(at("skip", 4)).toMatchObject({ tactic: "skip", before: true, goals: ["⊢ Q"] });
    expect(at("skip", 5)).toMatchObject({ tactic: "skip" });
  });

  it("are none outside of proofs", () => {
    expect(at("theorem t", 5)).toBeNull();
    expect(at("theorem u", 9)).toBeNull();
  });
});
