/** Requests of the engine, and what it keeps of each on its way. */
import { speculativeStats } from "./generate.ts";
import type { EngineStats, Generation } from "./generation.ts";
import type { ComingPrefix, Reader } from "./prefix.ts";
import type { Prompt } from "./prompt.ts";
import type { StopReason } from "./request.ts";
import type { SequenceOptions } from "./sequence.ts";

export interface EngineRequest extends SequenceOptions {
  readonly prompt: Prompt;
  /**
   * Whether the prompt may start from what other requests left in caches or are reading now; default true. Never beyond
   * its first token that is scored or whose experts are reported.
   */
  readonly reusePrefix?: boolean;
}

/** A request with its sequence and its reader, and what was done for it so far. */
export interface Job extends Reader {
  readonly generation: Generation;
  readonly request: EngineRequest;
  readonly submitted: number;
  awaited: ComingPrefix | null;
  started: number | null;
  first: number | null;
  ended: number | null;
  cachedTokens: number;
  preemptions: number;
  weightChanges: number;
  /** What its caches held when it ended. */
  cacheBytes: number;
  stopReason: StopReason;
  readonly unsubscribe: () => void;
}

/**
 * Tokens that a sequence should read now or in the next steps, none while it waits for another. One that lost its cache
 * reads its last token in a step of its own, as it did or would have done: so it makes the same draws.
 */
export function due({ sequence, awaited }: Job): number {
  if (awaited !== null) return 0;
  const { unread, generatedTokens } = sequence;
  return generatedTokens > 0 && unread > 1 ? unread - 1 : unread;
}

/** Tokens that it may have from what others read, at most. */
export function reusable({ request, sequence }: Job): number {
  return (request.reusePrefix ?? true) ? sequence.reported : 0;
}

/** What a request has done so far. */
export function statsOf(job: Job): EngineStats {
  const { sequence, request, submitted, started, first, ended, cachedTokens, stopReason } = job;
  const now = ended ?? performance.now();
  const base = {
    promptTokens: sequence.promptTokens,
    cachedTokens,
    generatedTokens: sequence.generatedTokens,
    queueMs: (started ?? now) - submitted,
    prefillMs: started === null ? 0 : (first ?? now) - started,
    decodeMs: first === null ? 0 : now - first,
    preemptions: job.preemptions,
    weightChanges: job.weightChanges,
    cacheBytes: ended === null ? sequence.cacheBytes : job.cacheBytes,
    stopReason,
  };
  return request.speculative ? { ...base, speculative: speculativeStats(sequence.drafts) } : base;
}
