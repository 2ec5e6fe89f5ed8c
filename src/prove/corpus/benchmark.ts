/** Benchmark rows in miniF2F's fields with those of the corpus beside them, and the contents' hash that names a benchmark. */

import type { Level } from "./family.ts";
import { CORPUS_HEADER, type CorpusItem } from "./sample.ts";
import type { CorpusSplit, Novelty } from "./split.ts";

export interface BenchmarkRow {
  readonly name: string;
  readonly split: CorpusSplit;
  /** A doc comment of the informal problem. */
  readonly informal_prefix: string;
  readonly formal_statement: string;
  /** The goal as Lean prints it. */
  readonly goal: string;
  readonly header: string;
  readonly family: string;
  readonly level: Level;
  readonly preamble: string;
  readonly novelty: Novelty;
  /** Baselines that prove it. */
  readonly automation: readonly string[];
}

/** The row of an item. Definitions it builds on stand in `preamble`, not in `header`. */
export function benchmarkRow(
  item: CorpusItem,
  called: string,
  goal: string,
  automation: readonly string[],
): BenchmarkRow {
  return {
    name: called,
    split: item.split,
    informal_prefix: `/-- ${item.informal.replaceAll("-/", "- /")} -/\n`,
    formal_statement: item.statement.replace(/^theorem t /, `theorem ${called} `),
    goal,
    header: CORPUS_HEADER,
    family: item.family,
    level: item.level,
    preamble: item.preamble,
    novelty: item.novelty,
    automation,
  };
}

/** The file of a benchmark, one row a line. */
export const benchmarkText = (rows: readonly BenchmarkRow[]): string =>
  rows.map((row) => `${JSON.stringify(row)}\n`).join("");
