/** The backend of a server: `/studio/api` of the page's own origin, with the token of the address that opened the page. */

import { type Backend, BackendError } from "./backend.ts";
import type { JobEvent, JobRequest, RootPath } from "./wire.ts";

/** A stream that says nothing for so long is lost: progress comes every five seconds. */
const SILENCE = 20_000;
/** No line of events is longer: pictures of 1024 pixels as base64 stay below it. */
const LONGEST_LINE = 64 * 2 ** 20;

async function refusal(response: Response): Promise<BackendError> {
  let message = `The server answered ${response.status}.`;
  let code: string | null = null;
  let param: string | null = null;
  try {
    const { error } = await response.json();
    if (typeof error?.message === "string") message = error.message;
    if (typeof error?.code === "string") code = error.code;
    if (typeof error?.param === "string") param = error.param;
  } catch {
    // Not JSON: the status says all there is.
  }
  const denied = response.status === 401;
  return new BackendError(denied ? "denied" : "refused", message, response.status, code, param);
}

const runPath = ({ root, path }: RootPath) => [root, ...path.split("/")].map(encodeURIComponent).join("/");

/** Lines of a stream of JSON values. */
async function* linesOf(body: ReadableStream<Uint8Array>, alive: () => void): AsyncGenerator<string> {
  const reader = body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      if (rest.length > LONGEST_LINE)
        throw new BackendError("refused", "An event of the server is too long to be read.");
      for (const line of lines) if (line !== "") yield line;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * @param token as the server printed it; null for a server without
 * @param base address under which `hello` and the others are
 */
export function serverBackend(token: () => string | null, base = "/studio/api"): Backend {
  async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const secret = token();
    let response: Response;
    try {
      response = await fetch(`${base}/${path}`, {
        method,
        cache: "no-store",
        signal,
        headers: {
          ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new BackendError("lost", "The server does not answer.");
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await send(method, path, body);
    try {
      return (await response.json()) as T;
    } catch {
      throw new BackendError("lost", "The server's answer broke off.");
    }
  }

  async function* events(id: string, after: number, signal: AbortSignal): AsyncGenerator<JobEvent> {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE);
    };
    const either = AbortSignal.any([signal, silent.signal]);
    try {
      const path = `jobs/${encodeURIComponent(id)}/events?after=${after}`;
      const { body } = await send("GET", path, undefined, either);
      for await (const line of linesOf(body!, alive)) yield JSON.parse(line) as JobEvent;
    } catch (error) {
      if (signal.aborted || error instanceof BackendError) throw error;
      throw new BackendError("lost", "The connection to the server broke off.");
    } finally {
      clearTimeout(timer);
    }
  }

  const query = (fields: Readonly<Record<string, string>>) => new URLSearchParams(fields).toString();
  return {
    page: null,
    hello: () => json("GET", "hello"),
    models: () => json("GET", "models"),
    inspect: (model) => json("GET", `models/inspect?${query({ model })}`),
    closeModel: (model) => json("POST", "models/close", { model }),
    deleteModel: (model) => json("DELETE", `models?${query({ model })}`),
    files: ({ root, path }) => json("GET", `files?${query({ root, path })}`),
    start: (request: JobRequest) => json("POST", "jobs", request),
    jobs: () => json("GET", "jobs"),
    job: (id) => json("GET", `jobs/${encodeURIComponent(id)}`),
    events,
    stop: (id) => json("DELETE", `jobs/${encodeURIComponent(id)}`),
    trainPresets: () => json("GET", "train/presets"),
    checkTraining: (body) => json("POST", "train/check", body),
    runs: () => json("GET", "runs"),
    run: (run) => json("GET", `runs/${runPath(run)}`),
    series: (run, bins) =>
      json(
        "GET",
        `series?${query({ run: [run.root, run.path].filter(Boolean).join("/"), bins: String(bins) })}`,
      ),
  };
}
