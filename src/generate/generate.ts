/**
 * Token-level generation: prefill in chunks, then one token at a time (or two, see `speculative.ts`) over the cache.
 * Works on any device; between tokens other work on the device and timers have their turn. Left out: batches of
 * several sequences, beam search.
 */
import type { CausalLM } from "../models/causal-lm.ts";
import type { Cache } from "../nn/cache.ts";
import type { MlaForm } from "../nn/context.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Chooser, type GeneratedToken } from "./chooser.ts";
import { checkSampling, type SamplingOptions } from "./sampling.ts";
import { nextTask, Session } from "./session.ts";
import { type DraftCounts, speculativeTokens } from "./speculative.ts";

export type { GeneratedToken };

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to generate, at least 1. */
  readonly maxTokens: number;
  /** Tokens after which generation ends, themselves included in the output; default: the configuration's EOS. */
  readonly stopIds?: readonly number[];
  /** Seed of all random choices; default 0. */
  readonly seed?: number;
  /** Ends generation before the next pass of the model, without an error. */
  readonly signal?: AbortSignal;
  /** Tokens that exist; rows of a padded head beyond them are never chosen. Default: all rows. */
  readonly vocabularySize?: number;
  /** Whether tokens carry their log-probability. */
  readonly logprobs?: boolean;
  /**
   * A cache of one row that holds a true prefix of the prompt, from an earlier turn for example. It stays the
   * caller's and afterwards holds all tokens but the last. Not together with `speculative`.
   */
  readonly cache?: Cache;
  /** Draft with the multi-token-prediction module. */
  readonly speculative?: boolean;
  /** Prompt tokens of one pass; default 512. */
  readonly prefillChunk?: number;
  /** Which form of latent attention runs; default `auto`. */
  readonly mlaForm?: MlaForm;
}

export type StopReason = "stop" | "length" | "aborted";

export interface SpeculativeStats extends Readonly<DraftCounts> {
  /** Accepted over drafted; 0 where nothing was drafted. */
  readonly acceptanceRate: number;
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
  readonly counts: DraftCounts | null;
  generatedTokens = 0;
  prefillMs = 0;
  decodeMs = 0;
  stopReason: StopReason = "aborted";
  #since: number | null = null;

  constructor(promptTokens: number, cachedTokens: number, speculative: boolean) {
    this.#promptTokens = promptTokens;
    this.#cachedTokens = cachedTokens;
    this.counts = speculative ? { drafted: 0, accepted: 0 } : null;
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
    if (counts === null) return base;
    const acceptanceRate = counts.drafted === 0 ? 0 : counts.accepted / counts.drafted;
    return { ...base, speculative: { ...counts, acceptanceRate } };
  }
}

function positive(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 1) return;
  throw new ConfigError("a positive integer", {
    where: "generate",
    name,
    expected: "1 or more",
    found: value,
  });
}

/** Refuses what cannot be generated, with the numbers. @throws ConfigError */
function check(model: CausalLM, prompt: ArrayLike<number>, options: GenerateOptions): void {
  const { config } = model;
  const where = "generate";
  const { maxTokens, prefillChunk = 512, vocabularySize = config.vocabSize, cache, speculative } = options;
  checkSampling(options);
  positive("maxTokens", maxTokens);
  positive("prefillChunk", prefillChunk);
  positive("vocabularySize", vocabularySize);
  if (vocabularySize > config.vocabSize) {
    throw new ConfigError("more tokens than the head has rows", {
      where,
      name: "vocabularySize",
      expected: `at most ${config.vocabSize}`,
      found: vocabularySize,
    });
  }
  if (prompt.length === 0) {
    throw new ConfigError("an empty prompt", {
      where,
      expected: "at least one token",
      found: 0,
      hint: "Start with the BOS token.",
    });
  }
  const outside = Array.from(prompt).find(
    (id) => !(Number.isInteger(id) && id >= 0 && id < config.vocabSize),
  );
  if (outside !== undefined) {
    throw new ConfigError("a token that the model does not have", {
      where,
      name: "prompt",
      expected: `0 to ${config.vocabSize - 1}`,
      found: outside,
    });
  }
  if (prompt.length + maxTokens > config.maxPositions) {
    throw new ConfigError("prompt and new tokens do not fit the model's context", {
      where,
      expected: `at most max_position_embeddings = ${config.maxPositions} tokens`,
      found: `${prompt.length} + ${maxTokens}`,
      hint:
        prompt.length < config.maxPositions
          ? `Set maxTokens to at most ${config.maxPositions - prompt.length}, or shorten the prompt.`
          : `Shorten the prompt by at least ${prompt.length + 1 - config.maxPositions} tokens.`,
    });
  }
  if (speculative && config.mtpLayers === 0) {
    throw new ConfigError("the model has no multi-token-prediction module to draft with", {
      where,
      name: "speculative",
      expected: "num_nextn_predict_layers of 1 or more",
      found: config.mtpLayers,
    });
  }
  if (cache && speculative) {
    throw new ConfigError("drafting needs the states of the whole prompt, which a cache does not hold", {
      where,
      name: "cache",
    });
  }
  if (cache && (cache.batch !== 1 || cache.length >= prompt.length)) {
    throw new ConfigError("a cache of one row with fewer tokens than the prompt", {
      where,
      name: "cache",
      expected: `1 row, at most ${prompt.length - 1} tokens`,
      found: `${cache.batch} rows, ${cache.length} tokens`,
      hint: "cache.truncate(n) keeps the first n tokens.",
    });
  }
}

/** Reads the prompt; the states of the last chunk, or null where the signal ends it. */
async function prefill(
  session: Session,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): Promise<{ states: Tensor; start: number } | null> {
  const { prefillChunk = 512, speculative = false, signal } = options;
  const ids = Int32Array.from(prompt);
  for (let start = session.length; ; start += prefillChunk) {
    await nextTask();
    if (signal?.aborted) return null;
    const end = Math.min(ids.length, start + prefillChunk);
    const states = session.forward(ids.subarray(start, end));
    if (end === ids.length) return { states, start };
    try {
      if (speculative) session.draft(states, ids.subarray(start + 1, end + 1)).dispose();
    } finally {
      states.dispose();
    }
  }
}

async function* plainTokens(
  session: Session,
  chooser: Chooser,
  states: Tensor,
): AsyncGenerator<GeneratedToken, void> {
  for (let known = states; ; ) {
    const [logits] = await session.logits(known, 1, true);
    const token = chooser.accept(chooser.draw(chooser.distribution(logits)), logits);
    yield token;
    known = session.forward([token.id]);
  }
}

/** As `generate`, counting in `tally`. */
export async function* run(
  model: CausalLM,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
  tally: Tally,
): AsyncGenerator<GeneratedToken, void> {
  const { maxTokens, seed = 0, signal, speculative = false, cache, mlaForm } = options;
  const stopIds = new Set(options.stopIds ?? model.config.eosTokenIds);
  const count = options.vocabularySize ?? model.config.vocabSize;
  const chooser = new Chooser(options, new Random(seed), prompt, count);
  const capacity = prompt.length + Math.min(maxTokens, 256);
  tally.start();
  try {
    using session = new Session(model, { cache, drafts: speculative, mlaForm, capacity });
    const read = await prefill(session, prompt, options);
    if (read === null) return;
    const tail = Int32Array.from(prompt).subarray(read.start + 1);
    const tokens = tally.counts
      ? speculativeTokens(session, chooser, read.states, tail, maxTokens, tally.counts)
      : plainTokens(session, chooser, read.states);
    let breathed = performance.now();
    for await (const token of tokens) {
      tally.stop();
      tally.generatedTokens++;
      const stopped = stopIds.has(token.id);
      const full = tally.generatedTokens === maxTokens;
      if (stopped || full) tally.stopReason = stopped ? "stop" : "length";
      yield token;
      if (stopped || full) return;
      tally.start();
      // A turn for others at most every few milliseconds: each costs more than a small model's token.
      if (performance.now() - breathed > 8) {
        await nextTask();
        breathed = performance.now();
      }
      if (signal?.aborted) return;
    }
  } finally {
    tally.stop();
  }
}

/** The tally for a generation, once its options are found valid. @throws ConfigError */
export function begin(model: CausalLM, prompt: ArrayLike<number>, options: GenerateOptions): Tally {
  check(model, prompt, options);
  return new Tally(prompt.length, options.cache?.length ?? 0, options.speculative ?? false);
}

/**
 * Generates tokens after `prompt`, each as it is decided; the generator's return value says what was done. The same
 * seed gives the same tokens. Ending the iteration early frees everything. @throws ConfigError at once, where the
 * options are out of range or prompt and new tokens exceed the model's context
 */
export function generate(
  model: CausalLM,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken, GenerationStats> {
  const tally = begin(model, prompt, options);
  return (async function* () {
    yield* run(model, prompt, options, tally);
    return tally.stats();
  })();
}
