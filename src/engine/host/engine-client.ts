/**
 * The asking side of the protocol: gives requests to an engine's host, runs each as a job whose events are the host's
 * news, and knows when the engine is gone. The thread that the host runs in is behind `EngineChannel`.
 */
import type { JobContext } from "../../jobs/job.ts";
import { MemoryQueue } from "../../jobs/memory-queue.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import { RequestError, unavailable } from "./errors.ts";
import { type ChoiceEnd, type GenerationEvent, GenerationJob } from "./generation-job.ts";
import { insideBytes } from "./inside.ts";
import type {
  Delta,
  DrawingRequest,
  EngineFigures,
  FromEngine,
  GenerationRequest,
  LoadingNews,
  ModelInfo,
  PictureNews,
  ToEngine,
  TokenizeRequest,
} from "./protocol.ts";
import { ownedBuffers } from "./wire.ts";

/** A thread that speaks the protocol. */
export interface EngineChannel {
  /** @param transfer memory that the message may take along instead of copying it */
  post(message: ToEngine, transfer?: readonly ArrayBuffer[]): void;
  /** Called once, before anything arrives. */
  listen(onMessage: (message: FromEngine) => void, onEnd: (reason: string) => void): void;
  terminate(): Promise<void>;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** A job's way from its request to the host and back. */
interface Relay {
  /** Choices that go on. */
  open: number;
  readonly ends: ChoiceEnd[];
  emit(event: GenerationEvent): void;
  resolve(ends: readonly ChoiceEnd[]): void;
  reject(error: unknown): void;
}

/** Pictures of a drawing on their way to who asked for it. */
class PictureStream {
  readonly #news: PictureNews[] = [];
  #over = false;
  #error: unknown = null;
  #wake: () => void = () => {};
  #accept: { resolve(): void; reject(error: unknown): void } | null = null;
  /** Resolves once the host takes the request. */
  readonly accepted = new Promise<void>((resolve, reject) => {
    this.#accept = { resolve, reject };
  });

  constructor() {
    this.accepted.catch(() => {});
  }

  accept(): void {
    this.#accept?.resolve();
  }

  push(news: PictureNews): void {
    this.#news.push(news);
    this.#wake();
  }

  end(error: unknown = null): void {
    this.#over = true;
    this.#error = error;
    if (error !== null) this.#accept?.reject(error);
    this.#wake();
  }

  /** The pictures as they come; `left` is called where the reader leaves before the end. */
  async *read(left: () => void): AsyncGenerator<PictureNews, void, void> {
    try {
      for (;;) {
        const next = this.#news.shift();
        if (next !== undefined) yield next;
        else if (this.#error !== null) throw this.#error;
        else if (this.#over) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      if (!this.#over) left();
    }
  }
}

interface Asked {
  readonly request: GenerationRequest;
  readonly received: number;
  readonly giveImages: boolean;
}

export interface GenerateJobOptions {
  /** Of the job; default: a fresh one. With the id of a job that is still kept, that job. */
  readonly id?: string;
  /** `Date.now()` when the request came in: what the time to the first token counts from. */
  readonly received?: number;
  /**
   * Whether images in messages go to the host's thread without a copy: their bytes are empty here afterwards. Default
   * false.
   */
  readonly giveImages?: boolean;
}

const KIND = "generate";

/**
 * The engine has its own queue and refuses what it does not hold. Events of one job are kept up to 16 Mi characters,
 * those of a few ended jobs until others end.
 */
const LIMITS = { maxEvents: 2 ** 20, maxQueued: 2 ** 20, maxEnded: 16, sizeOf };
const ALL = Number.MAX_SAFE_INTEGER;

/** What an event takes: arrays as their bytes, other values as the characters of their JSON. */
function sizeOf(event: unknown): number {
  const { type, deltas } = event as Extract<GenerationEvent, { type: "deltas" }>;
  if (type !== "deltas" || !deltas.some(({ inside }) => inside)) return JSON.stringify(event).length;
  return deltas.reduce(
    (sum, { inside = [], ...rest }) => sum + JSON.stringify(rest).length + insideBytes(inside),
    0,
  );
}

/** How long a question about figures may wait for a step of the engine to end. */
const FIGURES_MS = 1000;

/** Choices of a request: `n` for each prompt. */
const choicesOf = (request: GenerationRequest) =>
  request.n * (request.kind === "chat" ? 1 : request.prompts.length);

/** What a step gave, by the job that it belongs to. */
function byJob(deltas: readonly Delta[]): Map<number, Delta[]> {
  const jobs = new Map<number, Delta[]>();
  for (const delta of deltas) {
    const known = jobs.get(delta.id);
    if (known) known.push(delta);
    else jobs.set(delta.id, [delta]);
  }
  return jobs;
}

export class EngineClient {
  readonly #channel: EngineChannel;
  readonly #log: (line: string) => void;
  readonly #onLoading: (news: LoadingNews) => void;
  readonly #queue = new MemoryQueue(LIMITS);
  readonly #generations = new WeakMap<object, GenerationJob>();
  readonly #relays = new Map<number, Relay>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #drawings = new Map<number, PictureStream>();
  readonly #onFailure = new Set<(reason: string) => void>();
  #info: ModelInfo | null = null;
  #ready: { resolve(): void; reject(error: Error): void } | null = null;
  #next = 1;
  #failure: string | null = null;
  #stopping = false;
  #stopped: (() => void) | null = null;
  #figures: EngineFigures | null = null;

  private constructor(
    channel: EngineChannel,
    log: (line: string) => void,
    onLoading: (news: LoadingNews) => void,
  ) {
    this.#channel = channel;
    this.#log = log;
    this.#onLoading = onLoading;
    this.#queue.process(
      KIND,
      (asked: Asked, context: JobContext<GenerationEvent>) => this.#relay(asked, context),
      {
        concurrency: ALL,
      },
    );
    channel.listen(
      (message) => this.#receive(message),
      (reason) => this.#end(reason),
    );
  }

  /** Resolves once the model is open. @throws Error with the reason if it does not open */
  static async connect(
    channel: EngineChannel,
    log: (line: string) => void = () => {},
    onLoading: (news: LoadingNews) => void = () => {},
  ): Promise<EngineClient> {
    const client = new EngineClient(channel, log, onLoading);
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

  /** Jobs that the host has not ended. */
  get active(): number {
    return this.#relays.size + this.#drawings.size;
  }

  /** Calls back once if the engine ends without having been asked to. */
  onFailure(callback: (reason: string) => void): void {
    if (this.#failure !== null) callback(this.#failure);
    else this.#onFailure.add(callback);
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case "loading":
        this.#onLoading({ stage: message.stage, done: message.done, total: message.total });
        break;
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
      case "accepted":
        this.#relays.get(message.id)?.emit({ type: "accepted" });
        this.#drawings.get(message.id)?.accept();
        break;
      case "refused": {
        const error = new RequestError(message.error);
        this.#settle(message.id)?.reject(error);
        this.#relays.get(message.id)?.reject(error);
        this.#relays.delete(message.id);
        this.#endDrawing(message.id, error);
        break;
      }
      case "picture": {
        const { type: _, id, ...news } = message;
        this.#drawings.get(id)?.push(news);
        break;
      }
      case "drawn":
        this.#endDrawing(message.id);
        break;
      case "canceled":
        this.#endDrawing(message.id, new DOMException("The drawing was canceled.", "AbortError"));
        this.#relays.get(message.id)?.reject(new DOMException("The job was canceled.", "AbortError"));
        this.#relays.delete(message.id);
        break;
      case "answer":
        this.#settle(message.id)?.resolve(message.value);
        break;
      case "deltas":
        for (const [id, deltas] of byJob(message.deltas))
          this.#relays.get(id)?.emit({ type: "deltas", deltas });
        break;
      case "finished": {
        const { id, ...end } = message;
        const relay = this.#relays.get(id);
        if (relay === undefined) break;
        relay.emit(end);
        const { type: _, ...rest } = end;
        relay.ends.push(rest);
        if (--relay.open > 0) break;
        this.#relays.delete(id);
        relay.resolve(relay.ends.sort((a, b) => a.choice - b.choice));
        break;
      }
      case "stopped":
        this.#stopped?.();
        break;
    }
  }

  #endDrawing(id: number, error: unknown = null): void {
    this.#drawings.get(id)?.end(error);
    this.#drawings.delete(id);
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #end(reason: string, foreseen = false): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    this.#stopped?.();
    this.#ready?.reject(foreseen ? new DeepseekError(reason) : new Error(reason));
    this.#ready = null;
    const error = this.#gone();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#failJobs(error);
    this.#waiting.clear();
    if (this.#stopping) return;
    for (const callback of this.#onFailure) callback(reason);
  }

  #failJobs(error: RequestError): void {
    for (const { reject } of this.#relays.values()) reject(error);
    this.#relays.clear();
    for (const id of [...this.#drawings.keys()]) this.#endDrawing(id, error);
  }

  #gone(): RequestError {
    return this.#stopping
      ? unavailable("The engine is shutting down.", "shutting_down")
      : unavailable(`The engine has failed: ${this.#failure}`, "engine_failed");
  }

  #check(): void {
    if (this.#stopping || this.#failure !== null) throw this.#gone();
  }

  /** The answer to a message; if `signal` is aborted before, its reason is thrown and the host is told to stop. */
  #ask(
    message: (id: number) => ToEngine,
    signal?: AbortSignal,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<unknown> {
    this.#check();
    signal?.throwIfAborted();
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#channel.post(message(id), transfer);
    if (signal === undefined) return answer;
    const leave = () => {
      this.#settle(id)?.reject(signal.reason);
      if (this.#failure === null) this.#channel.post({ type: "cancel", id });
    };
    signal.addEventListener("abort", leave, { once: true });
    return answer.finally(() => signal.removeEventListener("abort", leave));
  }

  /** The work of a job: the host does it, this passes on what it says. */
  #relay(
    { request, received, giveImages }: Asked,
    { signal, emit }: JobContext<GenerationEvent>,
  ): Promise<readonly ChoiceEnd[]> {
    return new Promise((resolve, reject) => {
      if (this.#stopping || this.#failure !== null) throw this.#gone();
      const id = this.#next++;
      this.#relays.set(id, { open: choicesOf(request), ends: [], emit, resolve, reject });
      const transfer = giveImages && request.kind === "chat" ? ownedBuffers(request.messages) : [];
      this.#channel.post({ type: "submit", id, request, received }, transfer);
      const cancel = () => {
        if (this.#relays.has(id)) this.#channel.post({ type: "cancel", id });
      };
      if (signal.aborted) cancel();
      else signal.addEventListener("abort", cancel, { once: true });
    });
  }

  /**
   * Adds a generation, which runs to its end whether or not it is read; `GenerationJob.accepted` says whether the engine
   * takes it, `cancel` ends it. @throws RequestError if the engine is gone, ConfigError for an id in other use
   */
  async generate(
    request: GenerationRequest,
    { id, received = Date.now(), giveImages = false }: GenerateJobOptions = {},
  ): Promise<GenerationJob> {
    this.#check();
    const job = await this.#queue.add<Asked, GenerationEvent, readonly ChoiceEnd[]>(
      KIND,
      { request, received, giveImages },
      { id },
    );
    const known = this.#generations.get(job);
    if (known !== undefined) return known;
    const generation = new GenerationJob(job, choicesOf(request));
    this.#generations.set(job, generation);
    return generation;
  }

  /**
   * Pictures of a request as they are drawn; resolves once the host takes it. Aborting `signal` ends the drawing, and so
   * does a reader that leaves. @throws RequestError, the signal's reason
   */
  async draw(
    request: DrawingRequest,
    signal?: AbortSignal,
  ): Promise<AsyncGenerator<PictureNews, void, void>> {
    this.#check();
    signal?.throwIfAborted();
    const id = this.#next++;
    const stream = new PictureStream();
    this.#drawings.set(id, stream);
    const leave = () => {
      if (this.#drawings.has(id) && this.#failure === null) this.#channel.post({ type: "cancel", id });
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.#channel.post({ type: "draw", id, request });
    await stream.accepted;
    return stream.read(leave);
  }

  /** The generation of an id, also one that has ended, while it is kept; null for any other. */
  async generation(id: string): Promise<GenerationJob | null> {
    const job = await this.#queue.get(id);
    return job === null ? null : (this.#generations.get(job) ?? null);
  }

  /**
   * Ids of a text or of rendered messages; of an image as many as it has tokens. Aborting `signal` ends the work.
   * @throws RequestError, the signal's reason
   */
  async tokenize(
    request: TokenizeRequest,
    signal?: AbortSignal,
    { giveImages = false }: Pick<GenerateJobOptions, "giveImages"> = {},
  ): Promise<readonly number[]> {
    const transfer = giveImages && "messages" in request ? ownedBuffers(request.messages) : [];
    return (await this.#ask((id) => ({ type: "tokenize", id, request }), signal, transfer)) as number[];
  }

  /** Text of ids. Aborting `signal` ends the work. @throws RequestError, the signal's reason */
  async detokenize(tokens: readonly number[], signal?: AbortSignal): Promise<string> {
    return (await this.#ask((id) => ({ type: "detokenize", id, tokens }), signal)) as string;
  }

  /** The engine's figures; the last known ones if a step takes long; null before any. @throws RequestError */
  async figures(): Promise<EngineFigures | null> {
    const answer = this.#ask((id) => ({ type: "metrics", id }));
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
    this.#failJobs(this.#gone());
    if (this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#stopped = resolve;
        this.#channel.post({ type: "shutdown" });
      });
    }
    await this.terminate();
    await this.#queue.close();
  }

  /** Ends the thread at once, whatever it does: without `shutdown` before, as a failure. */
  async terminate(): Promise<void> {
    await this.#channel.terminate();
  }
}
