/**
 * The studio's jobs: over a queue of this process, with what a page wants to know of each (a title, how far it is, what it
 * gave), ids of the page's making, and a sign of life at least every few seconds. A page that goes away stops nothing.
 */
import type { Job, JobContext, JobInfo } from "../../jobs/job.ts";
import { MemoryQueue } from "../../jobs/memory-queue.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import { base64Of } from "../../text/base64.ts";
import { ApiError, apiError, invalidRequest } from "../errors.ts";
import type { JobJournal } from "./job-journal.ts";
import type { JobError, JobEvent, JobKind, JobProgress, JobView, JsonObject, RootPath } from "./protocol.ts";
import { shownPath } from "./shown-path.ts";

/** Jobs that wait or run; and those of them that wait. */
const MOST_OPEN = 64;
/** Ended jobs that are kept, and characters of JSON that their events may have. */
const MOST_ENDED = 64;
/** Ended checks of texts: a page that types asks for one after another, and reads each at once. */
const MOST_ENDED_CHECKS = 8;
const MOST_CHARACTERS = 64 * 2 ** 20;
/** Of one job, an answer with its inside among them. */
const MOST_EVENTS = 200_000;
const MOST_EVENT_CHARACTERS = 32 * 2 ** 20;
/** Characters of the bodies of jobs that have not begun. */
const MOST_BODY_CHARACTERS = 128 * 2 ** 20;
/** Milliseconds of silence after which a running job says how far it is, and the fewest between two such events. */
const QUIET_MS = 4000;
const OFTEN_MS = 250;
const MOST_TITLE = 80;

/** What a job tells; its end is told by the queue. */
export type JobNews = Exclude<JobEvent["event"], { readonly type: "end" }>;

/** What the work of a job is given. */
export interface JobWork {
  readonly id: string;
  /** Aborted by a request to stop: the work ends soon after, and only once everything of it has stopped. */
  readonly signal: AbortSignal;
  emit(news: JobNews): void;
  /** Says how far it is; told at most a few times a second. */
  progress(progress: JobProgress): void;
  /** The same where other events say it as well: it is told only when nothing else is. */
  note(progress: JobProgress): void;
}

/** How a kind of job is done. */
export interface JobPlan {
  /** Jobs of one lane share its places. */
  readonly lane: Lane;
  readonly title: string;
  readonly model: string | null;
  /** What it leaves on disk, for who is told that it was interrupted; absent where that is nothing. */
  readonly leaves?: JsonObject;
  /** Gives the result: plain data, null where the events say all. */
  run(work: JobWork): Promise<JsonObject | null>;
}

/** Which jobs wait for each other, and how many run at a time. */
const LANES = {
  /** The engines have queues of their own. */
  answer: MOST_OPEN,
  /** One after the other, since each looks at the memory that is left. */
  open: 1,
  download: 2,
  /** These use every core. */
  files: 1,
  train: 1,
  prove: 1,
  verify: 4,
  check: 4,
} as const;

export type Lane = keyof typeof LANES;

interface Known {
  readonly kind: JobKind;
  readonly title: string;
  readonly model: string | null;
  /** Of the request, so that an id is not taken for another one. */
  readonly digest: string;
  readonly size: number;
  /** Of its plan. */
  readonly leaves: JsonObject | null;
  /** Null once it has begun, with all that it holds. */
  plan: JobPlan | null;
  progress: JobProgress | null;
  error: JobError | null;
  result: JsonObject | null;
}

export interface NewJob {
  readonly kind: JobKind;
  readonly plan: JobPlan;
  /** What was asked for, as text: the same id with another text is refused. */
  readonly request: string;
  readonly id?: string;
}

export interface StudioJobsOptions {
  readonly log: (line: string) => void;
  /** Where jobs that leave something are written down; default: nowhere. */
  readonly journal?: JobJournal | null;
  /** Words of errors as the page gets them. */
  readonly shown?: (text: string) => string;
}

const ID = /^[\w-]{16,64}$/;
const unended = ({ state }: JobInfo) => state === "queued" || state === "running";

/** An error as a page is told it; what nobody foresaw goes to the log. */
export function jobError(error: unknown, log: (line: string) => void): JobError {
  const known = apiError(error);
  if (known !== null) return { message: known.message, code: known.shape.code };
  if (error instanceof DeepseekError) return { message: error.message, code: null };
  log(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return {
    message: "It failed in a way that nobody foresaw; the log of the command says how.",
    code: "internal_error",
  };
}

function idTaken(message: string): ApiError {
  return new ApiError({ status: 409, message, type: "invalid_request_error", param: "id", code: "id_taken" });
}

/** SHA-256 of a text. */
async function digestOf(text: string): Promise<string> {
  return base64Of(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

/** The end of a job as its only event. */
async function* only(job: JobView): AsyncGenerator<JobEvent, void> {
  yield { number: job.lastEvent + 1, time: job.ended ?? job.added, event: { type: "end", job } };
}

export class StudioJobs {
  readonly #queue = new MemoryQueue({
    maxEvents: MOST_EVENTS,
    maxEventCharacters: MOST_EVENT_CHARACTERS,
    maxEnded: MOST_ENDED,
    maxEndedOf: { check: MOST_ENDED_CHECKS } satisfies Partial<Record<Lane, number>>,
    maxEndedCharacters: MOST_CHARACTERS,
    maxQueued: MOST_OPEN,
  });
  readonly #known = new Map<string, Known>();
  readonly #log: (line: string) => void;
  readonly #journal: JobJournal | null;
  readonly #shown: (text: string) => string;
  #adding: Promise<unknown> = Promise.resolve();

  constructor({ log, journal = null, shown = (text) => text }: StudioJobsOptions) {
    this.#log = log;
    this.#journal = journal;
    this.#shown = shown;
    for (const [lane, concurrency] of Object.entries(LANES)) {
      this.#queue.process(lane, (_: null, context: JobContext<JobNews>) => this.#run(context), {
        concurrency,
      });
    }
  }

  /**
   * Adds a job; with the id of one that is there, and the same request, gives that one.
   * @throws ApiError 400 for an id that is none, 409 for the id of another request or of an interrupted job, 429 where too many
   * are open
   */
  add(job: NewJob): Promise<JobView> {
    // One after the other: each looks at what is there before it adds to that.
    const added = this.#adding.then(() => this.#add(job));
    this.#adding = added.catch(() => {});
    return added;
  }

  async #add({ kind, plan, request, id = crypto.randomUUID() }: NewJob): Promise<JobView> {
    if (!ID.test(id)) {
      throw invalidRequest(
        "'id' must be 16 to 64 of the characters A-Z, a-z, 0-9, _ and -.",
        "id",
        "invalid_value",
      );
    }
    const digest = await digestOf(`${kind}\n${request}`);
    if (this.#interrupted(id) !== undefined) {
      throw idTaken(`The job with the id '${id}' was interrupted; ask again under another id.`);
    }
    const before = await this.#find(id, digest);
    if (before !== null) return before;
    const infos = await this.#queue.list();
    this.#forget(infos);
    const waiting = [...this.#known.values()].reduce(
      (sum, { plan, size }) => sum + (plan === null ? 0 : size),
      0,
    );
    if (infos.filter(unended).length >= MOST_OPEN || waiting + request.length > MOST_BODY_CHARACTERS) {
      throw new ApiError({
        status: 429,
        message: `Too many jobs wait or run: at most ${MOST_OPEN} may. Stop some, or try again when some have ended.`,
        type: "rate_limit_error",
        param: null,
        code: "too_many_jobs",
      });
    }
    const { title, model } = plan;
    const known: Known = {
      ...{ kind, model, digest, plan, size: request.length, leaves: plan.leaves ?? null },
      title: title.length > MOST_TITLE ? `${title.slice(0, MOST_TITLE - 1)}…` : title,
      ...{ progress: null, error: null, result: null },
    };
    this.#known.set(id, known);
    try {
      return this.#view((await this.#queue.add(plan.lane, null, { id })).info(), known);
    } catch (error) {
      this.#known.delete(id);
      if (!(error instanceof ConfigError)) throw error;
      throw new ApiError({
        ...{ status: 503, message: error.message, type: "server_error", param: null, code: "shutting_down" },
      });
    }
  }

  /** The job that a request with this id and digest has made; null if there is none. @throws ApiError 409 */
  async #find(id: string, digest: string): Promise<JobView | null> {
    const known = this.#known.get(id);
    const job = await this.#queue.get(id);
    if (known === undefined || job === null) return null;
    if (known.digest === digest) return this.#view(job.info(), known);
    throw idTaken(`A job with the id '${id}' does something else.`);
  }

  #forget(infos: readonly JobInfo[]): void {
    const kept = new Set(infos.map(({ id }) => id));
    for (const id of this.#known.keys()) if (!kept.has(id)) this.#known.delete(id);
  }

  async #run({ id, signal, emit }: JobContext<JobNews>): Promise<JsonObject | null> {
    const known = this.#known.get(id)!;
    const plan = known.plan!;
    known.plan = null;
    let told = performance.now();
    let often = Number.NEGATIVE_INFINITY;
    const tell = (news: JobNews) => {
      told = performance.now();
      emit(news);
    };
    const begun: JobProgress = { done: 0, total: null, unit: "tokens", text: "begins" };
    const alive = setInterval(() => {
      if (performance.now() - told < QUIET_MS) return;
      tell({ type: "progress", progress: known.progress ?? begun });
    }, QUIET_MS / 4);
    if (plan.leaves !== undefined) {
      const info = (await this.#queue.get(id))!.info();
      await this.#journal?.begin({ ...this.#view(info, known), result: plan.leaves });
    }
    try {
      known.result = await plan.run({
        ...{ id, signal, emit: tell },
        note(progress) {
          known.progress = progress;
        },
        progress(progress) {
          const now = performance.now();
          const news = progress.text !== known.progress?.text || progress.done === progress.total;
          known.progress = progress;
          if (!news && now - often < OFTEN_MS) return;
          often = now;
          tell({ type: "progress", progress });
        },
      });
      // What was stopped may have something to give: a run that can go on.
      signal.throwIfAborted();
      return known.result;
    } catch (error) {
      if (!signal.aborted) {
        const { message, code } = jobError(error, this.#log);
        known.error = { message: this.#shown(message), code };
      }
      throw error;
    } finally {
      clearInterval(alive);
      await this.#journal?.end(id);
    }
  }

  /** A job that an earlier server did not end. */
  #interrupted(id: string): JobView | undefined {
    return this.#journal?.interrupted.find((job) => job.id === id);
  }

  #view(info: JobInfo, { kind, title, model, leaves, progress, error, result }: Known): JobView {
    const { id, state, added, started, ended, lastEvent, firstEvent } = info;
    const run = leaves?.run as RootPath | undefined;
    return {
      ...(run !== undefined && { run: shownPath(run) }),
      ...{ id, kind, state, title, model, added, started, ended, lastEvent, firstEvent, progress },
      error: state === "failed" ? error : null,
      result,
    };
  }

  async #job(id: string): Promise<{ job: Job<JobNews, JsonObject | null>; known: Known }> {
    const job = await this.#queue.get<JobNews, JsonObject | null>(id);
    const known = this.#known.get(id);
    if (job !== null && known !== undefined) return { job, known };
    throw new ApiError({
      status: 404,
      message: "There is no such job: it ended long ago, or before the server was started again.",
      type: "invalid_request_error",
      param: "id",
      code: "job_not_found",
    });
  }

  /** @throws ApiError 404 */
  async get(id: string): Promise<JobView> {
    const interrupted = this.#interrupted(id);
    if (interrupted !== undefined) return interrupted;
    const { job, known } = await this.#job(id);
    return this.#view(job.info(), known);
  }

  /**
   * All that are kept, newest first, and behind them those that an earlier server did not end. Without their results, which can be
   * large: pages ask for the list every second.
   */
  async list(): Promise<JobView[]> {
    const own = (await this.#queue.list()).toReversed().flatMap((info) => {
      const known = this.#known.get(info.id);
      return known === undefined ? [] : [{ ...this.#view(info, known), result: null }];
    });
    return [...own, ...(this.#journal?.interrupted ?? [])];
  }

  /** Jobs that have not ended, with what each does. */
  async open(): Promise<JobView[]> {
    return (await this.list()).filter(({ state }) => state === "queued" || state === "running");
  }

  /** The id of the job, of those that have not ended, that trains a run; null if there is none. */
  async trainerOf(run: RootPath): Promise<string | null> {
    const name = shownPath(run);
    return (await this.open()).find((job) => job.run === name)?.id ?? null;
  }

  /** Asks a job to stop and waits until it has. @throws ApiError 404 */
  async stop(id: string): Promise<JobView> {
    const interrupted = this.#interrupted(id);
    if (interrupted !== undefined) return interrupted;
    const { job, known } = await this.#job(id);
    await job.cancel("stopped");
    return this.#view(job.info(), known);
  }

  /**
   * Events after number `after`, then new ones, and the end. Aborting `signal` ends the reading alone. @throws ApiError 404
   */
  async events(id: string, after: number, signal: AbortSignal): Promise<AsyncGenerator<JobEvent, void>> {
    const interrupted = this.#interrupted(id);
    if (interrupted !== undefined) return only(interrupted);
    const { job, known } = await this.#job(id);
    const view = () => this.#view(job.info(), known);
    return (async function* () {
      yield* job.events(after, signal);
      if (signal.aborted) return;
      const end = view();
      yield { number: end.lastEvent + 1, time: end.ended ?? Date.now(), event: { type: "end", job: end } };
    })();
  }

  /** Stops everything and waits until it has. */
  async close(): Promise<void> {
    await this.#queue.close();
  }
}
