/**
 * Searches at equal budgets (DeepSeek-Prover-V1.5, section 3.3 and tables 3 and 4): whole proofs, greedy resuming, RMaxTS and its
 * ablations, on statements that no fixed script proves. A search asks for one generation after the other, many searches run
 * together: so its first generations are the same whatever its budget. Each generation is kept: what is stopped goes on behind it.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { benchmarkTask } from "../../src/prove/formats/benchmark.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { searchIdentity } from "../../src/prove/search/search-identity.ts";
import type { SearchOptions } from "../../src/prove/search/search-options.ts";
import { ProofStore } from "../../src/prove/store/store.ts";
import { storedSearch } from "../../src/prove/store/stored-search.ts";
import type { ArmOutcome } from "../shared/program.ts";
import type { StageContext } from "../shared/stage.ts";
import { benchmarkRows, chosen, shareOf } from "./exam.ts";
import { keptLines } from "./kept-lines.ts";
import { MAX_TOKENS, stoppable, TOGETHER } from "./parts.ts";

/** What the arms differ in. */
export const SEARCHES = {
  sample: { search: "sample" },
  resume: { search: "resume" },
  rmaxts: { search: "rmaxts" },
  "no-reward": { search: "rmaxts", reward: "none" },
  ucb1: { search: "rmaxts", bandit: "ucb1" },
  "no-state": { search: "rmaxts", tacticState: false },
} as const satisfies Record<string, SearchOptions>;
export type SearchName = keyof typeof SEARCHES;

/** Tokens of verified text and state behind which a search may go on: as many again remain for the answer. */
const NODE_TOKENS = 512;

export interface SearchLine {
  /** Generations up to the first proof; null without one. */
  readonly solvedAt: number | null;
  readonly generations: number;
  readonly tokens: number;
}

export interface SearchExam {
  /** Generations of each statement. */
  readonly budget: number;
  readonly seed: number;
  /** Statements of each family. */
  readonly perFamily: number;
}

/** @throws StageStopped */
export async function searchExam(
  tools: { readonly generator: TextGenerator; readonly lean: LeanSession },
  place: StageContext,
  name: SearchName,
  { budget, seed, perFamily }: SearchExam,
): Promise<SearchLine[]> {
  using stop = stoppable(place, name);
  const settings: SearchOptions = {
    ...{ style: "short", seed, samples: budget, maxTokens: MAX_TOKENS, nodeTokens: NODE_TOKENS },
    // Whole proofs are not cut either, so that arms differ in their way to search alone.
    ...{ parallel: 1, stop: "first", cutProofs: false, signal: stop.signal },
    ...SEARCHES[name],
  };
  await mkdir(place.folder, { recursive: true });
  using store = await ProofStore.open(join(place.folder, `${name}.sqlite`));
  const hard = benchmarkRows().filter(({ automation }) => automation.length === 0);
  return await keptLines(place, {
    ...{ name, identity: [searchIdentity(tools, settings), seed, perFamily] },
    ...{ items: chosen(hard, perFamily), atOnce: TOGETHER },
    solved: ({ solvedAt }: SearchLine) => solvedAt !== null,
    async work({ name, preamble, formal_statement: statement }, index) {
      const task = benchmarkTask({ index, name, statement, preamble, other: {} }, { trusted: true });
      for await (const event of storedSearch(store, task, tools, settings)) {
        if (event.type !== "proved" && event.type !== "exhausted") continue;
        const { samples: generations, tokens } = event.cost;
        return { solvedAt: event.type === "proved" ? generations : null, generations, tokens };
      }
      throw new Error(`${name}: the search has no end`);
    },
  });
}

/** Shares of statements that were solved within budgets up to that of the search, each four times the one before. */
export function searchScores(
  lines: readonly SearchLine[],
  budget: number,
): Pick<ArmOutcome, "scores" | "items" | "figures"> {
  const items: Record<string, number[]> = {};
  for (let most = budget; most >= 1; most = Math.floor(most / 4)) {
    items[`solved@${most}`] = lines.map(({ solvedAt }) => (solvedAt !== null && solvedAt <= most ? 1 : 0));
  }
  const sum = (of: "generations" | "tokens") => lines.reduce((total, line) => total + line[of], 0);
  return {
    scores: Object.fromEntries(Object.entries(items).map(([measure, each]) => [measure, shareOf(each)])),
    items,
    figures: { generations: sum("generations"), "tokens written": sum("tokens") },
  };
}
