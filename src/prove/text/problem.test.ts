import { describe, expect, it } from "vitest";
import { leanProblem, withSorry } from "./problem.ts";

describe("a problem for the verifier", () => {
  it("has the header's imports and commands apart, and the statement without a proof", () => {
    const header =
      "-- c\nimport Mathlib\npublic import Std.Data\nimport all A.«b c» -- d\n\nset_option autoImplicit false\nopen Nat\n\ndef f := 1\n";
    expect(leanProblem(header, "theorem t : f = 1 := by\n", { trustedPreamble: true })).toEqual({
      statement: "theorem t : f = 1 := by sorry",
      preamble: "-- d\n\nopen Nat\n\ndef f := 1",
      trustedPreamble: true,
      imports: ["Mathlib", "Std.Data", "A.«b c»"],
    });
    expect(leanProblem("", "theorem t : 1 = 1 :=")).toEqual({ statement: "theorem t : 1 = 1 := sorry" });
    expect(leanProblem("set_option autoImplicit false\n\n", "theorem t : 1 = 1")).toEqual({
      statement: "theorem t : 1 = 1 := sorry",
    });
  });

  it("keeps a sorry that is there", () => {
    expect(withSorry("theorem t : 1 = 1 := by\n  sorry\n")).toBe("theorem t : 1 = 1 := by\n  sorry");
    expect(withSorry("theorem t : 1 = 1 := by -- go\n")).toBe("theorem t : 1 = 1 := by -- go\n  sorry");
  });
});
