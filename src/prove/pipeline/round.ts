/**
 * One round of DeepSeek-Prover V1: problems in words become statements, filters drop what is not worth proving, statements and their
 * negations are proved. Everything is kept in the store as it is found out; a round that was stopped goes on where it was,
 * and one that is over gives its end again. Statements that earlier rounds left open are tried again with the new model.
 */
import type { CheckOptions, LeanSession } from "../lean/session.ts";
import type { TextGenerator } from "../search/generator.ts";
import type { ProblemRow, StatementRow } from "../store/pipeline-rows.ts";
import type { ProofStore } from "../store/store.ts";
import { formalizePrompt, gradingPrompt } from "../text/formalize.ts";
import { type PromptOptions, STOP } from "../text/prompts.ts";
import { falseGoal, type NegationForm, negate } from "../text/statements.ts";
import {
  concurrently,
  type Sampling,
  type SidesEnd,
  type SidesOptions,
  type SidesTask,
  sampleSides,
  seedOf,
  writtenAll,
} from "./sides.ts";
import { elaborate, formalized, graded, type Outcome, type StageVerdict } from "./stages.ts";

export interface RoundOptions {
  /** From 0. */
  readonly round: number;
  readonly seed: number;
  /** Translations of each problem that has no statement left from earlier rounds (default 1). */
  readonly translations?: number;
  /** Proofs sampled of each side of a statement. */
  readonly perStatement: number;
  /** Proofs of the contradiction of its hypotheses that are sampled of a statement (default: half of `perStatement`). */
  readonly perVacuity?: number;
  /** `off`: only the statement itself. */
  readonly negation: NegationForm | "off";
  /** Whether statements are graded (default true). */
  readonly grading?: boolean;
  readonly sampling: Sampling;
  readonly prompt: PromptOptions;
  readonly check?: CheckOptions;
  /** Prompts of one generation (default 64). */
  readonly batch?: number;
  readonly signal?: AbortSignal;
}

export interface RoundParts {
  /** One model does all three language jobs. */
  readonly generator: TextGenerator;
  readonly lean: LeanSession;
  readonly store: ProofStore;
}

/** What a stage found out of a statement, when it found it out. */
export interface RoundEvent extends StageVerdict {
  readonly stage: string;
  readonly statement: StatementRow;
  /** Samples that were spent; of `vacuity` and `prove`. */
  readonly spent?: number;
}

/** Names the verdict on a statement that is tried again in every round until it is decided. */
export const proveStage = (round: number): string => `prove ${round}`;

const DECIDED: ReadonlySet<Outcome> = new Set<Outcome>(["proved", "refuted"]);
/** After these a statement goes on. */
const GOES_ON: ReadonlySet<string> = new Set([
  "formalized",
  "elaborates",
  "new",
  "kept",
  "consistent",
  "open",
]);

/** @throws the signal's reason, ConfigError if the store holds an unfinished search of other settings */
export async function* runRound(parts: RoundParts, options: RoundOptions): AsyncGenerator<RoundEvent> {
  const { store, lean } = parts;
  const rows = store.pipeline;
  const { round, signal, batch = 64, negation, perStatement } = options;
  const keep = function* (stage: string, statement: StatementRow, verdict: StageVerdict, spent?: number) {
    if (rows.addVerdict(statement.id, { stage, ...verdict })) {
      yield { stage, statement, ...verdict, ...(spent !== undefined && { spent }) } satisfies RoundEvent;
    }
  };

  const tried: StatementRow[] = [];
  for (const problems of pieces(openProblems(parts, options), batch)) {
    for (const statement of await translate(parts, problems, options)) {
      const outcome = statement.lean === null ? "unparsable" : "formalized";
      const detail =
        statement.generated === "" ? "the model wrote nothing, or had no room for the problem" : "";
      yield* keep("formalize", statement, { outcome, detail });
    }
  }
  const check = { ...options.check, signal };
  const passed = (stage: string, outcome: Outcome) => (statement: StatementRow) =>
    rows.verdict(statement.id, stage)?.outcome === outcome;
  const waiting = (stage: string) => (statement: StatementRow) => rows.verdict(statement.id, stage) === null;
  const all = () => rows.statements();

  for (const some of pieces(
    all().filter(passed("formalize", "formalized")).filter(waiting("elaborate")),
    batch,
  )) {
    const verdicts = await concurrently(lean.slots, some, ({ problem, lean: text }) =>
      elaborate(lean, problem.preamble, text!, check),
    );
    for (const [i, statement] of some.entries()) {
      // The machine's fault is not kept: the next run asks again.
      if (verdicts[i].outcome !== "unchecked") yield* keep("elaborate", statement, verdicts[i]);
    }
  }
  for (const statement of all().filter(passed("elaborate", "elaborates")).filter(waiting("deduplicate"))) {
    const first = rows.earlier(statement.canonicalSha256!, statement.id, "elaborate", "elaborates");
    const verdict: StageVerdict =
      first === null
        ? { outcome: "new", detail: "" }
        : { outcome: "duplicate", detail: `of statement ${first}` };
    yield* keep("deduplicate", statement, verdict);
  }
  let before: readonly [string, Outcome] = ["deduplicate", "new"];
  if (options.grading ?? true) {
    for (const some of pieces(
      all()
        .filter(passed(...before))
        .filter(waiting("grade")),
      batch,
    )) {
      const verdicts = await grade(parts, some, options);
      for (const [i, statement] of some.entries()) yield* keep("grade", statement, verdicts[i]);
    }
    before = ["grade", "kept"];
  }
  const sides = {
    seed: options.seed,
    sampling: options.sampling,
    prompt: options.prompt,
    check,
    batch,
    signal,
  };
  const perVacuity = options.perVacuity ?? Math.ceil(perStatement / 2);
  if (perVacuity > 0) {
    const suspects = all()
      .filter(passed(...before))
      .filter(waiting("vacuity"));
    const tasks = suspects.map(
      (statement): SidesTask => ({
        statement,
        sides: [{ side: "vacuous", head: falseGoal(statement.lean!) }],
      }),
    );
    for await (const end of sampleSides(parts, tasks, { ...sides, stage: "vacuity", samples: perVacuity })) {
      const verdict: StageVerdict = { outcome: end.proved === null ? "consistent" : "vacuous", detail: "" };
      yield* keep("vacuity", end.statement, verdict, end.spent);
    }
    before = ["vacuity", "consistent"];
  }
  const stage = proveStage(round);
  tried.push(
    ...all()
      .filter(passed(...before))
      .filter(waiting(stage))
      .filter(({ id }) => !rows.verdicts(id).some(({ outcome }) => DECIDED.has(outcome as Outcome))),
  );
  const search: SidesOptions = { ...sides, stage, samples: perStatement };
  for await (const end of sampleSides(
    parts,
    tried.map((statement) => dualTask(statement, negation)),
    search,
  )) {
    yield* keep(stage, end.statement, { outcome: outcomeOf(end), detail: "" }, end.spent);
  }
}

const outcomeOf = ({ proved }: SidesEnd): Outcome =>
  proved === null ? "open" : proved === "statement" ? "proved" : "refuted";

function dualTask(statement: StatementRow, negation: NegationForm | "off"): SidesTask {
  const head = statement.lean!;
  const own = { side: "statement", head } as const;
  if (negation === "off") return { statement, sides: [own] };
  return { statement, sides: [own, { side: "negation", head: negate(head, negation) }] };
}

/** Problems of which no statement goes on: all in the first round, later those whose translations all came to nothing. */
function openProblems({ store }: RoundParts, { round, translations = 1 }: RoundOptions): ProblemRow[] {
  const alive = new Set<number>();
  for (const { id, problem, round: made } of store.pipeline.statements()) {
    const last = store.pipeline.verdicts(id).at(-1);
    const decided = last !== undefined && DECIDED.has(last.outcome as Outcome);
    if (made < round && (last === undefined || decided || GOES_ON.has(last.outcome))) alive.add(problem.id);
  }
  const done = ({ id }: ProblemRow) => store.pipeline.statementAt(id, round, translations - 1) !== null;
  return store.pipeline.problems().filter((problem) => !alive.has(problem.id) && !done(problem));
}

async function translate(
  { generator, store }: RoundParts,
  problems: readonly ProblemRow[],
  { round, seed, translations = 1, sampling, signal }: RoundOptions,
): Promise<readonly StatementRow[]> {
  const asked = problems.flatMap((problem) =>
    Array.from({ length: translations }, (_, sample) => ({ problem, sample })),
  );
  const written = await writtenAll(
    generator,
    asked.map(({ problem }) => formalizePrompt(problem.informal)),
    {
      ...sampling,
      ...{ stop: [STOP], signal },
      seeds: asked.map(({ problem, sample }) => seedOf(seed, "formalize", round, problem.id, sample)),
    },
  );
  const found = await Promise.all(
    asked.map(({ problem }, i) => formalized(written[i].text, problem.preamble)),
  );
  return store.transaction(() =>
    asked.map(({ problem, sample }, i) =>
      store.pipeline.addStatement(problem.id, {
        ...{ round, sample, generated: written[i].text },
        ...{ lean: found[i]?.lean ?? null, canonicalSha256: found[i]?.canonicalSha256 ?? null },
      }),
    ),
  );
}

async function grade(
  { generator }: RoundParts,
  statements: readonly StatementRow[],
  { seed, sampling, prompt, signal }: RoundOptions,
): Promise<readonly StageVerdict[]> {
  const written = await writtenAll(
    generator,
    statements.map(({ lean }) => gradingPrompt(lean!, { style: prompt.style })),
    {
      ...sampling,
      // A judgment is not drawn at random.
      ...{ temperature: 0, stop: ["\n\n"], signal },
      seeds: statements.map(({ id }) => seedOf(seed, "grade", id)),
    },
  );
  return written.map(({ text }) => graded(text));
}

function* pieces<T>(items: readonly T[], size: number): IterableIterator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
