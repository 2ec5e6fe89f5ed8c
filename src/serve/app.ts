/** The routes: OpenAI's /v1 interface, tokenizing, health and metrics. Node only; those that answer are in answer-routes.ts. */
import { Hono } from "hono";
import { cors } from "hono/cors";
import { getPath } from "hono/utils/url";
import type { EngineClient } from "../engine/host/engine-client.ts";
import type { TokenizeRequest } from "../engine/host/protocol.ts";
import { keyCheck } from "./access.ts";
import {
  Answering,
  type AnswerOptions,
  addAnswerRoutes,
  type ServerState,
  streamHeaders,
  working,
} from "./answer-routes.ts";
import { parseBody } from "./body.ts";
import { browserGuard } from "./browser-guard.ts";
import { ApiError, errorBody, unavailable } from "./errors.ts";
import { eventStream, namedEvents, plainEvents } from "./event-stream.ts";
import { Counter } from "./metrics.ts";
import { pathNormalizer } from "./paths.ts";
import { checkTextLength } from "./request-body.ts";
import { responseBody, responseEvents } from "./responses-answer.ts";
import { inResponsesTerms, parseResponses } from "./responses-request.ts";
import { parseDetokenize, parseTokenize } from "./schemas.ts";
import { metricsText } from "./server-metrics.ts";
import { type Verifier, withoutLean } from "./verify-answer.ts";
import { parseProofs } from "./verify-request.ts";

export interface AppOptions extends AnswerOptions {
  /** With keys, everything but / and /health asks for one of them. */
  readonly apiKeys: readonly string[];
  /** Origins whose pages may ask in addition to those of this machine; `*`: all. */
  readonly allowOrigins: readonly string[];
  /** Host names that requests may be addressed to in addition to those of this machine; `*`: all. */
  readonly allowHosts: readonly string[];
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

/** Builds the routes over `state`. @param verifier judges proofs; null without a Lean */
export function createApp(state: ServerState, options: AppOptions, verifier: Verifier | null): Hono {
  const app = new Hono({ getPath: (request) => normalized(getPath(request)) });
  const requests = new Counter();
  const started = Math.floor(Date.now() / 1000);
  const authorize = keyCheck(options.apiKeys);
  const guard = browserGuard({ ...options, keyed: options.apiKeys.length > 0 });
  const answering = new Answering(state, options);
  const draws = ({ info }: EngineClient) => info.imageOutput !== null && info.imageOutput.size !== null;

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

  app.onError((error, c) => answering.failed(error, c));
  app.notFound((c) => {
    const message = `There is nothing at ${c.req.path}; GET / lists what there is.`;
    const shape = { status: 404, message, type: "invalid_request_error", param: null, code: "not_found" };
    return c.json(errorBody(shape), 404);
  });

  addAnswerRoutes(app, answering);

  app.post("/v1/responses", async (c) => {
    const received = Date.now();
    const text = await answering.readBody(c.req.raw);
    const parsed = parseResponses(parseBody(text));
    answering.checkModel(working(state), parsed.model);
    answering.checkChat(working(state).info, "input");
    const messages = await answering.withImages(c, parsed.job.messages, text.length);
    return answering
      .respond(
        c,
        received,
        { ...parsed, job: { ...parsed.job, messages } },
        "resp_",
        (news, head) => responseBody(news, head, parsed.shape),
        (news, head) => responseEvents(news, head, parsed.shape),
        namedEvents(),
      )
      .catch((error: unknown) => {
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

  app.post("/v1/verify", async (c) => {
    if (verifier === null) throw withoutLean();
    const { proofs, many, stream } = parseProofs(await answering.json(c));
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
      return new Response(
        eventStream(told(), plainEvents(), leave, (error) => answering.report(error)),
        { headers: streamHeaders },
      );
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
    return c.json({ object: "list", data: answering.names(engine).map((name) => modelBody(engine, name)) });
  });
  app.get("/v1/models/:id{.+}", (c) => {
    const engine = working(state);
    return c.json(modelBody(engine, answering.checkModel(engine, c.req.param("id"))));
  });

  app.post("/tokenize", async (c) => {
    const text = await answering.readBody(c.req.raw);
    const parsed = parseTokenize(parseBody(text));
    let request: TokenizeRequest;
    if ("text" in parsed) {
      checkTextLength(text.length);
      request = parsed;
    } else request = { ...parsed, messages: await answering.withImages(c, parsed.messages, text.length) };
    const tokens = await working(state).tokenize(request, c.req.raw.signal, { giveImages: true });
    return c.json({ tokens, count: tokens.length, max_model_len: working(state).info.context });
  });
  app.post("/detokenize", async (c) => {
    const tokens = parseDetokenize(await answering.json(c));
    const text = await working(state).detokenize(tokens, c.req.raw.signal);
    // The same under the names that other servers have for it.
    return c.json({ text, prompt: text, content: text });
  });
  app.get("/tokenizer_info", (c) => c.json(working(state).info.tokenizer));

  app.get("/health", (c) => {
    const engine = working(state);
    return c.json({ status: "ok", model: answering.name(engine), active: engine.active });
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
    return c.text(`deepseek-ts serves ${answering.name(working(state))}.\n\n${routes.join("\n")}\n`);
  });
  return app;
}
