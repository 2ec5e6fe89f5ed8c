/**
 * Several Leans behind one queue. A request goes to whichever is free; one that dies is replaced at once, and its request
 * is asked again if the death may not be its fault; old and fat ones are replaced between requests. Limits are kept twice:
 * by the server, and by ending it a little later.
 */
import { DisposedError } from "../../../tensor/errors.ts";
import { LeanError } from "../lean-error.ts";
import { type Connect, LeanServer, type ServerAnswer, type ServerEnd } from "./server.ts";

export interface PoolOptions {
  /** Most servers at a time; each takes 1.1 GB. They start when they are needed. */
  readonly size: number;
  /** Requests after which a server is replaced (2000). */
  readonly mostChecks?: number;
  /** Resident bytes above which a server is replaced (1.8e9; Lean's memory ends at 2 GiB). */
  readonly mostMemory?: number;
  /** Milliseconds that a server may go on after its limit (5000). */
  readonly grace?: number;
  /** Milliseconds that a server may take to start (300,000: other programs may keep the machine busy). */
  readonly startLimit?: number;
  /** What errors say of a Lean that does not start: from where, and what may help. */
  readonly where?: string;
  readonly hint?: string;
}

/** An answer, or why there is none: nothing of this is an error of the program. */
export type Outcome =
  | { readonly answer: ServerAnswer }
  | { readonly failure: "timeout" | "memory" | "crash"; readonly words: string }
  /** The environment that was asked for cannot be had. */
  | { readonly refused: string };

interface Job {
  readonly request: ServerAnswer;
  readonly imports: readonly string[];
  readonly timeout: number;
  readonly settle: (outcome: Outcome) => void;
  readonly fail: (error: unknown) => void;
  /** Deaths of servers under it: of themselves, and by signals of others. */
  deaths: number;
  signals: number;
  /** Its caller no longer waits. */
  dropped: boolean;
  /** Told when that happens. */
  onDrop: (() => void) | null;
}

/** A server that ended by itself gets its request a second time in another one; a signal from outside is forgiven thrice. */
const MOST_DEATHS = 2;
const MOST_SIGNALS = 4;
/** Starts that may fail one after the other. */
const MOST_FAILED_STARTS = 3;
const IMPORT_LIMIT = 120_000;
/** Milliseconds that a check whose caller has gone may still take, since a new server takes longer. */
const FAREWELL = 1000;
const OUT_OF_MEMORY = /out of memory|OOM|bad_alloc|ERR_WORKER_OUT_OF_MEMORY|Array buffer allocation/i;

/** Proofs that load what Lean compiles at first use, 0.9 s that the first proof would spend. They also show that Lean answers. */
const WARM_UP: readonly ServerAnswer[] = [
  ["theorem warm (a b : Nat) (h : a < b) : a + 1 ≤ b := ", "by omega"],
  ["theorem warm (xs : List Nat) : (xs ++ []).length = xs.length := ", "by simp"],
].map(([statement, proof]) => ({ op: "verify", statement: `${statement}sorry`, code: statement + proof }));

export class LeanPool implements AsyncDisposable {
  readonly size: number;
  readonly #connect: Connect;
  readonly #options: Required<Omit<PoolOptions, "size">>;
  readonly #queue: Job[] = [];
  readonly #idle: LeanServer[] = [];
  /** All that live, those that start too. */
  readonly #servers = new Set<LeanServer>();
  #starting = 0;
  #failedStarts = 0;
  #closed = false;
  #whenReady: { resolve(): void; reject(error: unknown): void }[] = [];

  /** @param connect starts a Lean */
  constructor(connect: Connect, { size, ...options }: PoolOptions) {
    this.size = size;
    this.#connect = connect;
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = {
      ...{ mostChecks: 2000, mostMemory: 1.8e9, grace: 5000, startLimit: 300_000, where: "Lean" },
      ...{ hint: "Is there 1 GB of free memory?" },
      ...Object.fromEntries(given),
    };
    this.#start();
  }

  /** Resolves when a server is warm. @throws LeanError if none starts */
  async ready(): Promise<void> {
    if (this.#idle.length > 0 || this.#servers.size > this.#starting) return;
    this.#refuseIfClosed();
    await new Promise<void>((resolve, reject) => {
      this.#whenReady.push({ resolve, reject });
      this.#dispatch();
    });
  }

  /**
   * @param request what the server is asked, without id and environment
   * @param timeout milliseconds of wall time, without waiting
   * @throws the signal's reason, LeanError if no server starts, DisposedError once closed
   */
  run(
    request: ServerAnswer,
    { imports = [], timeout, signal }: { imports?: readonly string[]; timeout: number; signal?: AbortSignal },
  ): Promise<Outcome> {
    return new Promise<Outcome>((resolve, reject) => {
      this.#refuseIfClosed();
      signal?.throwIfAborted();
      const give = () => {
        job.dropped = true;
        job.onDrop?.();
        const at = this.#queue.indexOf(job);
        if (at >= 0) this.#queue.splice(at, 1);
        reject(signal?.reason);
      };
      const done = () => signal?.removeEventListener("abort", give);
      const job: Job = {
        ...{ request, imports, timeout, deaths: 0, signals: 0, dropped: false, onDrop: null },
        settle: (outcome) => {
          done();
          resolve(outcome);
        },
        fail: (error) => {
          done();
          reject(error);
        },
      };
      signal?.addEventListener("abort", give, { once: true });
      this.#queue.push(job);
      this.#dispatch();
    });
  }

  /** Ends all servers; what waits or runs fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const error = new DisposedError("the Lean session was closed");
    for (const job of this.#queue.splice(0)) job.fail(error);
    for (const { reject } of this.#whenReady.splice(0)) reject(error);
    const all = [...this.#servers];
    for (const server of all) server.kill();
    await Promise.all(all.map((server) => server.ended));
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new DisposedError("the Lean session is closed");
  }

  /** Gives waiting requests to free servers, and starts more if there are too few. */
  #dispatch(): void {
    while (this.#queue.length > 0 && this.#idle.length > 0) {
      // The one used last: its memory is warm, and others may be idle long enough to be paged out.
      void this.#serve(this.#idle.pop()!, this.#queue.shift()!);
    }
    const wanted = Math.max(this.#queue.length, this.#whenReady.length > 0 ? 1 : 0);
    while (this.#starting < wanted && this.#servers.size < this.size) this.#start();
  }

  #start(): void {
    if (this.#closed) return;
    const server = new LeanServer(this.#connect);
    this.#servers.add(server);
    this.#starting++;
    const limit = setTimeout(() => server.kill(), this.#options.startLimit);
    void server.ended.then(() => {
      this.#servers.delete(server);
      const at = this.#idle.indexOf(server);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      this.#start();
    });
    this.#warm(server)
      .then(
        () => {
          this.#failedStarts = 0;
          this.#starting--;
          for (const { resolve } of this.#whenReady.splice(0)) resolve();
          this.#free(server);
        },
        (error: unknown) => {
          server.kill();
          this.#servers.delete(server);
          this.#starting--;
          this.#startFailed(error);
        },
      )
      .finally(() => clearTimeout(limit));
  }

  async #warm(server: LeanServer): Promise<void> {
    await server.ready;
    for (const request of WARM_UP) {
      const reply = await server.ask(request);
      if ("end" in reply) throw new Error(reply.end.words);
      if (reply.answer.verdict !== "ok") throw new Error(`a known proof got ${JSON.stringify(reply.answer)}`);
    }
  }

  #startFailed(cause: unknown): void {
    if (this.#closed) return;
    if (++this.#failedStarts < MOST_FAILED_STARTS) {
      this.#start();
      return;
    }
    this.#failedStarts = 0;
    // Those that live go on with what waits.
    if (this.#servers.size > this.#starting) return;
    const error = new LeanError("Lean does not start", {
      where: this.#options.where,
      found: cause instanceof Error ? cause.message : String(cause),
      hint: this.#options.hint,
      cause,
    });
    for (const job of this.#queue.splice(0)) job.fail(error);
    for (const { reject } of this.#whenReady.splice(0)) reject(error);
  }

  #free(server: LeanServer): void {
    if (this.#closed) return;
    if (server.checks >= this.#options.mostChecks || server.memory > this.#options.mostMemory) {
      server.kill();
      this.#servers.delete(server);
      this.#start();
    } else this.#idle.push(server);
    this.#dispatch();
  }

  async #serve(server: LeanServer, job: Job): Promise<void> {
    const outcome = await this.#attempt(server, job);
    const dead = !("answer" in outcome) && "end" in outcome;
    if (dead) {
      this.#servers.delete(server);
      if (!this.#closed) this.#start();
    }
    if (this.#closed) job.fail(new DisposedError("the Lean session was closed"));
    else if (dead) this.#died(job, outcome.end, outcome.late);
    else job.settle(outcome);
    if (!dead) this.#free(server);
  }

  /** Decides what a death means for the request under it. */
  #died(job: Job, { by, words }: ServerEnd, late: boolean): void {
    if (job.dropped) return;
    if (late) {
      job.settle({ failure: "timeout", words: "did not stop at its limit and was ended" });
      return;
    }
    const memory = OUT_OF_MEMORY.test(words);
    const again = by === "signal" ? ++job.signals < MOST_SIGNALS : ++job.deaths < MOST_DEATHS;
    if (!again) {
      job.settle({ failure: memory ? "memory" : "crash", words });
      return;
    }
    this.#queue.unshift(job);
    this.#dispatch();
  }

  async #attempt(
    server: LeanServer,
    job: Job,
  ): Promise<{ answer: ServerAnswer } | { refused: string } | { end: ServerEnd; late: boolean }> {
    const env = await this.#environment(server, job.imports);
    if (typeof env === "string") return { refused: env };
    if (typeof env === "object") return env;
    return await this.#asked(
      server,
      { ...job.request, env, timeoutMs: job.timeout },
      job.timeout + this.#options.grace,
      job,
    );
  }

  /** Asks with a limit after which the server is ended. */
  async #asked(
    server: LeanServer,
    request: ServerAnswer,
    limit: number,
    job?: Job,
  ): Promise<{ answer: ServerAnswer } | { end: ServerEnd; late: boolean }> {
    let late = false;
    const end = () => {
      late = true;
      server.kill();
    };
    const timers = [setTimeout(end, limit)];
    if (job !== undefined) job.onDrop = () => timers.push(setTimeout(end, FAREWELL));
    if (job?.dropped) job.onDrop?.();
    const reply = await server.ask(request);
    for (const timer of timers) clearTimeout(timer);
    if (job !== undefined) job.onDrop = null;
    return "end" in reply ? { end: reply.end, late } : reply;
  }

  /** The number of the environment with these modules in this server, or why there is none. */
  async #environment(
    server: LeanServer,
    imports: readonly string[],
  ): Promise<number | string | { end: ServerEnd; late: boolean }> {
    if (imports.length === 0) return 0;
    const key = imports.join(" ");
    const known = server.environments.get(key);
    if (known !== undefined) return known;
    const reply = await this.#asked(server, { op: "import", modules: imports }, IMPORT_LIMIT);
    if ("end" in reply) return reply;
    const { env, error } = reply.answer;
    const found = typeof env === "number" ? env : String(error ?? "the server gave no environment");
    server.environments.set(key, found);
    return found;
  }
}
