/** Lean on a sample of the corpus: every family's statements and proofs, refutations of false ones, problems by their truth. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WorldRandom } from "../../src/data/world/generator.ts";
import { renamed, runBaselines } from "../../src/prove/corpus/automation-run.ts";
import { FAMILIES } from "../../src/prove/corpus/families.ts";
import { LEVELS } from "../../src/prove/corpus/family.ts";
import { problemRow } from "../../src/prove/corpus/problems.ts";
import { drawItem } from "../../src/prove/corpus/sample.ts";
import { proofText, statementText } from "../../src/prove/corpus/theorem.ts";
import { readTruth } from "../../src/prove/corpus/truth.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { falseGoal, negate } from "../../src/prove/text/statements.ts";
import { LIMIT, missing, openLean } from "./embedded-lean.ts";

interface Unit {
  readonly preamble: string;
  readonly statement: string;
  readonly proof: string;
}

interface Pilot extends Omit<Unit, "proof"> {
  readonly family: string;
  readonly checked: {
    readonly grind: boolean;
    readonly ladders: boolean;
    readonly inductionLadder: boolean | null;
  };
}

describe.skipIf(missing !== null)(`the corpus in Lean ${missing ?? ""}`, () => {
  let lean: LeanSession;
  beforeAll(async () => {
    lean = await openLean();
    await lean.ready();
  }, 10 * LIMIT);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  /** Texts that Lean refuses, with its words. Theorems of one preamble are one file, which costs a tenth of single checks. */
  async function refused(units: readonly Unit[]): Promise<string[]> {
    const faults: string[] = [];
    for (const preamble of new Set(units.map((unit) => unit.preamble))) {
      const texts = units
        .filter((unit) => unit.preamble === preamble)
        .map(({ statement, proof }, i) => `${renamed(statement, `case${i}`)}${proof}\n`);
      const answer = await lean.check({ preamble, code: texts.join("") }, { timeout: 20 * LIMIT });
      if (answer.failure ?? answer.refused) faults.push(JSON.stringify(answer.failure ?? answer.refused));
      let from = 0;
      for (const text of texts) {
        const to = from + text.length;
        const bad = answer.messages.filter(
          ({ severity, kind, start }) =>
            (severity === "error" || kind === "hasSorry") && start.index >= from && start.index < to,
        );
        if (bad.length > 0) faults.push(`${preamble}\n${text}${bad[0].text}`);
        from = to;
      }
    }
    return faults;
  }

  it("accepts a proof of each family and level, with thoughts where it has them", {
    timeout: 60 * LIMIT,
  }, async () => {
    const units = FAMILIES.flatMap(({ name }) =>
      LEVELS.map((level): Unit => {
        const { item, reference } = drawItem({ seed: 21, split: "train", family: name, level }, 0)!;
        return { preamble: item.preamble, statement: item.statement, proof: item.thoughts ?? reference! };
      }),
    );
    expect(units).toHaveLength(3 * FAMILIES.length);
    expect(await refused(units)).toEqual([]);
  });

  it("accepts the scripted refutations of false statements", { timeout: 60 * LIMIT }, async () => {
    const units = FAMILIES.flatMap((family) =>
      LEVELS.flatMap((level): Unit[] => {
        const draft = family.drawFalse?.(new WorldRandom(22, level, 0), family.levels[level]);
        if (!draft?.script) return [];
        return [
          { preamble: "", statement: negate(statementText(draft.theorem)), proof: proofText(draft.script) },
        ];
      }),
    );
    expect(units.length).toBeGreaterThan(25);
    expect(await refused(units)).toEqual([]);
  });

  it("agrees with the truth of problems, contradictions included", { timeout: 60 * LIMIT }, async () => {
    const truths = Array.from({ length: 30 }, (_, i) => readTruth(problemRow(3, i).hidden));
    const units = truths.flatMap(({ truth, gold, proof }): Unit[] => {
      if (proof === null) return [];
      const statement = truth === "true" ? gold : truth === "false" ? negate(gold) : falseGoal(gold);
      return [{ preamble: "", statement, proof }];
    });
    expect(new Set(truths.map(({ truth }) => truth)).size).toBe(3);
    expect(await refused(units)).toEqual([]);
  });

  it("finds what automation was measured to prove of the pilot's statements", {
    timeout: 60 * LIMIT,
  }, async () => {
    const file = fileURLToPath(new URL("../fixtures/prover/corpus.json", import.meta.url));
    const { items } = JSON.parse(readFileSync(file, "utf8")) as { items: Pilot[] };
    const some = items.filter((_item, i) => i % 13 === 7);
    for (const { family, preamble, statement, checked } of some) {
      const { B1, B2, B3, B4 } = await runBaselines(lean, { preamble, statement });
      expect(B1, statement).toBe(checked.grind);
      if (B1 || B2 || B3) expect(checked.ladders, statement).toBe(true);
      // The pilot tried induction only where a preamble defines functions.
      if (checked.inductionLadder !== null) expect(B4, statement).toBe(checked.inductionLadder);
      expect(FAMILIES.map(({ name }) => name)).toContain(family);
    }
    expect(some.some(({ checked }) => checked.inductionLadder)).toBe(true);
  });

  it("finds what fixed scripts prove, and nothing false", { timeout: 60 * LIMIT }, async () => {
    const linear = { statement: "theorem t (x : Int) (h : 2 * x ≤ 6) : x ≤ 3 := by\n" };
    expect(await runBaselines(lean, linear)).toMatchObject({ B1: true, B2: true });
    const inductive = {
      preamble: "def f : Nat → Nat\n  | 0 => 2\n  | n + 1 => f n + 2",
      statement: "theorem t (n : Nat) : f n = 2 * n + 2 := by\n",
    };
    expect(await runBaselines(lean, inductive)).toEqual({ B1: false, B2: false, B3: false, B4: true });
    const wrong = { statement: "theorem t : ∃ x : Nat, 6 * x = 45 := by\n" };
    expect(await runBaselines(lean, wrong)).toEqual({ B1: false, B2: false, B3: false, B4: false });
  });
});
