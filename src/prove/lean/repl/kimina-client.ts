/**
 * HTTP of a Kimina Lean server (project-numina/kimina-lean-server, `server/routers/check.py`): `POST /api/check`. Busy and failing
 * servers are asked again, a limited number of times.
 */
import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import { LeanError } from "../lean-error.ts";

export interface KiminaServer {
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly key?: string;
  /** How often a request is sent again while the server is busy or away (6). */
  readonly retries?: number;
  /** Milliseconds before the second try, doubled each time (500). */
  readonly pause?: number;
}

export interface KiminaRequest {
  readonly id: string;
  readonly code: string;
  /** Seconds of Lean's work; waiting for a free Lean is not counted. */
  readonly timeout: number;
  readonly infotree: boolean;
}

/** `response` as the REPL gave it, or the server's own words about why there is none. */
export type KiminaResult = { readonly response: unknown } | { readonly error: string };

const results = z.object({
  results: z.array(
    z.object({ id: z.string(), error: z.string().nullish(), response: z.unknown().optional() }),
  ),
});

/** Bytes of one answer. */
const MOST_ANSWER = 256 * 2 ** 20;
/** Milliseconds that a server lets a request wait for a free Lean (its `max_wait`), and a margin. */
const QUEUE = 75_000;
const LONGEST_PAUSE = 20_000;
const BUSY = new Set([429, 502, 503, 504]);

/** @throws LeanError if the server cannot be used; the signal's reason */
export async function askKimina(
  server: KiminaServer,
  request: KiminaRequest,
  signal?: AbortSignal,
): Promise<KiminaResult> {
  const { retries = 6, pause = 500 } = server;
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    const answer = await send(server, request, signal);
    if (!("again" in answer)) return answer;
    // A text that ends the server's Lean is answered by 500, each time.
    const most = answer.busy ? retries : Math.min(1, retries);
    if (attempt >= most) {
      if (!answer.busy) return { error: answer.again };
      throw unusable(
        server,
        answer.again,
        `It was asked ${attempt + 1} times; see that it runs, or give it more time.`,
      );
    }
    const delay = Math.max(answer.after, pause * 2 ** attempt);
    await wait(Math.min(delay, LONGEST_PAUSE), undefined, signal && { signal }).catch(() =>
      signal?.throwIfAborted(),
    );
  }
}

const unusable = ({ url }: KiminaServer, found: string, hint: string) =>
  new LeanError("the Kimina server does not answer", { where: url, found, hint });

interface Again {
  readonly again: string;
  readonly busy: boolean;
  /** Milliseconds that the server asks to wait. */
  readonly after: number;
}

async function send(
  server: KiminaServer,
  request: KiminaRequest,
  signal?: AbortSignal,
): Promise<KiminaResult | Again> {
  const { id, code, timeout, infotree } = request;
  const limit = AbortSignal.timeout(timeout * 2000 + QUEUE);
  let response: Response;
  let body: string;
  try {
    response = await fetch(new URL("api/check", server.url.endsWith("/") ? server.url : `${server.url}/`), {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(server.key === undefined ? {} : { authorization: `Bearer ${server.key}` }),
      },
      body: JSON.stringify({ snippets: [{ id, code }], timeout, infotree: infotree ? "original" : null }),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    body = await readText(response);
  } catch (error) {
    signal?.throwIfAborted();
    if (limit.aborted) return { error: `timed out: no answer in ${timeout * 2 + QUEUE / 1000} seconds` };
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { again: cause instanceof Error ? cause.message : "no connection", busy: true, after: 0 };
  }
  const { status, headers } = response;
  if (BUSY.has(status)) {
    return { again: `HTTP ${status}`, busy: true, after: 1000 * (Number(headers.get("retry-after")) || 0) };
  }
  const said = `HTTP ${status} ${body.slice(0, 300)}`;
  if (status >= 500) return { again: said, busy: false, after: 0 };
  if (status === 401 || status === 403) {
    throw unusable(server, said, "Give the key that the server was started with (LEAN_SERVER_API_KEY).");
  }
  if (status !== 200) throw unusable(server, said, "See that this is the address of a Kimina Lean server.");
  return readResult(server, body, id);
}

function readResult(server: KiminaServer, body: string, id: string): KiminaResult {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw unusable(
      server,
      `no JSON: ${body.slice(0, 200)}`,
      "See that this is the address of a Kimina Lean server.",
    );
  }
  const found = results.safeParse(value).data?.results.find((result) => result.id === id);
  if (found === undefined || (found.error == null) === (found.response == null)) {
    throw unusable(
      server,
      `no result for the request: ${body.slice(0, 200)}`,
      "See that this is a Kimina Lean server.",
    );
  }
  return found.error == null ? { response: found.response } : { error: found.error };
}

/** The body, which a server that went wrong must not make larger than memory. */
async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MOST_ANSWER) throw new Error(`an answer of more than ${MOST_ANSWER} bytes`);
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  return parts.join("") + decoder.decode();
}
