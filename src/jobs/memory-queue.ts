/** Jobs in this process. Everything that it keeps is bounded: events of a job, jobs that have ended, jobs that wait. */
import { ConfigError } from "../tensor/errors.ts";
import { JobCanceledError } from "./errors.ts";
import type { Job, JobContext, JobHandler, JobInfo, JobQueue, JobState, NumberedEvent } from "./job.ts";

export interface MemoryQueueOptions {
  /** Events kept of one job; the oldest go first (default 10,000). */
  readonly maxEvents?: number;
  /** Characters of JSON that the kept events of one job may have (default 16 Mi). */
  readonly maxEventCharacters?: number;
  /** Characters, or as good as that, which an event takes (default: those of its JSON). */
  readonly sizeOf?: (event: unknown) => number;
  /** Ended jobs kept (default 64). */
  readonly maxEnded?: number;
  /** Ended jobs kept of some kinds: these are counted apart, and push out none of another kind. */
  readonly maxEndedOf?: Readonly<Record<string, number>>;
  /** Characters of JSON that the events of all ended jobs may have; the newest one stays (default: no limit of its own). */
  readonly maxEndedCharacters?: number;
  /** Jobs that may wait (default 1,000). */
  readonly maxQueued?: number;
}

const defaults = {
  maxEvents: 10_000,
  maxEventCharacters: 16 * 2 ** 20,
  sizeOf: (event: unknown): number => JSON.stringify(event)?.length ?? 0,
  maxEnded: 64,
  maxEndedOf: {} as Readonly<Record<string, number>>,
  maxEndedCharacters: Number.MAX_SAFE_INTEGER,
  maxQueued: 1_000,
};
type Limits = Readonly<typeof defaults>;

interface Kind {
  readonly handler: JobHandler<unknown, unknown, unknown>;
  readonly concurrency: number;
  running: number;
}

const ended = (state: JobState) => state !== "queued" && state !== "running";

class MemoryJob implements Job {
  readonly id: string;
  readonly kind: string;
  readonly data: unknown;
  readonly controller = new AbortController();
  readonly added = Date.now();
  readonly #limits: Limits;
  readonly #left: () => void;
  #state: JobState = "queued";
  #started: number | null = null;
  #ended: number | null = null;
  #error: string | null = null;
  /** Kept events with their sizes; the first has number `#dropped + 1`. */
  readonly #events: { event: NumberedEvent<unknown>; size: number }[] = [];
  #characters = 0;
  #dropped = 0;
  /** Readers that wait for news. */
  readonly #waiting = new Set<() => void>();
  readonly #outcome: Promise<unknown>;
  #settle!: { resolve(value: unknown): void; reject(error: unknown): void };

  /** @param left called if the job is canceled before it has begun */
  constructor(id: string, kind: string, data: unknown, limits: Limits, left: () => void) {
    this.id = id;
    this.kind = kind;
    this.data = data;
    this.#limits = limits;
    this.#left = left;
    this.#outcome = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A failure that is never awaited is in `info`; it does not end the process.
    this.#outcome.catch(() => {});
  }

  get state(): JobState {
    return this.#state;
  }

  /** Of JSON, of the events that are kept. */
  get characters(): number {
    return this.#characters;
  }

  info(): JobInfo {
    return {
      id: this.id,
      kind: this.kind,
      state: this.#state,
      added: this.added,
      started: this.#started,
      ended: this.#ended,
      lastEvent: this.#dropped + this.#events.length,
      firstEvent: this.#dropped + 1,
      error: this.#error,
    };
  }

  emit(event: unknown): void {
    if (ended(this.#state)) return;
    const size = this.#limits.sizeOf(event);
    const number = this.#dropped + this.#events.length + 1;
    this.#events.push({ event: { number, time: Date.now(), event }, size });
    this.#characters += size;
    const { maxEvents, maxEventCharacters } = this.#limits;
    let drop = Math.max(0, this.#events.length - maxEvents);
    let left = this.#characters;
    for (let i = 0; i < drop; i++) left -= this.#events[i].size;
    // The newest event stays, however large.
    while (left > maxEventCharacters && drop < this.#events.length - 1) left -= this.#events[drop++].size;
    if (drop > 0) {
      this.#events.splice(0, drop);
      this.#dropped += drop;
      this.#characters = left;
    }
    this.#wake();
  }

  start(): void {
    this.#state = "running";
    this.#started = Date.now();
    this.#wake();
  }

  finish(state: "done" | "failed" | "canceled", value: unknown): void {
    if (ended(this.#state)) return;
    this.#state = state;
    this.#ended = Date.now();
    if (state === "done") this.#settle.resolve(value);
    else {
      if (state === "failed") this.#error = value instanceof Error ? value.message : String(value);
      this.#settle.reject(value);
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  async *events(after = 0, signal?: AbortSignal): AsyncIterableIterator<NumberedEvent<unknown>> {
    let last = after;
    while (!signal?.aborted) {
      const at = Math.max(0, last - this.#dropped);
      if (at < this.#events.length) {
        const { event } = this.#events[at];
        last = event.number;
        yield event;
      } else if (ended(this.#state)) {
        return;
      } else {
        await this.#news(signal);
      }
    }
  }

  /** Resolves with the next event, the job's end, or the abort. */
  #news(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", wake);
    });
  }

  result(): Promise<unknown> {
    return this.#outcome;
  }

  async cancel(reason = "canceled"): Promise<void> {
    if (ended(this.#state)) return;
    const error = new JobCanceledError(reason, { where: `job ${this.id}` });
    const waits = this.#state === "queued";
    this.controller.abort(error);
    if (waits) {
      this.finish("canceled", error);
      this.#left();
    }
    await this.#outcome.catch(() => {});
  }
}

export class MemoryQueue implements JobQueue {
  readonly #limits: Limits;
  readonly #kinds = new Map<string, Kind>();
  /** In the order in which they were added. */
  readonly #jobs = new Map<string, MemoryJob>();
  #queued: MemoryJob[] = [];
  #closed = false;
  #next = 1;

  /** @throws ConfigError if a limit is not a positive integer */
  constructor(options: MemoryQueueOptions = {}) {
    this.#limits = { ...defaults, ...options };
    const { sizeOf: _, maxEndedOf, ...numbers } = this.#limits;
    for (const [name, value] of Object.entries({ ...maxEndedOf, ...numbers })) {
      if (!(Number.isSafeInteger(value) && value > 0)) {
        throw new ConfigError("a limit must be a positive integer", {
          where: "MemoryQueue",
          name,
          found: value,
        });
      }
    }
  }

  process<D, E, R>(kind: string, handler: JobHandler<D, E, R>, { concurrency = 1 } = {}): void {
    if (this.#kinds.has(kind)) {
      throw new ConfigError("this kind of job has a handler already", { where: "MemoryQueue", found: kind });
    }
    if (!(Number.isSafeInteger(concurrency) && concurrency > 0)) {
      throw new ConfigError("must be a positive integer", {
        where: "MemoryQueue",
        name: "concurrency",
        found: concurrency,
      });
    }
    this.#kinds.set(kind, { handler: handler as Kind["handler"], concurrency, running: 0 });
  }

  async add<D, E, R>(kind: string, data: D, { id }: { id?: string } = {}): Promise<Job<E, R>> {
    const refuse = (message: string, found: unknown, hint?: string) => {
      throw new ConfigError(message, { where: "MemoryQueue", found, hint });
    };
    if (this.#closed) refuse("the queue is closed", kind);
    if (!this.#kinds.has(kind))
      refuse("unknown kind of job", kind, `Known: ${[...this.#kinds.keys()].join(", ")}.`);
    const known = id === undefined ? undefined : this.#jobs.get(id);
    if (known) {
      if (known.kind !== kind) refuse(`the id belongs to a job of kind ${known.kind}`, id);
      return known as unknown as Job<E, R>;
    }
    if (this.#queued.length >= this.#limits.maxQueued) {
      refuse("the queue is full", `${this.#queued.length} jobs wait`, "Try again when some have ended.");
    }
    const job = new MemoryJob(id ?? this.#freshId(kind), kind, data, this.#limits, () => this.#leave());
    this.#jobs.set(job.id, job);
    this.#queued.push(job);
    this.#fill();
    return job as unknown as Job<E, R>;
  }

  /** Forgets jobs that wait no more: they count against no limit but that of ended ones. */
  #leave(): void {
    this.#queued = this.#queued.filter(({ state }) => state === "queued");
    this.#forget();
  }

  #freshId(kind: string): string {
    let id: string;
    do id = `${kind}-${this.#next++}`;
    while (this.#jobs.has(id));
    return id;
  }

  /** Starts what waits and has a free place, first come first served within a kind. */
  #fill(): void {
    const left: MemoryJob[] = [];
    for (const job of this.#queued) {
      if (job.state !== "queued") continue;
      const kind = this.#kinds.get(job.kind)!;
      if (kind.running < kind.concurrency) void this.#run(job, kind);
      else left.push(job);
    }
    this.#queued = left;
  }

  async #run(job: MemoryJob, kind: Kind): Promise<void> {
    kind.running++;
    job.start();
    const { signal } = job.controller;
    const context: JobContext<unknown> = { id: job.id, signal, emit: (event) => job.emit(event) };
    try {
      // Not in the turn of `add`: its caller first gets the job.
      await null;
      job.finish("done", await kind.handler(job.data, context));
    } catch (error) {
      if (!signal.aborted) job.finish("failed", error);
      else {
        const { reason } = signal;
        // What failed after the request to stop, such as saving what was done.
        if (error !== reason) reason.cause ??= error;
        job.finish("canceled", reason);
      }
    } finally {
      kind.running--;
      this.#forget();
      this.#fill();
    }
  }

  #forget(): void {
    const { maxEnded, maxEndedOf, maxEndedCharacters } = this.#limits;
    const endedJobs = [...this.#jobs.values()]
      .filter(({ state }) => ended(state))
      .sort((a, b) => a.info().ended! - b.info().ended!);
    for (const [kind, most] of Object.entries(maxEndedOf)) {
      const own = endedJobs.filter((job) => job.kind === kind);
      for (const { id } of own.slice(0, Math.max(0, own.length - most))) this.#jobs.delete(id);
    }
    const over = endedJobs.filter(({ kind }) => !Object.hasOwn(maxEndedOf, kind));
    let drop = Math.max(0, over.length - maxEnded);
    let left = over.slice(drop).reduce((sum, { characters }) => sum + characters, 0);
    while (left > maxEndedCharacters && drop < over.length - 1) left -= over[drop++].characters;
    for (const { id } of over.slice(0, drop)) this.#jobs.delete(id);
  }

  async get<E, R>(id: string): Promise<Job<E, R> | null> {
    return (this.#jobs.get(id) as unknown as Job<E, R> | undefined) ?? null;
  }

  async list(): Promise<JobInfo[]> {
    return [...this.#jobs.values()].map((job) => job.info());
  }

  async waiting(kind: string): Promise<number> {
    return this.#queued.filter((job) => job.kind === kind && job.state === "queued").length;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#jobs.values()].map((job) => job.cancel("the queue was closed")));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
