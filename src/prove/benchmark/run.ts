/**
 * Proves the statements of a benchmark and scores it. Before anything is searched, Lean looks at every statement: those that it does
 * not accept, and those whose hypotheses contradict each other, say nothing of a prover, so they are named and left out. With a
 * store, a run that was stopped goes on.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { type Benchmark, type BenchmarkProblem, benchmarkTask } from "../formats/benchmark.ts";
import type { Prover, ProveSettings } from "../prover/prover.ts";
import type { Attempt } from "../search/attempt.ts";
import type { ProofTask, SearchEvent } from "../search/search.ts";
import { findContradictions } from "../search/vacuity.ts";
import { storedAttempts } from "../store/stored-search.ts";
import { type PromptStyle, STYLES } from "../text/prompts.ts";
import {
  type BenchmarkResult,
  type BenchmarkScore,
  type FamilyScore,
  familyScores,
  type Measure,
  scores,
} from "./score.ts";

export interface BenchmarkOptions extends ProveSettings {
  /** Only rows of this split. */
  readonly split?: string;
  /** Only rows of these names. */
  readonly names?: readonly string[];
  /** Whether headers and preambles may hold macros and other code that runs while it is read. */
  readonly trusted?: boolean;
  /** Begins searches anew, whatever the store keeps of them. */
  readonly fresh?: boolean;
}

/** A row that is left out, and why. */
export interface UnusableRow {
  readonly index: number;
  readonly name: string;
  readonly finding: "vacuous" | "broken";
  /** Lean's words, or the script that proves `False` from the hypotheses. */
  readonly detail: string;
}

export interface BenchmarkReport {
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly split: string | null;
  /** Rows of the file, and of those that were asked for. */
  readonly rows: number;
  readonly chosen: number;
  readonly unusable: readonly UnusableRow[];
  /** What decides the result: model, Lean, prompts, search, sampling. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  readonly measure: Measure;
  /** Over the rows that were used. */
  readonly scores: readonly BenchmarkScore[];
  readonly families: readonly FamilyScore[];
  readonly statements: number;
  readonly proved: number;
  readonly samples: number;
  readonly tokens: number;
}

export type BenchmarkEvent =
  | { readonly type: "looked"; readonly count: number; readonly of: number }
  | ({ readonly type: "unusable" } & UnusableRow)
  | {
      readonly type: "statement";
      readonly problem: BenchmarkProblem;
      readonly number: number;
      readonly of: number;
    }
  | { readonly type: "search"; readonly problem: BenchmarkProblem; readonly event: SearchEvent }
  | ({ readonly type: "ended" } & BenchmarkResult)
  | ({ readonly type: "report" } & BenchmarkReport);

/** Statements that workers may have before their turn. */
const AHEAD = 64;

/**
 * @throws ConfigError for a split or a name that the file does not have, a search of the store with other settings
 * @throws the signal's reason
 */
export async function* runBenchmark(
  prover: Prover,
  benchmark: Benchmark,
  { split, names, trusted, fresh, ...settings }: BenchmarkOptions = {},
): AsyncGenerator<BenchmarkEvent> {
  const chosen = rowsOf(benchmark, split, names);
  const tasks = chosen.map((problem) => benchmarkRow(problem, prover.settings.style, trusted));
  const { signal } = settings;
  const unusable = new Map<number, UnusableRow>();
  const limits = { timeout: settings.timeout, heartbeats: settings.heartbeats, signal };
  const problems = tasks.map(({ problem }) => problem);
  for await (const { index: at, ...found } of findContradictions(prover.lean, problems, limits)) {
    if (found.finding !== "none") {
      const { index, name } = chosen[at];
      const detail = found.finding === "broken" ? found.detail : found.script;
      const row = { index, name, finding: found.finding, detail };
      unusable.set(at, row);
      yield { type: "unusable", ...row };
    }
    yield { type: "looked", count: at + 1, of: chosen.length };
  }
  const options = prover.searchOptions({ ...settings });
  const sampled = options.search === "sample" && (settings.stop ?? "never") === "never";
  const search = { ...settings, ...(sampled && { stop: "never" as const }) };
  const used = [...chosen.keys()].filter((at) => !unusable.has(at));
  const results: BenchmarkResult[] = [];
  let announced = 0;
  for (const [number, at] of used.entries()) {
    signal?.throwIfAborted();
    for (; announced < Math.min(used.length, number + AHEAD); announced++) {
      await prover.announce(tasks[used[announced]], search);
    }
    const problem = chosen[at];
    yield { type: "statement", problem, number: number + 1, of: used.length };
    const count = new Count();
    for await (const event of prover.proveTask(tasks[at], { ...search, fresh })) {
      if (event.type === "sample" && prover.store === null) count.add(event);
      yield { type: "search", problem, event };
    }
    if (prover.store !== null) {
      // Earlier runs and other processes have their part in it.
      const kept = storedAttempts(prover.store, tasks[at], prover, prover.searchOptions(search));
      for (const attempt of kept) count.add(attempt);
    }
    const result = count.result(problem);
    results.push(result);
    yield { type: "ended", ...result };
  }
  const { samples = 64, trees = 1 } = settings;
  const measure: Measure = sampled ? "pass@k" : "solved within k";
  const sum = (of: (result: BenchmarkResult) => number) => results.reduce((all, each) => all + of(each), 0);
  yield {
    type: "report",
    ...{ hash: benchmark.hash, split: split ?? null, rows: benchmark.problems.length },
    ...{ chosen: chosen.length, unusable: [...unusable.values()] },
    settings: describe(prover, { ...options, samples, trees }),
    measure,
    scores: scores(results, measure, samples * trees),
    ...{ families: familyScores(results), statements: results.length },
    ...{ proved: sum(({ right }) => Number(right > 0)), samples: sum((each) => each.samples) },
    tokens: sum((each) => each.tokens),
  };
}

function rowsOf(
  { problems }: Benchmark,
  split: string | undefined,
  names: readonly string[] | undefined,
): readonly BenchmarkProblem[] {
  const refuse = (name: string, all: readonly (string | undefined)[], found: string): never => {
    const some = [...new Set(all)].slice(0, 8).map((each) => each ?? "none");
    throw new ConfigError(`the benchmark has no such ${name}`, {
      ...{ where: "benchmark", name, expected: some.join(", "), found },
    });
  };
  const known = new Set(problems.map(({ name }) => name));
  for (const name of names ?? []) if (!known.has(name)) refuse("name", [...known], name);
  const rows = problems.filter(
    (row) => (split === undefined || row.split === split) && (names?.includes(row.name) ?? true),
  );
  if (rows.length === 0) refuse("split", [...problems.map((row) => row.split)], split ?? "no rows at all");
  return rows;
}

/** What is asked of a row. Released provers see the whole header; small ones were trained on definitions alone. */
export function benchmarkRow(problem: BenchmarkProblem, style: PromptStyle, trusted = false): ProofTask {
  const task = benchmarkTask(problem, { standard: STYLES[style].header, trusted });
  if (style === "official") return task;
  const { preamble = "" } = problem;
  return {
    ...task,
    header: preamble === "" ? "" : `${preamble.trimEnd()}\n\n`,
    informalPrefix: undefined,
  };
}

/** Counts the samples of a statement. */
class Count {
  #samples = 0;
  #right = 0;
  #tokens = 0;
  #first: number | null = null;
  #best: Pick<Attempt, "proof" | "axioms"> | null = null;

  add({ tokens, proof, axioms }: Pick<Attempt, "tokens" | "proof" | "axioms">): void {
    this.#samples++;
    this.#tokens += tokens;
    if (proof === null) return;
    this.#right++;
    this.#first ??= this.#samples;
    if (proof.length < (this.#best?.proof?.length ?? Number.POSITIVE_INFINITY))
      this.#best = { proof, axioms };
  }

  result({ index, name, other }: BenchmarkProblem): BenchmarkResult {
    const { family, automation } = other;
    return {
      ...{ index, name },
      ...(typeof family === "string" && { family }),
      ...(Array.isArray(automation) && { automated: automation.length > 0 }),
      ...{ samples: this.#samples, right: this.#right, first: this.#first, tokens: this.#tokens },
      ...{ proof: this.#best?.proof ?? null, axioms: this.#best?.axioms ?? [] },
    };
  }
}

function describe(
  { generator, lean }: Prover,
  options: ReturnType<Prover["searchOptions"]>,
): Record<string, string | number | boolean> {
  const { search, samples, trees, mode, style, temperature, topP, maxTokens, seed } = options;
  const named = { search, samples, trees, mode, style, temperature, topP, maxTokens, seed };
  const defaults = { mode: "non-cot", temperature: 1, topP: 0.95, seed: 0 };
  const given = Object.entries(named).filter(([, value]) => value !== undefined);
  return { model: generator.model, lean: lean.version, ...defaults, ...Object.fromEntries(given) };
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** The report as lines of text. */
export function reportText(report: BenchmarkReport): string {
  const { hash, split, rows, chosen, unusable, settings, measure, families } = report;
  const count = (finding: UnusableRow["finding"]) => unusable.filter((row) => row.finding === finding).length;
  const named = Object.entries(settings).map(([key, value]) => `${key} ${value}`);
  const width = Math.max(6, ...families.map(({ family }) => family.length));
  return [
    `benchmark sha256 ${hash}`,
    `${rows} rows${split === null ? "" : `, split ${split}`}: ${chosen} chosen, ${count("broken")} that Lean does not accept, ` +
      `${count("vacuous")} whose hypotheses contradict each other, ${report.statements} used`,
    named.join(", "),
    ...families.map(
      ({ family, statements, proved, automated }) =>
        `${family.padEnd(width)}  ${String(proved).padStart(5)} of ${statements}` +
        (automated === null ? "" : `, fixed scripts ${automated}`),
    ),
    `${report.proved} of ${report.statements} proved, ${report.samples} samples, ${report.tokens} tokens`,
    ...report.scores.map(
      ({ k, share, low, high }) =>
        `${measure.replace(/k$/, String(k))}: ${percent(share)} (95 %: ${percent(low)} to ${percent(high)})`,
    ),
  ].join("\n");
}
