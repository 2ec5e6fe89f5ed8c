/**
 * Benchmarks as JSON lines: miniF2F and ProofNet of DeepSeek-Prover-V1.5 (`datasets/minif2f.jsonl`), its few-shot file, the proofs of
 * DeepSeek-Prover-V1, Goedel's copies, and ours with `preamble`. A benchmark is named by the hash of its content: copies with silent
 * repairs are common. Names of rows are no keys: ProofNet has 371 rows under 349 names.
 */

import type { ProofTask } from "../search/search.ts";
import { sha256 } from "../text/canonical.ts";
import { leanProblem } from "../text/problem.ts";
import { withoutEnd } from "../text/prompts.ts";
import { codeTokens } from "../text/tokens.ts";
import { type Fields, type ReadLimits, readRows } from "./fields.ts";

export interface BenchmarkProblem {
  /** Number of its row, from 0: with the hash of the file it names the problem. */
  readonly index: number;
  readonly name: string;
  /** `valid`, `test`, ..; undefined where the file has none. */
  readonly split?: string;
  /** Imports and options; undefined where the file has none. */
  readonly header?: string;
  /** Definitions that the statement builds on. */
  readonly preamble?: string;
  /** A doc comment of the problem in words. */
  readonly informalPrefix?: string;
  /** As in the file, with `by` behind `:=` or without. */
  readonly statement: string;
  /** The goal as Lean prints it. */
  readonly goal?: string;
  readonly proof?: string;
  /** Fields of other names, which writing gives back. */
  readonly other: Readonly<Record<string, unknown>>;
}

export interface Benchmark {
  /** SHA-256 of the text, in hexadecimal. */
  readonly hash: string;
  readonly problems: readonly BenchmarkProblem[];
}

/** Our names and those of the files. */
const NAMES = {
  name: "name",
  split: "split",
  header: "header",
  preamble: "preamble",
  informalPrefix: "informal_prefix",
  statement: "formal_statement",
  goal: "goal",
  proof: "formal_proof",
} as const;
const KNOWN: ReadonlySet<string> = new Set(Object.values(NAMES));
/** What is true of a statement is not for those who search its proof. */
const HIDDEN = "truth";

/**
 * Reads a benchmark. The field `truth` of our files is left out.
 * @param where names the file in errors
 * @throws FormatError with line and field
 */
export async function readBenchmark(text: string, where: string, limits?: ReadLimits): Promise<Benchmark> {
  return { hash: await sha256(text), problems: readRows(text, where, limits).map(problemOf) };
}

function problemOf(fields: Fields, index: number): BenchmarkProblem {
  const optional = Object.fromEntries(
    (["split", "header", "preamble", "informalPrefix", "goal", "proof"] as const).flatMap((key) => {
      const value = fields.optionalText(NAMES[key]);
      return value === undefined ? [] : [[key, value]];
    }),
  );
  const rest = fields.names.filter((name) => !KNOWN.has(name) && name !== HIDDEN);
  return {
    index,
    name: fields.optionalText(NAMES.name) ?? `row ${index}`,
    ...optional,
    statement: fields.text(NAMES.statement),
    other: Object.fromEntries(rest.map((name) => [name, fields.raw(name)])),
  };
}

/** The file of some problems, with the reference's names of fields, one row a line. */
export const writeBenchmark = (problems: readonly Omit<BenchmarkProblem, "index">[]): string =>
  problems
    .map((problem) => {
      const named = Object.entries(NAMES).map(([key, name]) => [name, problem[key as keyof typeof NAMES]]);
      return `${JSON.stringify({ ...Object.fromEntries(named), ...problem.other })}\n`;
    })
    .join("");

/** The statement as prompts end: behind `:= by` a line end, and no `sorry`. */
export function promptStatement(statement: string): string {
  const head = withoutEnd(statement);
  const tokens = codeTokens(head);
  const last = tokens.at(-1);
  if (last?.text === "sorry") {
    const before = tokens.at(-2);
    const kept = head.slice(0, before?.end ?? 0);
    return before?.text === "by" ? `${kept}\n` : `${kept} by\n`;
  }
  if (last?.text === "by") return `${head}\n`;
  // As in ProofNet's file: the model writes `by` itself.
  return last?.text === ":=" ? head : `${head} := by\n`;
}

/**
 * What a search is asked. `trusted`: preambles may hold macros and other code that runs while it is read.
 * @param standard header for a problem that has none
 */
export function benchmarkTask(
  { header, preamble = "", informalPrefix, statement }: BenchmarkProblem,
  { standard = "", trusted = false }: { readonly standard?: string; readonly trusted?: boolean } = {},
): ProofTask {
  const above = header ?? standard;
  const full =
    preamble === ""
      ? above
      : `${above}${above === "" || above.endsWith("\n") ? "" : "\n"}${preamble.trimEnd()}\n\n`;
  return {
    header: full,
    informalPrefix,
    statement: promptStatement(statement),
    problem: leanProblem(full, statement, { trustedPreamble: trusted }),
  };
}
