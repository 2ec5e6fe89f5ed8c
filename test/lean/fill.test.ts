/** Filling the sorries of files: real Lean, and a model that knows one right proof of each theorem among wrong ones. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FillEvent, type FillOptions, type FillResult, fillFile } from "../../src/prove/fill/fill.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import type { GeneratedText, TextGenerator, TextOptions } from "../../src/prove/search/generator.ts";
import { LIMIT, missing, openLean } from "./embedded-lean.ts";

/** Answers by what the prompt ends with, in turn. */
class Script implements TextGenerator {
  readonly model = "script";
  readonly prompts: string[] = [];
  readonly #answers: Readonly<Record<string, readonly string[]>>;
  readonly #asked = new Map<string, number>();

  constructor(answers: Readonly<Record<string, readonly string[]>>) {
    this.#answers = answers;
  }

  countTokens(text: string): number {
    return Math.ceil(text.length / 4);
  }

  async *generate(prompts: readonly string[], { signal }: TextOptions): AsyncIterableIterator<GeneratedText> {
    for (const [index, prompt] of prompts.entries()) {
      signal?.throwIfAborted();
      this.prompts.push(prompt);
      // The theorem that the prompt is about stands last in it.
      const name = [...prompt.matchAll(/(?:theorem|example|def) (\w+)/g)].at(-1)?.[1] ?? "";
      const turn = this.#asked.get(name) ?? 0;
      this.#asked.set(name, turn + 1);
      const text = this.#answers[name]?.[turn] ?? "  nothing\n";
      yield { index, text, tokens: this.countTokens(text), end: "stop" };
    }
  }
}

describe.skipIf(missing !== null)("filling a file", { timeout: LIMIT * 4 }, () => {
  let lean: LeanSession;
  beforeAll(async () => {
    lean = await openLean();
    await lean.ready();
  }, 600_000);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  async function fill(
    source: string,
    answers: Readonly<Record<string, readonly string[]>>,
    options: Partial<FillOptions> = {},
  ): Promise<{ result: FillResult; events: FillEvent[]; script: Script }> {
    const script = new Script(answers);
    const settings: FillOptions = {
      ...{ search: "sample", samples: 3, style: "short", contextTokens: 2000, maxTokens: 200, parallel: 1 },
      ...{ timeout: LIMIT, ...options },
    };
    const events: FillEvent[] = [];
    for await (const event of fillFile(source, { generator: script, lean }, settings)) events.push(event);
    const last = events.at(-1)!;
    if (last.type !== "filled") throw new Error("no result");
    return { result: last.result, events, script };
  }
  const outcomes = ({ ends }: FillResult) => ends.map(({ end }) => end.outcome);

  it("puts proofs where sorries stood, and leaves all else byte for byte", async () => {
    const source = [
      "-- a sorry in a comment, and one in a text: sorry",
      "namespace Facts",
      "variable (p q : Prop)",
      "",
      "/-- Kept. sorry -/",
      "@[simp] theorem one (n : Nat) : n + 0 = n := by",
      "  sorry",
      'def text := "sorry"',
      "theorem two (h : p ∧ q) : q := sorry",
      "theorem three (n : Nat) : n + 0 + 0 = n := by sorry  -- behind",
      "example (n : Nat) : 0 + n = n := by",
      "  sorry",
      "end Facts",
      "",
    ].join("\r\n");
    const { result } = await fill(source, {
      one: ["  omega_nonsense\n", "  simp\n"],
      two: ["  cases h\n  assumption\n"],
      three: ["  simp only [one]\n```\nand more"],
      deepseek_example: ["  exact Nat.zero_add n\n"],
    });
    expect(outcomes(result)).toEqual(["proved", "proved", "proved", "proved"]);
    expect(result.fault).toBe("");
    const expected = source
      .replace("Nat) : n + 0 = n := by\r\n  sorry", "Nat) : n + 0 = n := by\r\n  simp")
      .replace("q := sorry", "q := by\r\n  cases h\r\n  assumption")
      .replace("by sorry  --", "by simp only [one]  --")
      .replace("0 + n = n := by\r\n  sorry", "0 + n = n := by\r\n  exact Nat.zero_add n");
    expect(result.text).toBe(expected);
  });

  it("fills places inside proofs, each alone, while the others stay", async () => {
    const source = `def double : Nat → Nat
  | 0 => 0
  | n + 1 => double n + 2

theorem double_eq (n : Nat) : double n = 2 * n := by
  induction n with
  | zero => sorry
  | succ n ih =>
    have h : double (n + 1) = double n + 2 := sorry
    sorry
`;
    const { result, script } = await fill(source, {
      double_eq: [
        "simp",
        "rfl",
        "  rfl",
        "      have _ := propext (Iff.refl True)\n      rw [h]\n      omega\n  | more",
      ],
    });
    expect(outcomes(result)).toEqual(["proved", "proved", "proved"]);
    expect(result.text).toBe(`def double : Nat → Nat
  | 0 => 0
  | n + 1 => double n + 2

theorem double_eq (n : Nat) : double n = 2 * n := by
  induction n with
  | zero => rfl
  | succ n ih =>
    have h : double (n + 1) = double n + 2 := by rfl
    have _ := propext (Iff.refl True)
    rw [h]
    omega
`);
    // The model sees the state at the place it is to fill.
    expect(script.prompts.at(-1)).toMatch(
      / {4}\/- tactic state:\n.* {6}⊢ double \(n \+ 1\) = 2 \* \(n \+ 1\)\n {4}-\/\n$/s,
    );
    expect(result.ends.at(-1)?.end).toMatchObject({ axioms: ["propext"] });
  });

  it("leaves open what was not proved, and takes no proof that rests on it", async () => {
    const source = `theorem wrong (n : Nat) : n < 5 := by
  sorry

theorem three : 3 < 5 := by
  sorry
`;
    const { result } = await fill(source, { three: ["  exact wrong 3\n", "  decide\n"] });
    expect(outcomes(result)).toEqual(["open", "proved"]);
    expect(result.text).toBe(source.replace(/sorry\n$/, "decide\n"));
  });

  it("judges a theorem when its last place is filled, before others can rest on it", async () => {
    const source = `axiom bad : False

theorem first (n : Nat) : n < 5 := by
  have h : False := by
    sorry
  exact h.elim

theorem second : 9 < 5 := by
  sorry
`;
    const { result, events } = await fill(source, {
      first: ["    exact bad\n"],
      second: ["  exact first 9\n"],
    });
    const told = events.flatMap((event) => (event.type === "ended" ? [event.end] : []));
    expect(told[0]).toMatchObject({ outcome: "failed", reason: expect.stringContaining("bad") });
    expect(told[1].outcome).toBe("open");
    expect(outcomes(result)).toEqual(["failed", "open"]);
    expect(result.text).toBe(source);
  });

  it("takes no cheat", async () => {
    const source = "theorem hard (n : Nat) : n < 5 := by\n  sorry\n";
    const cheats = ["  exact sorryAx _\n", "  simp\n\naxiom a : False\n", "  native_decide\n"];
    const { result } = await fill(source, { hard: cheats });
    expect(outcomes(result)).toEqual(["open"]);
    expect(result.text).toBe(source);
  });

  it("works on the theorems that are named, and refuses a file that Lean does not accept", async () => {
    const source = "theorem a : 1 = 1 := by sorry\ntheorem b : 2 = 2 := by sorry\n";
    const { result } = await fill(source, { b: ["  rfl"] }, { only: ["b"] });
    expect(result.text).toBe(source.replace("2 = 2 := by sorry", "2 = 2 := by rfl"));
    await expect(fill("theorem a : unknown := by sorry\n", {})).rejects.toThrow(
      /does not accept the file.*unknown/s,
    );
    await expect(fill("import Mathlib\ntheorem a : 1 = 1 := by sorry\n", {})).rejects.toThrow(/Mathlib/);
  });
});
