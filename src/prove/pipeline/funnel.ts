/**
 * The funnel of a run: how many statements ended where, and, where the truth of problems is known, how good the filters were.
 * The only reader of the truth: stages get rows that do not hold it.
 */
import type { StatementRow } from "../store/pipeline-rows.ts";
import type { ProofStore } from "../store/store.ts";

/** What is known of a problem: its statement holds, fails, or has hypotheses that contradict each other. */
export type Truth = "true" | "false" | "vacuous";

export interface FunnelLine {
  readonly stage: string;
  readonly outcome: string;
  readonly count: number;
  /** Of the statements that the stage saw. */
  readonly share: number;
}

/** How many a filter caught of those that came to it, how many it should have caught, and how many are both. */
export interface FilterCounts {
  readonly caught: number;
  readonly wanted: number;
  readonly hits: number;
}

/** @param seen what came to the filter, and whose truth is known */
export function filterCounts<T>(
  seen: readonly T[],
  caught: (one: T) => boolean,
  wanted: (one: T) => boolean,
): FilterCounts {
  const count = (fits: (one: T) => boolean) => seen.filter(fits).length;
  return { caught: count(caught), wanted: count(wanted), hits: count((one) => caught(one) && wanted(one)) };
}

/** How a filter did against the truth. Null: nothing to divide by. */
export interface FilterQuality {
  readonly filter: "vacuity" | "refutation";
  readonly precision: number | null;
  readonly recall: number | null;
  /** Statements that it caught, and that it should have caught. */
  readonly caught: number;
  readonly wanted: number;
}

export interface Funnel {
  readonly lines: readonly FunnelLine[];
  /** Empty where no truth is known. */
  readonly filters: readonly FilterQuality[];
  readonly proofs: number;
}

/** Stages in the order in which statements pass them. */
const ORDER = ["formalize", "elaborate", "deduplicate", "grade", "vacuity"];

export function funnelOf(store: ProofStore): Funnel {
  const rows = store.pipeline;
  const statements = rows.statements();
  const counts = new Map<string, Map<string, number>>();
  const ends = new Map<
    number,
    { readonly statement: StatementRow; readonly outcomes: ReadonlySet<string> }
  >();
  for (const statement of statements) {
    const verdicts = rows.verdicts(statement.id);
    ends.set(statement.id, { statement, outcomes: new Set(verdicts.map(({ outcome }) => outcome)) });
    for (const { stage, outcome } of verdicts) {
      const of = counts.get(stage) ?? new Map<string, number>();
      counts.set(stage, of.set(outcome, (of.get(outcome) ?? 0) + 1));
    }
  }
  const place = (stage: string) => (ORDER.includes(stage) ? ORDER.indexOf(stage) : ORDER.length);
  const lines = [...counts]
    .sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b, "en", { numeric: true }))
    .flatMap(([stage, of]) => {
      const all = [...of.values()].reduce((a, b) => a + b, 0);
      return [...of]
        .sort(([, a], [, b]) => b - a)
        .map(([outcome, count]): FunnelLine => ({ stage, outcome, count, share: count / all }));
    });
  return { lines, filters: qualities(store, [...ends.values()]), proofs: rows.proofs().length };
}

function qualities(
  store: ProofStore,
  ends: readonly { readonly statement: StatementRow; readonly outcomes: ReadonlySet<string> }[],
): FilterQuality[] {
  const truths = store.pipeline.truths();
  if (truths.size === 0) return [];
  const quality = (
    filter: FilterQuality["filter"],
    caughtBy: string,
    wanted: Truth,
    seenBy: readonly string[],
  ) => {
    // Of statements that came to the filter and whose problem's truth is known.
    const seen = ends.filter(
      ({ statement, outcomes }) =>
        truths.has(statement.problem.id) && seenBy.some((outcome) => outcomes.has(outcome)),
    );
    const { hits, ...counts } = filterCounts(
      seen,
      ({ outcomes }) => outcomes.has(caughtBy),
      ({ statement }) => truths.get(statement.problem.id) === wanted,
    );
    return {
      ...{ filter, ...counts },
      precision: counts.caught === 0 ? null : hits / counts.caught,
      recall: counts.wanted === 0 ? null : hits / counts.wanted,
    };
  };
  return [
    quality("vacuity", "vacuous", "vacuous", ["vacuous", "consistent"]),
    quality("refutation", "refuted", "false", ["proved", "refuted", "open"]),
  ];
}

const percent = (share: number | null) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

/** The funnel as lines of text. */
export function funnelText({ lines, filters, proofs }: Funnel): string {
  const width = Math.max(0, ...lines.map(({ stage }) => stage.length));
  const outcomes = Math.max(0, ...lines.map(({ outcome }) => outcome.length));
  let last = "";
  const text = lines.map(({ stage, outcome, count, share }) => {
    const shown = stage === last ? "" : stage;
    last = stage;
    return `${shown.padEnd(width)}  ${outcome.padEnd(outcomes)}  ${String(count).padStart(7)}  ${percent(share).padStart(7)}`;
  });
  const quality = filters.map(
    ({ filter, precision, recall, caught, wanted }) =>
      `${filter}: ${caught} caught of ${wanted}, precision ${percent(precision)}, recall ${percent(recall)}`,
  );
  return [...text, ...quality, `${proofs} proofs kept`].join("\n");
}
