/**
 * The studio of a page without a server: the server's own jobs, list of open models and routes of `/v1`, over models of this browser,
 * each on a worker with an engine.
 */
import { Hono } from "hono";
import { blobFolder } from "../../checkpoint/byte-source.ts";
import { workerChannel } from "../../engine/host/page-worker.ts";
import { toPlain } from "../../json/index.ts";
import { parseHubName } from "../../pretrained/hub-name.ts";
import { Answering, addAnswerRoutes } from "../../serve/answer-routes.ts";
import { ApiError, invalidRequest } from "../../serve/errors.ts";
import { referencedImages } from "../../serve/request-images.ts";
import { answerPlan, isAnswerKind } from "../../serve/studio/answer-jobs.ts";
import { neededBytes } from "../../serve/studio/config-facts.ts";
import { type JobPlan, StudioJobs } from "../../serve/studio/jobs.ts";
import { OpenModels } from "../../serve/studio/open-models.ts";
import { openPlan } from "../../serve/studio/open-plan.ts";
import type {
  Freed,
  Inspection,
  JobEvent,
  JobKind,
  JobView,
  ModelList,
} from "../../serve/studio/protocol.ts";
import { bodyOf, parseJobRequest } from "../../serve/studio/requests.ts";
import { keepFromHub, keepPicked } from "./keep.ts";
import type { EngineStart, PickedFile, WorkerSettings } from "./messages.ts";
import { type Openable, PageModels } from "./page-models.ts";

/** Characters of a request: as the server takes bytes of a body. */
const BODY_LIMIT = 32 * 2 ** 20;

const log = (line: string) => console.info(line);

export class PageStudio {
  readonly #settings: WorkerSettings;
  readonly #models = new PageModels();
  readonly #jobs = new StudioJobs({ log });
  /** What the worker of a model opens, from when its job begins until that worker is started. */
  readonly #toOpen = new Map<string, Openable & Pick<EngineStart, "vae">>();
  readonly #open: OpenModels;

  constructor(settings: WorkerSettings) {
    this.#settings = settings;
    const images = referencedImages(null);
    this.#open = new OpenModels({
      routes(state, servedName) {
        const app = new Hono();
        const answering = new Answering(state, { servedName, bodyLimit: BODY_LIMIT, images, log });
        app.onError((error, c) => answering.failed(error, c));
        addAnswerRoutes(app, answering);
        return app;
      },
      start: (engine) => {
        const worker = new Worker(new URL("./engine.ts", import.meta.url), {
          type: "module",
          name: "deepseek-ts engine",
        });
        worker.postMessage({
          ...{ settings: engine, name: engine.model, vae: [] },
          ...this.#toOpen.get(engine.model)!,
        } satisfies EngineStart);
        return workerChannel(worker);
      },
      memory: () => ({ total: settings.memory, free: Math.max(0, settings.memory - this.#taken) }),
      refuses: false,
      log,
    });
  }

  /** Bytes of the weights of the open models. */
  get #taken(): number {
    return this.#open.names.reduce(
      (sum, model) => sum + (this.#open.engineOf(model)?.info.weightBytes ?? 0),
      0,
    );
  }

  async models(): Promise<ModelList> {
    await this.#open.measure();
    return { models: await this.#models.list(this.#open), memory: this.#open.memory() };
  }

  async inspect(model: string): Promise<Inspection> {
    const { inspectModel } = await import("../../pretrained/inspection.ts");
    const found = await this.#models.find(model);
    const { files, gguf } = await this.#models.openable(found);
    const { total, available } = this.#open.memory();
    const tree = blobFolder(new Map(files.map(({ path, file }) => [path, file])), model);
    const source = { kind: gguf === null ? ("folder" as const) : ("gguf" as const), path: model };
    const { inspection } = await inspectModel(
      { name: model, source, tree, gguf },
      { total, free: available },
      () => {},
    );
    const facts = await this.#models.facts(found);
    const needed = neededBytes(facts, await this.#models.weightBytes(found), {});
    const yes = this.#open.isTaken(model) || needed <= available;
    return { model, report: { ...inspection }, fits: { yes, needed, available } };
  }

  async closeModel(model: string): Promise<ModelList> {
    if (this.#open.state(model) === null) this.#open.find(model);
    await this.#open.close(model);
    return await this.models();
  }

  async deleteModel(model: string): Promise<Freed> {
    if (this.#open.isTaken(model)) {
      throw new ApiError({
        ...{ status: 409, type: "invalid_request_error", param: "model", code: "model_open" },
        message: `${model} is open. Close it first.`,
      });
    }
    return { model, bytes: await this.#models.remove(model) };
  }

  /** @param text a request for a job, as a server is sent it */
  async start(text: string): Promise<JobView> {
    if (text.length > BODY_LIMIT) {
      throw new ApiError({
        ...{ status: 413, type: "invalid_request_error", param: null, code: "request_too_large" },
        message: `The body is larger than ${BODY_LIMIT} characters.`,
      });
    }
    const { kind, body, id, inside } = parseJobRequest(text);
    const plan = isAnswerKind(kind)
      ? answerPlan(kind, body, inside, this.#open)
      : await this.#plan(kind, toPlain(body));
    return await this.#jobs.add({ kind: kind as JobKind, plan, request: text, id });
  }

  async #plan(kind: string, body: unknown): Promise<JobPlan> {
    if (kind === "open") return await this.#opening(bodyOf("open", body));
    if (kind === "download") return this.#keeping(bodyOf("download", body).model);
    throw invalidRequest(
      `Jobs of the kind '${kind.slice(0, 50)}' need the studio's server: start it with 'npx deepseek-ts studio'.`,
      "kind",
      "needs_server",
    );
  }

  async #opening({
    model,
    dtype,
    context,
    speculative,
  }: ReturnType<typeof bodyOf<"open">>): Promise<JobPlan> {
    const found = await this.#models.find(model);
    const { partial } = found.entry;
    const plan = openPlan(this.#open, {
      ...{ model, partial, settings: { model, dtype, context, speculative } },
      needed: async () => {
        const facts = await this.#models.facts(found);
        return neededBytes(facts, await this.#models.weightBytes(found), { dtype, context });
      },
    });
    return {
      ...plan,
      run: async (work) => {
        const vae = await this.#models.autoencoder();
        this.#toOpen.set(model, { ...(await this.#models.openable(found)), vae });
        try {
          return await plan.run(work);
        } finally {
          this.#toOpen.delete(model);
        }
      },
    };
  }

  /** Downloads a model, or keeps one that was picked. */
  #keeping(model: string): JobPlan {
    const picked = this.#models.pickedFiles(model);
    if (picked === null && parseHubName(model) === null) {
      throw invalidRequest(
        `'${model.slice(0, 100)}' is not the name of a model on the hub: expected org/name or org/name@revision.`,
        "body.model",
        "invalid_value",
      );
    }
    const { kept } = this.#models;
    return {
      ...{ lane: "download", title: `${picked === null ? "download" : "keep"} ${model}`, model },
      run: async ({ signal, progress }) => {
        const text = picked === null ? "asks the hub" : "copies";
        progress({ done: 0, total: null, unit: "bytes", text });
        const onBytes = (done: number, total: number) =>
          progress({ done, total, unit: "bytes", text: picked === null ? "downloads" : "copies" });
        if (picked !== null) {
          await keepPicked(kept, model, picked, { signal, onBytes });
          return { files: picked.length };
        }
        return await keepFromHub(kept, this.#settings.hub, model, { signal, onBytes });
      },
    };
  }

  jobs = (): Promise<readonly JobView[]> => this.#jobs.list();
  job = (id: string): Promise<JobView> => this.#jobs.get(id);
  stop = (id: string): Promise<JobView> => this.#jobs.stop(id);
  events = (id: string, after: number, signal: AbortSignal): Promise<AsyncGenerator<JobEvent, void>> =>
    this.#jobs.events(id, after, signal);
  add = async (files: readonly PickedFile[]): Promise<string> => this.#models.add(files);
}
