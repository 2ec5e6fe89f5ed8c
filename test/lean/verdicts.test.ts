/** What an accepted proof means: lists of cheats that must be refused, and of proofs that must not be. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Verdict } from "../../src/prove/lean/session.ts";
import type { LeanPool } from "../../src/prove/lean/wasm/pool.ts";
import type { WasmLean } from "../../src/prove/lean/wasm/wasm-lean.ts";
import { segment } from "../../src/prove/text/segments.ts";
import { NO_GOALS, stateText } from "../../src/prove/text/states.ts";
import { ask, askLoosely, LIMIT, missing, openStrictAndLoose } from "./embedded-lean.ts";
import { type Listed, lines, type Steps } from "./lists.ts";

/** The order of a deterministic shuffle, so that no answer may depend on what stood before. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const order = [...items];
  let state = seed;
  for (let i = order.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function expected({ verdict }: Listed): readonly Verdict[] {
  if (verdict === "ok") return ["proved"];
  if (verdict === "forbidden axiom") return ["forbidden axiom", "sorry"];
  if (verdict === "error") return ["error", "heartbeats"];
  if (verdict.startsWith("kernel")) return ["kernel"];
  return [verdict as Verdict];
}

/** Theorems of arithmetic with large numbers, every other one of which is wrong by 1 or by 2^32. */
function equalities(count: number): { text: string; truth: boolean[] } {
  let state = 12345n;
  const random = (bits: number) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & (2n ** 256n - 1n);
    return (state >> 20n) & (2n ** BigInt(bits) - 1n);
  };
  const near = () => {
    const borders = [2n ** 31n, 2n ** 32n, 2n ** 63n, 2n ** 64n, random(220)];
    return borders[Number(random(8)) % borders.length] + random(2);
  };
  const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? a : gcd(b, a % b));
  const operations: readonly (readonly [string, (a: bigint, b: bigint) => bigint])[] = [
    ["A + B", (a, b) => a + b],
    ["A - B", (a, b) => (a > b ? a - b : 0n)],
    ["A * B", (a, b) => a * b],
    ["A / B", (a, b) => a / b],
    ["A % B", (a, b) => a % b],
    ["Nat.gcd A B", gcd],
    ["A ^ (B % 5)", (a, b) => a ** (b % 5n)],
    ["A <<< (B % 70)", (a, b) => a << (b % 70n)],
    ["A >>> (B % 70)", (a, b) => a >> (b % 70n)],
    ["A &&& B", (a, b) => a & b],
    ["A ||| B", (a, b) => a | b],
    ["A ^^^ B", (a, b) => a ^ b],
    ["Nat.log2 A", (a) => BigInt(a.toString(2).length - 1)],
    ["(Nat.blt A B).toNat", (a, b) => (a < b ? 1n : 0n)],
  ];
  const truth: boolean[] = [];
  const theorems = Array.from({ length: count }, (_, i) => {
    const [form, value] = operations[i % operations.length];
    const [a, b] = [near(), near()];
    const holds = Math.floor(i / operations.length) % 2 === 0;
    truth.push(holds);
    const result = value(a, b) + (holds ? 0n : i % 4 < 2 ? 1n : 2n ** 32n);
    const left = form.replace(/A/g, String(a)).replace(/B/g, String(b));
    return `theorem k${i} : ${left} = ${result} := by decide +kernel`;
  });
  return { text: theorems.join("\n"), truth };
}

describe.skipIf(missing !== null)(`verdicts of the embedded Lean ${missing ?? ""}`, () => {
  let lean: WasmLean;
  let loose: WasmLean;
  let pool: LeanPool;
  beforeAll(async () => {
    ({ strict: lean, loose, pool } = await openStrictAndLoose());
    await lean.ready();
  }, 10 * LIMIT);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  const honest = lines<Listed>("genuine.jsonl");
  const cheats = lines<Listed>("soundness.jsonl");

  it("are those expected of all proofs and cheats, in any order", { timeout: 20 * LIMIT }, async () => {
    expect([honest.length, cheats.length]).toEqual([70, 132]);
    const wrong: unknown[] = [];
    for (const item of shuffled([...honest, ...cheats], 7)) {
      const { verdict, detail } = await ask(lean, item);
      if (!expected(item).includes(verdict))
        wrong.push({ name: item.name, verdict, detail, expected: item.verdict });
    }
    expect(wrong).toEqual([]);
  });

  it("refuse cheats by what they prove, too, where the rules of text are off", {
    timeout: 20 * LIMIT,
  }, async () => {
    // One of each kind; `layers.test.ts` asks for all, which takes minutes on a busy machine.
    const kinds = new Map(cheats.filter(({ name }) => name !== "sleep").map((item) => [item.verdict, item]));
    expect(kinds.size).toBeGreaterThan(5);
    expect((await askLoosely(loose, [...kinds.values()])).accepted).toEqual([]);
  });

  it("come from the kernel's second look, too", { timeout: 5 * LIMIT }, async () => {
    // A simplifier that lies, where metaprograms can run and Lean is told not to ask its kernel: all other layers let it pass.
    const code = `open Lean Meta Simp
simproc lying ((1 : Nat) = 2) := fun e =>
  let claim := mkApp3 (mkConst \`\`Eq [levelOne]) (mkSort levelZero) e (mkConst \`\`True)
  return .done { expr := mkConst \`\`True, proof? := some (mkApp2 (mkConst \`\`id [levelZero]) claim (mkConst \`\`True.intro)) }
set_option debug.skipKernelTC true in
theorem t : (1 : Nat) = 2 := by simp only [lying]`;
    const request = { op: "verify", statement: "theorem t : (1 : Nat) = 2 := sorry", code, strict: false };
    const outcome = await pool.run(request, { imports: ["Init", "Lean"], timeout: LIMIT });
    expect(outcome).toMatchObject({ answer: { complete: true, verdict: "kernel: kernel rejects t" } });
    // No answer gets there: neither the module nor the option nor the command is allowed.
    const problem = { statement: "theorem t : (1 : Nat) = 2 := sorry" };
    expect((await lean.verify({ ...problem, imports: ["Lean"] }, code)).verdict).toBe("bad preamble");
    expect((await lean.verify(problem, code, { timeout: LIMIT })).verdict).toBe("refused");
  });

  it("hold for the kernel's arithmetic, at the borders of machine words too", {
    timeout: 5 * LIMIT,
  }, async () => {
    const { text, truth } = equalities(64);
    const { theorems } = await lean.audit({ code: text }, { timeout: LIMIT });
    expect(theorems.map(({ verdict }) => verdict)).toEqual(
      truth.map((holds) => (holds ? "proved" : "error")),
    );
  });

  it("of a file are those of its theorems", { timeout: 5 * LIMIT }, async () => {
    const code = [
      ...[
        "namespace Shop",
        "inductive Fruit where",
        "  | apple | pear",
        "def price : Fruit → Nat",
        "  | .apple => 3",
      ],
      ...[
        "  | .pear => 4",
        "theorem price_pos (f : Fruit) : 0 < price f := by cases f <;> decide",
        "end Shop",
      ],
      ...[
        "theorem wrong : 1 + 1 = 3 := by decide",
        "open Nat in",
        "theorem todo : ∀ n : Nat, n = n := sorry",
      ],
      ...[
        "mutual",
        "theorem a : True := trivial",
        "theorem b : True ∧ True := ⟨a, a⟩",
        "end",
        "def x : Nat := y",
      ],
    ].join("\n");
    const { theorems, messages, refused } = await lean.audit({ code }, { timeout: LIMIT });
    expect(theorems.map(({ name, verdict, start }) => [name, verdict, start.line])).toEqual([
      ...[
        ["Shop.price_pos", "proved", 7] as const,
        ["wrong", "error", 9] as const,
        ["todo", "sorry", 11] as const,
      ],
      ...[["a", "proved", 13] as const, ["b", "proved", 14] as const],
    ]);
    expect(messages.filter(({ severity }) => severity === "error").map(({ start }) => start.line)).toEqual([
      9, 16,
    ]);
    expect(refused).toBeNull();

    const macros =
      'theorem t : True := trivial\nmacro "win" : tactic => `(tactic| trivial)\nprivate theorem u : True := by win';
    const strict = await lean.audit({ code: macros }, { timeout: LIMIT });
    expect(strict.theorems.map(({ name }) => name)).toEqual(["t"]);
    expect(strict.refused).toMatchObject({ reason: expect.stringContaining("macro"), at: { line: 2 } });
    const trusted = await lean.audit({ code: macros }, { timeout: LIMIT, trusted: true });
    expect(trusted.theorems.map(({ name, verdict }) => [name, verdict])).toEqual([
      ...[["t", "proved"] as const, ["u", "proved"] as const],
    ]);
  });

  it("show the states after each line of a proof", { timeout: 5 * LIMIT }, async () => {
    for (const { name, prefix, proof, complete, segments } of lines<Steps>("steps.jsonl")) {
      const text = prefix + proof;
      const answer = await lean.check({ code: text }, { steps: true, timeout: LIMIT });
      const found = segment(text, prefix.length, answer, { rule: "line" });
      expect([name, answer.complete], name).toEqual([name, complete]);
      // Where nothing is left to prove, no column matters.
      const shown = ({ code, state, indent }: { code: string; state: string; indent: number }) =>
        state === NO_GOALS ? { code, state } : { code, state, indent };
      const wanted = segments.map(({ code, goals, indent }) => ({ code, state: stateText(goals), indent }));
      expect(found.map(shown), name).toEqual(wanted.map(shown));
    }
  });
});
