/**
 * Requests to the Hugging Face hub: the token goes to the hub's own origin only, whatever it redirects to; failures
 * that pass are retried; the others are explained with the next step. What a repository holds is asked through
 * `@huggingface/hub`; its fetches run through here. Files come by plain HTTP, which the hub also offers for those
 * that it keeps in Xet storage.
 */
import { isNode } from "../tensor/cpu/host.ts";
import { DeepseekError, type ErrorDetail, FormatError } from "../tensor/errors.ts";

/** Names and values of headers. Not `HeadersInit`, which only projects with DOM types know. */
export type RequestHeaders = Readonly<Record<string, string>> | Headers;

/** A request to the hub that failed. */
export class HubError extends DeepseekError {
  override name = "HubError";
  /** HTTP status; null if there was no answer. */
  readonly status: number | null;
  /** Whether the same request may succeed later. */
  readonly passing: boolean;
  /** Milliseconds that the hub asked to wait. */
  readonly retryAfter: number | null;
  /** Whether the hub knows no such model or data set, or hides it. */
  readonly unknownModel: boolean;
  /** Whether no answer came at all. */
  readonly unreachable: boolean;

  constructor(
    message: string,
    detail: ErrorDetail,
    status: number | null,
    passing: boolean,
    more: { retryAfter?: number | null; unknownModel?: boolean; unreachable?: boolean } = {},
  ) {
    super(message, detail);
    this.status = status;
    this.passing = passing;
    this.retryAfter = more.retryAfter ?? null;
    this.unknownModel = more.unknownModel ?? false;
    this.unreachable = more.unreachable ?? false;
  }
}

/** What a repository holds; data sets have addresses of their own. */
export type RepoKind = "model" | "dataset";

/** A repository file as the hub lists it. */
export interface HubFile {
  /** Path in the repository, with `/`. */
  readonly path: string;
  readonly size: number;
  /** SHA-256 of the content for large files, else Git's blob id: the name of the cached blob. */
  readonly etag: string;
}

/** A repository at one commit. */
export interface HubRepo {
  readonly name: string;
  readonly commit: string;
  readonly files: readonly HubFile[];
}

export interface HubClientOptions {
  readonly endpoint: string;
  readonly token: string | null;
  /** Default `model`. */
  readonly kind?: RepoKind;
  readonly signal?: AbortSignal;
  /** Attempts of a request before its failure is final; default 5. */
  readonly attempts?: number;
  /** Milliseconds before the second attempt, doubled for each one after; default 500. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as lost; default 30,000. */
  readonly stallTimeout?: number;
}

const MAX_REDIRECTS = 8;
const MAX_DELAY = 20_000;

/** Resolves after `ms`, rejects with the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A response whose body may be read until `done` is called; `alive` puts off the stall timeout. */
export interface OpenResponse {
  readonly response: Response;
  alive(): void;
  done(): void;
}

export class HubClient {
  readonly endpoint: string;
  readonly kind: RepoKind;
  readonly #token: string | null;
  readonly #signal: AbortSignal | undefined;
  readonly #attempts: number;
  readonly #retryDelay: number;
  readonly #stallTimeout: number;

  constructor(options: HubClientOptions) {
    this.endpoint = options.endpoint;
    this.kind = options.kind ?? "model";
    this.#token = options.token;
    this.#signal = options.signal;
    this.#attempts = options.attempts ?? 5;
    this.#retryDelay = options.retryDelay ?? 500;
    this.#stallTimeout = options.stallTimeout ?? 30_000;
  }

  /** Address of a file's content. */
  fileUrl(repo: string, revision: string, path: string): string {
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    return `${this.#pageOf(repo)}/resolve/${encodeURIComponent(revision)}/${encoded}`;
  }

  #pageOf(repo: string): string {
    return `${this.endpoint}/${this.kind === "dataset" ? "datasets/" : ""}${repo}`;
  }

  /** The commit and the files of a repository. @throws HubError, FormatError */
  async repo(name: string, revision: string, signal = this.#signal): Promise<HubRepo> {
    const { datasetInfo, modelInfo, listFiles } = await import("@huggingface/hub");
    // The library knows no signal, wants tokens of one spelling and retries nothing: all that is done in here.
    const viaClient = (url: string | URL | Request, init?: RequestInit) =>
      this.retried(() => this.#fetchWhole(String(url), name, new Headers(init?.headers), signal), signal);
    const common = { hubUrl: this.endpoint, fetch: viaClient as typeof fetch };
    const asked = { ...common, name, revision };
    const info =
      this.kind === "dataset"
        ? await datasetInfo({ ...asked, additionalFields: ["sha"] })
        : await modelInfo({ ...asked, additionalFields: ["sha"] });
    const commit: unknown = info.sha;
    if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit)) {
      throw new FormatError("the hub's response has no commit", {
        where: `${name}@${revision}`,
        expected: "40 hexadecimal digits",
        found: String(commit),
        hint: `Is ${this.endpoint} a Hugging Face hub?`,
      });
    }
    const files: HubFile[] = [];
    const repo = { type: this.kind, name } as const;
    for await (const entry of listFiles({ ...common, repo, revision: commit, recursive: true })) {
      if (entry.type !== "file") continue;
      const { path, size, oid, lfs } = entry;
      files.push({ path, size: lfs?.size ?? size, etag: lfs?.oid ?? oid ?? "" });
    }
    return { name, commit, files };
  }

  /** Reads bytes `offset` to `offset + length` of a file. @throws HubError */
  async readRange(
    repo: string,
    revision: string,
    path: string,
    offset: number,
    length: number,
  ): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array(0);
    const headers = { range: `bytes=${offset}-${offset + length - 1}` };
    return this.retried(async () => {
      const open = await this.open(this.fileUrl(repo, revision, path), `${repo}: ${path}`, headers);
      try {
        if (open.response.status === 206) return await readBody(open, length);
        // A server that ignores ranges sends the file from its start.
        await open.response.body?.cancel();
        throw new HubError(
          "the server does not support range requests",
          { where: path, expected: 206, found: open.response.status, hint: "Download the model first." },
          open.response.status,
          false,
        );
      } finally {
        open.done();
      }
    });
  }

  /** Runs `attempt` until it succeeds or fails for good; failures that pass are waited out. */
  async retried<T>(attempt: () => Promise<T>, signal = this.#signal): Promise<T> {
    for (let n = 1; ; n++) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof HubError && error.passing) || n >= this.#attempts) throw error;
        await this.waitBefore(n + 1, error.retryAfter, signal);
      }
    }
  }

  /** Attempts of one request. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Waits before attempt `n` (2 or more). */
  waitBefore(n: number, retryAfter: number | null, signal = this.#signal): Promise<void> {
    const grown = Math.min(MAX_DELAY, this.#retryDelay * 2 ** (n - 2));
    return pause(Math.min(MAX_DELAY, Math.max(grown, retryAfter ?? 0)), signal);
  }

  /**
   * Sends a GET request and follows redirects. The response's status is 200 to 299, or 416. The caller reads the body,
   * calling `alive` as it comes, and `done` at the end. @throws HubError
   */
  async open(
    url: string,
    what: string,
    headers?: RequestHeaders,
    signal = this.#signal,
  ): Promise<OpenResponse> {
    signal?.throwIfAborted();
    const stalled = new AbortController();
    const expire = () =>
      stalled.abort(
        new HubError(
          `no byte for ${this.#stallTimeout / 1000} s`,
          { where: what, found: new URL(url).host },
          null,
          true,
        ),
      );
    let timer = setTimeout(expire, this.#stallTimeout);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(expire, this.#stallTimeout);
    };
    const both = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal;
    try {
      let target = url;
      for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
        const response = await this.#send(target, what, headers, both);
        alive();
        const location = response.headers.get("location");
        if (response.status >= 300 && response.status < 400 && location !== null) {
          await response.body?.cancel();
          target = new URL(location, target).href;
          continue;
        }
        if (!response.ok && response.status !== 416) throw await this.#explain(response, what, target);
        return { response, alive, done: () => clearTimeout(timer) };
      }
      throw new HubError("too many redirects", { where: what, found: new URL(target).host }, null, false);
    } catch (error) {
      clearTimeout(timer);
      throw error;
    }
  }

  async #fetchWhole(
    url: string,
    what: string,
    headers?: RequestHeaders,
    signal?: AbortSignal,
  ): Promise<Response> {
    const open = await this.open(url, what, headers, signal);
    try {
      const body = await readBody(open);
      return new Response(body as Uint8Array<ArrayBuffer>, {
        status: open.response.status,
        headers: open.response.headers,
      });
    } finally {
      open.done();
    }
  }

  async #send(
    url: string,
    what: string,
    given: RequestHeaders | undefined,
    signal: AbortSignal,
  ): Promise<Response> {
    const headers = new Headers(given);
    // Pages may set neither, follow redirects themselves, and take the token out where they lead elsewhere.
    const own = isNode();
    if (own) {
      // Offsets count bytes of the file, not of a compressed form of it.
      headers.set("accept-encoding", "identity");
      headers.set("user-agent", "deepseek-ts");
    }
    headers.delete("authorization");
    if (this.#token !== null && new URL(url).origin === new URL(this.endpoint).origin) {
      headers.set("authorization", `Bearer ${this.#token}`);
    }
    try {
      return await fetch(url, { headers, signal, redirect: own ? "manual" : "follow" });
    } catch (error) {
      throw asHubError(error, what, new URL(url).host, signal);
    }
  }

  async #explain(response: Response, what: string, url: string): Promise<HubError> {
    const { status, headers } = response;
    const said = (headers.get("x-error-message") ?? (await response.text().catch(() => ""))).slice(0, 200);
    const code = headers.get("x-error-code");
    const wait = Number(headers.get("retry-after"));
    const ours = new URL(response.url || url).origin === new URL(this.endpoint).origin;
    const retryAfter = Number.isFinite(wait) && wait > 0 ? 1000 * wait : null;
    const fail = (message: string, hint: string, passing = false, unknownModel = false) =>
      new HubError(
        message,
        { where: what, found: `${status}${said ? `, ${said.replace(/\s+/g, " ")}` : ""}`, hint },
        status,
        passing,
        { retryAfter, unknownModel },
      );
    if (status === 429) return fail("rate limit of the hub exceeded", "Wait some minutes.", true);
    if (status >= 500 || status === 408) return fail("the hub is unavailable", "Try again later.", true);
    // Addresses on storage hosts expire; a new request to the hub gives a new one.
    if (!ours) return fail(`${new URL(url).host} refuses the file`, "Try again.", true);
    const page = this.#pageOf(what.split(":")[0]);
    const noun = this.kind === "dataset" ? "data set" : "model";
    const login = `set HF_TOKEN to a token from ${this.endpoint}/settings/tokens (or run \`hf auth login\`)`;
    if (code === "GatedRepo" || (status === 403 && /gated|restricted|awaiting/i.test(said))) {
      const account = this.#token === null ? `then ${login}` : "with the account that the token belongs to";
      return fail(`the ${noun} is gated: its terms must be accepted`, `Accept them on ${page}, ${account}.`);
    }
    if (/invalid credentials|invalid username or password/i.test(said) && this.#token !== null) {
      return fail("the hub rejected the token", `It may have expired: ${login}.`);
    }
    if (status === 401 || code === "RepoNotFound") {
      return fail(
        `no such ${noun} on the hub, or it is private`,
        this.#token === null ? `Check the name; for a private one ${login}.` : "Check the name.",
        false,
        true,
      );
    }
    if (status === 403)
      return fail(`the token has no access to the ${noun}`, `Check its rights, or ${login}.`);
    if (code === "RevisionNotFound")
      return fail(`the ${noun} has no such revision`, `See ${page}/tree/main.`);
    if (code === "EntryNotFound") return fail(`the ${noun} has no such file`, `See ${page}/tree/main.`);
    if (status === 404) return fail(`no such ${noun}, revision or file`, `See ${page}.`);
    return fail("the hub rejected the request", `Does ${page} open in a browser?`);
  }
}

/** A failure of the network as a HubError; what the caller's signal caused stays as it is. */
export function asHubError(error: unknown, what: string, host: string, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof DeepseekError) return error;
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  const found = cause?.code ?? cause?.message ?? (error instanceof Error ? error.message : String(error));
  const hint = "Check the connection; HF_HUB_OFFLINE=1 uses only what is in the cache.";
  const detail = { where: what, found, hint, cause: error };
  return new HubError(`cannot reach ${host}`, detail, null, true, { unreachable: true });
}

async function readBody(open: OpenResponse, length?: number): Promise<Uint8Array> {
  const { response, alive } = open;
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    // Streams of some browsers cannot be iterated over.
    const reader = response.body?.getReader();
    for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) {
      alive();
      parts.push(next.value);
      size += next.value.length;
    }
  } catch (error) {
    throw asHubError(error, response.url, new URL(response.url).host);
  }
  if (length !== undefined && size !== length) {
    const detail = { where: response.url, expected: `${length} bytes`, found: size };
    throw new HubError("the connection ended early", detail, response.status, true);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
