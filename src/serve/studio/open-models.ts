/**
 * The models that are open: each on a thread of its own, behind its own routes of `/v1`. Opening one beyond the machine's memory
 * closes those that were used longest ago and do nothing, or is refused with the figures that say why.
 */
import type { Hono } from "hono";
import type { EngineChannel, EngineClient } from "../../engine/host/engine-client.ts";
import type { ModelInfo } from "../../engine/host/protocol.ts";
import { formatBytes } from "../../text/units.ts";
import type { ServerState } from "../answer-routes.ts";
import type { EngineSettings } from "../engine-settings.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import { ServedModel } from "../served-model.ts";
import type { MemoryFigures } from "./protocol.ts";

/** The memory of the machine, in bytes. */
export type MeasureMemory = () => { readonly total: number; readonly free: number };

export interface OpenModelsOptions {
  /** The routes of a model over what they need to know. */
  readonly routes: (state: ServerState, model: string) => Hono;
  /** Begins a thread that opens a model. */
  readonly start: (settings: EngineSettings) => EngineChannel;
  readonly memory: MeasureMemory;
  /** Whether a model is refused by these figures: browsers tell theirs too roughly for that. Default true. */
  readonly refuses?: boolean;
  readonly log: (line: string) => void;
}

/** What opening a model is given. */
export interface OpeningModel {
  readonly settings: EngineSettings;
  /** Bytes that weights and caches need, as far as that can be told before. */
  readonly needed: number;
  /** The job that opens it. */
  readonly job: string;
  readonly signal: AbortSignal;
  readonly onLoading: (done: number, total: number) => void;
}

/** How a model stands. */
export interface ModelState {
  readonly state: "opening" | "open" | "failed";
  readonly info: ModelInfo | null;
  readonly error: string | null;
  readonly job: string | null;
}

interface Entry {
  readonly served: ServedModel;
  /** Where it was opened from. */
  readonly path: string;
  readonly job: string;
  /** What it was opened with. */
  readonly key: string;
  state: ModelState["state"];
  error: string | null;
  /** Rises with each use. */
  used: number;
  holders: number;
  /** Bytes of weights and of the caches that are filled. */
  bytes: number;
}

/** An open model, kept open until this is disposed of. */
export interface HeldModel extends Disposable {
  readonly app: Hono;
  readonly engine: EngineClient;
}

const keyOf = (settings: EngineSettings) => JSON.stringify(Object.entries(settings).sort());

function refused(status: number, code: string, message: string): ApiError {
  return new ApiError({ status, message, type: "invalid_request_error", param: "model", code });
}

export class OpenModels {
  readonly #options: OpenModelsOptions;
  readonly #entries = new Map<string, Entry>();
  #uses = 0;

  constructor(options: OpenModelsOptions) {
    this.#options = options;
  }

  /** Names of the models that are open. */
  get names(): readonly string[] {
    return [...this.#entries].filter(([, { state }]) => state === "open").map(([model]) => model);
  }

  /** Null for a model that nobody has asked to open. */
  state(model: string): ModelState | null {
    const entry = this.#entries.get(model);
    if (entry === undefined) return null;
    const { state, error, job, served } = entry;
    return { state, error, job, info: state === "open" ? (served.engine?.info ?? null) : null };
  }

  /** Null for a model that is not open. */
  engineOf(model: string): EngineClient | null {
    const entry = this.#entries.get(model);
    return entry?.state === "open" ? entry.served.engine : null;
  }

  /** Whether a model is open, or about to be; also what lies at its path, which may have several names. */
  isTaken(model: string, path?: string): boolean {
    return [...this.#entries].some(
      ([name, entry]) =>
        (entry.state === "open" || entry.state === "opening") && (name === model || entry.path === path),
    );
  }

  memory(): MemoryFigures {
    const { total, free } = this.#options.memory();
    const models = [...this.#entries.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    return { total, available: free, models };
  }

  /** Asks the engines how full their caches are, for `memory`. */
  async measure(): Promise<void> {
    await Promise.all([...this.#entries.values()].map((entry) => this.#weigh(entry)));
  }

  async #weigh(entry: Entry): Promise<void> {
    const { engine } = entry.served;
    if (entry.state !== "open" || engine === null) return;
    const figures = await engine.figures().catch(() => null);
    if (entry.state === "open") entry.bytes = engine.info.weightBytes + (figures?.cacheBytes ?? 0);
  }

  /**
   * The open model of a name; without one, the only model that is open. @throws ApiError 404 if it is not open, 400
   * where several are and none is named
   */
  find(model: string | null): { readonly model: string; readonly app: Hono } {
    const { names } = this;
    if (model === null || model === "") {
      if (names.length === 1) return this.#found(names[0]);
      if (names.length > 1) {
        const list = names.map((name) => `'${name}'`).join(", ");
        throw invalidRequest(
          `Several models are open; 'model' must name one of ${list}.`,
          "model",
          "no_model_named",
        );
      }
      throw refused(404, "model_not_open", "No model is open. Open one first.");
    }
    if (names.includes(model)) return this.#found(model);
    const { state, error } = this.#entries.get(model) ?? {};
    const shown = `The model '${model.slice(0, 100)}'`;
    if (state === "opening") throw refused(404, "model_loading", `${shown} is still being opened.`);
    if (state === "failed") throw refused(404, "model_failed", `${shown} has failed: ${error}`);
    throw refused(404, "model_not_open", `${shown} is not open. Open it first.`);
  }

  #found(model: string): { readonly model: string; readonly app: Hono } {
    const entry = this.#entries.get(model)!;
    entry.used = ++this.#uses;
    return { model, app: entry.served.app };
  }

  /** Keeps a model open until the result is disposed of. @throws ApiError as `find` */
  hold(model: string): HeldModel {
    const { app } = this.find(model);
    const entry = this.#entries.get(model)!;
    entry.holders++;
    return {
      app,
      engine: entry.served.engine!,
      [Symbol.dispose]: () => {
        entry.holders--;
        entry.used = ++this.#uses;
      },
    };
  }

  /** Why a model may not be closed now; null: it may. */
  #busy({ served, holders }: Entry): string | null {
    const active = Math.max(holders, served.engine?.active ?? 0);
    return active === 0 ? null : `${active} of its answers are not finished`;
  }

  /**
   * Opens a model; what is open already with the same settings stays so, with others it is opened anew.
   * @throws ApiError 409 if it answers just now, 507 beyond the memory; what opening throws
   */
  async open(model: string, opening: OpeningModel): Promise<ModelInfo> {
    const { settings, needed, job, signal, onLoading } = opening;
    const key = keyOf(settings);
    const before = this.#entries.get(model);
    if (before?.state === "open") {
      if (before.key === key) {
        before.used = ++this.#uses;
        return before.served.engine!.info;
      }
      await this.close(model);
    }
    await this.#makeRoom(model, needed);
    const { routes, start, log } = this.#options;
    const served = new ServedModel((state) => routes(state, model), log);
    const entry: Entry = {
      ...{ served, path: settings.model, job, key, state: "opening", error: null, holders: 0, bytes: 0 },
      used: ++this.#uses,
    };
    this.#entries.set(model, entry);
    try {
      const engine = await served.open(start(settings), {
        signal,
        onLoading: ({ done, total }) => onLoading(done, total),
      });
      entry.state = "open";
      entry.bytes = engine.info.weightBytes;
    } catch (error) {
      entry.state = "failed";
      entry.error = error instanceof Error ? error.message : String(error);
      if (signal.aborted) this.#entries.delete(model);
      throw error;
    }
    void served.failed.then((reason) => {
      entry.state = "failed";
      entry.error = reason;
      entry.bytes = 0;
    });
    return served.engine!.info;
  }

  /** Closes idle models, the one used longest ago first, until `needed` bytes are free. @throws ApiError 507 */
  async #makeRoom(model: string, needed: number): Promise<void> {
    const { total, free } = this.#options.memory();
    const idle = [...this.#entries]
      .filter(([, entry]) => entry.state === "open" && this.#busy(entry) === null)
      .sort(([, a], [, b]) => a.used - b.used);
    for (const [, entry] of idle) await this.#weigh(entry);
    const gained = idle.reduce((sum, [, { bytes }]) => sum + bytes, free);
    if (needed > gained && (this.#options.refuses ?? true)) {
      const others = gained > free ? `, ${formatBytes(gained)} if all idle models were closed` : "";
      throw refused(
        507,
        "out_of_memory",
        `${model} needs about ${formatBytes(needed)}; of ${formatBytes(total)} of memory, ${formatBytes(free)} are free` +
          `${others}. Open it with a smaller dtype or context, or close other programs.`,
      );
    }
    let room = free;
    for (const [name, { bytes }] of idle) {
      if (needed <= room) return;
      await this.close(name);
      this.#options.log(`closed ${name} to make room for ${model}`);
      room += bytes;
    }
  }

  /** Closes a model; one that is not open is left as it is. @throws ApiError 409 while it answers */
  async close(model: string): Promise<void> {
    const entry = this.#entries.get(model);
    if (entry === undefined) return;
    if (entry.state === "opening") {
      throw refused(409, "model_loading", `${model} is being opened; stop the job that opens it instead.`);
    }
    const busy = this.#busy(entry);
    if (entry.state === "open" && busy !== null) {
      throw refused(409, "model_busy", `${model} cannot be closed now: ${busy}. Stop them first.`);
    }
    this.#entries.delete(model);
    await entry.served.close();
  }

  /** Ends everything at once. */
  async closeAll(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    await Promise.all(entries.map(({ served }) => served.close()));
  }
}
