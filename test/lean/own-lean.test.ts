/**
 * Lean of one's own by its two protocols. Both are spoken by stand-ins with the embedded Lean behind them, since no native Lean can
 * be installed from a package registry: real Lean answers, in the words that the protocols carry.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KiminaLean, openKimina } from "../../src/prove/lean/kimina.ts";
import { NativeLean } from "../../src/prove/lean/native.ts";
import type { LeanSession, Verdict } from "../../src/prove/lean/session.ts";
import { startKimina, type TestingKimina } from "../../src/prove/lean/testing-kimina.ts";
import { embeddedRepl } from "../../src/prove/lean/testing-repl.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { segment } from "../../src/prove/text/segments.ts";
import { NO_GOALS, stateText } from "../../src/prove/text/states.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";
import { type Listed, lines, type Steps } from "./lists.ts";

const honest = lines<Listed>("genuine.jsonl");
const cheats = lines<Listed>("soundness.jsonl");

const START = { startTimeout: 20 * LIMIT };
const KEY = "a key";

/** Cheats of these protocols, beside those of the list. */
const MORE: readonly {
  name: string;
  preamble?: string;
  statement: string;
  proof: string;
  verdict: Verdict;
}[] = [
  {
    name: "coercion by sorry from the answer's theorem to the statement",
    statement: "theorem t : (1 : Nat) = 2 := sorry",
    proof: "instance : Coe True ((1 : Nat) = 2) := ⟨fun _ => sorry⟩\ntheorem t : True := trivial",
    verdict: "changed statement",
  },
  {
    name: "instance argument that the answer supplies by sorry",
    statement: "theorem t : (1 : Nat) = 2 := sorry",
    proof:
      "instance : Inhabited False := ⟨sorry⟩\ntheorem t [h : Inhabited False] : (1 : Nat) = 2 := h.default.elim",
    verdict: "changed statement",
  },
  {
    name: "hypothesis left in scope for the questions",
    statement: "theorem t : (1 : Nat) = 2 := sorry",
    proof: "theorem t : True := trivial\nvariable (h : (1 : Nat) = 2)\ninclude h",
    verdict: "changed statement",
  },
  {
    name: "own abbreviation in the type",
    statement: "theorem t : 1 + 1 = 2 := sorry",
    proof: "abbrev f (n : Nat) : Nat := n + 1\ntheorem t : f 1 = 2 := rfl",
    verdict: "changed statement",
  },
  {
    name: "more general in its universes",
    preamble: "universe u",
    statement: "theorem t : ∀ (α : Type u) (x : α), x = x := sorry",
    proof: "theorem t : ∀ (α : Sort u) (x : α), x = x := fun _ _ => rfl",
    verdict: "changed statement",
  },
  {
    name: "code behind a line end that only the server sees",
    statement: "theorem t : (1 : Nat) = 2 := sorry",
    proof: "-- \u2028axiom a : (1 : Nat) = 2\ntheorem t : (1 : Nat) = 2 := by first | exact a | rfl",
    verdict: "refused",
  },
  {
    name: "statement that offers itself to simp",
    statement: "@[simp] theorem t : (1 : Nat) = 2 := sorry",
    proof: "theorem t : (1 : Nat) = 2 := by simp",
    verdict: "error",
  },
  {
    name: "search that finds the reference",
    statement: "theorem t (f : Nat → Nat) : f 1 = f 2 := sorry",
    proof: "theorem t (f : Nat → Nat) : f 1 = f 2 := by exact?",
    verdict: "error",
  },
  {
    name: "answer that leaves a command open for the questions",
    statement: "theorem t : (1 : Nat) = 2 := sorry",
    proof: "theorem t : (1 : Nat) = 2 :=",
    verdict: "error",
  },
];

for (const kind of ["native", "kimina"] as const) {
  describe.skipIf(missing !== null)(`${kind} Lean ${missing ?? ""}`, () => {
    let lean: LeanSession;
    let server: TestingKimina | undefined;
    beforeAll(async () => {
      const command = embeddedRepl(await prepareLean({ cache }));
      if (kind === "native") {
        lean = new NativeLean(command, "stand-in", { processes: 1, ...START });
      } else {
        server = await startKimina(command, KEY);
        lean = new KiminaLean({ url: server.url, key: KEY, slots: 1, ...START }, "stand-in");
      }
      await lean.ready();
    }, 40 * LIMIT);
    afterAll(async () => {
      await lean?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
    });

    const ask = async ({
      preamble = "",
      statement,
      proof,
      options,
    }: Partial<Listed> & { statement: string; proof: string }) =>
      lean.verify({ preamble, statement }, proof, { timeout: options?.timeoutMs ?? LIMIT });

    it("accepts every proof and no cheat", { timeout: 40 * LIMIT }, async () => {
      expect([honest.length, cheats.length]).toEqual([70, 132]);
      const wrong: unknown[] = [];
      for (const item of [...honest, ...cheats]) {
        const { verdict, detail } = await ask(item);
        if (!expected(item, kind).includes(verdict))
          wrong.push({ name: item.name, verdict, detail, expected: item.verdict });
      }
      expect(wrong).toEqual([]);
    });

    it("accepts no cheat that is made for its protocol", { timeout: 10 * LIMIT }, async () => {
      for (const item of MORE) {
        const { verdict, detail } = await ask(item);
        expect
          .soft([item.name, verdict, verdict === item.verdict ? "" : detail])
          .toEqual([item.name, item.verdict, ""]);
      }
    });

    it("lists the axioms of a proof", { timeout: 5 * LIMIT }, async () => {
      const head =
        "theorem t (p q : Prop) (h : p ↔ q) (α : Type) (n : Nonempty α) : p = q ∧ ∃ x : α, x = x := ";
      const { axioms, verdict } = await ask({
        ...{ preamble: "open Classical", statement: `${head}sorry` },
        proof: `${head}⟨propext h, choice n, rfl⟩`,
      });
      expect([verdict, [...axioms].sort()]).toEqual(["proved", ["Classical.choice", "propext"]]);
    });

    it("shows the steps of the answer alone", { timeout: 5 * LIMIT }, async () => {
      const problem = {
        preamble: "theorem a : True := by\n  trivial",
        statement: "theorem t : True := by sorry",
      };
      const code = "-- 𝔸\ntheorem t : True := by\n  skip\n  exact a";
      const { verdict, steps } = await lean.verify(problem, code, { steps: true, timeout: LIMIT });
      const texts = steps.map(({ start, end }) => code.slice(start.index, end.index));
      expect([verdict, texts]).toEqual(["proved", ["skip", "exact a"]]);
    });

    it("shows the states after each line of a proof", { timeout: 10 * LIMIT }, async () => {
      for (const { name, prefix, proof, complete, segments } of lines<Steps>("steps.jsonl")) {
        const answer = await lean.check({ code: prefix + proof }, { steps: true, timeout: LIMIT });
        const shown = ({ code, state, indent }: { code: string; state: string; indent: number }) =>
          state === NO_GOALS ? { code, state } : { code, state, indent };
        const found = segment(prefix + proof, prefix.length, answer, { rule: "line" }).map(shown);
        const wanted = segments.map(({ code, goals, indent }) =>
          shown({ code, state: stateText(goals), indent }),
        );
        expect.soft([name, answer.complete, found]).toEqual([name, complete, wanted]);
      }
    });

    it.runIf(kind === "native")(
      "accepts no cheat without the rules of text either",
      { timeout: 40 * LIMIT },
      async () => {
        await lean[Symbol.asyncDispose]();
        const command = embeddedRepl(await prepareLean({ cache }));
        await using loose = new NativeLean(command, "stand-in", { processes: 1, rules: false, ...START });
        const accepted: string[] = [];
        for (const item of [...cheats, ...MORE]) {
          const { name, preamble, statement, proof } = item;
          const limits = { timeout: ("options" in item && item.options?.timeoutMs) || LIMIT };
          if ((await loose.verify({ preamble, statement }, proof, limits)).verdict === "proved")
            accepted.push(name);
        }
        expect(accepted).toEqual([]);
      },
    );

    it.runIf(kind === "kimina")("asks the server for its version", { timeout: 5 * LIMIT }, async () => {
      const { version } = await openKimina({ url: server!.url, key: KEY, ...START });
      expect(version).toMatch(/^leanprover\/lean4:v4\.\d+\.\d+/);
      await expect(openKimina({ url: server!.url, key: "another" })).rejects.toThrow("LEAN_SERVER_API_KEY");
    });
  });
}

/** What the protocols cannot tell as the embedded server does, and what they say instead; none of it accepts anything. */
const OTHERWISE: Readonly<Record<string, Verdict>> = {
  // Behind a server other commands follow, so that the text is not empty.
  "comment-only kimina": "missing",
  // Each `sorry` in a type is a term of its own there, so that no two such types are one.
  "statement-with-sorry-type": "changed statement",
  // Braces in strings may hold code.
  "forged-by-goal-text": "refused",
};

function expected({ name, verdict }: Listed, kind: string): readonly Verdict[] {
  const otherwise = OTHERWISE[name] ?? OTHERWISE[`${name} ${kind}`];
  if (otherwise !== undefined) return [otherwise];
  if (verdict === "ok") return ["proved"];
  if (verdict === "forbidden axiom") return ["forbidden axiom", "sorry"];
  if (verdict === "error") return ["error", "heartbeats"];
  return [verdict as Verdict];
}
