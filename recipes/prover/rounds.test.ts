/** What a round came to, counted from the rows of its store. */
import { expect, it } from "vitest";
import { problemRow } from "../../src/prove/corpus/problems.ts";
import { readTruth } from "../../src/prove/corpus/truth.ts";
import type { PipelineProof, StatementRow } from "../../src/prove/store/pipeline-rows.ts";
import type { ProofStore } from "../../src/prove/store/store.ts";
import { foundProofs, ROUND, roundScores } from "./rounds.ts";

const SEED = 3;
/** Numbers of problems that hold, fail and contradict themselves, so many of each. */
const numbered = (truth: string, count: number) =>
  Array.from({ length: 400 }, (_, i) => i)
    .filter((i) => {
      const known = readTruth(problemRow(SEED, i).hidden);
      return known.truth === truth && known.defect !== "trivial";
    })
    .slice(0, count);

function statement(id: number, round: number, source: string): StatementRow {
  const lean = `theorem s${id} (n : Nat) : n = ${id} := by\n`;
  return {
    ...{ id, round, sample: 0, generated: "", lean, canonicalSha256: null },
    problem: { id: 100 + id, source, informal: "", preamble: "" },
  };
}

const proof = (
  of: StatementRow,
  stage: string,
  cost: number,
  rest: Partial<PipelineProof> = {},
): PipelineProof => ({
  ...{ statement: of, side: "statement", text: "  rfl", tokens: 3, axioms: [], model: "", lean: "", seed: 1 },
  ...{ stage, cost, ...rest },
});

it("compares filters with the truth, and counts what a round alone found and spent", () => {
  const [sound, alsoSound] = numbered("true", 2);
  const [wrong, alsoWrong] = numbered("false", 2);
  const [empty] = numbered("vacuous", 1);
  const words = (i: number) => `words 1 ${SEED} ${i}`;
  const rows = [
    statement(1, 1, words(sound)),
    statement(2, 1, words(wrong)),
    statement(3, 1, words(alsoWrong)),
    statement(4, 1, words(empty)),
    statement(5, 1, words(alsoSound)),
    statement(6, 1, `statement 1 ${SEED} 9`),
    statement(7, 0, `statement 0 ${SEED} 2`),
  ];
  const verdicts: Readonly<Record<number, Readonly<Record<string, string>>>> = {
    1: { grade: "kept", vacuity: "consistent", "prove 1": "proved" },
    2: { grade: "kept", vacuity: "consistent", "prove 1": "refuted" },
    3: { grade: "kept", vacuity: "consistent", "prove 1": "open" },
    4: { grade: "kept", vacuity: "vacuous" },
    5: { grade: "graded out" },
    6: { grade: "kept", vacuity: "consistent", "prove 1": "open" },
    7: { "prove 0": "open", "prove 1": "proved" },
  };
  const proofs = [
    proof(rows[0], "prove 1", 3),
    proof(rows[1], "prove 1", 5, { side: "negation" }),
    proof(rows[3], "vacuity", 1, { side: "vacuous" }),
    proof(rows[6], "prove 1", 2),
    proof(rows[6], "prove 0", 7),
  ];
  const store = {
    pipeline: {
      statements: () => rows,
      problems: () => rows.map(({ problem }) => problem),
      proofs: () => proofs,
      verdict: (id: number, stage: string) =>
        verdicts[id][stage] === undefined ? null : { stage, outcome: verdicts[id][stage], detail: "" },
    },
  } as unknown as ProofStore;
  const options = { round: 1, seed: SEED, size: ROUND, negation: "universal" } as const;
  const { scores, items, figures } = roundScores(store, options);
  expect(scores).toEqual({
    decided: { right: 2, of: 6 },
    "decided of those tried": { right: 2, of: 4 },
    // It dropped one sound problem, and none of the three that it should have.
    "score precision": { right: 0, of: 1 },
    "score recall": { right: 0, of: 3 },
    "vacuity precision": { right: 1, of: 1 },
    "vacuity recall": { right: 1, of: 1 },
    "refutation precision": { right: 1, of: 1 },
    "refutation recall": { right: 1, of: 2 },
  });
  expect(items?.decided).toEqual([1, 1, 0, 0, 0, 0]);
  // Two open statements took all samples of both sides.
  expect(figures).toEqual({
    "statements tried": 4,
    "samples spent on them": 3 + 5 + 2 * 8,
    "samples for each decided statement": 12,
    "proofs found in the round": 3,
  });
  expect(roundScores(store, { ...options, negation: "off" }).figures).toMatchObject({
    "samples spent on them": 3 + 5 + 2 * 8,
  });
});

it("shows the proofs of a round and those before it, four of each side at most", () => {
  const [early, late] = [statement(1, 0, ""), statement(2, 1, "")];
  const proofs = [
    ...Array.from({ length: 6 }, (_, i) => proof(early, "prove 0", 1, { text: `  rfl ${i}` })),
    proof(early, "prove 1", 1, { side: "negation" }),
    proof(early, "vacuity", 1, { side: "vacuous" }),
    proof(late, "vacuity", 1, { side: "vacuous" }),
  ];
  const first = foundProofs(proofs, 0);
  expect(first.map(({ proof }) => proof)).toEqual(["  rfl 0", "  rfl 1", "  rfl 2", "  rfl 3", "  rfl"]);
  expect(first[4].statement).toMatch(/: False := by\n$/);
  expect(foundProofs(proofs, 1)).toHaveLength(7);
  expect(foundProofs(proofs, 1)[4].statement).toMatch(/¬/);
});
