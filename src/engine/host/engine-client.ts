/**
 * The asking side of the protocol: submits jobs to an engine's host, hands their news on, and knows when the engine is
 * gone. The thread that the host runs in is behind `EngineChannel`.
 */
import { DeepseekError } from "../../tensor/errors.ts";
import { RequestError, unavailable } from "./errors.ts";
import type {
  ChoiceUsage,
  Delta,
  EngineFigures,
  FinishReason,
  FromEngine,
  Job,
  ModelInfo,
  ToEngine,
  TokenizeRequest,
} from "./protocol.ts";

/** A thread that speaks the protocol. */
export interface EngineChannel {
  post(message: ToEngine): void;
  /** Called once, before anything arrives. */
  listen(onMessage: (message: FromEngine) => void, onEnd: (reason: string) => void): void;
  terminate(): Promise<void>;
}

export type JobEvent =
  | { readonly type: "delta"; readonly delta: Delta }
  | {
      readonly type: "finished";
      readonly choice: number;
      readonly reason: FinishReason;
      readonly usage: ChoiceUsage;
    };

/** The news of one job, each once, in order; ends after the last choice. Throws RequestError where the job failed. */
export class JobStream implements AsyncIterableIterator<JobEvent> {
  readonly choices: number;
  readonly #onCancel: () => void;
  #events: JobEvent[] = [];
  #open: number;
  #error: RequestError | null = null;
  #wake: (() => void) | null = null;

  constructor(choices: number, onCancel: () => void) {
    this.choices = choices;
    this.#open = choices;
    this.#onCancel = onCancel;
  }

  /** Whether nothing more will come from the engine. */
  get over(): boolean {
    return this.#open === 0;
  }

  push(event: JobEvent): void {
    if (this.over) return;
    this.#events.push(event);
    if (event.type === "finished") this.#open--;
    this.#notify();
  }

  fail(error: RequestError): void {
    if (this.over) return;
    this.#error = error;
    this.#open = 0;
    this.#notify();
  }

  /** Tells the engine to stop; the iteration ends without an error. Does nothing once the job is over. */
  cancel(): void {
    if (this.over) return;
    this.#open = 0;
    this.#events = [];
    this.#onCancel();
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = null;
  }

  async next(): Promise<IteratorResult<JobEvent, undefined>> {
    while (this.#events.length === 0) {
      if (this.#error) throw this.#error;
      if (this.over) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return { done: false, value: this.#events.shift()! };
  }

  async return(): Promise<IteratorResult<JobEvent, undefined>> {
    this.cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: RequestError): void;
}

/** How long a question about figures may wait for a step of the engine to end. */
const FIGURES_MS = 1000;

export class EngineClient {
  readonly #channel: EngineChannel;
  readonly #log: (line: string) => void;
  readonly #jobs = new Map<number, JobStream>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #onFailure = new Set<(reason: string) => void>();
  #info: ModelInfo | null = null;
  #ready: { resolve(): void; reject(error: Error): void } | null = null;
  #next = 1;
  #failure: string | null = null;
  #stopping = false;
  #stopped: (() => void) | null = null;
  #figures: EngineFigures | null = null;

  private constructor(channel: EngineChannel, log: (line: string) => void) {
    this.#channel = channel;
    this.#log = log;
    channel.listen(
      (message) => this.#receive(message),
      (reason) => this.#end(reason),
    );
  }

  /** Resolves once the model is open. @throws Error with the reason where it does not open */
  static async connect(
    channel: EngineChannel,
    log: (line: string) => void = () => {},
  ): Promise<EngineClient> {
    const client = new EngineClient(channel, log);
    await new Promise<void>((resolve, reject) => {
      client.#ready = { resolve, reject };
    });
    return client;
  }

  get info(): ModelInfo {
    return this.#info!;
  }

  /** Why the engine is gone; null while it works. */
  get failure(): string | null {
    return this.#failure;
  }

  /** Jobs whose answers are under way. */
  get active(): number {
    return this.#jobs.size;
  }

  /** Calls back once where the engine ends without having been asked to. */
  onFailure(callback: (reason: string) => void): void {
    if (this.#failure !== null) callback(this.#failure);
    else this.#onFailure.add(callback);
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case "ready":
        this.#info = message.info;
        this.#ready?.resolve();
        this.#ready = null;
        break;
      case "failed":
        this.#end(message.message, message.foreseen);
        break;
      case "log":
        this.#log(message.text);
        break;
      case "accepted": {
        const stream = new JobStream(message.choices, () => this.#cancel(message.id));
        this.#jobs.set(message.id, stream);
        this.#settle(message.id)?.resolve(stream);
        break;
      }
      case "refused": {
        const error = new RequestError(message.error);
        this.#settle(message.id)?.reject(error);
        this.#jobs.get(message.id)?.fail(error);
        this.#jobs.delete(message.id);
        break;
      }
      case "answer":
        this.#settle(message.id)?.resolve(message.value);
        break;
      case "deltas":
        for (const delta of message.deltas) this.#jobs.get(delta.id)?.push({ type: "delta", delta });
        break;
      case "finished": {
        const job = this.#jobs.get(message.id);
        const { choice, reason, usage } = message;
        job?.push({ type: "finished", choice, reason, usage });
        if (job?.over) this.#jobs.delete(message.id);
        break;
      }
      case "stopped":
        this.#stopped?.();
        break;
    }
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #cancel(id: number): void {
    this.#jobs.delete(id);
    if (this.#failure === null) this.#channel.post({ type: "cancel", id });
  }

  #end(reason: string, foreseen = false): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    this.#stopped?.();
    this.#ready?.reject(foreseen ? new DeepseekError(reason) : new Error(reason));
    this.#ready = null;
    const error = this.#gone();
    for (const { reject } of this.#waiting.values()) reject(error);
    for (const job of this.#jobs.values()) job.fail(error);
    this.#waiting.clear();
    this.#jobs.clear();
    if (this.#stopping) return;
    for (const callback of this.#onFailure) callback(reason);
  }

  #gone(): RequestError {
    return this.#stopping
      ? unavailable("The engine is shutting down.", "shutting_down")
      : unavailable(`The engine has failed: ${this.#failure}`, "engine_failed");
  }

  #ask(message: (id: number) => ToEngine): { id: number; answer: Promise<unknown> } {
    if (this.#failure !== null) throw this.#gone();
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#channel.post(message(id));
    return { id, answer };
  }

  /**
   * Gives the job to the engine; resolves once it is in the queue. Aborting `signal` cancels it, at any time.
   * @throws RequestError where it cannot be served
   */
  async submit(job: Job, received: number, signal?: AbortSignal): Promise<JobStream> {
    const { id, answer } = this.#ask((id) => ({ type: "submit", id, job, received }));
    let stream: JobStream | null = null;
    const abort = () => (stream === null ? this.#cancel(id) : stream.cancel());
    signal?.addEventListener("abort", abort, { once: true });
    stream = (await answer) as JobStream;
    if (signal?.aborted) stream.cancel();
    return stream;
  }

  /** Ids of a text or of rendered messages. @throws RequestError */
  async tokenize(request: TokenizeRequest): Promise<readonly number[]> {
    return (await this.#ask((id) => ({ type: "tokenize", id, request })).answer) as number[];
  }

  /** Text of ids. @throws RequestError */
  async detokenize(tokens: readonly number[]): Promise<string> {
    return (await this.#ask((id) => ({ type: "detokenize", id, tokens })).answer) as string;
  }

  /** The engine's figures; the last known ones where a step takes long; null before any. @throws RequestError */
  async figures(): Promise<EngineFigures | null> {
    const { answer } = this.#ask((id) => ({ type: "metrics", id }));
    const fresh = answer.then((value) => {
      this.#figures = value as EngineFigures;
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIGURES_MS);
    });
    await Promise.race([fresh, late]).finally(() => clearTimeout(timer));
    fresh.catch(() => {});
    return this.#figures;
  }

  /** Cancels what runs, frees the model and ends the thread. */
  async shutdown(): Promise<void> {
    this.#stopping = true;
    for (const job of this.#jobs.values()) job.fail(this.#gone());
    this.#jobs.clear();
    if (this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#stopped = resolve;
        this.#channel.post({ type: "shutdown" });
      });
    }
    await this.terminate();
  }

  /** Ends the thread at once, whatever it does: without `shutdown` before, as a failure. */
  async terminate(): Promise<void> {
    await this.#channel.terminate();
  }
}
