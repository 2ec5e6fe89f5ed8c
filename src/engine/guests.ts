/**
 * Rows that others than sequences of text bring to a step: a drawing reads codes of images in place of tokens and has a head
 * of its own. What they share with sequences is the pass, which reads the weights once for all.
 */
import type { Segment } from "../nn/context.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { EmbeddedRows } from "./sequence.ts";

/** What a guest reads in a pass. */
export interface GuestRows {
  /** Its new rows in order, each run with its cache. */
  readonly segments: readonly Segment[];
  /** An id for each row; any of the vocabulary where an embedding is read. */
  readonly ids: readonly number[];
  /** Rows of it, counted from its first, whose states it needs. */
  readonly wanted: readonly number[];
  /** Embeddings read in place of ids, made in the open scope; rows count from its first. */
  embedded(): readonly EmbeddedRows[];
}

export interface Guest {
  /** What it reads next; null: nothing now. A pass that is given up has changed nothing. */
  rows(): GuestRows | null;
  /** States of the wanted rows after the final norm, `[n, d]`, in the open scope. Caches hold the new rows now. */
  take(states: Tensor): void;
  /** After the pass, outside of all scopes: reads what `take` made. What concerns it alone, it keeps and does not throw. */
  decide(): Promise<void>;
}
