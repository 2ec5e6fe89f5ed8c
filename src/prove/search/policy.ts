/**
 * What the three searches have in common: each says from which text of a proof the model goes on next, and learns what came of
 * it. Pure state machines; `search.ts` drives them.
 */
import type { Segment } from "../text/segments.ts";

/** A text from which a model can go on: verified tactics, and the comment of the state behind them. */
export interface ProofPlace {
  readonly code: string;
  readonly comment: string;
}

/** A place that was handed out, and what names it in a log. */
export interface Lease extends ProofPlace {
  readonly node: number;
  readonly entry: number;
}

/** What a policy reads of a segment. */
export interface SearchSegment extends Pick<Segment, "code" | "state" | "comment"> {
  /** Whether text and comment up to here are too long for a prompt, so that no search goes on from here. */
  readonly tooLong?: boolean;
}

export interface Progress {
  readonly newNodes: number;
  readonly reward: number;
  /** Numbers of the new nodes. */
  readonly created: readonly number[];
}

export interface SearchPolicy {
  /** @param random a number from 0 to below 1 */
  select(random: number): Lease;
  /** The same place again, as a log tells it. @throws ConfigError for a place that there is not */
  lease(node: number, entry: number): Lease;
  /** @param segments of the whole proof, the lease's text included; `proved`: whether it proves the statement */
  complete(lease: Lease, segments: readonly SearchSegment[], proved: boolean): Progress;
  /** Takes a lease back as if it had never been handed out. */
  release(lease: Lease): void;
  /** The verified text that came furthest, and its state. */
  best(): { readonly code: string; readonly state: string };
  /** States on the way to a node. */
  path(node: number): readonly string[];
}
