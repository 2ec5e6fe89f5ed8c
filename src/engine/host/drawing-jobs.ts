/**
 * Drawings of requests, behind the host: each waits for its turn, tells its pictures as PNG files, and can be given up at any
 * time. What is asked wrongly is refused before it waits.
 */
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { encodePng } from "../../vision/image/png-writer.ts";
import type { DrawEvent, DrawRequest } from "../draw/events.ts";
import { invalidRequest } from "./errors.ts";
import type { DrawingFigures, DrawingRequest, PictureNews } from "./protocol.ts";

/** Draws a request; what it has wrong is thrown at once. */
export type DrawPictures = (request: DrawRequest) => AsyncGenerator<DrawEvent, void, void>;

export interface DrawingOptions {
  /** Rows or steps of a picture of a request, between which partial pictures are told. */
  readonly parts: (request: DrawingRequest) => number;
  /** Requests that are drawn at a time. */
  readonly concurrency: number;
  readonly maxQueue: number;
  /** What pictures say of themselves. */
  readonly software: string;
  readonly onPicture: (id: number, news: PictureNews) => void;
  readonly onEnd: (id: number) => void;
  readonly onError: (id: number, error: unknown) => void;
}

/** Names of settings as the interface has them, where they differ. */
const PARAMS: Readonly<Record<string, string>> = { count: "n", topK: "top_k", topP: "top_p" };
const FIELDS = new Set([
  "prompt",
  "seed",
  "guidance",
  "temperature",
  "steps",
  "solver",
  ...Object.keys(PARAMS),
]);

/** What a client is told of a drawing that cannot be made; other errors as they are. */
function asRequestError(error: unknown): unknown {
  // A vocabulary of whole words cannot write every prompt.
  if (!(error instanceof ConfigError || error instanceof FormatError)) return error;
  const { name } = error.detail;
  const param = name !== undefined && FIELDS.has(name) ? (PARAMS[name] ?? name) : "prompt";
  return invalidRequest(error.message, param, "invalid_value");
}

interface Waiting {
  readonly id: number;
  readonly request: DrawingRequest;
  readonly controller: AbortController;
}

export class DrawingJobs {
  readonly #draw: DrawPictures;
  readonly #options: DrawingOptions;
  readonly #waiting: Waiting[] = [];
  readonly #running = new Map<
    number,
    { readonly controller: AbortController; readonly over: Promise<void> }
  >();
  readonly #counts = { drawn: 0, seconds: 0 };

  constructor(draw: DrawPictures, options: DrawingOptions) {
    this.#draw = draw;
    this.#options = options;
  }

  get figures(): DrawingFigures {
    return { ...this.#counts, running: this.#running.size, waiting: this.#waiting.length };
  }

  /** Whether no further request may wait. */
  get full(): boolean {
    return this.#waiting.length >= this.#options.maxQueue;
  }

  /** Adds a request, which begins once it is its turn. @throws RequestError for what it has wrong */
  add(id: number, request: DrawingRequest): void {
    const { partials: _, ...asked } = request;
    try {
      // Nothing is drawn until its first event is asked for.
      this.#draw(asked);
    } catch (error) {
      throw asRequestError(error);
    }
    this.#waiting.push({ id, request, controller: new AbortController() });
    this.#next();
  }

  /** Gives a request up; false if it is not here. Resolves once nothing of it runs any more. */
  async cancel(id: number): Promise<boolean> {
    const at = this.#waiting.findIndex((each) => each.id === id);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      return true;
    }
    const running = this.#running.get(id);
    if (running === undefined) return false;
    running.controller.abort();
    await running.over;
    return true;
  }

  async close(): Promise<void> {
    this.#waiting.length = 0;
    await Promise.all([...this.#running.keys()].map((id) => this.cancel(id)));
  }

  #next(): void {
    while (this.#running.size < this.#options.concurrency) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const over = this.#run(next).finally(() => {
        this.#running.delete(next.id);
        this.#next();
      });
      this.#running.set(next.id, { controller: next.controller, over });
    }
  }

  async #run({ id, request, controller }: Waiting): Promise<void> {
    const { signal } = controller;
    const { partials, ...asked } = request;
    const { count = 1, seed = 0, prompt } = asked;
    const previews = partials > 0 ? Math.ceil(this.#options.parts(request) / (partials + 1)) : 0;
    const told = new Array<number>(count).fill(0);
    const since = performance.now();
    try {
      for await (const event of this.#draw({ ...asked, previews, signal })) {
        const { software } = this.#options;
        if (event.type === "progress") {
          if (!event.preview || told[event.image] >= partials) continue;
          const png = await encodePng(event.preview, { software });
          const partial = told[event.image]++;
          const news = { image: event.image, partial, png, usage: null };
          if (!signal.aborted) this.#options.onPicture(id, news);
          continue;
        }
        const texts = { prompt, seed: `${seed}`, image: `${event.image + 1}` };
        const png = await encodePng(event.picture, { software, texts });
        this.#counts.drawn++;
        const news = { image: event.image, partial: null, png, usage: event.usage };
        if (!signal.aborted) this.#options.onPicture(id, news);
      }
      if (!signal.aborted) this.#options.onEnd(id);
    } catch (error) {
      // A request that was given up has nobody to be told.
      if (!signal.aborted) this.#options.onError(id, asRequestError(error));
    } finally {
      this.#counts.seconds += (performance.now() - since) / 1000;
    }
  }
}
