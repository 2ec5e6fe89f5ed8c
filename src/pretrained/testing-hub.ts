/**
 * A Hugging Face hub on this machine for tests: the parts of its protocol that downloads use, a storage host that
 * large files are redirected to, and faults on demand.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What goes wrong with requests for a file's content; each use counts one off `times`. */
export interface Fault {
  readonly path: string;
  times: number;
  readonly kind: "cut" | "corrupt" | "status" | "ignore-range" | "stall" | "wrong-range";
  /** `cut`, `stall`: after so many bytes. */
  readonly after?: number;
  /** `status`. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface SeenRequest {
  readonly host: "hub" | "storage";
  readonly url: string;
  readonly range: string | null;
  readonly authorization: string | null;
}

export interface TestingRepo {
  readonly commit: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Paths kept in large-file storage; default: from 64 bytes on. */
  readonly isLarge?: (path: string, bytes: Uint8Array) => boolean;
  /** Only for requests with this token. */
  readonly token?: string;
  readonly gated?: boolean;
}

export const gitBlobId = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Lets pages of any origin read, as the hub does. @returns whether it was only asked for that */
function forPages(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.headers.origin === undefined) return false;
  response.setHeader("access-control-allow-origin", "*");
  response.setHeader(
    "access-control-expose-headers",
    "x-repo-commit,x-error-code,x-error-message,etag,link,content-range",
  );
  if (request.method !== "OPTIONS") return false;
  response.writeHead(204, { "access-control-allow-headers": "range,authorization" }).end();
  return true;
}

/** The servers, until disposed. */
export class TestingHub implements AsyncDisposable {
  /** By `org/name`, data sets by `datasets/org/name`. */
  readonly repos = new Map<string, TestingRepo>();
  /** Branches: `org/name@main` to a commit; if missing every revision is the repository's commit. */
  readonly faults: Fault[] = [];
  readonly seen: SeenRequest[] = [];
  /** Entries of a page of the file listing. */
  pageSize = 1000;
  /** Milliseconds between pieces of a body. */
  pieceDelay = 0;
  readonly #hub: Server;
  readonly #storage: Server;

  private constructor() {
    this.#hub = createServer((request, response) => {
      if (!forPages(request, response)) this.#onHub(request, response);
    });
    this.#storage = createServer((request, response) => {
      if (!forPages(request, response)) this.#onStorage(request, response);
    });
  }

  static async start(): Promise<TestingHub> {
    const hub = new TestingHub();
    for (const server of [hub.#hub, hub.#storage]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return hub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storage(): string {
    return `http://127.0.0.1:${(this.#storage.address() as AddressInfo).port}`;
  }

  /** Requests for a file's content, in order. */
  contentRequests(path: string): SeenRequest[] {
    return this.seen.filter(({ url }) => decodeURIComponent(url).endsWith(`/${path}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #note(host: "hub" | "storage", request: IncomingMessage): void {
    const { range = null, authorization = null } = request.headers;
    this.seen.push({ host, url: request.url ?? "", range, authorization });
  }

  #fault(path: string): Fault | null {
    const fault = this.faults.find((candidate) => candidate.path === path && candidate.times > 0);
    if (!fault) return null;
    fault.times--;
    return fault;
  }

  #refuse(response: ServerResponse, status: number, code: string, message: string): void {
    response.writeHead(status, { "x-error-code": code, "x-error-message": message });
    response.end(message);
  }

  #onHub(request: IncomingMessage, response: ServerResponse): void {
    this.#note("hub", request);
    const url = new URL(request.url ?? "", this.endpoint);
    const api = /^\/api\/(?:models|(datasets))\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname);
    const content = /^\/((?:datasets\/)?[^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const name = api === null ? (content?.[1] ?? "") : `${api[1] ? "datasets/" : ""}${api[2]}`;
    const repo = this.repos.get(name);
    const allowed = !repo?.token || request.headers.authorization === `Bearer ${repo.token}`;
    if (!repo || (!allowed && !repo.gated)) {
      if (request.headers.authorization) this.#refuse(response, 404, "RepoNotFound", "Repository not found");
      else this.#refuse(response, 401, "RepoNotFound", "Repository not found");
      return;
    }
    const fault = this.#fault(api ? api[3] : decodeURIComponent(content?.[3] ?? ""));
    if (fault?.kind === "status") {
      response.writeHead(fault.status ?? 503, fault.headers);
      response.end("as the test wishes");
      return;
    }
    if (api) this.#onApi(api[3], decodeURIComponent(api[4]), repo, name, url, response);
    else if (content) {
      if (!allowed) this.#refuse(response, 403, "GatedRepo", "Access to model is restricted");
      else
        this.#onContent(
          repo,
          decodeURIComponent(content[2]),
          decodeURIComponent(content[3]),
          request,
          response,
          fault,
        );
    } else this.#refuse(response, 404, "", "no such page");
  }

  #onApi(
    kind: string,
    revision: string,
    repo: TestingRepo,
    name: string,
    url: URL,
    response: ServerResponse,
  ): void {
    if (revision !== "main" && revision !== repo.commit) {
      this.#refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
      return;
    }
    const json = (value: unknown, headers = {}) => {
      response.writeHead(200, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(value));
    };
    if (kind === "revision") {
      const siblings = [...repo.files.keys()].map((rfilename) => ({ rfilename }));
      json({ _id: "1", id: name, modelId: name, sha: repo.commit, private: false, gated: false, siblings });
      return;
    }
    const all = [...repo.files].map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.length,
      oid: gitBlobId(bytes),
      ...(this.#isLarge(repo, path) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
    }));
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const next = from + this.pageSize;
    url.searchParams.set("cursor", String(next));
    json(all.slice(from, next), next < all.length ? { link: `<${url.href}>; rel="next"` } : {});
  }

  #isLarge(repo: TestingRepo, path: string): boolean {
    const bytes = repo.files.get(path)!;
    return repo.isLarge ? repo.isLarge(path, bytes) : bytes.length >= 64;
  }

  #onContent(
    repo: TestingRepo,
    revision: string,
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | null,
  ): void {
    const bytes = repo.files.get(path);
    if (!bytes || (revision !== "main" && revision !== repo.commit)) {
      this.#refuse(response, 404, "EntryNotFound", "Entry not found");
      return;
    }
    response.setHeader("x-repo-commit", repo.commit);
    if (!this.#isLarge(repo, path)) {
      response.setHeader("etag", `"${gitBlobId(bytes)}"`);
      void this.#send(bytes, request, response, fault);
      return;
    }
    // The fault happens where the bytes come from.
    if (fault) fault.times++;
    response.writeHead(302, {
      location: `${this.storage}/${encodeURIComponent(repo.commit)}/${path}`,
      "x-linked-etag": `"${sha256(bytes)}"`,
      "x-linked-size": String(bytes.length),
    });
    response.end();
  }

  #onStorage(request: IncomingMessage, response: ServerResponse): void {
    this.#note("storage", request);
    const [commit, ...rest] = decodeURIComponent(request.url ?? "")
      .slice(1)
      .split("/");
    const path = rest.join("/");
    const repo = [...this.repos.values()].find((candidate) => candidate.commit === commit);
    const fault = this.#fault(path);
    if (fault?.kind === "status") {
      response.writeHead(fault.status ?? 503, fault.headers);
      response.end("as the test wishes");
      return;
    }
    void this.#send(repo!.files.get(path)!, request, response, fault);
  }

  async #send(
    whole: Uint8Array,
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | null,
  ): Promise<void> {
    const range =
      fault?.kind === "ignore-range" ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    let bytes = whole;
    if (range) {
      const start = Number(range[1]);
      const end = range[2] === "" ? whole.length : Math.min(whole.length, Number(range[2]) + 1);
      if (start >= whole.length) {
        response.writeHead(416, { "content-range": `bytes */${whole.length}` });
        response.end();
        return;
      }
      const shown = fault?.kind === "wrong-range" ? 0 : start;
      response.setHeader("content-range", `bytes ${shown}-${end - 1}/${whole.length}`);
      bytes = whole.subarray(start, end);
    }
    if (fault?.kind === "corrupt") {
      bytes = bytes.slice();
      bytes[bytes.length >> 1] ^= 1;
    }
    response.writeHead(range ? 206 : 200, { "content-length": bytes.length });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    const end = Math.min(bytes.length, fault?.after ?? bytes.length);
    const piece = this.pieceDelay > 0 ? 1 << 14 : 1 << 20;
    for (let at = 0; at < end && !response.destroyed; at += piece) {
      await new Promise((resolve) => response.write(bytes.subarray(at, Math.min(end, at + piece)), resolve));
      if (this.pieceDelay > 0) await new Promise((resolve) => setTimeout(resolve, this.pieceDelay));
    }
    if (fault?.kind === "stall") return;
    if (fault?.kind === "cut") response.destroy();
    else response.end();
  }
}
