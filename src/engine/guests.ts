/**
 * Rows that others than sequences of text bring to a step: a drawing reads codes of images in place of tokens and has a head
 * of its own. What they share with sequences is the pass, which reads the weights once for all.
 */
import type { CacheDtype } from "../nn/cache.ts";
import type { Segment } from "../nn/context.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { EmbeddedRows } from "./sequence.ts";

/** What a guest reads in a pass. */
export interface GuestRows {
  /** Its new rows in order, each run with its cache. */
  readonly segments: readonly Segment[];
  /** An id for each row; any of the vocabulary where an embedding is read. */
  readonly ids: readonly number[];
  /** The position of each row; default: on from what its cache holds. */
  readonly positions?: readonly number[];
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
  /** Begins anew: what it read so far was computed with other weights. */
  restart(): void;
}

/** Room that a guest takes: rows of a pass, and tokens in caches, whether it holds them yet or not. */
export interface Room {
  readonly rows: number;
  readonly tokens: number;
}

/** Where passes over the weights run: for a guest alone, or in an engine beside sequences of text. */
export interface GuestPlace {
  /** How caches are stored here. */
  readonly cacheDtype: CacheDtype;
  /** Most parts, an image each for example, that may share a pass if each takes this room. @throws ConfigError if none fits */
  most(part: Room): number;
  /** Waits for room; disposing of the result gives it back. @throws the signal's reason */
  enter(room: Room): Promise<Disposable>;
  /** Moves a guest on by one pass. @throws the signal's reason */
  pass(guest: Guest): Promise<void>;
  /** Where passes of many rows run. */
  readonly long: LongPlace;
  /** Asked between pieces of other work on the device: a promise to wait for, or null. @throws the signal's reason */
  readonly turn: () => Promise<void> | null;
}

/** Where guests whose passes are too long for sequences of text to wait for share theirs. */
export interface LongPlace {
  /** Most parts, an image each for example, that one may bring if each takes this room. @throws ConfigError if none fits */
  most(part: Room): number;
  /** Waits for room; disposing of the result gives it back. @throws the signal's reason */
  enter(room: Room): Promise<LongSeat>;
}

/** Room in long passes. */
export interface LongSeat extends Disposable {
  /** Called before anything is computed for the passes: it holds as long as the weights do. */
  begin(): void;
  /** Says that a pass will be asked for at once: the next one waits for it until the result is disposed of. */
  coming(): Disposable;
  /** Moves a guest on by one pass. @throws WeightsChangedError, the signal's reason, what the passes' turn throws */
  pass(guest: Guest): Promise<void>;
}
