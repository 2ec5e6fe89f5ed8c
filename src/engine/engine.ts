/**
 * Continuous batching (Orca, OSDI 2022): one model serves many requests at once. Every step is one pass over the next
 * token of every running sequence and pieces of the prompts that wait (`scheduler.ts`, `step.ts`); requests join and
 * leave between steps. Caches of ended sequences stay for prompts that begin alike (`prefix-store.ts`); of running ones
 * that do, one reads the beginning and the others wait for it (`prefix.ts`).
 *
 * Others than sequences of text join the same passes as guests (`guests.ts`).
 *
 * Cached tokens have a budget, in which pages that several sequences hold count once. Where it runs out, stored prefixes go
 * first; then the youngest sequence gives its cache up, waits, and reads its tokens again. Left out: swapping caches to other memory.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { CacheDtype } from "../nn/cache.ts";
import { ConfigError, DisposedError } from "../tensor/errors.ts";
import {
  EngineFailedError,
  type EngineMetrics,
  type EngineOptions,
  QueueFullError,
} from "./engine-options.ts";
import { Generation } from "./generation.ts";
import { deskPlace, GuestDesk } from "./guest-desk.ts";
import type { GuestPlace } from "./guests.ts";
import { due, type EngineRequest, type Job, reusable, statsOf } from "./job.ts";
import { LongPasses } from "./long-passes.ts";
import { findComing, findPrefix, inFullPages, settled, sharableTokens, startCaches } from "./prefix.ts";
import { PrefixStore, type StoredPrefix } from "./prefix-store.ts";
import { contentsOf } from "./prompt.ts";
import { checkRequest, inRange, refuseExperts, type StopReason } from "./request.ts";
import { SamplingBuffers } from "./sampling.ts";
import { schedule } from "./scheduler.ts";
import { checkContinuation, disposeCaches, Sequence } from "./sequence.ts";
import { type Outcome, step } from "./step.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

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
  readonly #desk = new GuestDesk(() => {
    this.#loop ??= this.#run();
  });
  readonly #long: LongPasses;
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
    this.#long = new LongPasses(model, () => {
      this.#checkUsable("Engine.place");
      return this.#desk.turn();
    });
    this.maxBatch = maxBatch;
    this.maxQueue = maxQueue;
    this.prefillChunk = prefillChunk;
    this.cacheTokens = cacheTokens;
    this.#cacheDtype = options.cacheDtype ?? "f32";
    this.#vocabularySize = options.vocabularySize ?? model.config.vocabSize;
  }

  /**
   * Queues a request; it runs whether or not its tokens are read. Alone, and with quantized weights also among others,
   * it gets the tokens that `generate` gives for the same options, unless another request has read its beginning: then
   * up to rounding. @throws ConfigError, QueueFullError, EngineFailedError
   */
  submit(request: EngineRequest): Generation {
    this.#checkUsable("Engine.submit");
    const { vocabularySize = this.#vocabularySize, maxTokens, signal, continuation = [] } = request;
    const options = { ...request, vocabularySize };
    const prompt = contentsOf(request.prompt);
    checkRequest("Engine.submit", this.model, prompt, options, 0);
    if (continuation.length > 0) checkContinuation("Engine.submit", this.model, prompt, request);
    const length = prompt.tokens.length + Math.max(0, continuation.length - 1);
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
    this.#checkQueue();

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
      drafts: request.speculative ?? false,
      awaited: null,
      submitted: performance.now(),
      started: null,
      first: null,
      ended: null,
      cachedTokens: 0,
      preemptions: 0,
      weightChanges: 0,
      cacheBytes: 0,
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

  /**
   * A place in the engine's passes for rows that are no request of text, a drawing's for example. It goes on while it is asked for
   * passes. @throws QueueFullError, EngineFailedError
   */
  place(signal?: AbortSignal): GuestPlace {
    this.#checkUsable("Engine.place");
    this.#checkQueue();
    const { maxBatch, cacheTokens } = this;
    const limits = { rows: maxBatch, tokens: cacheTokens, cacheDtype: this.#cacheDtype };
    const check = () => this.#checkUsable("Engine.place");
    return deskPlace(this.#desk, this.#long, limits, check, signal);
  }

  get #guestsWaiting(): number {
    return this.#desk.waiting + this.#long.waiting;
  }

  /** @throws QueueFullError */
  #checkQueue(): void {
    const free = Math.max(0, this.maxBatch - this.#rows());
    const all = this.#waiting.length + this.#guestsWaiting;
    if (all - free >= this.maxQueue) throw new QueueFullError(all, this.maxQueue);
  }

  /** @throws EngineFailedError, DisposedError */
  #checkUsable(where: string): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new DisposedError("the engine was closed", { where });
  }

  metrics(): EngineMetrics {
    const running = this.#running.map(({ sequence }) => sequence);
    const reading = running.filter(({ attached }) => attached);
    const held = [
      ...reading.flatMap(({ cache, draftCache }) => [cache, draftCache]),
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
      waiting: this.#waiting.length + this.#guestsWaiting,
      guests: this.#desk.present,
      cacheTokens: reading.reduce(
        (sum, { cache }) => sum + cache.length - cache.sharedTokens,
        this.#store.tokens + this.#desk.tokens,
      ),
      cacheBytes: held.reduce((sum, cache) => sum + (cache?.bytes ?? 0), 0),
    };
  }

  async #run(): Promise<void> {
    try {
      let lastYield = Number.NEGATIVE_INFINITY;
      while (!this.#closed) {
        // Requests and cancellations come in here; a turn costs more than a step of a very small model.
        // Guests decide between passes what they do next.
        if (this.#desk.present > 0 || performance.now() - lastYield > 2) {
          await yieldToEventLoop();
          lastYield = performance.now();
        }
        while (this.#changes.length > 0 && !this.#closed) await this.#changeWeights(this.#changes.shift()!);
        if (this.#closed) break;
        this.#admit();
        this.#startSettled();
        if (this.#running.length === 0 && !this.#desk.ready) break;
        this.#makeRoom();
        await this.#step();
        this.#desk.giveTurns();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#loop = null;
    }
  }

  async #changeWeights({ change, resolve, reject }: WeightChange): Promise<void> {
    this.#waiting = [...this.#running.map((job) => this.#giveUp(job)), ...this.#waiting];
    this.#running = [];
    this.#store.clear();
    this.#desk.restartAll();
    this.#long.restartAll();
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
    const guests = this.#desk.board();
    if (scheduled.length === 0 && guests.length === 0) return;
    const visiting = guests.reduce((sum, guest) => sum + (guest.rows()?.ids.length ?? 0), 0);
    const outcomes = await step(this.model, scheduled, { buffers: this.#buffers, guests });
    this.#desk.release();
    this.#counts.steps++;
    const own = scheduled.reduce((sum, { tokens }) => sum + tokens, drafted() - before);
    this.#counts.batchRows += visiting + own;
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

  /** Rows of a pass that are taken. */
  #rows(): number {
    return this.#running.length + this.#desk.rows;
  }

  /** Whether anything holds tokens of its own; guests may do so without rows. */
  get #busy(): boolean {
    return this.#running.length + this.#desk.present > 0;
  }

  /** Tokens that the running sequences hold or are about to read, those of shared pages once, and those of guests. */
  #committed(): number {
    return this.#running.reduce((sum, { sequence, awaited }) => {
      const shared = awaited
        ? inFullPages(awaited.length)
        : sequence.attached
          ? sequence.cache.sharedTokens
          : 0;
      return sum + sequence.tokens.length - shared;
    }, this.#desk.tokens);
  }

  /** Frees stored prefixes but `spared` until `tokens` more than those of the running sequences have room. */
  #clearRoom(tokens: number, spared: StoredPrefix | null = null): void {
    const fits = () => this.#committed() + tokens + this.#store.tokens <= this.cacheTokens;
    this.#store.shrink(fits, spared);
  }

  /** Starts requests and guests, oldest first, while there is room in the batch and for their tokens. */
  #admit(): void {
    for (;;) {
      const [job] = this.#waiting;
      const guest = this.#desk.next;
      if (guest !== null && (job === undefined || guest.submitted < job.submitted)) {
        if (this.#rows() > 0 && this.#rows() + guest.rows > this.maxBatch) return;
        const room = this.cacheTokens - this.#committed() - guest.tokens;
        if (room < 0 && this.#busy) return;
        this.#clearRoom(guest.tokens);
        this.#desk.admit();
        continue;
      }
      if (job === undefined || this.#rows() >= this.maxBatch) return;
      const { sequence, drafts } = job;
      const wanted = { sequence, drafts, most: reusable(job) };
      const need = sequence.tokens.length + Math.min(sequence.remaining, HEADROOM);
      const room = this.cacheTokens - this.#committed() - need;
      if (room < 0 && this.#busy && room + sharableTokens(wanted, this.#running) < 0) return;
      this.#waiting.shift();
      this.#running.push(job);
      this.#begin(job, this.#running.slice(0, -1));
    }
  }

  /** Begins with those whose wait is over. */
  #startSettled(): void {
    for (const [i, job] of this.#running.entries()) {
      const { awaited, drafts } = job;
      if (awaited === null || !settled(awaited, drafts)) continue;
      this.#begin(job, this.#running.slice(0, i));
    }
  }

  /** Lets a job start from what was read already, or wait for what one of the `older` is about to read. */
  #begin(job: Job, older: readonly Job[]): void {
    const { sequence, drafts } = job;
    const wanted = { sequence, drafts, most: reusable(job) };
    const others = older.map((other) => other.sequence);
    const found = findPrefix(wanted, this.#store, others);
    job.awaited = findComing(wanted, found, older);
    if (job.awaited !== null) return;
    const headroom = Math.min(sequence.remaining, HEADROOM);
    this.#clearRoom(headroom - inFullPages(found?.length ?? 0), found?.stored);
    const capacity = sequence.tokens.length + Math.min(sequence.remaining, 256);
    sequence.attach(
      startCaches(this.model, drafts, found, this.#store, { capacity, dtype: this.#cacheDtype }),
    );
    this.#clearRoom(headroom);
    if (job.started !== null) return;
    job.started = performance.now();
    job.cachedTokens = sequence.cache.length;
    this.#counts.promptTokens += sequence.promptTokens;
    this.#counts.cachedPromptTokens += job.cachedTokens;
  }

  /** Frees the caches of a job that goes back to those that wait. */
  #giveUp(job: Job): Job {
    disposeCaches(job.sequence.detach());
    job.awaited = null;
    return job;
  }

  /** Sees to it that the tokens of the next step fit the budget. */
  #makeRoom(): void {
    // A draft is read beside the token before it.
    const needed = () => this.#committed() + this.#running.length;
    // A sequence that is alone may have all; beside guests, which keep their room, the last one waits too.
    const least = this.#desk.present > 0 ? 0 : 1;
    while (this.#running.length > least && needed() > this.cacheTokens) {
      const job = this.#giveUp(this.#running.pop()!);
      this.#waiting.unshift(job);
      job.preemptions++;
      this.#counts.preemptions++;
    }
    this.#clearRoom(this.#running.length);
  }

  /** Takes a request out, whatever it is doing, and tells its reader. */
  #end(job: Job, reason: StopReason, failure: { readonly error: unknown } | null = null): void {
    if (job.ended !== null) return;
    job.ended = performance.now();
    job.stopReason = reason;
    job.unsubscribe();
    job.awaited = null;
    const others = (jobs: Job[]) => jobs.filter((other) => other !== job);
    this.#running = others(this.#running);
    this.#waiting = others(this.#waiting);
    const { sequence } = job;
    this.#counts.draftedTokens += sequence.drafts.drafted;
    this.#counts.acceptedTokens += sequence.drafts.accepted;
    job.cacheBytes = sequence.cacheBytes;
    const caches = sequence.detach();
    if (failure) disposeCaches(caches);
    else if (caches) {
      this.#store.add(sequence, caches);
      this.#clearRoom(0);
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
    this.#desk.fail(this.#failure);
    for (const { reject } of this.#changes.splice(0)) reject(this.#failure);
  }

  /** Ends all requests as aborted and frees all caches. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const job of [...this.#running, ...this.#waiting]) this.#end(job, "aborted");
    await this.#loop;
    this.#store[Symbol.dispose]();
    const closed = new DisposedError("the engine was closed", { where: "Engine" });
    this.#desk.fail(closed);
    for (const { reject } of this.#changes.splice(0)) reject(closed);
  }
}
