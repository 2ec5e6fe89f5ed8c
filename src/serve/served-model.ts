/**
 * A model behind the routes of `/v1`: the channel to its engine, what the routes know of it, and their app, which answers 503 until
 * the model is open. A failed engine is not restarted, since its model would have to be loaded anew. Runs in pages too.
 */
import type { Hono } from "hono";
import { type EngineChannel, EngineClient } from "../engine/host/engine-client.ts";
import type { LoadingNews } from "../engine/host/protocol.ts";
import type { ServerState } from "./answer-routes.ts";

export interface OpeningOptions {
  /** Gives up while the model is loading; afterwards it does nothing. */
  readonly signal?: AbortSignal;
  readonly onLoading?: (news: LoadingNews) => void;
}

export class ServedModel {
  readonly app: Hono;
  /** Resolves with the reason if the engine ends by itself; never otherwise. */
  readonly failed: Promise<string>;
  readonly #state: ServerState;
  readonly #stop = new AbortController();
  readonly #log: (line: string) => void;
  #fail: (reason: string) => void = () => {};

  /** @param routes builds its routes over what they need to know */
  constructor(routes: (state: ServerState) => Hono, log: (line: string) => void) {
    this.#state = { phase: "loading", reason: "", engine: null, stop: this.#stop.signal };
    this.#log = log;
    this.app = routes(this.#state);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  get phase(): ServerState["phase"] {
    return this.#state.phase;
  }

  /** The engine; null before the model is open. */
  get engine(): EngineClient | null {
    return this.#state.engine;
  }

  /**
   * Opens the model. @param channel to the engine that opens it
   * @throws Error with the reason if it does not open; the engine's thread has ended then
   */
  async open(channel: EngineChannel, { signal, onLoading }: OpeningOptions = {}): Promise<EngineClient> {
    const abort = () => void channel.terminate();
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", abort, { once: true });
      const client = await EngineClient.connect(channel, this.#log, onLoading);
      this.#state.engine = client;
      this.#state.phase = "ready";
      client.onFailure((reason) => {
        this.#state.phase = "failed";
        this.#state.reason = reason;
        this.#log(`error: the engine failed: ${reason}`);
        this.#fail(reason);
      });
      return client;
    } catch (error) {
      this.#state.phase = "failed";
      await channel.terminate();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Refuses further requests; what runs goes on. */
  drain(): void {
    if (this.#state.phase === "ready") this.#state.phase = "draining";
  }

  /** Ends what runs, frees the model and ends its thread. */
  async close(): Promise<void> {
    this.drain();
    this.#stop.abort();
    await this.#state.engine?.shutdown();
  }
}
