/** What an engine is made with, what it says of itself, and how it refuses and ends. */
import type { CacheDtype } from "../nn/cache.ts";
import { DeepseekError } from "../tensor/errors.ts";

export interface EngineOptions {
  /** Most sequences in one pass, up to 1024, rows of guests among them; default 16. */
  readonly maxBatch?: number;
  /** Most requests that wait beside those that run, up to 100,000; default 256. */
  readonly maxQueue?: number;
  /** Prompt tokens of one pass, in addition to those of decoding sequences, up to 16,384; default 512. */
  readonly prefillChunk?: number;
  /** Most cached tokens, of running sequences and stored prefixes together; default 32768. */
  readonly cacheTokens?: number;
  /** Storage of the caches; default f32. */
  readonly cacheDtype?: CacheDtype;
  /** Tokens that exist, for requests that do not say; default: all rows of the head. */
  readonly vocabularySize?: number;
}

export interface EngineMetrics {
  readonly running: number;
  readonly waiting: number;
  /** Guests that have their room: images that are drawn together count as one. */
  readonly guests: number;
  readonly generatedTokens: number;
  /** Of requests that began to run. */
  readonly promptTokens: number;
  /** Of those, tokens whose states were found in a cache. */
  readonly cachedPromptTokens: number;
  readonly steps: number;
  /** Rows of all passes of the main model together; over `steps`, the mean size of a pass. */
  readonly batchRows: number;
  /** Held now, by running sequences and stored prefixes, and what guests reserved. */
  readonly cacheTokens: number;
  /** Without guests. */
  readonly cacheBytes: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** Sequences that were preempted: cache evicted, tokens recomputed. */
  readonly preemptions: number;
}

/** As many requests wait as may. */
export class QueueFullError extends DeepseekError {
  override name = "QueueFullError";
  readonly waiting: number;
  readonly maxQueue: number;

  constructor(waiting: number, maxQueue: number) {
    super("too many requests wait", {
      where: "Engine.submit",
      expected: `at most ${maxQueue} waiting`,
      found: waiting,
      hint: "Try again later, or raise maxQueue.",
    });
    this.waiting = waiting;
    this.maxQueue = maxQueue;
  }
}

/** The device or the model failed during a step: the engine is beyond use. */
export class EngineFailedError extends DeepseekError {
  override name = "EngineFailedError";

  constructor(cause: unknown) {
    const message = cause instanceof Error ? cause.message : String(cause);
    super(`the engine stopped: ${message}`, { where: "Engine", hint: "Load the model again.", cause });
  }
}
