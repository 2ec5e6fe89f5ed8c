/**
 * Token-level generation of one sequence: prefill in chunks, then one token at a time (or two, see `speculative.ts`)
 * over the cache. Works on any device; between tokens, other work on the device and timers can run. Several
 * sequences at once are the engine's (`engine.ts`). Left out: beam search.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { Cache } from "../nn/cache.ts";
import type { MlaForm } from "../nn/context.ts";
import { ConfigError } from "../tensor/errors.ts";
import { contentsOf, type Prompt, type PromptContents } from "./prompt.ts";
import { checkRequest, type DraftCounts, positive, type RequestOptions, type StopReason } from "./request.ts";
import { SamplingBuffers } from "./sampling.ts";
import { createCaches, Sequence } from "./sequence.ts";
import { step } from "./step.ts";
import type { GeneratedToken } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

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
  /** Accepted over drafted; 0 if nothing was drafted. */
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

/** Records counts and times of a generation; readable at any time, also after it was ended early. */
export class GenerationRecorder {
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
    throw new ConfigError(
      "speculative decoding needs the states of the whole prompt, which a cache does not hold",
      {
        where,
        name: "cache",
      },
    );
  }
  if (cache && cache.length >= length) {
    throw new ConfigError("the cache holds more tokens than the prompt", {
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

/** Ends a pass whose result is no longer needed. */
class Stopped extends Error {}

/** As `generate`, counting in `recorder`. */
export async function* run(
  model: TokenModel,
  prompt: Prompt,
  options: GenerateOptions,
  recorder: GenerationRecorder,
): AsyncGenerator<GeneratedToken, void> {
  const { maxTokens, signal, speculative = false, cache, mlaForm, prefillChunk = 512 } = options;
  const sequence = new Sequence(model, contentsOf(prompt), options);
  const buffers = new SamplingBuffers();
  recorder.counts = speculative ? sequence.drafts : null;
  recorder.start();
  try {
    const capacity = sequence.promptTokens + Math.min(maxTokens, 256);
    sequence.attach(cache ? { cache, draftCache: null } : createCaches(model, speculative, { capacity }));
    let lastYield = Number.NEGATIVE_INFINITY;
    // A long prompt on a large model takes seconds for one pass: it can be stopped between layers.
    const between = () => {
      if (performance.now() - lastYield < LAYERS_MS) return null;
      return yieldToEventLoop().then(() => {
        lastYield = performance.now();
        if (signal?.aborted) throw new Stopped();
      });
    };
    while (sequence.stopReason === null) {
      // A turn for others at most every few milliseconds: each costs more than a small model's token.
      if (performance.now() - lastYield > 8) {
        await yieldToEventLoop();
        lastYield = performance.now();
      }
      if (signal?.aborted) return;
      const tokens = Math.min(sequence.unread, prefillChunk);
      const [outcome] = await step(model, [{ sequence, tokens }], { mlaForm, buffers, between });
      for (const [i, token] of outcome.tokens.entries()) {
        recorder.stop();
        recorder.generatedTokens++;
        const last = i === outcome.tokens.length - 1;
        if (last && sequence.stopReason !== null) recorder.stopReason = sequence.stopReason;
        yield token;
        recorder.start();
        if (signal?.aborted) return;
      }
      if (outcome.error !== undefined) {
        recorder.stopReason = "failed";
        throw outcome.error;
      }
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    recorder.stop();
    if (cache) sequence.detach();
    sequence[Symbol.dispose]();
  }
}

/** The recorder for a generation, once its options are found valid. @throws ConfigError */
export function begin(model: TokenModel, prompt: Prompt, options: GenerateOptions): GenerationRecorder {
  const contents = contentsOf(prompt);
  check(model, contents, options);
  return new GenerationRecorder(contents.tokens.length, options.cache?.length ?? 0);
}

/**
 * Generates tokens after `prompt`, each as it is decided; the generator's return value says what was done. The same
 * seed gives the same tokens. Ending the iteration early frees everything. @throws ConfigError at once, if the
 * options are out of range or prompt and new tokens exceed the model's context
 */
export function generate(
  model: TokenModel,
  prompt: Prompt,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken, GenerationStats> {
  const recorder = begin(model, prompt, options);
  return (async function* () {
    yield* run(model, prompt, options, recorder);
    return recorder.stats();
  })();
}
