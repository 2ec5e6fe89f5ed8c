/**
 * Jobs of many processes and machines, on BullMQ with Redis or Valkey. BullMQ delivers: it hands each job to one worker, and
 * to another one if that worker dies. What readers ask (state, events, result) stands in records of our own beside it, written
 * by scripts that a second delivery cannot upset: numbers of events rise by one, and the first end of a job is its end.
 *
 * Delivery is at least once: a handler may begin a job that a killed worker left half done, so it must be able to do that.
 */
import type { Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { ConfigError } from "../tensor/errors.ts";
import { JobCanceledError, JobFailedError } from "./errors.ts";
import type { Job, JobContext, JobHandler, JobInfo, JobQueue, JobState, NumberedEvent } from "./job.ts";

export interface BullmqQueueOptions {
  /** Begins every key (default `deepseek`): queues of one prefix are one queue. */
  readonly prefix?: string;
  /** A worker that is silent for so long has lost its job, which goes to another (default 30). */
  readonly lockSeconds?: number;
  /** How often a job may be lost so before it counts as failed (default 3): it may be what kills its workers. */
  readonly maxLost?: number;
  /** How long ended jobs are kept (default a day). */
  readonly keepSeconds?: number;
  /** Events kept of one job; the oldest go first (default 10,000). */
  readonly maxEvents?: number;
  /** Bytes of JSON that the kept events of one job may have (default 16 Mi). */
  readonly maxEventBytes?: number;
  /** Jobs of a kind that may wait (default 1,000). */
  readonly maxQueued?: number;
}

const defaults = {
  ...{ lockSeconds: 30, maxLost: 3, keepSeconds: 86_400 },
  ...{ maxEvents: 10_000, maxEventBytes: 16 * 2 ** 20, maxQueued: 1_000 },
};
type Limits = Readonly<typeof defaults>;

/** Begins a job. False: of this id there is one, whose kind is returned. */
const CREATE = `
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('HGET', KEYS[1], 'kind') end
redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'state', 'queued', 'added', ARGV[2], 'last', 0, 'bytes', 0)
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return false`;

/** 0: it has ended. 1: it runs. 2: it runs and is to be canceled. */
const START = `
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running', 'started', ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[2])
return redis.call('HEXISTS', KEYS[1], 'cancel') + 1`;

const EMIT = `
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
local number = redis.call('HINCRBY', KEYS[1], 'last', 1)
redis.call('XADD', KEYS[2], number .. '-0', 'time', ARGV[2], 'event', ARGV[1])
local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[1])
local length = redis.call('XLEN', KEYS[2])
while length > 1 and (length > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4])) do
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], oldest[1])
  bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -#oldest[2][4])
  length = length - 1
end
redis.call('PUBLISH', ARGV[6], ARGV[5])
return number`;

/** Ends a job whose state is one of those that are named; nothing if it has ended. */
const END = `
local state = redis.call('HGET', KEYS[1], 'state')
if not state or not string.find(ARGV[8], state, 1, true) then return state end
redis.call('HSET', KEYS[1], 'state', ARGV[1], ARGV[2], ARGV[3], 'ended', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[7], ARGV[6])
return false`;

/** Back to those that wait: its worker was closed. */
const REQUEUE = `
if redis.call('HGET', KEYS[1], 'state') == 'running' then redis.call('HSET', KEYS[1], 'state', 'queued') end
redis.call('PUBLISH', ARGV[2], ARGV[1])
return 0`;

/** How long the end of a job is told to a Redis that refuses it. */
const SAVE_MS = 15_000;

const ended = (state: string) => state !== "queued" && state !== "running";

/** BullMQ takes neither colons nor whole numbers as ids. */
const bullId = (id: string) => `j-${encodeURIComponent(id)}`;

interface Modules {
  readonly bullmq: typeof import("bullmq");
  readonly Redis: typeof Redis;
}

async function loadModules(): Promise<Modules> {
  try {
    const [bullmq, ioredis] = await Promise.all([import("bullmq"), import("ioredis")]);
    return { bullmq, Redis: ioredis.Redis };
  } catch (cause) {
    throw new ConfigError("jobs of many processes need the packages bullmq and ioredis", {
      where: "BullmqQueue",
      hint: "Install them: npm install bullmq ioredis.",
      cause,
    });
  }
}

/** How often readers look without having been told: news may be lost with a connection. */
const LOOK_AGAIN = 2_000;
/** Events read at once. */
const PAGE = 200;

interface Running {
  readonly controller: AbortController;
  readonly kind: string;
}

export class BullmqQueue implements JobQueue {
  readonly #modules: Modules;
  readonly #redis: Redis;
  readonly #news: Redis;
  readonly #prefix: string;
  readonly #limits: Limits;
  readonly #queues = new Map<string, Queue>();
  readonly #workers = new Map<string, Worker>();
  readonly #running = new Map<string, Running>();
  /** Readers that wait for news of a job. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #closed = false;

  private constructor(modules: Modules, redis: Redis, news: Redis, prefix: string, limits: Limits) {
    this.#modules = modules;
    this.#redis = redis;
    this.#news = news;
    this.#prefix = prefix;
    this.#limits = limits;
    news.on("message", (channel: string, message: string) => {
      if (channel === this.#channel("cancel")) void this.#cancelHere(message);
      for (const wake of this.#waiting.get(message) ?? []) wake();
    });
    // What was said while the connection was away.
    news.on("ready", () => {
      for (const id of this.#running.keys()) void this.#cancelHere(id);
    });
    for (const client of [redis, news]) client.on("error", () => {});
  }

  /**
   * @param url `redis://[user:password@]host:port[/database]` of a Redis or Valkey
   * @throws ConfigError if packages are missing, an option is no positive number, or nothing answers at the address
   */
  static async open(url: string, options: BullmqQueueOptions = {}): Promise<BullmqQueue> {
    const { prefix = "deepseek", ...given } = options;
    const limits = { ...defaults, ...given };
    for (const [name, value] of Object.entries(limits)) {
      if (!(Number.isFinite(value) && value > 0)) {
        throw new ConfigError("must be a positive number", { where: "BullmqQueue", name, found: value });
      }
    }
    if (!/^[\w.-]{1,64}$/.test(prefix)) {
      throw new ConfigError("a prefix is 1 to 64 letters, digits, dots, dashes and underscores", {
        ...{ where: "BullmqQueue", name: "prefix", found: prefix },
      });
    }
    if (!/^rediss?:\/\//.test(url) || !URL.canParse(url)) {
      throw new ConfigError("not the address of a Redis or Valkey", {
        ...{ where: "BullmqQueue", expected: "redis://host:port", found: url },
      });
    }
    const modules = await loadModules();
    const connect = async () => {
      let opened = false;
      const client = new modules.Redis(url, {
        ...{ lazyConnect: true, connectTimeout: 5_000, maxRetriesPerRequest: null },
        retryStrategy: (times: number) => (opened ? Math.min(times * 100, 2_000) : null),
      });
      const errors: Error[] = [];
      client.on("error", (error: Error) => {
        if (!opened) errors.push(error);
      });
      try {
        await client.connect();
        await client.ping();
        opened = true;
        return client;
      } catch (error) {
        client.disconnect();
        const { host } = new URL(url);
        throw new ConfigError(`no Redis or Valkey answers: ${(errors[0] ?? (error as Error)).message}`, {
          ...{ where: "BullmqQueue", found: host, cause: error },
          hint: "Start one (valkey-server or redis-server), or use the queue in memory.",
        });
      }
    };
    const redis = await connect();
    const news = await connect().catch((error) => {
      redis.disconnect();
      throw error;
    });
    const queue = new BullmqQueue(modules, redis, news, prefix, limits);
    await news.subscribe(queue.#channel("news"), queue.#channel("cancel"));
    return queue;
  }

  #channel(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  #record(id: string): string {
    return `${this.#prefix}:job:${id}`;
  }

  #stream(id: string): string {
    return `${this.#prefix}:events:${id}`;
  }

  /** BullMQ's own queue of a kind. */
  #queue(kind: string): Queue {
    let queue = this.#queues.get(kind);
    if (!queue) {
      queue = new this.#modules.bullmq.Queue(kind, {
        connection: this.#redis,
        prefix: `${this.#prefix}:bull`,
      });
      queue.on("error", () => {});
      this.#queues.set(kind, queue);
    }
    return queue;
  }

  /** A worker in this process. Other processes may add jobs of kinds that only this one does. */
  process<D, E, R>(kind: string, handler: JobHandler<D, E, R>, { concurrency = 1 } = {}): void {
    checkKind(kind);
    if (this.#workers.has(kind)) {
      throw new ConfigError("this kind of job has a handler already", { where: "BullmqQueue", found: kind });
    }
    if (!(Number.isSafeInteger(concurrency) && concurrency > 0)) {
      throw new ConfigError("must be a positive integer", {
        ...{ where: "BullmqQueue", name: "concurrency", found: concurrency },
      });
    }
    const { lockSeconds, maxLost, keepSeconds } = this.#limits;
    const worker = new this.#modules.bullmq.Worker(
      kind,
      (job, token) => this.#work(kind, handler as JobHandler<unknown, unknown, unknown>, job, token),
      {
        ...{ connection: this.#redis, prefix: `${this.#prefix}:bull`, concurrency },
        ...{
          lockDuration: lockSeconds * 1000,
          stalledInterval: lockSeconds * 1000,
          maxStalledCount: maxLost,
        },
        ...{ removeOnComplete: { age: keepSeconds }, removeOnFail: { age: keepSeconds } },
      },
    );
    worker.on("error", () => {});
    worker.on("failed", (job, error) => {
      if (job) void this.#end(decodeId(job.id!), "failed", "error", error.message).catch(() => {});
    });
    this.#workers.set(kind, worker);
  }

  async #work(
    kind: string,
    handler: JobHandler<unknown, unknown, unknown>,
    job: import("bullmq").Job,
    token: string | undefined,
  ): Promise<void> {
    const id = decodeId(job.id!);
    const { maxEvents, maxEventBytes } = this.#limits;
    const [record, stream] = [this.#record(id), this.#stream(id)];
    const started = await this.#redis.eval(START, 1, record, Date.now(), id, this.#channel("news"));
    if (started === 0) return;
    const controller = new AbortController();
    this.#running.set(id, { controller, kind });
    if (started === 2) await this.#cancelHere(id);
    const emitted: Promise<unknown>[] = [];
    const emit = (event: unknown) => {
      const text = JSON.stringify(event) ?? "null";
      const limits = [maxEvents, maxEventBytes] as const;
      const sent = this.#redis.eval(
        EMIT,
        ...([2, record, stream, text, Date.now(), ...limits, id, this.#channel("news")] as const),
      );
      sent.catch(() => {});
      emitted.push(sent);
    };
    const { signal } = controller;
    let handled = false;
    try {
      signal.throwIfAborted();
      const result = await handler(job.data, { id, signal, emit } satisfies JobContext<unknown>);
      handled = true;
      await Promise.all(emitted);
      await this.#end(id, "done", "result", JSON.stringify(result) ?? "null");
    } catch (error) {
      if (this.#closed && signal.reason instanceof QueueClosed) {
        await this.#redis.eval(REQUEUE, 1, record, id, this.#channel("news"));
        await job.moveToWait(token);
        throw new this.#modules.bullmq.WaitingError();
      }
      const canceled = signal.aborted;
      const reason = reasonOf(canceled ? signal.reason : error);
      const told = handled && !canceled ? `its result could not be saved: ${reason}` : reason;
      await this.#endAtLast(id, canceled ? "canceled" : "failed", told);
    } finally {
      this.#running.delete(id);
    }
  }

  /**
   * Ends a job without a result, also where Redis takes nothing at the moment: one whose memory is full does so again once it
   * has freed what it refused. @throws what it says after `SAVE_MS`
   */
  async #endAtLast(id: string, state: JobState, reason: string): Promise<void> {
    for (let pause = 100; ; pause *= 2) {
      try {
        await this.#end(id, state, "error", reason);
        return;
      } catch (error) {
        if (this.#closed || pause > SAVE_MS / 2) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  async #end(id: string, state: JobState, field: "result" | "error", value: string, from = "queued running") {
    return await this.#redis.eval(
      END,
      ...([2, this.#record(id), this.#stream(id), state, field, value, Date.now()] as const),
      ...([this.#limits.keepSeconds, id, this.#channel("news"), from] as const),
    );
  }

  /** Stops a job that runs in this process and was canceled, by whatever process. */
  async #cancelHere(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (!running) return;
    const reason = await this.#redis.hget(this.#record(id), "cancel").catch(() => null);
    if (reason !== null) running.controller.abort(new JobCanceledError(reason, { where: `job ${id}` }));
  }

  /**
   * @throws ConfigError if the kind cannot be a name, the id belongs to a job of another kind, or too many jobs wait. Whether
   * any process does jobs of this kind is not known
   */
  async add<D, E, R>(kind: string, data: D, { id }: { id?: string } = {}): Promise<Job<E, R>> {
    checkKind(kind);
    const refuse = (message: string, found: unknown, hint?: string) => {
      throw new ConfigError(message, { where: "BullmqQueue", found, hint });
    };
    if (this.#closed) refuse("the queue is closed", kind);
    const own = id ?? `${kind}-${crypto.randomUUID()}`;
    if (own.length === 0 || own.length > 256) refuse("an id has 1 to 256 characters", own.length);
    const queue = this.#queue(kind);
    if (!(await this.#redis.exists(this.#record(own)))) {
      const waiting = await queue.getWaitingCount();
      if (waiting >= this.#limits.maxQueued) {
        refuse("the queue is full", `${waiting} jobs wait`, "Try again when some have ended.");
      }
    }
    const now = Date.now();
    const keys = [this.#record(own), this.#channel("jobs")] as const;
    const known = (await this.#redis.eval(CREATE, 2, ...keys, kind, now, own)) as string | null;
    if (known !== null && known !== kind) refuse(`the id belongs to a job of kind ${known}`, own);
    // Also for a known one: the process that made its record may have died before this line.
    const state = known === null ? "queued" : await this.#redis.hget(this.#record(own), "state");
    if (state === "queued") await queue.add(kind, data, { jobId: bullId(own) });
    return this.#job(own, kind);
  }

  #job<E, R>(id: string, kind: string): Job<E, R> {
    let last: JobInfo = {
      ...{ id, kind, state: "queued", added: Date.now(), started: null, ended: null },
      ...{ lastEvent: 0, firstEvent: 1, error: null },
    };
    const refresh = async () => {
      last = (await this.#info(id)) ?? last;
      return last;
    };
    void refresh().catch(() => {});
    const untilEnded = async () => {
      for (;;) {
        const news = this.#newsOf(id);
        try {
          const info = await this.#info(id);
          if (info === null) throw new JobFailedError("the job is no longer kept", { where: `job ${id}` });
          last = info;
          if (ended(info.state)) return info;
          await news.promise;
        } finally {
          news.stop();
        }
      }
    };
    return {
      id,
      kind,
      // What this process last saw: the record is elsewhere.
      info: () => {
        void refresh().catch(() => {});
        return last;
      },
      events: (after, signal) => this.#events<E>(id, after, signal),
      result: async () => {
        const { state } = await untilEnded();
        const error = await this.#redis.hget(this.#record(id), "error");
        const where = `job ${id}`;
        if (state === "canceled") throw new JobCanceledError(error ?? "canceled", { where });
        if (state === "failed") throw new JobFailedError(error ?? "failed", { where });
        return JSON.parse((await this.#redis.hget(this.#record(id), "result")) ?? "null") as R;
      },
      cancel: async (reason = "canceled") => {
        // One that waits ends here; its delivery then finds it ended.
        const state = await this.#end(id, "canceled", "error", reason, "queued");
        if (state === null) {
          const waiting = await this.#queue(kind).getJob(bullId(id));
          await waiting?.remove().catch(() => {});
        } else if (state === "running") {
          await this.#redis.hset(this.#record(id), "cancel", reason);
          await this.#redis.publish(this.#channel("cancel"), id);
        }
        await untilEnded();
      },
    };
  }

  /** A promise of the next news of a job, or of the time to look again. */
  #newsOf(id: string, signal?: AbortSignal): { readonly promise: Promise<void>; stop(): void } {
    const set = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, set);
    let stop = () => {};
    const promise = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK_AGAIN);
      set.add(resolve);
      signal?.addEventListener("abort", () => resolve(), { once: true });
      stop = () => {
        clearTimeout(timer);
        set.delete(resolve);
        if (set.size === 0 && this.#waiting.get(id) === set) this.#waiting.delete(id);
        resolve();
      };
    });
    return { promise, stop };
  }

  async *#events<E>(id: string, after = 0, signal?: AbortSignal): AsyncIterableIterator<NumberedEvent<E>> {
    let last = after;
    while (!signal?.aborted) {
      const news = this.#newsOf(id, signal);
      try {
        // The state first: what comes after it has been read is an event of a job that still ran.
        const state = await this.#redis.hget(this.#record(id), "state");
        const page = await this.#redis.xrange(this.#stream(id), `${last + 1}-0`, "+", "COUNT", PAGE);
        for (const [key, [, time, , event]] of page) {
          last = Number(key.split("-")[0]);
          yield { number: last, time: Number(time), event: JSON.parse(event) as E };
          if (signal?.aborted) return;
        }
        if (page.length > 0) continue;
        if (state === null || ended(state) || this.#closed) return;
        await news.promise;
      } finally {
        news.stop();
      }
    }
  }

  async #info(id: string): Promise<JobInfo | null> {
    const [record, first] = await Promise.all([
      this.#redis.hgetall(this.#record(id)),
      this.#redis.xrange(this.#stream(id), "-", "+", "COUNT", 1),
    ]);
    if (record.kind === undefined) return null;
    const time = (value: string | undefined) => (value === undefined ? null : Number(value));
    const lastEvent = Number(record.last);
    return {
      ...{ id, kind: record.kind, state: record.state as JobState, added: Number(record.added) },
      ...{ started: time(record.started), ended: time(record.ended), lastEvent },
      firstEvent: first.length > 0 ? Number(first[0][0].split("-")[0]) : lastEvent + 1,
      error: record.state === "failed" ? (record.error ?? null) : null,
    };
  }

  async get<E, R>(id: string): Promise<Job<E, R> | null> {
    const kind = await this.#redis.hget(this.#record(id), "kind");
    return kind === null ? null : this.#job(id, kind);
  }

  async list(): Promise<JobInfo[]> {
    const ids = await this.#redis.zrange(this.#channel("jobs"), "0", "-1");
    const infos = await Promise.all(ids.map((id) => this.#info(id)));
    const gone = ids.filter((_, i) => infos[i] === null);
    if (gone.length > 0) await this.#redis.zrem(this.#channel("jobs"), ...gone);
    return infos.filter((info) => info !== null);
  }

  async waiting(kind: string): Promise<number> {
    checkKind(kind);
    return await this.#queue(kind).getWaitingCount();
  }

  /** Stops the workers of this process; what they were doing goes back to those that wait, for other workers. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { controller } of this.#running.values()) controller.abort(new QueueClosed());
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()));
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    for (const set of this.#waiting.values()) for (const wake of set) wake();
    this.#news.disconnect();
    await this.#redis.quit().catch(() => this.#redis.disconnect());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class QueueClosed extends JobCanceledError {
  constructor() {
    super("the queue was closed");
  }
}

const decodeId = (id: string) => decodeURIComponent(id.slice(2));

const reasonOf = (error: unknown) =>
  error instanceof JobCanceledError
    ? error.message.replace(/^job .*?: /, "")
    : error instanceof Error
      ? error.message
      : String(error);

function checkKind(kind: string): void {
  if (!/^[\w.-]{1,64}$/.test(kind)) {
    throw new ConfigError("a kind is 1 to 64 letters, digits, dots, dashes and underscores", {
      where: "BullmqQueue",
      found: kind,
    });
  }
}
