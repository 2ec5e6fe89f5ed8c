/**
 * What every request to the studio meets first: the guard, the headers that keep the page to itself, and the files of the page. All
 * else asks for the token; its routes may still be loading then, since the page is to be there at once.
 */
import { type Context, Hono } from "hono";
import { DeepseekError } from "../../tensor/errors.ts";
import { apiError, errorBody, internal, invalidRequest } from "../errors.ts";
import { SAFETY_HEADERS, type StudioGuard } from "./guard.ts";
import { pageFile } from "./page-files.ts";
import type { WayIn } from "./way-in.ts";

export interface FrontOptions {
  readonly guard: StudioGuard;
  /** Of the browser that the command opens; null where no token is asked for. */
  readonly wayIn: WayIn | null;
  /** Folder of the built page. */
  readonly page: string;
  /** The routes behind the token. */
  readonly routes: () => Promise<Hono>;
  readonly log: (line: string) => void;
}

/** What is behind the token, even where nothing is. */
const ROUTED = /^\/(studio|v1|tokenize|detokenize)(\/|$)/;

/** What the page shows where it is not built. */
const NOT_BUILT =
  "The page of the studio is not built in this installation. Build it with: npm run build:studio\n";

/** An error as an answer. @param shown its words as the page gets them */
export function answerError(
  error: unknown,
  c: Context,
  log: (line: string) => void,
  shown: (text: string) => string = (text) => text,
): Response {
  // What a model or a file is wrong about is nobody's fault here.
  const known = error instanceof DeepseekError ? invalidRequest(shown(error.message)) : apiError(error);
  if (known === null && !c.req.raw.signal.aborted) {
    log(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  const { shape } = known ?? internal();
  if (shape.retryAfter !== undefined) c.header("retry-after", String(shape.retryAfter));
  if (shape.status === 401) c.header("www-authenticate", "Bearer");
  return c.json(errorBody(shape), shape.status as 500);
}

export function answerNothing(c: Context): Response {
  const message = `There is nothing at ${c.req.path.slice(0, 200)}.`;
  const shape = { status: 404, message, type: "invalid_request_error", param: null, code: "not_found" };
  return c.json(errorBody(shape), 404);
}

const ENTER_PATH = "/studio/api/enter";
/** Bytes of a body with a code. */
const MOST_CODE = 200;

/** The code of a body, which nobody has vouched for. @throws ApiError 400 */
async function codeOf(request: Request): Promise<string> {
  const { headers } = request;
  const length = Number(headers.get("content-length") ?? Number.NaN);
  if (length <= MOST_CODE && headers.get("content-type") === "application/json") {
    const body: unknown = await request.json().catch(() => null);
    if (typeof body === "object" && body !== null && "code" in body && typeof body.code === "string")
      return body.code;
  }
  throw invalidRequest(`Expected {"code": ".."} as application/json of at most ${MOST_CODE} bytes.`, "code");
}

/** Builds the front over routes that may come later. */
export function createFront({ guard, wayIn, page, routes, log }: FrontOptions): Hono {
  const app = new Hono();
  app.use("*", async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(SAFETY_HEADERS)) c.res.headers.set(name, value);
    if (!c.res.headers.has("cache-control")) c.res.headers.set("cache-control", "no-store");
  });
  app.onError((error, c) => answerError(error, c, log));
  app.notFound(answerNothing);
  app.all("*", async (c) => {
    const { method, path, raw } = c.req;
    guard.checkOrigin(raw.headers);
    if (path === ENTER_PATH && method === "POST" && wayIn !== null) {
      return c.json({ token: wayIn.enter(await codeOf(raw)) });
    }
    if (ROUTED.test(path) || (method !== "GET" && method !== "HEAD")) {
      guard.checkToken(raw.headers);
      const answer = await (await routes()).fetch(raw);
      return new Response(answer.body, answer);
    }
    const file = await pageFile(page, path.slice(1));
    if (file !== null)
      return new Response(method === "HEAD" ? null : file.bytes, { headers: { ...file.headers } });
    return path === "/" ? c.text(NOT_BUILT, 503) : answerNothing(c);
  });
  return app;
}
