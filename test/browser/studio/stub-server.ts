/**
 * A server that speaks the studio's protocol and computes nothing: answers are scripted, so that the page and not a model
 * is measured, and states can be reached that a real server has only by accident.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { extname, join, resolve, sep } from "node:path";
import type {
  FileList,
  Hello,
  Inspection,
  JobEvent,
  JobKind,
  JobRequest,
  JobView,
  ModelEntry,
  ModelList,
  RunDetail,
  RunSeries,
  TrainBody,
  TrainPresets,
} from "../../../src/studio/backend/wire.ts";

/** As the specification of the page has it; tests fail on any report of it. */
export const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
  "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types studio";

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".css": "text/css",
  ".js": "text/javascript",
  ".map": "application/json",
};

/** What happens in a job: pieces that come one after another. */
export interface Script {
  readonly events: readonly JobEvent["event"][];
  /** Events a second; default: all at once. */
  readonly rate?: number;
  /** The job never ends by itself. */
  readonly stays?: boolean;
  readonly fails?: string;
  readonly result?: Record<string, unknown>;
}

export interface StubSettings {
  /** Of the built page. */
  readonly folder: string;
  readonly models?: readonly ModelEntry[];
  readonly token?: string | null;
  readonly hello?: Partial<Hello>;
  readonly inspection?: Inspection;
  readonly runs?: readonly { readonly detail: RunDetail; readonly series: RunSeries }[];
  readonly presets?: TrainPresets;
  /** What is wrong with a training; null for nothing. */
  readonly checkTraining?: (body: TrainBody) => { readonly message: string; readonly param: string } | null;
  /** Of each folder below the roots, by `ROOT/PATH`. */
  readonly files?: Readonly<Record<string, FileList["entries"]>>;
  /** What a job does; by default nothing, with success. */
  readonly script?: (request: JobRequest) => Script;
  /** Why a job is refused; null for those that are not. */
  readonly refusal?: (request: JobRequest) => string | null;
  /** Called when a job has ended by itself. */
  readonly ended?: (job: JobView) => void;
}

interface StubJob {
  view: JobView;
  readonly events: JobEvent[];
  readonly readers: Set<ServerResponse>;
  stopped: boolean;
}

/** An answer's chunks, of some characters each. */
export function answerEvents(
  text: string,
  { reasoning = "", size = 4, usage = true, extra = [] as readonly object[] } = {},
): JobEvent["event"][] {
  const chunk = (delta: object, reason: string | null = null): JobEvent["event"] => ({
    type: "chunk",
    chunk: { choices: [{ index: 0, delta, finish_reason: reason }] },
  });
  const pieces = (whole: string) => whole.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];
  return [
    chunk({ role: "assistant", content: null }),
    ...pieces(reasoning).map((piece) => chunk({ reasoning_content: piece })),
    ...pieces(text).map((piece) => chunk({ content: piece })),
    ...extra.map((delta) => chunk(delta)),
    chunk({}, "stop"),
    ...(usage
      ? [
          {
            type: "chunk" as const,
            chunk: {
              choices: [],
              usage: {
                prompt_tokens: 24,
                completion_tokens: Math.ceil((text.length + reasoning.length) / 4),
                prompt_tokens_details: { cached_tokens: 0, image_tokens: 0 },
                completion_tokens_details: { reasoning_tokens: Math.ceil(reasoning.length / 4) },
              },
            },
          },
        ]
      : []),
  ];
}

export class StubServer {
  readonly #settings: StubSettings;
  readonly jobs = new Map<string, StubJob>();
  /** Bodies of the jobs that were asked for. */
  readonly requests: JobRequest[] = [];
  models: ModelEntry[];
  token: string | null;
  #session = 0;
  #server: Server | null = null;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor(settings: StubSettings) {
    this.#settings = settings;
    this.models = [...(settings.models ?? [])];
    this.token = settings.token ?? null;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Starts it, on the port that it had before; jobs of before are forgotten. */
  async start(): Promise<void> {
    this.#session++;
    this.jobs.clear();
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((error) => {
        response.writeHead(500).end(String(error));
      });
    });
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((done) => {
      server.listen(this.#port, "127.0.0.1", done);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** As a process that ends: nothing is said to anybody. */
  async kill(): Promise<void> {
    for (const job of this.jobs.values()) job.stopped = true;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => {
      this.#server?.close(done);
    });
  }

  /** Cuts the streams of events and nothing else. */
  cut(): void {
    for (const { readers } of this.jobs.values()) for (const reader of readers) reader.destroy();
  }

  get #memory() {
    const models = this.models.reduce((sum, { info }) => sum + (info?.weightBytes ?? 0), 0);
    return { total: 64e9, available: 41.2e9 - models, models };
  }

  #list = (): ModelList => ({ models: this.models, memory: this.#memory });

  #file(pathname: string, response: ServerResponse): void {
    const { folder } = this.#settings;
    const path = resolve(folder, `.${decodeURIComponent(pathname === "/" ? "/index.html" : pathname)}`);
    if (!path.startsWith(folder + sep)) {
      response.writeHead(404).end();
      return;
    }
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch {
      response.writeHead(404).end();
      return;
    }
    response
      .writeHead(200, {
        "content-type": TYPES[extname(path)] ?? "application/octet-stream",
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
      })
      .end(bytes);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (!pathname.startsWith("/studio/api/")) {
      this.#file(pathname, response);
      return;
    }
    const json = (value: unknown, status = 200) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    const refuse = (
      status: number,
      message: string,
      code: string | null = null,
      param: string | null = null,
    ) => json({ error: { message, type: "invalid_request_error", param, code } }, status);
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) {
      refuse(401, "The token is not the one that the studio printed.", "unauthorized");
      return;
    }
    const route = `${request.method} ${pathname.slice("/studio/api/".length)}`;
    const body = async () => {
      let text = "";
      for await (const piece of request) text += piece;
      return JSON.parse(text);
    };
    const model = searchParams.get("model");
    if (route === "GET hello") json(this.#hello());
    else if (route === "GET models") json(this.#list());
    else if (route === "GET models/inspect" && this.#settings.inspection)
      json({ ...this.#settings.inspection, model });
    else if (route === "DELETE models") {
      const bytes = this.models.find((each) => each.model === model)!.size;
      this.models = this.models.filter((each) => each.model !== model);
      json({ model, bytes });
    } else if (route === "POST models/close") {
      const named = (await body()).model;
      this.models = this.models.map((each) =>
        each.model === named ? { ...each, state: "closed", info: null } : each,
      );
      json(this.#list());
    } else if (route === "GET train/presets" && this.#settings.presets) json(this.#settings.presets);
    else if (route === "POST train/check") {
      const wrong = this.#settings.checkTraining?.(await body()) ?? null;
      if (wrong === null) json({ memory: "about 173 MB (weights 20.9 MB, ..); 41.2 GB of 64.0 GB are free" });
      else refuse(400, wrong.message, "invalid_value", wrong.param);
    } else if (route === "GET files") {
      const [root, path] = [searchParams.get("root")!, searchParams.get("path")!];
      const entries = this.#settings.files?.[[root, path].filter(Boolean).join("/")] ?? [];
      json({ root, path, entries: entries.slice(0, 1000), more: entries.length > 1000 });
    } else if (route === "POST jobs") {
      const request: JobRequest = await body();
      const refusal = this.#settings.refusal?.(request) ?? null;
      if (refusal === null) json(this.#start(request), 201);
      else refuse(400, refusal);
    } else if (route === "GET runs") json({ runs: this.#settings.runs?.map(({ detail }) => detail) ?? [] });
    else if (route === "GET series" || /^GET runs\//.test(route)) {
      const name = searchParams.get("run") ?? decodeURIComponent(route.slice("GET runs/".length));
      const found = this.#settings.runs?.find(({ detail: { run } }) => `${run.root}/${run.path}` === name);
      if (found) json(route === "GET series" ? found.series : found.detail);
      else refuse(404, `There is no run '${name}'.`);
    } else if (route === "GET jobs") {
      // Results are in the job itself, as the real server has them.
      json([...this.jobs.values()].map(({ view }) => ({ ...view, result: null })).reverse());
    } else {
      const found = /^(GET|DELETE) jobs\/([^/]+)(\/events)?$/.exec(route);
      const job = found && this.jobs.get(found[2]);
      if (!job) refuse(404, `There is no job or route '${route}' here.`, "not_found");
      else if (found[3]) this.#stream(job, Number(searchParams.get("after") ?? 0), response);
      else {
        if (found[1] === "DELETE") this.#end(job, "canceled");
        json(job.view);
      }
    }
  }

  #hello(): Hello {
    return {
      version: "0.1.0",
      session: `s${this.#session}`,
      threads: 8,
      processor: "Stub 9000",
      memory: this.#memory,
      roots: [{ name: "models", path: "/home/ada/models" }],
      lean: { version: "4.28.0", missing: null },
      kinds: [
        "chat",
        "complete",
        "draw",
        "open",
        "download",
        "train",
        "prove",
        "check",
        "quantize",
      ] as JobKind[],
      ...this.#settings.hello,
    };
  }

  #stream(job: StubJob, after: number, response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    for (const event of job.events) if (event.number > after) response.write(`${JSON.stringify(event)}\n`);
    if (job.view.ended !== null) {
      response.end();
      return;
    }
    job.readers.add(response);
    response.on("close", () => job.readers.delete(response));
  }

  #emit(job: StubJob, event: JobEvent["event"]): void {
    const line: JobEvent = { number: job.events.length + 1, time: Date.now(), event };
    job.events.push(line);
    job.view = {
      ...job.view,
      lastEvent: line.number,
      ...(event.type === "progress" ? { progress: event.progress } : {}),
    };
    for (const reader of job.readers) reader.write(`${JSON.stringify(line)}\n`);
  }

  #end(
    job: StubJob,
    state: JobView["state"],
    error: string | null = null,
    result: JobView["result"] = null,
  ): void {
    if (job.view.ended !== null) return;
    job.stopped = true;
    const failed = error === null ? null : { message: error, code: null };
    job.view = { ...job.view, state, ended: Date.now(), error: failed, result };
    this.#emit(job, { type: "end", job: job.view });
    for (const reader of job.readers) reader.end();
  }

  #start(request: JobRequest): JobView {
    const known = request.id && this.jobs.get(request.id);
    if (known) return known.view;
    this.requests.push(request);
    const body = request.body as { model?: string; out?: { root: string; path: string } };
    const model = body.model ?? null;
    const run = request.kind === "train" ? `${body.out!.root}/${body.out!.path}` : undefined;
    const view: JobView = {
      id: request.id ?? `job-${this.jobs.size}`,
      kind: request.kind,
      state: "running",
      title: `${request.kind}: ${model ?? run}`,
      model,
      ...(run !== undefined && { run }),
      added: Date.now(),
      started: Date.now(),
      ended: null,
      lastEvent: 0,
      firstEvent: 1,
      progress: null,
      error: null,
      result: null,
    };
    const job: StubJob = { view, events: [], readers: new Set(), stopped: false };
    this.jobs.set(view.id, job);
    const script = this.#settings.script?.(request) ?? { events: [] };
    if (request.kind === "open") {
      this.models = this.models.map((each) =>
        each.model === model ? { ...each, state: "opening", job: view.id } : each,
      );
    }
    this.#run(job, script).then(() => {
      this.#settings.ended?.(job.view);
      if (request.kind !== "open") return;
      this.models = this.models.map((each) => (each.model === model ? settled(each, job.view) : each));
    });
    return job.view;
  }

  async #run(job: StubJob, { events, rate, stays, fails, result }: Script): Promise<void> {
    const began = performance.now();
    for (const [i, event] of events.entries()) {
      // Timers are coarse: what is due by now comes together.
      while (rate !== undefined && ((performance.now() - began) / 1000) * rate < i && !job.stopped)
        await new Promise((resolve) => setTimeout(resolve, 1));
      if (job.stopped) return;
      this.#emit(job, event);
    }
    while (stays && !job.stopped) await new Promise((resolve) => setTimeout(resolve, 20));
    this.#end(job, fails === undefined ? "done" : "failed", fails ?? null, result ?? null);
  }
}

function settled(entry: ModelEntry, { state, error }: JobView): ModelEntry {
  if (state !== "done") return { ...entry, state: "failed", error: error?.message ?? state, job: null };
  return { ...entry, state: "open", job: null, error: null, info: modelInfo(entry) };
}

/** What an open model says of itself. */
export function modelInfo({
  model,
  architecture,
  parameters,
  size,
}: ModelEntry): NonNullable<ModelEntry["info"]> {
  const sees = /vl|janus/i.test(model);
  return {
    name: model,
    architecture: architecture ?? "DeepseekV2ForCausalLM",
    parameters: parameters ?? 0,
    dtype: "q4",
    weightBytes: Math.round(size * 0.6),
    context: 4096,
    vocabulary: 32_000,
    maxBatch: 4,
    maxQueue: 16,
    cacheTokens: 8192,
    chat: true,
    tools: true,
    imageInput: sees ? { size: 384, tokens: 576 } : null,
    imageOutput: /janus/i.test(model)
      ? { kind: /flow/i.test(model) ? "flow" : "codes", size: 384, missing: null }
      : null,
    fill: /coder/i.test(model),
    fingerprint: "fp_stub",
    tokenizer: {},
    longestToken: 40,
    loadSeconds: 0.4,
  } as NonNullable<ModelEntry["info"]>;
}

/** A model of the list. */
export function modelEntry(model: string, fields: Partial<ModelEntry> = {}): ModelEntry {
  const entry: ModelEntry = {
    model,
    from: "hub",
    size: 31_400_000_000,
    partial: false,
    architecture: "DeepseekV2ForCausalLM",
    system: "DeepSeek-V2",
    parameters: 15_700_000_000,
    state: "closed",
    info: null,
    error: null,
    job: null,
    ...fields,
  };
  return entry.state === "open" && entry.info === null ? { ...entry, info: modelInfo(entry) } : entry;
}

/** Where the page is built for tests: files of tests that run at once have a folder each. */
export const pageFolder = join(import.meta.dirname, `../.build/studio-${process.env.VITEST_POOL_ID ?? 0}`);
