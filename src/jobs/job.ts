/**
 * Long work behind one interface: it has an id, events with rising numbers that can be read again from any number, a
 * result, and it can be canceled. It belongs to the queue that runs it, not to the caller that added it: a reader that goes away
 * stops nothing. This file holds the contract; `memory-queue.ts` runs jobs in this process.
 */

/** `queued`: waits for a free worker. The last three are final. */
export type JobState = "queued" | "running" | "done" | "failed" | "canceled";

export interface JobInfo {
  readonly id: string;
  /** What it does: `generate`, `train`, `quantize`, .. */
  readonly kind: string;
  readonly state: JobState;
  /** Milliseconds since 1970; null if that has not happened. */
  readonly added: number;
  readonly started: number | null;
  readonly ended: number | null;
  /** Number of the last event; 0 before the first. */
  readonly lastEvent: number;
  /** Oldest event that can still be read: those before it were dropped to bound memory. */
  readonly firstEvent: number;
  /** What failed; null otherwise. */
  readonly error: string | null;
}

export interface NumberedEvent<E> {
  /** 1 for a job's first event, rising by one. A reader that sees a larger step has missed dropped events. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event: E;
}

export interface Job<E = unknown, R = unknown> {
  readonly id: string;
  readonly kind: string;
  info(): JobInfo;
  /**
   * Events after number `after` (default 0: all that are kept), then new ones as they happen, until the job has ended.
   * Any number of readers may read at once, each at its own speed. Aborting `signal` ends the reading, not the job.
   */
  events(after?: number, signal?: AbortSignal): AsyncIterableIterator<NumberedEvent<E>>;
  /** The handler's result. Rejects with its error, or with `JobCanceledError`. */
  result(): Promise<R>;
  /** Asks the job to stop and waits until it has. A job that has ended is left as it is. */
  cancel(reason?: string): Promise<void>;
}

export interface JobContext<E> {
  readonly id: string;
  /** Aborted by `cancel` and by closing the queue. */
  readonly signal: AbortSignal;
  /** Adds an event. Events and results are plain JSON data, so that a queue may keep them elsewhere. */
  emit(event: E): void;
}

/** Does the work. It returns or throws soon after `context.signal` is aborted. */
export type JobHandler<D, E, R> = (data: D, context: JobContext<E>) => Promise<R>;

export interface JobQueue extends AsyncDisposable {
  /** Says how jobs of a kind are done, and how many at once (default 1). @throws ConfigError for a kind said twice */
  process<D, E, R>(kind: string, handler: JobHandler<D, E, R>, options?: { concurrency?: number }): void;
  /**
   * Adds a job. With an `id` that a job has already, that job: adding twice is adding once.
   * @throws ConfigError for an unknown kind, a taken id of another kind, or a full queue
   */
  add<D, E, R>(kind: string, data: D, options?: { id?: string }): Promise<Job<E, R>>;
  /** The job of an id; null for one that never was or is no longer kept. */
  get<E, R>(id: string): Promise<Job<E, R> | null>;
  /** Jobs that wait, run, or have ended and are still kept; oldest first. */
  list(): Promise<JobInfo[]>;
  /** Jobs of a kind that wait for a free worker. */
  waiting(kind: string): Promise<number>;
  /** Cancels everything and waits until it has stopped. */
  close(): Promise<void>;
}
