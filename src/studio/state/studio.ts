/** What the page knows of the backend: who answers, which models there are, what runs; kept fresh by asking. */
import { batch, computed, signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { type Backend, isFault } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import type { Hello, JobView, ModelEntry, ModelList, OpenBody } from "../backend/wire.ts";

/** `lost` counts attempts since; `other`: the server has another version than the page. */
export type Connection =
  | { readonly state: "connecting" | "ready" | "denied" }
  | { readonly state: "lost"; readonly attempts: number }
  | { readonly state: "other"; readonly version: string };

/** Milliseconds between questions while something runs, and otherwise. */
const BUSY = 1000;
const IDLE = 4000;
const HIDDEN = 15_000;
/** Questions after which models are asked for even though nothing happened. */
const MODELS_EVERY = 8;

export const isRunning = ({ state }: JobView) => state === "queued" || state === "running";

/** A name of the page's own for a job, so that asking again does not do it twice. */
export const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Studio {
  readonly backend: Backend;
  readonly version: string;
  readonly connection = signal<Connection>({ state: "connecting" });
  readonly hello = signal<Hello | null>(null);
  readonly models = signal<ModelList | null>(null);
  readonly jobs = signal<readonly JobView[]>([]);
  readonly running = computed(() => this.jobs.value.filter(isRunning));
  readonly memory = computed(() => this.models.value?.memory ?? this.hello.value?.memory ?? null);
  /** Model that new conversations and pictures are asked of; null: none is open. */
  readonly chosen = signal<string | null>(null);
  readonly #stopped = new AbortController();
  #wake = () => {};
  #round = 0;

  constructor(backend: Backend, version: string) {
    this.backend = backend;
    this.version = version;
  }

  entry(model: string | null): ModelEntry | null {
    return this.models.value?.models.find((each) => each.model === model) ?? null;
  }

  /** The chosen model, else one that is open, else the smallest that could be. */
  get current(): ModelEntry | null {
    const list = this.models.value?.models ?? [];
    return (
      this.entry(this.chosen.value) ??
      list.find(({ state }) => state === "open") ??
      list.find(({ state }) => state === "opening") ??
      [...list].filter(({ partial }) => !partial).sort((a, b) => a.size - b.size)[0] ??
      null
    );
  }

  /** Asks now instead of later. */
  refresh(): void {
    this.#round = 0;
    this.#wake();
  }

  /** Asks until the page is gone. */
  async watch(): Promise<void> {
    document.addEventListener("visibilitychange", () => this.refresh());
    addEventListener("online", () => this.refresh());
    while (!this.#stopped.signal.aborted) {
      await this.ask();
      const lost = this.connection.value.state === "lost";
      const wait = document.hidden ? HIDDEN : lost || this.running.value.length > 0 ? BUSY : IDLE;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.#stopped.abort();
    this.#wake();
  }

  /** One round of questions. */
  async ask(): Promise<void> {
    try {
      const [hello, all] = await Promise.all([this.backend.hello(), this.backend.jobs()]);
      // Checks while somebody types are no work that anybody waits for.
      const jobs = all.filter(({ kind }) => kind !== "check");
      const restarted = this.hello.value !== null && this.hello.value.session !== hello.session;
      const changed = statesOf(jobs) !== statesOf(this.jobs.value);
      const asked = changed || restarted || this.models.value === null || this.#round++ % MODELS_EVERY === 0;
      const models = asked ? await this.backend.models() : this.models.value;
      batch(() => {
        this.hello.value = hello;
        this.jobs.value = jobs;
        this.models.value = models;
        this.connection.value =
          hello.version === this.version ? { state: "ready" } : { state: "other", version: hello.version };
      });
    } catch (error) {
      if (isFault(error, "denied")) this.connection.value = { state: "denied" };
      else {
        const { value } = this.connection;
        this.connection.value = { state: "lost", attempts: value.state === "lost" ? value.attempts + 1 : 1 };
      }
    }
  }

  async stop(job: string): Promise<void> {
    await this.backend.stop(job);
    this.refresh();
  }

  async closeModel(model: string): Promise<void> {
    this.models.value = await this.backend.closeModel(model);
  }

  /**
   * Opens a model and waits until it is open; one that is opened already is waited for.
   * @throws Error with the reason why it did not open
   */
  async open(
    body: OpenBody,
    signal: AbortSignal,
    onProgress: (text: string) => void = () => {},
  ): Promise<void> {
    const entry = this.entry(body.model);
    if (entry?.state === "open") return;
    const id =
      entry?.state === "opening" && entry.job !== null
        ? entry.job
        : (await this.backend.start({ kind: "open", body, id: newId() })).id;
    this.refresh();
    for await (const { event } of followJob(this.backend, id, 0, { signal })) {
      if (event.type === "progress") onProgress(event.progress.text);
      if (event.type === "end" && event.job.state !== "done")
        throw new Error(event.job.error?.message ?? `${body.model} was not opened: ${event.job.state}.`);
    }
    this.models.value = await this.backend.models();
  }
}

const statesOf = (jobs: readonly JobView[]) => jobs.map(({ id, state }) => `${id} ${state}`).join();

const StudioContext = createContext<Studio | null>(null);
export const StudioProvider = StudioContext.Provider;

export function useStudio(): Studio {
  return useContext(StudioContext)!;
}
