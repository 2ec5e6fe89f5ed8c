/** One request's output as the engine delivers it: an iteration over tokens that may be left or canceled any time. */

import type { TokenExperts } from "./expert-report.ts";
import type { GenerationStats } from "./generate.ts";
import type { GeneratedToken } from "./token-sampler.ts";

export interface EngineStats extends GenerationStats {
  /** From the request to the first pass over its prompt. */
  readonly queueMs: number;
  /** How often it gave up its cache to older requests and read its tokens again. */
  readonly preemptions: number;
  /** How often the weights changed after its first token: its tokens come of one set of weights if this is 0. */
  readonly weightChanges: number;
  /** Bytes that its tokens fill in caches, those of drafts included; of shared pages too. At the end, those it had. */
  readonly cacheBytes: number;
}

/** What the engine offers to its generations. */
export interface GenerationSource {
  stats(): EngineStats;
  promptScores(): readonly GeneratedToken[];
  promptExperts(): readonly TokenExperts[];
  cancel(): void;
}

export class Generation implements AsyncIterableIterator<GeneratedToken, undefined> {
  readonly #source: GenerationSource;
  readonly #tokens: GeneratedToken[] = [];
  #ended = false;
  #error: { readonly error: unknown } | null = null;
  #wake: (() => void)[] = [];

  constructor(source: GenerationSource) {
    this.#source = source;
  }

  /** What was done so far; final once the iteration is over. Times are those of the engine, with what it did beside. */
  get stats(): EngineStats {
    return this.#source.stats();
  }

  /**
   * Where `promptLogprobs` was asked for: the prompt's tokens from the second on, with their log-probabilities; those of
   * `continuation` where one was given.
   * Complete once the first token is there, or the end.
   */
  get promptScores(): readonly GeneratedToken[] {
    return this.#source.promptScores();
  }

  /**
   * Where `promptExperts` was asked for: the experts of the prompt's tokens by position. Complete once the first token
   * is there, or the end.
   */
  get promptExperts(): readonly TokenExperts[] {
    return this.#source.promptExperts();
  }

  /** Whether no further token will be made; those made may still wait to be read. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Ends the generation at once and frees its place; tokens not yet read are lost. Nothing if it has ended. */
  cancel(): void {
    if (this.#ended) return;
    this.#tokens.length = 0;
    this.#source.cancel();
  }

  /** For the engine: hands a token over. */
  push(token: GeneratedToken): void {
    this.#tokens.push(token);
    this.#notify();
  }

  /** For the engine: no more tokens; with an error the iteration throws it after the last one. */
  end(failure: { readonly error: unknown } | null = null): void {
    this.#ended = true;
    this.#error = failure;
    this.#notify();
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async next(): Promise<IteratorResult<GeneratedToken, undefined>> {
    for (;;) {
      const token = this.#tokens.shift();
      if (token) return { done: false, value: token };
      if (this.#error) throw this.#error.error;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** Leaving the iteration cancels. */
  async return(): Promise<IteratorResult<GeneratedToken, undefined>> {
    this.cancel();
    this.#tokens.length = 0;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
