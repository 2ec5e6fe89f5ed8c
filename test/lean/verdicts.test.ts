/** What an accepted proof means: lists of cheats that must be refused, and of proofs that must not be. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LeanSession, Verdict } from "../../src/prove/lean/session.ts";
import { segment } from "../../src/prove/text/segments.ts";
import { NO_GOALS, stateText } from "../../src/prove/text/states.ts";
import { fixture, LIMIT, missing, openLean } from "./embedded-lean.ts";

interface Listed {
  readonly name: string;
  readonly preamble: string;
  readonly statement: string;
  readonly proof: string;
  readonly options?: {
    readonly timeoutMs?: number;
    readonly maxHeartbeats?: number;
    readonly trustedPreamble?: boolean;
  };
  readonly expect: "accept" | "reject";
  /** In the words of the server. */
  readonly verdict: string;
}
interface Steps {
  readonly name: string;
  readonly prefix: string;
  readonly proof: string;
  readonly complete: boolean;
  readonly segments: readonly {
    readonly code: string;
    readonly goals: readonly string[];
    readonly indent: number;
  }[];
}

function lines<T>(name: string): T[] {
  return readFileSync(fixture(name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

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

describe.skipIf(missing !== null)(`verdicts of the embedded Lean ${missing ?? ""}`, () => {
  let lean: LeanSession;
  beforeAll(async () => {
    lean = await openLean();
  }, 20 * LIMIT);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  const ask = ({ preamble, statement, proof, options = {} }: Listed, session: LeanSession) => {
    const { trustedPreamble, maxHeartbeats } = options;
    return session.verify({ preamble, statement, trustedPreamble }, proof, {
      timeout: LIMIT,
      heartbeats: maxHeartbeats,
    });
  };
  const honest = lines<Listed>("genuine.jsonl");
  const cheats = lines<Listed>("soundness.jsonl");

  it("are those expected of all proofs and cheats, in any order", { timeout: 20 * LIMIT }, async () => {
    expect([honest.length, cheats.length]).toEqual([70, 132]);
    const wrong: unknown[] = [];
    for (const item of shuffled([...honest, ...cheats], 7)) {
      const { verdict, detail } = await ask(item, lean);
      if (!expected(item).includes(verdict))
        wrong.push({ name: item.name, verdict, detail, expected: item.verdict });
    }
    expect(wrong).toEqual([]);
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
