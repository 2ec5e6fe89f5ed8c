/**
 * The routes: OpenAI's /v1 interface, tokenizing, health and metrics. Formats only; what is generated comes from the
 * engine's thread, so that nothing here waits for a model.
 */
import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { getPath } from "hono/utils/url";
import type { Message } from "../chat/messages.ts";
import type { EngineClient } from "../engine/host/engine-client.ts";
import type { GenerationReader } from "../engine/host/generation-job.ts";
import type { GenerationRequest, ModelInfo, TokenizeRequest } from "../engine/host/protocol.ts";
import { checkLength } from "../engine/host/request-length.ts";
import { keyCheck } from "./access.ts";
import { type AnswerHead, answerHead } from "./answers.ts";
import { parseBody } from "./body.ts";
import { browserGuard } from "./browser-guard.ts";
import { chatBody, chatChunks } from "./chat-answer.ts";
import { completionBody, completionChunks } from "./completion-answer.ts";
import type { RequestMessage } from "./content-parts.ts";
import { drawingBody, drawingEvents, imageEvents } from "./drawing-answer.ts";
import { checkDrawing, parseDrawing } from "./drawing-request.ts";
import { ApiError, apiError, errorBody, internal, invalidRequest, unavailable } from "./errors.ts";
import { type EventForm, eventStream, namedEvents, plainEvents } from "./event-stream.ts";
import { Counter } from "./metrics.ts";
import { pathNormalizer } from "./paths.ts";
import { bodyReader, checkTextLength } from "./request-body.ts";
import { firstImage, type ImageLoader, urlLength } from "./request-images.ts";
import { responseBody, responseEvents } from "./responses-answer.ts";
import { inResponsesTerms, parseResponses } from "./responses-request.ts";
import type { Parsed } from "./sampling-fields.ts";
import { parseChat, parseCompletion, parseDetokenize, parseTokenize } from "./schemas.ts";
import { metricsText } from "./server-metrics.ts";
import { type Verifier, withoutLean } from "./verify-answer.ts";
import { parseProofs } from "./verify-request.ts";

/** What the routes need to know about the server; it changes while they are there. */
export interface ServerState {
  phase: "loading" | "ready" | "draining" | "failed";
  /** Why it failed. */
  reason: string;
  engine: EngineClient | null;
  /** Aborted when requests that still run must end. */
  readonly stop: AbortSignal;
}

export interface AppOptions {
  /** Name under which the model is served, or several; the first is the one that counts. Default: its own. */
  readonly servedName?: string | readonly string[];
  /** With keys, everything but / and /health asks for one of them. */
  readonly apiKeys: readonly string[];
  /** Origins whose pages may ask in addition to those of this machine; `*`: all. */
  readonly allowOrigins: readonly string[];
  /** Host names that requests may be addressed to in addition to those of this machine; `*`: all. */
  readonly allowHosts: readonly string[];
  /** Most bytes of a body, images included. */
  readonly bodyLimit: number;
  /** What gets the images that requests name. */
  readonly images: ImageLoader;
  readonly log: (line: string) => void;
}

const ROUTES: Readonly<Record<string, string>> = {
  "/": "GET",
  "/health": "GET",
  "/metrics": "GET",
  "/v1/models": "GET",
  "/v1/models/:id{.+}": "GET",
  "/v1/chat/completions": "POST",
  "/v1/completions": "POST",
  "/v1/responses": "POST",
  "/v1/images/generations": "POST",
  "/v1/verify": "POST",
  "/tokenize": "POST",
  "/detokenize": "POST",
  "/tokenizer_info": "GET",
};
const OPEN = new Set(["/", "/health"]);
/** What would be there if answers were stored. */
const STORED = "/v1/responses/:id{.+}";
const normalized = pathNormalizer([...Object.keys(ROUTES), STORED]);

const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // Reverse proxies that buffer would hold tokens back.
  "x-accel-buffering": "no",
};

/** The engine, if it can take work. @throws ApiError 503 */
function working(state: ServerState): EngineClient {
  if (state.phase === "loading") throw unavailable("The model is still loading.", "model_loading");
  if (state.phase === "draining") throw unavailable("The server is shutting down.", "shutting_down");
  if (state.phase === "failed" || state.engine === null) {
    throw unavailable(`The engine has failed: ${state.reason}`, "engine_failed");
  }
  return state.engine;
}

/** Builds the routes over `state`. @param verifier judges proofs; null without a Lean */
export function createApp(state: ServerState, options: AppOptions, verifier: Verifier | null): Hono {
  const app = new Hono({ getPath: (request) => normalized(getPath(request)) });
  const requests = new Counter();
  const started = Math.floor(Date.now() / 1000);
  const authorize = keyCheck(options.apiKeys);
  const guard = browserGuard({ ...options, keyed: options.apiKeys.length > 0 });
  const readBody = bodyReader(options.bodyLimit);
  const given = [options.servedName ?? []].flat();
  const draws = ({ info }: EngineClient) => info.imageOutput !== null && info.imageOutput.size !== null;
  const modelNames = (engine: EngineClient) => (given.length > 0 ? given : [engine.info.name]);
  const modelName = (engine: EngineClient) => modelNames(engine)[0];
  const report = (error: unknown) =>
    options.log(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  /** Reports what ends a stream early, unless that is its own client's wish. */
  const unlessLeft = (c: Context) => (error: unknown) => {
    if (!c.req.raw.signal.aborted) report(error);
  };

  app.use("*", async (c, next) => {
    await next();
    const { path, method } = c.req;
    const route = c.get("route" as never) as string | undefined;
    const status = c.req.raw.signal.aborted ? "499" : String(c.res.status);
    requests.add({ route: route ?? (path in ROUTES ? path : "other"), method, status });
    c.res.headers.set("x-request-id", crypto.randomUUID());
  });
  app.use("*", async (c, next) => {
    guard.check(c.req.header("host"), c.req.header("origin"));
    await next();
  });
  app.use(
    "*",
    cors({
      origin: (origin, c) => (guard.readable(origin, c.req.header("host")) ? origin : null),
      allowMethods: ["GET", "POST", "OPTIONS"],
      exposeHeaders: ["x-request-id"],
    }),
  );

  for (const [path, method] of Object.entries(ROUTES)) {
    app.use(path, async (c, next) => {
      c.set("route" as never, path.replace("{.+}", "") as never);
      if (c.req.method !== method && !(method === "GET" && c.req.method === "HEAD")) {
        c.header("allow", method === "GET" ? "GET, HEAD" : method);
        throw new ApiError({
          status: 405,
          message: `${c.req.method} is not possible here; ${path.replace("{.+}", "")} takes ${method}.`,
          type: "invalid_request_error",
          param: null,
          code: "method_not_allowed",
        });
      }
      if (!OPEN.has(path)) authorize(c.req.header("authorization"));
      working(state);
      await next();
    });
  }

  app.onError((error, c) => {
    // A client that disconnects in the middle of a body gets no answer, and no error is logged.
    const known = apiError(error);
    if (known === null && !c.req.raw.signal.aborted) report(error);
    const { shape } = known ?? internal();
    if (shape.retryAfter !== undefined) c.header("retry-after", String(shape.retryAfter));
    if (shape.status === 401) c.header("www-authenticate", "Bearer");
    return c.json(errorBody(shape), shape.status as 500);
  });
  app.notFound((c) => {
    const message = `There is nothing at ${c.req.path}; GET / lists what there is.`;
    const shape = { status: 404, message, type: "invalid_request_error", param: null, code: "not_found" };
    return c.json(errorBody(shape), 404);
  });

  /** The name that an answer carries: the one that was asked for. @throws ApiError 404 for another model's */
  function checkModel(engine: EngineClient, model: string | null): string {
    const names = modelNames(engine);
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
  const json = async (c: Context) => {
    const text = await readBody(c.req.raw);
    checkTextLength(text.length);
    return parseBody(text);
  };

  /** Messages of a body of so many characters, with their images. @throws ApiError */
  async function withImages(
    c: Context,
    messages: readonly RequestMessage[],
    length: number,
  ): Promise<Message[]> {
    checkTextLength(length - urlLength(messages));
    const engine = working(state);
    const image = firstImage(messages);
    if (image !== null && !engine.info.imageInput) {
      throw invalidRequest(
        `'${image.param}' is an image, but the model '${modelName(engine)}' reads text only.`,
        image.param,
        "images_not_supported",
      );
    }
    return options.images(messages, c.req.raw.signal);
  }

  /**
   * Gives the request to the engine and answers in one piece or as events. The generation is a job with the answer's id.
   * Over HTTP it cannot be resumed, so the end of the connection cancels it.
   */
  async function respond<J extends GenerationRequest>(
    c: Context,
    received: number,
    { job, model, stream }: Parsed<J>,
    idPrefix: string,
    whole: (news: GenerationReader, head: AnswerHead) => Promise<object>,
    chunks: (news: GenerationReader, head: AnswerHead) => AsyncGenerator<object, void>,
    form: EventForm = plainEvents(),
  ): Promise<Response> {
    const engine = working(state);
    const name = checkModel(engine, model);
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
    const body = eventStream(chunks(generation, head), form, leave, unlessLeft(c));
    return new Response(body, { headers: streamHeaders });
  }

  function checkChat(info: ModelInfo, param: string): void {
    if (info.chat) return;
    throw invalidRequest("This model has no chat template; use /v1/completions.", param, "no_chat_template");
  }

  app.post("/v1/chat/completions", async (c) => {
    const received = Date.now();
    const text = await readBody(c.req.raw);
    const parsed = parseChat(parseBody(text));
    checkModel(working(state), parsed.model);
    checkChat(working(state).info, "messages");
    const messages = await withImages(c, parsed.job.messages, text.length);
    const { includeUsage, oldForm, tokenIds } = parsed;
    const { logprobs, grounding = false } = parsed.job;
    const shape = { logprobs: logprobs !== null, grounding, oldForm, tokenIds, includeUsage };
    return respond(
      c,
      received,
      { ...parsed, job: { ...parsed.job, messages } },
      "chatcmpl-",
      (news, head) => chatBody(news, head, shape),
      (news, head) => chatChunks(news, head, shape),
    );
  });

  app.post("/v1/responses", async (c) => {
    const received = Date.now();
    const text = await readBody(c.req.raw);
    const parsed = parseResponses(parseBody(text));
    checkModel(working(state), parsed.model);
    checkChat(working(state).info, "input");
    const messages = await withImages(c, parsed.job.messages, text.length);
    return respond(
      c,
      received,
      { ...parsed, job: { ...parsed.job, messages } },
      "resp_",
      (news, head) => responseBody(news, head, parsed.shape),
      (news, head) => responseEvents(news, head, parsed.shape),
      namedEvents(),
    ).catch((error: unknown) => {
      throw inResponsesTerms(error);
    });
  });
  app.all(STORED, (c) => {
    c.set("route" as never, STORED.replace("{.+}", "") as never);
    authorize(c.req.header("authorization"));
    throw new ApiError({
      status: 404,
      message:
        "Responses are not stored here; an answer is the body or the stream of its POST /v1/responses.",
      type: "invalid_request_error",
      param: null,
      code: "response_not_stored",
    });
  });

  app.post("/v1/completions", async (c) => {
    const received = Date.now();
    const parsed = parseCompletion(await json(c));
    const { info } = working(state);
    const { includeUsage, tokenIds, job } = parsed;
    if (job.suffix !== null && !info.fill) {
      throw invalidRequest("This model's tokenizer has no tokens to fill in the middle.", "suffix");
    }
    const shape = { logprobs: job.logprobs !== null, tokenIds, choicesPerPrompt: job.n, includeUsage };
    return respond(
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
    const parsed = parseDrawing(await json(c));
    const name = checkModel(engine, parsed.model);
    const size = checkDrawing(engine.info.imageOutput, name, parsed.size);
    const { signal } = c.req.raw;
    const pictures = await engine.draw(parsed.job, signal);
    const head = { created: Math.floor(Date.now() / 1000), size };
    if (!parsed.stream) return c.json(await drawingBody(pictures, parsed.job, head));
    const leave = () => void pictures.return();
    const body = eventStream(drawingEvents(pictures, parsed.job, head), imageEvents(), leave, unlessLeft(c));
    return new Response(body, { headers: streamHeaders });
  });

  app.post("/v1/verify", async (c) => {
    if (verifier === null) throw withoutLean();
    const { proofs, many, stream } = parseProofs(await json(c));
    const stop = new AbortController();
    const leave = () => stop.abort(new Error("the client left"));
    const end = () => stop.abort(unavailable("The server is shutting down.", "shutting_down"));
    c.req.raw.signal.addEventListener("abort", leave, { once: true });
    state.stop.addEventListener("abort", end, { once: true, signal: stop.signal });
    if (c.req.raw.signal.aborted) leave();
    if (state.stop.aborted) end();
    const verdicts = verifier.verdicts(proofs, stop.signal);
    async function* told() {
      try {
        yield* verdicts;
      } finally {
        leave();
      }
    }
    if (stream) {
      return new Response(eventStream(told(), plainEvents(), leave, report), { headers: streamHeaders });
    }
    const data: object[] = [];
    for await (const verdict of told()) data.push(verdict);
    return c.json(many ? { object: "list", data } : data[0]);
  });

  const modelBody = (engine: EngineClient, id: string) => ({
    id,
    object: "model",
    created: started,
    owned_by: "deepseek-ts",
    max_model_len: engine.info.context,
    architecture: {
      input_modalities: engine.info.imageInput ? ["text", "image"] : ["text"],
      output_modalities: draws(engine) ? ["text", "image"] : ["text"],
    },
    ...(draws(engine)
      ? { drawing: { size: `${engine.info.imageOutput!.size}x${engine.info.imageOutput!.size}` } }
      : {}),
    ...(engine.info.imageInput === null ? {} : { image: engine.info.imageInput }),
  });
  app.get("/v1/models", (c) => {
    const engine = working(state);
    return c.json({ object: "list", data: modelNames(engine).map((name) => modelBody(engine, name)) });
  });
  app.get("/v1/models/:id{.+}", (c) => {
    const engine = working(state);
    return c.json(modelBody(engine, checkModel(engine, c.req.param("id"))));
  });

  app.post("/tokenize", async (c) => {
    const text = await readBody(c.req.raw);
    const parsed = parseTokenize(parseBody(text));
    let request: TokenizeRequest;
    if ("text" in parsed) {
      checkTextLength(text.length);
      request = parsed;
    } else request = { ...parsed, messages: await withImages(c, parsed.messages, text.length) };
    const tokens = await working(state).tokenize(request, c.req.raw.signal, { giveImages: true });
    return c.json({ tokens, count: tokens.length, max_model_len: working(state).info.context });
  });
  app.post("/detokenize", async (c) => {
    const tokens = parseDetokenize(await json(c));
    const text = await working(state).detokenize(tokens, c.req.raw.signal);
    // The same under the names that other servers have for it.
    return c.json({ text, prompt: text, content: text });
  });
  app.get("/tokenizer_info", (c) => c.json(working(state).info.tokenizer));

  app.get("/health", (c) => {
    const engine = working(state);
    return c.json({ status: "ok", model: modelName(engine), active: engine.active });
  });
  app.get("/metrics", async (c) => {
    const engine = working(state);
    const text = metricsText(requests, engine.active, await engine.figures(), verifier);
    return c.body(text, 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  });
  app.get("/", (c) => {
    const routes = Object.entries(ROUTES).map(
      ([path, method]) => `${method.padEnd(4)} ${path.replace("{.+}", "")}`,
    );
    return c.text(`deepseek-ts serves ${modelName(working(state))}.\n\n${routes.join("\n")}\n`);
  });
  return app;
}
