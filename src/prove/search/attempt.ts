/**
 * One generation of a search with all that came of it: the event that logs keep. The logs of a search, replayed in their order,
 * give its trees again; what was lost is generated again from the same seed.
 */
import { hash128 } from "../../data/hash.ts";
import type { Verdict } from "../lean/session.ts";
import type { SearchSegment } from "./policy.ts";

/** What ended a generation: a stop string or the model itself, or the limit of tokens. */
export type GenerationEnd = "stop" | "length";

/** What became of one text. */
export interface Outcome {
  /** As the model wrote it. */
  readonly text: string;
  readonly tokens: number;
  readonly end: GenerationEnd;
  /** `empty`: there was nothing to check. */
  readonly verdict: Verdict | "empty";
  /** What stands behind the verdict, such as Lean's first error. */
  readonly detail: string;
  /** Axioms of the proof. */
  readonly axioms: readonly string[];
  /** The proof behind the statement, if it was proved. */
  readonly proof: string | null;
  /** Of the whole proof, from the statement on. */
  readonly segments: readonly SearchSegment[];
}

export interface Attempt extends Outcome {
  readonly tree: number;
  /** Number in its tree, in order of beginning; it decides the seed. */
  readonly seq: number;
  /** Where the generation went on. */
  readonly node: number;
  readonly entry: number;
  readonly newNodes: number;
  readonly reward: number;
}

/** Seed of a generation: it depends on nothing but its place in the search. A whole number of 53 bits. */
export function attemptSeed(seed: number, tree: number, seq: number): number {
  const [high, low] = hash128(`${seed}/${tree}/${seq}`);
  return (high >>> 11) * 0x100000000 + low;
}
