/**
 * Rounds of DeepSeek-Prover V1 (arXiv 2405.14333) on the corpus: problems in words, of which some are wrong, and statements without
 * a proof go through the pipeline, and what was proved teaches the next model. The truth of problems is read only here, after a
 * round, to say how good its filters were.
 */
import { join } from "node:path";
import { problemRow } from "../../src/prove/corpus/problems.ts";
import { corpusItem } from "../../src/prove/corpus/sample.ts";
import { readTruth } from "../../src/prove/corpus/truth.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { filterCounts } from "../../src/prove/pipeline/funnel.ts";
import { proveStage, type RoundOptions, runRound } from "../../src/prove/pipeline/round.ts";
import { formalized } from "../../src/prove/pipeline/stages.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import type { PipelineProof, StatementRow } from "../../src/prove/store/pipeline-rows.ts";
import { ProofStore } from "../../src/prove/store/store.ts";
import { learnedProofs } from "../../src/prove/synthesis/lessons.ts";
import { provedHead } from "../../src/prove/synthesis/outputs.ts";
import { sha256 } from "../../src/prove/text/canonical.ts";
import type { ArmOutcome } from "../shared/program.ts";
import type { Count } from "../shared/score.ts";
import type { StageContext } from "../shared/stage.ts";
import type { CheckableProof } from "./cuts.ts";
import { shareOf } from "./exam.ts";
import { ofSettings } from "./kept-lines.ts";
import { SAMPLING, SHORT, stoppable, TOGETHER } from "./parts.ts";

/** What a round starts from, in number, and what it spends. */
export interface RoundSize {
  /** Problems in words. */
  readonly problems: number;
  /** Statements of the training split, as they are. */
  readonly statements: number;
  /** Samples of each side of a statement. */
  readonly perStatement: number;
  /** Whether statements are graded: a model of a few updates cannot. */
  readonly grading: boolean;
}
export const ROUND: RoundSize = { problems: 150, statements: 250, perStatement: 4, grading: true };
export const FEW: RoundSize = { problems: 6, statements: 6, perStatement: 2, grading: false };

/** Of statements: mostly those whose proofs training does not show. */
const LEVELS = [10, 25, 65] as const;
/** Items of the corpus from here on: apart from those that examples are made of. */
const FIRST_ITEM = 2 ** 22;
/** Proofs of one side of a statement that training sees: the shortest. */
const SHOWN = 4;
const TOLD_MS = 20_000;

export interface ProveOptions {
  /** From 0. */
  readonly round: number;
  readonly seed: number;
  readonly size: RoundSize;
  /** Without negations a statement itself gets the samples of both sides. */
  readonly negation: RoundOptions["negation"];
}

/** What decides the results of rounds in one folder, beside the model. */
export const roundSettings = ({ seed, size, negation }: Omit<ProveOptions, "round">) => ({
  ...{ seed, size, negation },
  ...{ sampling: SAMPLING, levels: LEVELS, shown: SHOWN },
});

/** Samples of a statement and of its negation, and of the contradiction of its hypotheses. */
const samplesOf = ({ size, negation }: Pick<ProveOptions, "size" | "negation">) => ({
  perStatement: negation === "off" ? 2 * size.perStatement : size.perStatement,
  perVacuity: Math.ceil(size.perStatement / 2),
});

/** Where a problem comes from: in which round, and of which kind and number it is. */
const sourceOf = (kind: "words" | "statement", round: number, seed: number, index: number) =>
  `${kind} ${round} ${seed} ${index}`;
const placeOf = (source: string) => {
  const [kind, ...numbers] = source.split(" ");
  const [round, seed, index] = numbers.map(Number);
  return { kind, round, seed, index };
};

/** Adds the problems of a round to the store; those that are there stay. */
async function addProblems(store: ProofStore, { seed, round, size }: ProveOptions): Promise<void> {
  const rows = store.pipeline;
  for (let i = round * size.problems; i < (round + 1) * size.problems; i++) {
    const { problem } = problemRow(seed, i);
    const source = sourceOf("words", round, seed, i);
    rows.addProblem({ source, informal: problem.informal, preamble: "" }, await sha256(source));
  }
  for (let i = round * size.statements; i < (round + 1) * size.statements; i++) {
    const item = corpusItem({ seed, levels: [...LEVELS] }, FIRST_ITEM + i);
    const { preamble, informal, statement: generated } = item;
    const made = await formalized(generated, preamble);
    if (made === null) throw new Error(`the corpus gave what is no statement: ${generated}`);
    const source = sourceOf("statement", round, seed, i);
    const hash = await sha256(source);
    store.transaction(() => {
      const { id } = rows.addProblem({ source, informal, preamble }, hash);
      const statement = rows.addStatement(id, { round, sample: 0, generated, ...made });
      rows.addVerdict(statement.id, { stage: "formalize", outcome: "formalized", detail: "" });
    });
  }
}

/** Runs a round to its end, or finds it run. The store is the caller's to close. @throws StageStopped */
export async function proveRound(
  tools: { readonly generator: TextGenerator; readonly lean: LeanSession },
  place: StageContext,
  options: ProveOptions,
): Promise<ProofStore> {
  const { round, seed, negation, size } = options;
  await ofSettings(place.folder, roundSettings(options));
  const store = await ProofStore.open(join(place.folder, "rounds.sqlite"));
  try {
    await addProblems(store, options);
    using stop = stoppable(place, `round ${round + 1}`);
    const counts = new Map<string, number>();
    const tell = () =>
      place.print(
        `round ${round + 1}: ${[...counts].map(([outcome, count]) => `${count} ${outcome}`).join(", ")}`,
      );
    const events = runRound(
      { ...tools, store },
      {
        ...{ round, seed, negation, ...samplesOf(options), sampling: SAMPLING, prompt: SHORT },
        ...{ grading: size.grading, batch: 4 * TOGETHER, signal: stop.signal },
      },
    );
    let told = performance.now();
    for await (const { outcome } of events) {
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      if (performance.now() - told < TOLD_MS) continue;
      told = performance.now();
      tell();
    }
    if (counts.size > 0) tell();
    return store;
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  }
}

/** What was proved up to a round, as theorems with their proofs. */
export function foundProofs(proofs: readonly PipelineProof[], round: number): CheckableProof[] {
  const stages = new Set(["vacuity", ...Array.from({ length: round + 1 }, (_, i) => proveStage(i))]);
  // What later rounds found belongs to later models; `vacuity` of their statements as well.
  const own = proofs.filter(({ statement, stage }) => stages.has(stage) && statement.round <= round);
  return [...learnedProofs(own, SHOWN)].map((found) => ({
    preamble: found.statement.problem.preamble,
    statement: provedHead(found, "universal"),
    proof: found.text,
  }));
}

/** How a round went, against the truth of its problems: what was decided, and how good its filters were. */
export function roundScores(
  store: ProofStore,
  options: ProveOptions,
): Pick<ArmOutcome, "scores" | "items" | "figures"> {
  const { round, negation } = options;
  const rows = store.pipeline;
  const stage = proveStage(round);
  const own = rows.statements().filter((each) => placeOf(each.problem.source).round === round);
  const outcome = (statement: StatementRow, of: string) => rows.verdict(statement.id, of)?.outcome;
  const truthOf = ({ problem }: StatementRow) => {
    const { kind, seed, index } = placeOf(problem.source);
    return kind === "words" ? readTruth(problemRow(seed, index).hidden) : null;
  };
  const told = own.filter((each) => truthOf(each) !== null);
  const quality = (
    filter: string,
    seenBy: string,
    caught: (each: StatementRow) => boolean,
    wanted: (each: StatementRow) => boolean,
  ): [string, Count][] => {
    const seen = told.filter((each) => outcome(each, seenBy) !== undefined);
    const counts = filterCounts(seen, caught, wanted);
    return [
      [`${filter} precision`, { right: counts.hits, of: counts.caught }],
      [`${filter} recall`, { right: counts.hits, of: counts.wanted }],
    ];
  };
  const isTruth = (truth: string) => (each: StatementRow) => truthOf(each)?.truth === truth;
  const tried = own.filter((each) => outcome(each, stage) !== undefined);
  const decided = (each: StatementRow) => ["proved", "refuted"].includes(outcome(each, stage) ?? "");
  // A problem whose statement a filter dropped is not decided: ways to prove are compared problem by problem.
  const problems = rows.problems().filter(({ source }) => placeOf(source).round === round);
  const solved = new Set(own.filter(decided).map(({ problem }) => problem.id));
  const items = { decided: problems.map(({ id }) => (solved.has(id) ? 1 : 0)) };
  const scores: [string, Count][] = [
    ["decided", shareOf(items.decided)],
    ["decided of those tried", { right: tried.filter(decided).length, of: tried.length }],
    ...quality(
      "score",
      "grade",
      (each) => outcome(each, "grade") !== "kept",
      (each) => truthOf(each)!.truth !== "true" || truthOf(each)!.defect === "trivial",
    ),
    ...quality("vacuity", "vacuity", (each) => outcome(each, "vacuity") === "vacuous", isTruth("vacuous")),
    ...quality("refutation", stage, (each) => outcome(each, stage) === "refuted", isTruth("false")),
  ];
  const found = rows.proofs().filter((proof) => proof.stage === stage);
  const triedIds = new Set(tried.map(({ id }) => id));
  const costs = found.filter(({ statement }) => triedIds.has(statement.id)).map(({ cost }) => cost);
  const whole = samplesOf(options).perStatement * (negation === "off" ? 1 : 2);
  const spent = costs.reduce((a, b) => a + b, 0) + (tried.length - costs.length) * whole;
  return {
    scores: Object.fromEntries(scores.filter(([, { of }]) => of > 0)),
    items,
    figures: {
      "statements tried": tried.length,
      "samples spent on them": spent,
      "samples for each decided statement": spent / Math.max(1, costs.length),
      "proofs found in the round": found.length,
    },
  };
}
