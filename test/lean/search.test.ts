/** Searches with real Lean: states at cuts are Lean's own, and a proof found by going on from them is accepted. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { type SearchEvent, search } from "../../src/prove/search/search.ts";
import type { SearchKind } from "../../src/prove/search/search-options.ts";
import { findContradiction } from "../../src/prove/search/vacuity.ts";
import { leanProblem } from "../../src/prove/text/problem.ts";
import { segment } from "../../src/prove/text/segments.ts";
import { NO_GOALS } from "../../src/prove/text/states.ts";
import { proverFixture, type RecordedProof } from "../../src/prove/text/testing.ts";
import { Random } from "../../src/tensor/random.ts";
import { LIMIT, missing, openLean } from "./embedded-lean.ts";

const { cases } = proverFixture<{ cases: RecordedProof[] }>("lean-steps.json");

/** Draws tactics without looking; the name 𝔸 has two units. */
const generator: TextGenerator = {
  model: "draws",
  countTokens: (text) => Math.ceil(text.length / 4),
  async *generate(prompts, { seeds }) {
    const tactics = ["constructor", "exact 𝔸", "exact hq", "exact hr", "sorry", "foo", "native_decide"];
    for (const [index] of prompts.entries()) {
      const random = new Random(seeds[index]);
      const lines = Array.from(
        { length: 1 + random.int(3) },
        () => `  ${tactics[random.int(tactics.length)]}\n`,
      );
      yield { index, text: `${lines.join("")}\`\`\``, tokens: lines.length, end: "stop" };
    }
  },
};

describe.skipIf(missing !== null)(`a search in Lean ${missing ?? ""}`, () => {
  let lean: LeanSession;
  beforeAll(async () => {
    lean = await openLean();
    await lean.ready();
  }, 10 * LIMIT);
  afterAll(() => lean?.[Symbol.asyncDispose]());

  it("goes on from states that Lean shows at the same place", { timeout: 20 * LIMIT }, async () => {
    const different: string[] = [];
    let shown = 0;
    for (const { name, statement, proof } of cases) {
      const text = statement + proof;
      const answer = await lean.check({ code: text }, { steps: true, timeout: LIMIT });
      let code = "";
      for (const part of segment(text, statement.length, answer)) {
        code += part.code;
        if (part.state === NO_GOALS) continue;
        const there = statement + code;
        const asked = `${there}${" ".repeat(part.column)}sorry`;
        const { steps } = await lean.check({ code: asked }, { steps: true, timeout: LIMIT });
        const goals = steps.find(({ start }) => start.index >= there.length)?.goalsBefore;
        // At the end of an alternative the next one begins elsewhere.
        if (!goals || goals.length === 0) continue;
        shown++;
        if (!`${part.state}\n\n`.startsWith(`${goals.join("\n\n")}\n\n`))
          different.push(`${name}: ${part.code}`);
      }
    }
    expect(different).toEqual([]);
    expect(shown).toBeGreaterThan(65);
  });

  it.each(["resume", "rmaxts"] as SearchKind[])(
    "finds a proof step by step: %s",
    { timeout: 20 * LIMIT },
    async (kind) => {
      const statement = "theorem t (p q r : Prop) (𝔸 : p) (hq : q) (hr : r) : (p ∧ q) ∧ r := by\n";
      const header = "set_option autoImplicit false\n\n";
      const task = { header, statement, problem: leanProblem(header, statement) };
      let last: SearchEvent | null = null;
      const options = { search: kind, samples: 400, parallel: 1, seed: 3, timeout: LIMIT };
      for await (const event of search(task, { generator, lean }, options)) last = event;
      expect(last).toMatchObject({ type: "proved", axioms: [] });
      const { verdict } = await lean.verify(task.problem, (last as { code: string } | null)?.code ?? "");
      expect(verdict).toBe("proved");
    },
  );

  it("sees hypotheses that contradict each other", { timeout: 5 * LIMIT }, async () => {
    const statement = (text: string) => ({ statement: `theorem d ${text} := by\n` });
    const limits = { timeout: LIMIT };
    expect(
      await findContradiction(lean, statement("(x : Int) (h0 : x < 2) (h1 : 5 < x) : x = 7"), limits),
    ).toMatchObject({
      finding: "vacuous",
      script: "omega",
    });
    expect((await findContradiction(lean, statement("(x : Int) (h : x < 2) : x = 7"), limits)).finding).toBe(
      "none",
    );
    expect((await findContradiction(lean, statement("(x : Foo) : x = x"), limits)).finding).toBe("broken");
  });
});
