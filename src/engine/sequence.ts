/**
 * One growing sequence: its tokens, the caches of what the model has read of them, and the rules by which further
 * tokens are chosen. `step.ts` moves sequences on, one or many in a pass.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { Cache, CacheDtype } from "../nn/cache.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ExpertReport, TokenExperts } from "./expert-report.ts";
import { beginningOf, type Contents, type EmbeddingSpan, idsIn, type PromptContents } from "./prompt.ts";
import { PromptScores } from "./prompt-scores.ts";
import { checkIds, type DraftCounts, type RequestOptions, type StopReason } from "./request.ts";
import { type GeneratedToken, TokenSampler } from "./token-sampler.ts";

export interface SequenceCaches {
  /** Holds a true prefix of the prompt, which may be empty; at least the last token of the prompt is not in it. */
  readonly cache: Cache;
  /** Of the multi-token-prediction module, with at most as many tokens; null: no drafts. */
  readonly draftCache: Cache | null;
}

export interface SequenceOptions extends RequestOptions {
  /** Whether the prompt's own tokens are scored; a number: with so many alternatives. */
  readonly promptLogprobs?: boolean | number;
  /**
   * Tokens that are scored in place of the prompt's own, as what follows it; nothing is generated. The prompt may start
   * from what others have read.
   */
  readonly continuation?: readonly number[];
  /** Whether the experts of the prompt's tokens are reported. */
  readonly promptExperts?: boolean;
}

/** Refuses a continuation that cannot be scored. @throws ConfigError */
export function checkContinuation(
  where: string,
  model: TokenModel,
  prompt: Contents,
  { continuation = [], maxTokens, speculative, promptExperts }: SequenceOptions,
): void {
  checkIds(where, model, "continuation", continuation);
  const others = { maxTokens: maxTokens > 0, speculative: speculative ?? false, promptExperts };
  const [other] = Object.entries(others).find(([, given]) => given) ?? [];
  if (other !== undefined) {
    throw new ConfigError("a continuation is scored, and nothing else", {
      ...{ where, name: other, expected: "maxTokens 0, and neither drafts nor experts of the prompt" },
    });
  }
  const { maxPositions } = model.config;
  const read = prompt.tokens.length + continuation.length - 1;
  if (read <= maxPositions) return;
  throw new ConfigError("prompt and continuation exceed the model's context", {
    where,
    expected: `at most max_position_embeddings = ${maxPositions} tokens, and one that is only scored`,
    found: `${prompt.tokens.length} + ${continuation.length}`,
  });
}

/** Embeddings that a pass reads. */
export interface EmbeddedRows {
  /** `[n, d]`. */
  readonly rows: Tensor;
  /** Row of the pass where the first belongs. */
  readonly at: number;
}

export class Sequence implements Contents, Disposable {
  readonly model: TokenModel;
  /** Prompt and output. */
  readonly tokens: number[];
  readonly spans: readonly EmbeddingSpan[];
  readonly promptTokens: number;
  readonly sampler: TokenSampler;
  readonly drafts: DraftCounts = { drafted: 0, accepted: 0 };
  /** Scores of the prompt's tokens, as far as it was read; null: they are not asked for. */
  readonly scoring: PromptScores | null;
  /** Whether its tokens carry experts. */
  readonly reportsExperts: boolean;
  /** Whether its tokens say what their pass shows. */
  readonly reportsInside: boolean;
  /** Experts of the prompt's tokens by position, as far as it was read; null: they are not asked for. */
  readonly promptExperts: TokenExperts[] | null;
  /** Why no token follows; null while tokens may. */
  stopReason: StopReason | null = null;
  /** States `[n, d]` of the last tokens read, not yet given to the drafting module. */
  pending: Tensor | null = null;
  readonly #maxTokens: number;
  readonly #stopIds: ReadonlySet<number>;
  #caches: SequenceCaches | null = null;
  /** Of each span, `[length, d]`: kept for a sequence that has to read its prompt again. */
  readonly #embeddings: readonly Tensor[];

  /** Takes views of the prompt's embeddings. */
  constructor(model: TokenModel, prompt: PromptContents, options: SequenceOptions) {
    const { maxTokens, stopIds = model.config.eosTokenIds, seed = 0 } = options;
    const { continuation = [], experts = false, inside = false, promptExperts = false } = options;
    const { promptLogprobs = continuation.length > 0 } = options;
    const first = continuation.length > 0 ? prompt.tokens.length : 1;
    this.model = model;
    // Nothing follows the last one, so that it need not be read.
    this.tokens = [...prompt.tokens, ...continuation.slice(0, -1)];
    this.promptTokens = this.tokens.length;
    const contents = beginningOf(prompt, this.promptTokens);
    this.spans = contents.spans;
    const views = () => prompt.spans.map(({ embeddings }) => embeddings.view(embeddings.shape));
    this.#embeddings = model.device.unscoped(views);
    this.#maxTokens = maxTokens;
    this.#stopIds = new Set(stopIds);
    const count = options.vocabularySize ?? model.config.vocabSize;
    this.sampler = new TokenSampler({ ...options, stopIds }, new Random(seed), idsIn(prompt), count);
    this.reportsExperts = experts;
    this.reportsInside = inside;
    this.promptExperts = promptExperts ? [] : null;
    const scored = { ...contents, tokens: [...prompt.tokens, ...continuation] };
    this.scoring = promptLogprobs === false ? null : new PromptScores(scored, promptLogprobs, count, first);
  }

  /** Whether its next pass has to say which experts its tokens take. @param chooses whether that pass gives a token */
  wantsExperts(chooses: boolean): boolean {
    const { promptExperts } = this;
    if (promptExperts !== null && promptExperts.length < this.promptTokens) return true;
    return chooses && (this.reportsExperts || this.reportsInside);
  }

  /** Tokens at the beginning of which nothing more is asked: a pass has to read all others, whatever caches hold. */
  get reported(): number {
    const { promptExperts, scoring } = this;
    const all = this.tokens.length;
    const experts = promptExperts && promptExperts.length < this.promptTokens ? promptExperts.length : all;
    return Math.min(experts, scoring === null || scoring.complete ? all : scoring.unneeded);
  }

  /**
   * Keeps the experts of prompt tokens among the `tokens` read from position `start` on, whose first is row `row` of the
   * report. What was reported before the cache was lost stays.
   */
  keepPromptExperts(report: ExpertReport, start: number, tokens: number, row: number): void {
    const { promptExperts } = this;
    if (promptExperts === null) return;
    const end = Math.min(start + tokens, this.promptTokens);
    for (let position = promptExperts.length; position < end; position++) {
      promptExperts.push(report.at(row + position - start));
    }
  }

  /** Forgets what was reported of a prompt that is going to be read with other weights. */
  restart(): void {
    if (this.scoring) this.scoring.scores.length = 0;
    if (this.promptExperts) this.promptExperts.length = 0;
  }

  /** Gives the sequence its caches, which it owns from here on. */
  attach(caches: SequenceCaches): void {
    this.#caches = caches;
  }

  /** Takes the caches away from the sequence, to be disposed or kept; states that wait for the module are freed. */
  detach(): SequenceCaches | null {
    const caches = this.#caches;
    this.#caches = null;
    this.pending?.dispose();
    this.pending = null;
    return caches;
  }

  /** Whether it has caches, without which it cannot be moved on. */
  get attached(): boolean {
    return this.#caches !== null;
  }

  get cache(): Cache {
    return this.#caches!.cache;
  }

  get draftCache(): Cache | null {
    return this.#caches!.draftCache;
  }

  /** Bytes that the tokens which were read fill in its caches; 0 without caches. */
  get cacheBytes(): number {
    if (this.#caches === null) return 0;
    const { cache, draftCache } = this.#caches;
    return cache.filledBytes + (draftCache?.filledBytes ?? 0);
  }

  get generatedTokens(): number {
    return this.tokens.length - this.promptTokens;
  }

  /** Tokens that the model has yet to read before the next one can be chosen: 1 while decoding. */
  get unread(): number {
    return this.tokens.length - this.cache.length;
  }

  /** Tokens that may still be generated. */
  get remaining(): number {
    return this.#maxTokens - this.generatedTokens;
  }

  /** Ends a sequence that generates nothing, once its prompt was read. */
  finish(): void {
    this.stopReason = "length";
  }

  /** Adds a decided token, chosen from `logits`, and sees whether it is the last. */
  accept(id: number, logits: Float32Array): GeneratedToken {
    const token = this.sampler.accept(id, logits);
    this.tokens.push(id);
    if (this.#stopIds.has(id) || this.sampler.finished) this.stopReason = "stop";
    else if (this.remaining === 0) this.stopReason = "length";
    return token;
  }

  /**
   * The embeddings among the positions from `from` to `to`, for a pass in which the first of these is row `row`. Views
   * of the open scope.
   */
  embeddedRows(from: number, to: number, row: number): EmbeddedRows[] {
    return this.spans.flatMap(({ start, length }, i) => {
      const [begin, end] = [Math.max(from, start), Math.min(to, start + length)];
      if (begin >= end) return [];
      return [{ rows: this.#embeddings[i].slice(begin - start, end - start), at: row + begin - from }];
    });
  }

  [Symbol.dispose](): void {
    disposeCaches(this.detach());
    for (const view of this.#embeddings) view.dispose();
  }
}

export interface RoomOptions {
  /** Tokens to make room for at the start. */
  readonly capacity?: number;
  readonly dtype?: CacheDtype;
}

/** Empty caches for a sequence. */
export function createCaches(model: TokenModel, drafts: boolean, options: RoomOptions = {}): SequenceCaches {
  const { capacity, dtype } = options;
  const cache = model.createCache(capacity, dtype);
  return { cache, draftCache: drafts ? model.createMtpCache(capacity, dtype) : null };
}

export function disposeCaches(caches: SequenceCaches | null): void {
  caches?.cache[Symbol.dispose]();
  caches?.draftCache?.[Symbol.dispose]();
}
