/** Scores of a benchmark: shares of its statements that are proved within k generations, with intervals. */

import { shareInterval } from "../../statistics/share-interval.ts";
import { passAtK } from "../../train/policy/pass-at-k.ts";

/** What came of one statement. */
export interface BenchmarkResult {
  /** Number of its row in the file, from 0. */
  readonly index: number;
  readonly name: string;
  /** Of files that have the field. */
  readonly family?: string;
  /** Whether a fixed script is known to prove it; of files that say so. */
  readonly automated?: boolean;
  readonly samples: number;
  /** Samples that prove it. */
  readonly right: number;
  /** Samples until the first proof, itself included; null if there is none. */
  readonly first: number | null;
  readonly tokens: number;
  /** Behind the statement; of the shortest. */
  readonly proof: string | null;
  readonly axioms: readonly string[];
}

export interface BenchmarkScore {
  readonly k: number;
  readonly share: number;
  /** Ends of the 95 % interval. */
  readonly low: number;
  readonly high: number;
}

/**
 * `pass@k`: the unbiased estimate, where every sample was drawn alike and all were drawn. `solved within k`: by the first proof of
 * one search, whose samples build on each other.
 */
export type Measure = "pass@k" | "solved within k";

/** Powers of two, and the budget itself. */
export function budgets(samples: number): number[] {
  const found: number[] = [];
  for (let k = 1; k < samples; k *= 2) found.push(k);
  return [...found, samples];
}

export function scores(
  results: readonly BenchmarkResult[],
  measure: Measure,
  samples: number,
): BenchmarkScore[] {
  if (results.length === 0) return [];
  return budgets(samples).map((k) => {
    const values = results.map(({ samples: drawn, right, first }) =>
      measure === "pass@k" ? passAtK(drawn, right, k) : Number(first !== null && first <= k),
    );
    const share = values.reduce((a, b) => a + b, 0) / values.length;
    const [low, high] = shareInterval(share, values.length);
    return { k, share, low, high };
  });
}

/** A family of the benchmark: its statements, those that are proved, and those that a fixed script proves. */
export interface FamilyScore {
  readonly family: string;
  readonly statements: number;
  readonly proved: number;
  /** Null where the file does not say. */
  readonly automated: number | null;
}

/** Empty for a file without families. */
export function familyScores(results: readonly BenchmarkResult[]): FamilyScore[] {
  const names = [...new Set(results.flatMap(({ family }) => family ?? []))].sort();
  return names.map((family) => {
    const own = results.filter((result) => result.family === family);
    const said = own.filter(({ automated }) => automated !== undefined);
    return {
      ...{ family, statements: own.length, proved: own.filter(({ right }) => right > 0).length },
      automated: said.length === 0 ? null : said.filter(({ automated }) => automated).length,
    };
  });
}
