/**
 * The routes that answer: chat, completions and pictures of one model, with what all routes of a model share. Formats only; what is
 * generated comes from the engine's thread. Nothing here needs Node: the studio's page answers by these routes where it runs alone.
 */
import type { Context, Hono } from "hono";
import type { Message } from "../chat/messages.ts";
import type { EngineClient } from "../engine/host/engine-client.ts";
import type { GenerationReader } from "../engine/host/generation-job.ts";
import type { GenerationRequest, ModelInfo } from "../engine/host/protocol.ts";
import { checkLength } from "../engine/host/request-length.ts";
import { type AnswerHead, answerHead } from "./answers.ts";
import { parseBody } from "./body.ts";
import { chatBody, chatChunks } from "./chat-answer.ts";
import { completionBody, completionChunks } from "./completion-answer.ts";
import type { RequestMessage } from "./content-parts.ts";
import { drawingBody, drawingEvents, imageEvents } from "./drawing-answer.ts";
import { checkDrawing, parseDrawing } from "./drawing-request.ts";
import { ApiError, apiError, errorBody, internal, invalidRequest, unavailable } from "./errors.ts";
import { type EventForm, eventStream, plainEvents } from "./event-stream.ts";
import { bodyReader, checkTextLength } from "./request-body.ts";
import { firstImage, type ImageLoader, urlLength } from "./request-images.ts";
import type { Parsed } from "./sampling-fields.ts";
import { parseChat, parseCompletion } from "./schemas.ts";

/** What the routes need to know about the server; it changes while they are there. */
export interface ServerState {
  phase: "loading" | "ready" | "draining" | "failed";
  /** Why it failed. */
  reason: string;
  engine: EngineClient | null;
  /** Aborted when requests that still run must end. */
  readonly stop: AbortSignal;
}

export interface AnswerOptions {
  /** Name under which the model is served, or several; the first is the one that counts. Default: its own. */
  readonly servedName?: string | readonly string[];
  /** Most bytes of a body, images included. */
  readonly bodyLimit: number;
  /** What gets the images that requests name. */
  readonly images: ImageLoader;
  readonly log: (line: string) => void;
}

export const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // Reverse proxies that buffer would hold tokens back.
  "x-accel-buffering": "no",
};

/** The engine, if it can take work. @throws ApiError 503 */
export function working(state: ServerState): EngineClient {
  if (state.phase === "loading") throw unavailable("The model is still loading.", "model_loading");
  if (state.phase === "draining") throw unavailable("The server is shutting down.", "shutting_down");
  if (state.phase === "failed" || state.engine === null) {
    throw unavailable(`The engine has failed: ${state.reason}`, "engine_failed");
  }
  return state.engine;
}

/** What the routes of a model answer with. */
export class Answering {
  readonly state: ServerState;
  readonly readBody: (request: Request) => Promise<string>;
  readonly #options: AnswerOptions;

  constructor(state: ServerState, options: AnswerOptions) {
    this.state = state;
    this.#options = options;
    this.readBody = bodyReader(options.bodyLimit);
  }

  /** Names under which the model is served. */
  names(engine: EngineClient): readonly string[] {
    const given = [this.#options.servedName ?? []].flat();
    return given.length > 0 ? given : [engine.info.name];
  }

  name(engine: EngineClient): string {
    return this.names(engine)[0];
  }

  report(error: unknown): void {
    this.#options.log(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  /** Reports what ends a stream early, unless that is its own client's wish. */
  unlessLeft(c: Context): (error: unknown) => void {
    return (error) => {
      if (!c.req.raw.signal.aborted) this.report(error);
    };
  }

  /** An error as an answer. */
  failed(error: unknown, c: Context): Response {
    // A client that disconnects in the middle of a body gets no answer, and no error is logged.
    const known = apiError(error);
    if (known === null && !c.req.raw.signal.aborted) this.report(error);
    const { shape } = known ?? internal();
    if (shape.retryAfter !== undefined) c.header("retry-after", String(shape.retryAfter));
    if (shape.status === 401) c.header("www-authenticate", "Bearer");
    return c.json(errorBody(shape), shape.status as 500);
  }

  /** The name that an answer carries: the one that was asked for. @throws ApiError 404 for another model's */
  checkModel(engine: EngineClient, model: string | null): string {
    const names = this.names(engine);
    if (model === null || model === "") return names[0];
    if (names.includes(model)) return model;
    const served = names.map((name) => `'${name}'`).join(", ");
    throw new ApiError({
      status: 404,
      message: `The model '${model.slice(0, 100)}' is not served here; ${served} is.`,
      type: "invalid_request_error",
      param: "model",
      code: "model_not_found",
    });
  }

  /** A body without images. */
  async json(c: Context): Promise<unknown> {
    const text = await this.readBody(c.req.raw);
    checkTextLength(text.length);
    return parseBody(text);
  }

  /** Messages of a body of so many characters, with their images. @throws ApiError */
  async withImages(c: Context, messages: readonly RequestMessage[], length: number): Promise<Message[]> {
    checkTextLength(length - urlLength(messages));
    const engine = working(this.state);
    const image = firstImage(messages);
    if (image !== null && !engine.info.imageInput) {
      throw invalidRequest(
        `'${image.param}' is an image, but the model '${this.name(engine)}' reads text only.`,
        image.param,
        "images_not_supported",
      );
    }
    return this.#options.images(messages, c.req.raw.signal);
  }

  /**
   * Gives the request to the engine and answers in one piece or as events. The generation is a job with the answer's id.
   * Over HTTP it cannot be resumed, so the end of the connection cancels it.
   */
  async respond<J extends GenerationRequest>(
    c: Context,
    received: number,
    { job, model, stream }: Parsed<J>,
    idPrefix: string,
    whole: (news: GenerationReader, head: AnswerHead) => Promise<object>,
    chunks: (news: GenerationReader, head: AnswerHead) => AsyncGenerator<object, void>,
    form: EventForm = plainEvents(),
  ): Promise<Response> {
    const engine = working(this.state);
    const name = this.checkModel(engine, model);
    checkLength(job, engine.info);
    const head = answerHead(idPrefix, name, engine.info.fingerprint);
    const generation = await engine.generate(job, { id: head.id, received, giveImages: true });
    const leave = () => void generation.cancel("the client left");
    const { signal } = c.req.raw;
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    try {
      await generation.accepted();
      if (!stream) return c.json(await whole(generation, head));
    } catch (error) {
      leave();
      throw error;
    }
    const body = eventStream(chunks(generation, head), form, leave, this.unlessLeft(c));
    return new Response(body, { headers: streamHeaders });
  }

  checkChat(info: ModelInfo, param: string): void {
    if (info.chat) return;
    throw invalidRequest("This model has no chat template; use /v1/completions.", param, "no_chat_template");
  }
}

/** Adds the routes of chat, completions and pictures. */
export function addAnswerRoutes(app: Hono, answering: Answering): void {
  const { state } = answering;

  app.post("/v1/chat/completions", async (c) => {
    const received = Date.now();
    const text = await answering.readBody(c.req.raw);
    const parsed = parseChat(parseBody(text));
    answering.checkModel(working(state), parsed.model);
    answering.checkChat(working(state).info, "messages");
    const messages = await answering.withImages(c, parsed.job.messages, text.length);
    const { includeUsage, oldForm, tokenIds } = parsed;
    const { logprobs, grounding = false } = parsed.job;
    const shape = { logprobs: logprobs !== null, grounding, oldForm, tokenIds, includeUsage };
    return answering.respond(
      c,
      received,
      { ...parsed, job: { ...parsed.job, messages } },
      "chatcmpl-",
      (news, head) => chatBody(news, head, shape),
      (news, head) => chatChunks(news, head, shape),
    );
  });

  app.post("/v1/completions", async (c) => {
    const received = Date.now();
    const parsed = parseCompletion(await answering.json(c));
    const { info } = working(state);
    const { includeUsage, tokenIds, job } = parsed;
    if (job.suffix !== null && !info.fill) {
      throw invalidRequest("This model's tokenizer has no tokens to fill in the middle.", "suffix");
    }
    const shape = { logprobs: job.logprobs !== null, tokenIds, choicesPerPrompt: job.n, includeUsage };
    return answering.respond(
      c,
      received,
      parsed,
      "cmpl-",
      (news, head) => completionBody(news, head, shape),
      (news, head) => completionChunks(news, head, shape),
    );
  });

  app.post("/v1/images/generations", async (c) => {
    const engine = working(state);
    const parsed = parseDrawing(await answering.json(c));
    const name = answering.checkModel(engine, parsed.model);
    const size = checkDrawing(engine.info.imageOutput, name, parsed.size);
    const { signal } = c.req.raw;
    const pictures = await engine.draw(parsed.job, signal);
    const head = { created: Math.floor(Date.now() / 1000), size };
    if (!parsed.stream) return c.json(await drawingBody(pictures, parsed.job, head));
    const leave = () => void pictures.return();
    const body = eventStream(
      drawingEvents(pictures, parsed.job, head),
      imageEvents(),
      leave,
      answering.unlessLeft(c),
    );
    return new Response(body, { headers: streamHeaders });
  });
}
