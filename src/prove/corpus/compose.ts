/**
 * Composes the test set `mini-coreF2F`: 24 statements a family, eight a level, at most eight of them proved by a fixed script,
 * at least half of templates that training never shows. Lean decides; the result is committed, so the choice is made once.
 */

import { ConfigError } from "../../tensor/errors.ts";
import type { LeanSession } from "../lean/session.ts";
import { canonicalForm } from "../text/canonical.ts";
import { automated, type BaselineResult, type Examined, examine } from "./automation-run.ts";
import { type BenchmarkRow, benchmarkRow } from "./benchmark.ts";
import { LEVELS } from "./family.ts";
import { type CheckedItem, drawItem } from "./sample.ts";
import { placeOf } from "./split.ts";

/** Families of the test set: those of which automation leaves two thirds. */
export const BENCHMARK_FAMILIES: readonly string[] = [
  ...[
    "exist",
    "refute",
    "bounded",
    "mod",
    "nosol",
    "ineq",
    "conj",
    "ladder",
    "decomp",
    "onto",
    "accum",
    "calc",
    "nested",
  ],
  ...["induct", "list"],
];

export interface ComposeOptions {
  readonly seed: number;
  readonly perLevel?: number;
  /** Statements of a family that automation may prove (default 8). */
  readonly easiest?: number;
  /** Candidates of a level before its place is left to others (default 30). */
  readonly candidates?: number;
  readonly signal?: AbortSignal;
  /** Told after each candidate. */
  readonly onCandidate?: (told: {
    family: string;
    level: number;
    result: BaselineResult | null;
    kept: boolean;
  }) => void;
}

/**
 * Rows of one family. @throws ConfigError if Lean refuses a statement or its reference proof: the generator is wrong then
 */
export async function composeFamily(
  lean: LeanSession,
  family: string,
  options: ComposeOptions,
): Promise<BenchmarkRow[]> {
  const { seed, perLevel = 8, easiest = 8, candidates = 30, signal } = options;
  const rows: BenchmarkRow[] = [];
  const seen = new Set<string>();
  const templates = new Map<string, number>();
  let easy = 0;
  for (const level of LEVELS) {
    const wanted = perLevel * level;
    for (let i = 0; i < candidates && rows.length < wanted; i++) {
      signal?.throwIfAborted();
      // Two of three have a new structure, where the level has such templates at all.
      const novelty = i % 3 === 2 ? "parameters" : "structure";
      const query = { seed, split: "test", family, level } as const;
      const found = drawItem({ ...query, novelty }, i) ?? drawItem(query, i);
      if (found === null) continue;
      const { preamble, statement } = found.item;
      const { template } = placeOf(preamble, statement);
      const form = `${preamble} | ${canonicalForm(statement)}`;
      if (seen.has(form) || (templates.get(template) ?? 0) >= 2) continue;
      seen.add(form);
      const examined = await examine(lean, found.item, found.reference, { signal });
      const { result } = examined;
      const solved = automated(result);
      const kept = !solved || easy < easiest;
      options.onCandidate?.({ family, level, result, kept });
      if (!kept) continue;
      if (solved) easy++;
      templates.set(template, (templates.get(template) ?? 0) + 1);
      rows.push(checkedRow(found, `${family}_${rows.length + 1}`, examined));
    }
  }
  return rows;
}

function checkedRow({ item }: CheckedItem, called: string, { result, fault, goal }: Examined): BenchmarkRow {
  if (fault !== null || goal === null) {
    const found = `${fault ?? "no goal"}\n${item.preamble}\n${item.statement}`;
    throw new ConfigError("Lean refuses the statement or its reference proof", { where: called, found });
  }
  const proved = (Object.keys(result) as (keyof BaselineResult)[]).filter((each) => result[each]);
  return benchmarkRow(item, called, goal, proved);
}
