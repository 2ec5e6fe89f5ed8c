/**
 * Continuous batching (Orca, OSDI 2022): one model serves many requests at once. Every step is one pass over the next
 * token of every running sequence and pieces of the prompts that wait (`scheduler.ts`, `step.ts`); requests join and
 * leave between steps. Caches of ended sequences stay for prompts that begin alike (`prefix-store.ts`).
 *
 * Cached tokens have a budget. Where it runs out, stored prefixes go first; then the youngest sequence gives its cache
 * up, waits, and reads its tokens again. Left out: swapping caches to other memory, sharing pages between caches.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { CacheDtype } from "../nn/cache.ts";
import { ConfigError, DeepseekError, DisposedError } from "../tensor/errors.ts";
import { Generation } from "./generation.ts";
import { due, type EngineRequest, type Job, statsOf } from "./job.ts";
import { findPrefix, startCaches } from "./prefix.ts";
import { PrefixStore } from "./prefix-store.ts";
import { contentsOf } from "./prompt.ts";
import { checkRequest, inRange, refuseExperts, type StopReason } from "./request.ts";
import { SamplingBuffers } from "./sampling.ts";
import { schedule } from "./scheduler.ts";
import { disposeCaches, Sequence } from "./sequence.ts";
import { type Outcome, step } from "./step.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

export interface EngineOptions {
  /** Most sequences in one pass, up to 1024; default 16. */
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
  readonly generatedTokens: number;
  /** Of requests that began to run. */
  readonly promptTokens: number;
  /** Of those, tokens whose states were found in a cache. */
  readonly cachedPromptTokens: number;
  readonly steps: number;
  /** Rows of all passes of the main model together; over `steps`, the mean size of a pass. */
  readonly batchRows: number;
  /** Held now, by running sequences and stored prefixes. */
  readonly cacheTokens: number;
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

/** A pass holds the logits of all its sequences: half a gigabyte for so many and 129,280 tokens. */
const MOST_SEQUENCES = 1024;
/** A pass holds the intermediate values of all its tokens. */
const MOST_CHUNK = 16_384;
const MOST_WAITING = 100_000;

/** A change of the weights, and who waits for it. */
interface WeightChange {
  readonly change: () => void | Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Room for new tokens that a request must find when it starts; what it needs beyond comes as others end. */
const HEADROOM = 64;

export class Engine implements AsyncDisposable {
  readonly model: TokenModel;
  readonly maxBatch: number;
  readonly maxQueue: number;
  readonly prefillChunk: number;
  readonly cacheTokens: number;
  readonly #cacheDtype: CacheDtype;
  readonly #vocabularySize: number;
  readonly #store = new PrefixStore();
  /** Oldest first. */
  #running: Job[] = [];
  #waiting: Job[] = [];
  /** Changes of the weights that wait for the running step. */
  #changes: WeightChange[] = [];
  #loop: Promise<void> | null = null;
  #failure: EngineFailedError | null = null;
  #closed = false;
  readonly #buffers = new SamplingBuffers();
  readonly #counts = {
    generatedTokens: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    steps: 0,
    batchRows: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    preemptions: 0,
  };

  /** The model stays the caller's. @throws ConfigError */
  constructor(model: TokenModel, options: EngineOptions = {}) {
    const { maxBatch = 16, maxQueue = 256, prefillChunk = 512, cacheTokens = 32768 } = options;
    const where = "Engine";
    inRange(where, "maxBatch", maxBatch, 1, MOST_SEQUENCES);
    inRange(where, "prefillChunk", prefillChunk, 1, MOST_CHUNK);
    inRange(where, "cacheTokens", cacheTokens, 1, Number.MAX_SAFE_INTEGER);
    inRange(where, "maxQueue", maxQueue, 0, MOST_WAITING);
    this.model = model;
    this.maxBatch = maxBatch;
    this.maxQueue = maxQueue;
    this.prefillChunk = prefillChunk;
    this.cacheTokens = cacheTokens;
    this.#cacheDtype = options.cacheDtype ?? "f32";
    this.#vocabularySize = options.vocabularySize ?? model.config.vocabSize;
  }

  /**
   * Queues a request; it runs whether or not its tokens are read. Alone, and with quantized weights also among others,
   * it gets the tokens that `generate` gives for the same options, unless a stored prefix serves it: then up to
   * rounding. @throws ConfigError, QueueFullError, EngineFailedError
   */
  submit(request: EngineRequest): Generation {
    this.#checkUsable("Engine.submit");
    const { vocabularySize = this.#vocabularySize, maxTokens, signal } = request;
    const options = { ...request, vocabularySize };
    const prompt = contentsOf(request.prompt);
    const { length } = prompt.tokens;
    checkRequest("Engine.submit", this.model, prompt, options, 0);
    if (request.promptExperts && this.model.config.moe === null) {
      refuseExperts("Engine.submit", "promptExperts");
    }
    if (length + maxTokens > this.cacheTokens) {
      throw new ConfigError("prompt and new tokens exceed the engine's cache", {
        where: "Engine.submit",
        expected: `at most cacheTokens = ${this.cacheTokens} tokens`,
        found: `${length} + ${maxTokens}`,
        hint: "Lower maxTokens, or raise the engine's cacheTokens.",
      });
    }
    const waiting = this.#waiting.length - Math.max(0, this.maxBatch - this.#running.length);
    if (waiting >= this.maxQueue) throw new QueueFullError(this.#waiting.length, this.maxQueue);

    const abort = () => this.#end(job, "aborted");
    const job: Job = {
      sequence: new Sequence(this.model, prompt, options),
      generation: new Generation({
        stats: () => statsOf(job),
        promptScores: () => job.sequence.scoring?.scores ?? [],
        promptExperts: () => job.sequence.promptExperts ?? [],
        cancel: abort,
      }),
      request,
      submitted: performance.now(),
      started: null,
      first: null,
      ended: null,
      cachedTokens: 0,
      preemptions: 0,
      weightChanges: 0,
      stopReason: "aborted",
      unsubscribe: () => signal?.removeEventListener("abort", abort),
    };
    this.#waiting.push(job);
    const { scoring, promptExperts } = job.sequence;
    if (maxTokens === 0 && scoring === null && promptExperts === null) this.#end(job, "length");
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
    this.#loop ??= this.#run();
    return job.generation;
  }

  /**
   * Runs `change`, which changes the model's weights, between two steps. What caches hold was computed with the old
   * weights: stored prefixes are freed, and running requests read their tokens again and go on with the new weights. They
   * keep the tokens that they have; one that has none begins anew, with the scores of its prompt. Throws what `change`
   * throws, and the engine goes on; `change` must not wait for requests of this engine. @throws EngineFailedError
   */
  changeWeights(change: () => void | Promise<void>): Promise<void> {
    this.#checkUsable("Engine.changeWeights");
    return new Promise((resolve, reject) => {
      this.#changes.push({ change, resolve, reject });
      this.#loop ??= this.#run();
    });
  }

  /** @throws EngineFailedError, DisposedError */
  #checkUsable(where: string): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new DisposedError("the engine was closed", { where });
  }

  metrics(): EngineMetrics {
    const running = this.#running.map(({ sequence }) => sequence);
    const held = [
      ...running.flatMap(({ cache, draftCache }) => [cache, draftCache]),
      ...this.#store.entries.flatMap(({ caches }) => [caches.cache, caches.draftCache]),
    ];
    const counts = { ...this.#counts };
    for (const { drafts } of running) {
      counts.draftedTokens += drafts.drafted;
      counts.acceptedTokens += drafts.accepted;
    }
    return {
      ...counts,
      running: running.length,
      waiting: this.#waiting.length,
      cacheTokens: running.reduce((sum, { cache }) => sum + cache.length, this.#store.tokens),
      cacheBytes: held.reduce((sum, cache) => sum + (cache?.bytes ?? 0), 0),
    };
  }

  async #run(): Promise<void> {
    try {
      let lastYield = Number.NEGATIVE_INFINITY;
      while (!this.#closed) {
        // Requests and cancellations come in here; a turn costs more than a step of a very small model.
        if (performance.now() - lastYield > 2) {
          await yieldToEventLoop();
          lastYield = performance.now();
        }
        while (this.#changes.length > 0 && !this.#closed) await this.#changeWeights(this.#changes.shift()!);
        if (this.#closed) break;
        this.#admit();
        if (this.#running.length === 0) break;
        this.#makeRoom();
        await this.#step();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#loop = null;
    }
  }

  async #changeWeights({ change, resolve, reject }: WeightChange): Promise<void> {
    for (const { sequence } of this.#running) disposeCaches(sequence.detach());
    this.#waiting = [...this.#running, ...this.#waiting];
    this.#running = [];
    this.#store.shrink(0);
    try {
      await change();
      resolve();
    } catch (error) {
      reject(error);
    }
    for (const job of this.#waiting) {
      if (job.sequence.generatedTokens > 0) job.weightChanges++;
      else job.sequence.restart();
    }
  }

  async #step(): Promise<void> {
    const running = [...this.#running];
    const plan = schedule(running.map(due), this.prefillChunk);
    const scheduled = running.flatMap(({ sequence }, i) =>
      plan[i] > 0 ? [{ sequence, tokens: plan[i] }] : [],
    );
    const drafted = () => running.reduce((sum, { sequence }) => sum + sequence.drafts.drafted, 0);
    const before = drafted();
    const outcomes = await step(this.model, scheduled, { buffers: this.#buffers });
    this.#counts.steps++;
    this.#counts.batchRows += scheduled.reduce((sum, { tokens }) => sum + tokens, drafted() - before);
    const jobs = new Map(running.map((job) => [job.sequence, job]));
    for (const outcome of outcomes) this.#deliver(jobs.get(outcome.sequence)!, outcome);
  }

  #deliver(job: Job, { tokens, error }: Outcome): void {
    for (const token of tokens) {
      job.first ??= performance.now();
      this.#counts.generatedTokens++;
      job.generation.push(token);
    }
    if (error !== undefined) this.#end(job, "failed", { error });
    else if (job.sequence.stopReason !== null) this.#end(job, job.sequence.stopReason);
  }

  /** Tokens that the running sequences hold or are about to read. */
  #committed(): number {
    return this.#running.reduce((sum, { sequence }) => sum + sequence.tokens.length, 0);
  }

  /** Starts requests, oldest first, while there is room in the batch and for their tokens. */
  #admit(): void {
    while (this.#waiting.length > 0 && this.#running.length < this.maxBatch) {
      const [job] = this.#waiting;
      const { sequence } = job;
      const need = sequence.tokens.length + Math.min(sequence.remaining, HEADROOM);
      const room = this.cacheTokens - this.#committed() - need;
      if (room < 0 && this.#running.length > 0) return;
      this.#waiting.shift();
      const drafts = job.request.speculative ?? false;
      const reuse = (job.request.reusePrefix ?? true) && sequence.promptReported;
      const others = this.#running.map((other) => other.sequence);
      const found = reuse ? findPrefix(sequence, drafts, this.#store, others) : null;
      this.#store.shrink(Math.max(0, room), found?.stored);
      const capacity = sequence.tokens.length + Math.min(sequence.remaining, 256);
      sequence.attach(
        startCaches(this.model, drafts, found, this.#store, { capacity, dtype: this.#cacheDtype }),
      );
      this.#store.shrink(Math.max(0, room));
      this.#running.push(job);
      if (job.started !== null) continue;
      job.started = performance.now();
      job.cachedTokens = sequence.cache.length;
      this.#counts.promptTokens += sequence.promptTokens;
      this.#counts.cachedPromptTokens += job.cachedTokens;
    }
  }

  /** Sees to it that the tokens of the next step fit the budget. */
  #makeRoom(): void {
    // A draft is read beside the token before it.
    const needed = () => this.#committed() + this.#running.length;
    while (this.#running.length > 1 && needed() > this.cacheTokens) {
      const job = this.#running.pop()!;
      disposeCaches(job.sequence.detach());
      this.#waiting.unshift(job);
      job.preemptions++;
      this.#counts.preemptions++;
    }
    this.#store.shrink(Math.max(0, this.cacheTokens - needed()));
  }

  /** Takes a request out, whatever it is doing, and tells its reader. */
  #end(job: Job, reason: StopReason, failure: { readonly error: unknown } | null = null): void {
    if (job.ended !== null) return;
    job.ended = performance.now();
    job.stopReason = reason;
    job.unsubscribe();
    const others = (jobs: Job[]) => jobs.filter((other) => other !== job);
    this.#running = others(this.#running);
    this.#waiting = others(this.#waiting);
    const { sequence } = job;
    this.#counts.draftedTokens += sequence.drafts.drafted;
    this.#counts.acceptedTokens += sequence.drafts.accepted;
    const caches = sequence.detach();
    if (failure) disposeCaches(caches);
    else if (caches) {
      this.#store.add(sequence, caches);
      this.#store.shrink(Math.max(0, this.cacheTokens - this.#committed()));
    }
    sequence[Symbol.dispose]();
    job.generation.end(failure);
  }

  #fail(cause: unknown): void {
    this.#failure = new EngineFailedError(cause);
    for (const job of [...this.#running, ...this.#waiting]) {
      this.#end(job, "failed", { error: this.#failure });
    }
    this.#store[Symbol.dispose]();
    for (const { reject } of this.#changes.splice(0)) reject(this.#failure);
  }

  /** Ends all requests as aborted and frees all caches. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const job of [...this.#running, ...this.#waiting]) this.#end(job, "aborted");
    await this.#loop;
    this.#store[Symbol.dispose]();
    const closed = new DisposedError("the engine was closed", { where: "Engine.changeWeights" });
    for (const { reject } of this.#changes.splice(0)) reject(closed);
  }
}
