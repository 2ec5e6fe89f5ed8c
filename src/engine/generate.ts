/**
 * Token-level generation of one sequence: prefill in chunks, then one token at a time (or two, see `speculative.ts`)
 * over the cache. Works on any device; between tokens other work on the device and timers have their turn. Several
 * sequences at once are the engine's (`engine.ts`). Left out: beam search.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { Cache } from "../nn/cache.ts";
import type { MlaForm } from "../nn/context.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { GeneratedToken } from "./chooser.ts";
import { nextTask } from "./next-task.ts";
import { contentsOf, type Prompt, type PromptContents } from "./prompt.ts";
import { checkRequest, type DraftCounts, positive, type RequestOptions, type StopReason } from "./request.ts";
import { SamplingBuffers } from "./sampling.ts";
import { createCaches, Sequence } from "./sequence.ts";
import { step } from "./step.ts";

export type { GeneratedToken, StopReason };

export interface GenerateOptions extends RequestOptions {
  /**
   * A cache that holds a true prefix of the prompt, from an earlier turn for example. It stays the caller's and
   * afterwards holds all tokens but the last. Not together with `speculative`.
   */
  readonly cache?: Cache;
  /** Prompt tokens of one pass; default 512. */
  readonly prefillChunk?: number;
  /** Which form of latent attention runs; default `auto`. */
  readonly mlaForm?: MlaForm;
}

export interface SpeculativeStats extends Readonly<DraftCounts> {
  /** Accepted over drafted; 0 where nothing was drafted. */
  readonly acceptanceRate: number;
}

export function speculativeStats(counts: DraftCounts): SpeculativeStats {
  return { ...counts, acceptanceRate: counts.drafted === 0 ? 0 : counts.accepted / counts.drafted };
}

export interface GenerationStats {
  readonly promptTokens: number;
  /** Prompt tokens that the given cache already held. */
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Up to the first token; neither time includes what the consumer does between tokens. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly stopReason: StopReason;
  readonly speculative?: SpeculativeStats;
}

/** What a generation has done so far. Readable at any time, also by who ends it early. */
export class Tally {
  readonly #promptTokens: number;
  readonly #cachedTokens: number;
  counts: DraftCounts | null = null;
  generatedTokens = 0;
  prefillMs = 0;
  decodeMs = 0;
  stopReason: StopReason = "aborted";
  #since: number | null = null;

  constructor(promptTokens: number, cachedTokens: number) {
    this.#promptTokens = promptTokens;
    this.#cachedTokens = cachedTokens;
  }

  start(): void {
    this.#since = performance.now();
  }

  stop(): void {
    if (this.#since === null) return;
    const spent = performance.now() - this.#since;
    if (this.generatedTokens === 0) this.prefillMs += spent;
    else this.decodeMs += spent;
    this.#since = null;
  }

  stats(): GenerationStats {
    const { counts, generatedTokens, prefillMs, decodeMs, stopReason } = this;
    const base = {
      promptTokens: this.#promptTokens,
      cachedTokens: this.#cachedTokens,
      generatedTokens,
      prefillMs,
      decodeMs,
      stopReason,
    };
    return counts === null ? base : { ...base, speculative: speculativeStats(counts) };
  }
}

/** Refuses what cannot be generated, with the numbers. @throws ConfigError */
function check(model: TokenModel, prompt: PromptContents, options: GenerateOptions): void {
  const where = "generate";
  const { prefillChunk = 512, cache, speculative } = options;
  const { length } = prompt.tokens;
  checkRequest(where, model, prompt, options);
  positive(where, "prefillChunk", prefillChunk);
  if (cache && speculative) {
    throw new ConfigError("drafting needs the states of the whole prompt, which a cache does not hold", {
      where,
      name: "cache",
    });
  }
  if (cache && cache.length >= length) {
    throw new ConfigError("a cache with fewer tokens than the prompt", {
      where,
      name: "cache",
      expected: `at most ${length - 1} tokens`,
      found: `${cache.length} tokens`,
      hint: "cache.truncate(n) keeps the first n tokens.",
    });
  }
}

/** Milliseconds of a pass after which others get a turn. */
const LAYERS_MS = 50;

/** Ends a pass that nobody waits for any more. */
class Stopped extends Error {}

/** As `generate`, counting in `tally`. */
export async function* run(
  model: TokenModel,
  prompt: Prompt,
  options: GenerateOptions,
  tally: Tally,
): AsyncGenerator<GeneratedToken, void> {
  const { maxTokens, signal, speculative = false, cache, mlaForm, prefillChunk = 512 } = options;
  const sequence = new Sequence(model, contentsOf(prompt), options);
  const buffers = new SamplingBuffers();
  tally.counts = speculative ? sequence.drafts : null;
  tally.start();
  try {
    const capacity = sequence.promptTokens + Math.min(maxTokens, 256);
    sequence.attach(cache ? { cache, draftCache: null } : createCaches(model, speculative, { capacity }));
    let breathed = Number.NEGATIVE_INFINITY;
    // A long prompt on a large model takes seconds for one pass: whoever wants to stop it is heard between layers.
    const between = () => {
      if (performance.now() - breathed < LAYERS_MS) return null;
      return nextTask().then(() => {
        breathed = performance.now();
        if (signal?.aborted) throw new Stopped();
      });
    };
    while (sequence.stopReason === null) {
      // A turn for others at most every few milliseconds: each costs more than a small model's token.
      if (performance.now() - breathed > 8) {
        await nextTask();
        breathed = performance.now();
      }
      if (signal?.aborted) return;
      const tokens = Math.min(sequence.unread, prefillChunk);
      const [outcome] = await step(model, [{ sequence, tokens }], { mlaForm, buffers, between });
      for (const [i, token] of outcome.tokens.entries()) {
        tally.stop();
        tally.generatedTokens++;
        const last = i === outcome.tokens.length - 1;
        if (last && sequence.stopReason !== null) tally.stopReason = sequence.stopReason;
        yield token;
        tally.start();
        if (signal?.aborted) return;
      }
      if (outcome.error !== undefined) {
        tally.stopReason = "failed";
        throw outcome.error;
      }
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    tally.stop();
    if (cache) sequence.detach();
    sequence[Symbol.dispose]();
  }
}

/** The tally for a generation, once its options are found valid. @throws ConfigError */
export function begin(model: TokenModel, prompt: Prompt, options: GenerateOptions): Tally {
  const contents = contentsOf(prompt);
  check(model, contents, options);
  return new Tally(contents.tokens.length, options.cache?.length ?? 0);
}

/**
 * Generates tokens after `prompt`, each as it is decided; the generator's return value says what was done. The same
 * seed gives the same tokens. Ending the iteration early frees everything. @throws ConfigError at once, where the
 * options are out of range or prompt and new tokens exceed the model's context
 */
export function generate(
  model: TokenModel,
  prompt: Prompt,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken, GenerationStats> {
  const tally = begin(model, prompt, options);
  return (async function* () {
    yield* run(model, prompt, options, tally);
    return tally.stats();
  })();
}
