/** `deepseek-ts grpo` with Lean's verdict as its reward, from the small prover of the repository: a few steps, stopped and resumed. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import type { LeanSession, VerifyAnswer } from "../../src/prove/lean/session.ts";
import { proofReward, rowTask } from "../../src/prove/train/proof-reward.ts";
import type { RewardSample } from "../../src/train/policy/rewards.ts";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

const prover = fileURLToPath(new URL("../../models/world-prover", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-grpo-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const { run } = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });

const theorems = [
  "theorem t (n : Nat) : n + 0 = n := by",
  "theorem t (a b : Nat) (h : a = b) : b = a := by",
  "theorem t : ∃ x : Int, -2 * x + 26 = 86 := by",
  "theorem t (p q : Prop) (hp : p) (hq : q) : p ∧ q := by",
  "theorem t (xs ys : List Nat) : (xs ++ ys).length = ys.length + xs.length := by",
  "theorem t (n : Nat) (h : n % 4 = 3) : n % 2 = 1 := by",
];

interface Line {
  readonly kind: string;
  readonly reward: number;
  readonly update: { readonly kl: number } | null;
}

const logged = (out: string): Line[] =>
  readFileSync(join(work, out, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const { seconds: _, ...rest } = JSON.parse(line);
      return rest;
    });

describe("grpo with Lean", () => {
  it.skipIf(missing !== null)(
    "learns from verdicts, and goes on to the bit",
    { timeout: 20 * LIMIT },
    async () => {
      writeFileSync(
        join(work, "theorems.jsonl"),
        theorems.map((statement) => `${JSON.stringify({ statement })}\n`).join(""),
      );
      const grpo = (out: string, ...more: string[]) => [
        ...["grpo", prover, "--data", "theorems.jsonl", "--out", out, "--reward", "lean", "--form", "prover"],
        ...[
          "--equal-groups",
          "keep",
          "--groups",
          "3",
          "--samples",
          "6",
          "--max-tokens",
          "48",
          "--rate",
          "2e-5",
        ],
        ...["--held-out", "0", "--save-every", "1", "--parallel", "1", "--threads", "1", ...more],
      ];
      const whole = await run(...grpo("whole", "--steps", "3"));
      expect(whole).toMatchObject({ code: 0 });
      const steps = logged("whole");
      expect(steps.length).toBe(3);
      // Some proofs are accepted and others not: neither an open gate nor a closed one.
      const rewards = steps.map(({ reward }) => reward);
      expect(Math.max(...rewards)).toBeGreaterThan(0);
      expect(Math.min(...rewards)).toBeLessThan(1);
      expect(steps[2].update!.kl).toBeGreaterThan(0);
      // The result is asked as the prover was.
      expect(existsSync(join(work, "whole", "model", "prover.json"))).toBe(true);
      // Stopped after its second step, as the saved state has it.
      expect(await run(...grpo("again", "--steps", "3"))).toMatchObject({ code: 0 });
      rmSync(join(work, "again", "checkpoints", "step-00000003"), { recursive: true });
      rmSync(join(work, "again", "model"), { recursive: true });
      expect(await run("grpo", "--resume", "again", "--parallel", "1", "--threads", "1")).toMatchObject({
        code: 0,
      });
      expect(logged("again")).toEqual(steps);
      const weights = (out: string) => readFileSync(join(work, out, "model", "model.safetensors"));
      expect(weights("again").equals(weights("whole"))).toBe(true);
      const definition = JSON.stringify({ statement: "def a := 1" });
      writeFileSync(join(work, "wrong.jsonl"), `${definition}\n`);
      const fault = await run("grpo", prover, "--data", "wrong.jsonl", "--reward", "lean", "--out", "wrong");
      expect([fault.code, fault.err]).toEqual([
        1,
        expect.stringMatching(/wrong\.jsonl line 1.*not a theorem/),
      ]);
      expect(existsSync(join(work, "wrong"))).toBe(false);
    },
  );
});

describe("proofReward", () => {
  const sample = (completion: string, row: unknown): RewardSample => ({
    ...{ prompt: "", completion, row, key: null, promptIds: [1], completionIds: [1], truncated: false },
  });

  it("asks once about each proof, with the statement of its row, and nothing about nothing", async () => {
    const asked: { problem: unknown; code: string }[] = [];
    const verify: LeanSession["verify"] = async (problem, code) => {
      asked.push({ problem, code });
      return { verdict: code.includes("rfl") ? "proved" : "error" } as VerifyAnswer;
    };
    const row = { formal_statement: "theorem t : 1 = 1 := sorry", preamble: "def a := 1" };
    const reward = proofReward({ verify });
    const completions = ["  rfl\n```\nmore", "  rfl\n```", "  simp\n", "", "```"];
    const { signal } = new AbortController();
    expect(
      await reward(
        completions.map((each) => sample(each, row)),
        { signal },
      ),
    ).toEqual([1, 1, 0, 0, 0]);
    expect(asked.map(({ code }) => code)).toEqual([
      "theorem t : 1 = 1 := by\n  rfl",
      "theorem t : 1 = 1 := by\n  simp",
    ]);
    expect(asked[0].problem).toMatchObject({
      statement: "theorem t : 1 = 1 := sorry",
      preamble: "def a := 1",
    });
  });

  it("says what is wrong with a row", () => {
    expect(() => rowTask({ prompt: "x" }, "rows line 2")).toThrow(/rows line 2.*statement/);
    expect(() => rowTask({ statement: 3 }, "rows line 2")).toThrow(/statement.*text.*number/);
    expect(() => rowTask({ statement: "def a := 1" }, "rows line 2")).toThrow(/rows line 2.*not a theorem/);
    expect(() => rowTask({ statement: "theorem t : 1 = 1 := rfl" }, "rows line 2")).toThrow(/rows line 2/);
  });
});
