import { expect, it } from "vitest";
import { readBenchmark } from "../formats/benchmark.ts";
import { readProblems } from "../formats/problems.ts";
import { readProofLines } from "../lean/proof-lines.ts";
import { TableLean } from "../pipeline/testing.ts";
import type { NewProof } from "../store/proof.ts";
import { ProofStore } from "../store/store.ts";
import { lessonTexts } from "./lessons.ts";
import { proofLines, statementLines } from "./outputs.ts";

const HEAD = "theorem a (n : Nat) : n + 0 = n := by\n";

/** A problem with two translations, of which one was proved thrice, the other refuted. */
async function filled(): Promise<ProofStore> {
  const store = await ProofStore.open(":memory:");
  const rows = store.pipeline;
  const problem = rows.addProblem({ source: "p", informal: "Words.", preamble: "def f := 1" }, "hash");
  rows.setTruth(problem.id, "true");
  const proof = (side: NewProof["side"], text: string): NewProof => ({
    ...{ side, text, textSha256: text, tokens: 3, axioms: ["propext"], model: "m 1", lean: "4.28" },
    ...{ search: "prove 0", cost: 5 },
  });
  for (const [sample, lean] of [HEAD, "theorem b (n : Nat) : n < 5 := by\n"].entries()) {
    const generated = `${lean}\`\`\` and more`;
    const at = { round: 0, sample, generated, lean, canonicalSha256: String(sample) };
    const { id } = rows.addStatement(problem.id, at);
    rows.addVerdict(id, { stage: "formalize", outcome: "formalized", detail: "" });
    rows.addVerdict(id, { stage: "prove 0", outcome: sample === 0 ? "proved" : "refuted", detail: "" });
    const { id: search } = store.beginSearch(`s${sample}`, { model: "m 1" }, 7);
    const texts = sample === 0 ? ["  simp [f]", "  rfl", "  omega\n"] : ["  decide"];
    for (const text of texts) {
      store.addProof(proof(sample === 0 ? "statement" : "negation", text), { search, statement: id });
    }
  }
  return store;
}

it("gives proofs with their provenance in a form that verify and benchmarks read", async () => {
  using store = await filled();
  const text = proofLines(store, "universal");
  const { problems } = await readBenchmark(text, "proofs");
  expect(problems.map(({ proof }) => proof)).toEqual(["  rfl", "  omega\n", "  simp [f]", "  decide"]);
  expect(problems[3].statement).toBe("theorem b_not : ¬ (∀ (n : Nat), n < 5) := by\n");
  expect(problems[0].other).toEqual({
    ...{ statement_id: 1, side: "statement", source: "p", informal: "Words.", round: 0, axioms: ["propext"] },
    ...{ lean: "4.28", model: "m 1", search: "prove 0", seed: 7, cost: 5, tokens: 3 },
  });
  const lines = readProofLines("proofs", text);
  expect(lines[0]).toMatchObject({ code: `${HEAD}  rfl`, problem: { preamble: "def f := 1" } });
  const same = proofLines(store, "sameContext").trim().split("\n")[3];
  expect(JSON.parse(same).formal_statement).toBe("theorem b_neg (n : Nat) : ¬ (n < 5) := by\n");
});

it("tells what became of every translation, and nothing of the truth", async () => {
  using store = await filled();
  const text = statementLines(store);
  const rows = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ outcome, sample }) => [outcome, sample])).toEqual([
    ["proved", 0],
    ["refuted", 1],
  ]);
  expect(rows[0].verdicts.length).toBe(2);
  expect(text).not.toContain("true");
});

it("learns the shortest proofs of each side, and translations whose statement was proved", async () => {
  using store = await filled();
  const lean = new TableLean(() => true);
  const options = { negation: "universal", forms: ["whole"], perStatement: 2 } as const;
  const texts = await lessonTexts(store, lean, { ...options, prompt: { style: "short" } });
  expect(texts.map(({ written }) => written)).toEqual([
    "  rfl\n```",
    `${HEAD}\`\`\``,
    "  omega\n```",
    "  decide\n```",
  ]);
  expect(texts[0].read).toBe(`Prove:\n\n\`\`\`lean4\ndef f := 1\n${HEAD}`);
  expect(texts[1].read).toContain("\nWords.\n");
  // Nothing is checked again where no states are learned.
  expect(lean.verified).toBe(0);
});

it("reads problems, and refuses rows without words or with an unknown truth", () => {
  const lines = ['{"informal": " A. ", "answer": "4", "name": "x"}', '{"problem": "B.", "truth": "vacuous"}'];
  expect(readProblems(lines.join("\n"), "f")).toEqual([
    { source: "x", informal: "A. Show that it is 4.", preamble: "" },
    { source: "row 1", informal: "B.", preamble: "", truth: "vacuous" },
  ]);
  expect(() => readProblems('{"name": "x"}', "f")).toThrow(/line 1.*informal/);
  expect(() => readProblems('{"informal": "A.", "truth": "maybe"}', "f")).toThrow(/truth.*maybe/);
  expect(() => readProblems('{"informal": "  "}', "f")).toThrow(/in words/);
  expect(() => readProblems("\n \n", "f")).toThrow(/f: no problems/);
});
