/**
 * What every layer of one forward pass shares: positions, rotary tables, the sequences and their caches, and hooks.
 *
 * A pass over caches takes the tokens of one or more sequences one after another as the rows of a batch of one; all
 * layers see the rows together, only caches and attention tell the sequences apart.
 */
import type { RotaryTables } from "../tensor/ops/rotary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Cache } from "./cache.ts";

/** Which of the two equal forms of MLA runs: `auto` takes the one that costs less for each sequence. */
export type MlaForm = "auto" | "expanded" | "absorbed";

/**
 * Which kernel computes a router's logits. `each` rounds a token's the same way whatever else is in the pass; `batched`
 * is faster for many tokens and may decide a near tie otherwise. Two passes that must route alike take the same one.
 */
export type Routing = "each" | "batched";

/** Receives intermediate values by name; the tensor is a view that the receiver owns. */
export type Capture = (name: string, tensor: Tensor) => void;

/** New tokens of one sequence, and the cache of those before them, which they join. */
export interface Segment {
  readonly cache: Cache;
  readonly tokens: number;
}

/** A segment with its place in the pass. */
export interface PlacedSegment extends Segment {
  /** Its first row. */
  readonly row: number;
  /** Position of its first token: what the cache held before. */
  readonly start: number;
  /** Tokens in the cache after this pass. */
  readonly length: number;
}

export interface ForwardContext {
  readonly batch: number;
  /** Tokens of each row of the batch; with segments all tokens of the pass. */
  readonly tokens: number;
  /** Position of every token: `[batch * tokens]` i32. */
  readonly positions: Tensor;
  /** The sequences, in the order of their rows; null without caches. */
  readonly segments: readonly PlacedSegment[] | null;
  /** Lengths of documents that do not see each other, one after another through all rows; null: a row is one. */
  readonly documents: readonly number[] | null;
  readonly tables: RotaryTables;
  readonly mlaForm: MlaForm;
  readonly routing: Routing;
  /** Whether the pass trains: research models drop choices only then. */
  readonly training: boolean;
  /** What hash layers choose by, `[B, T, E]`; null in every other model. */
  readonly hashed: Tensor | null;
  readonly capture: Capture | null;
}

/** Hands a view of `tensor` to the hook, if there is one. */
export function captured(capture: Capture | null, name: string, tensor: Tensor): void {
  if (capture)
    capture(
      name,
      tensor.device.unscoped(() => tensor.view(tensor.shape)),
    );
}
