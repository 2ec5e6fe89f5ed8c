/**
 * The routes of the studio behind its front: `/studio/api` (protocol.ts), and `/v1` of the models that are open. Nothing is reached
 * before the front has let it pass.
 */
import { type Context, Hono } from "hono";
import { parseJson } from "../../json/index.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import { bodyReader } from "../request-body.ts";
import { answerPlan, isAnswerKind } from "./answer-jobs.ts";
import { eventLines } from "./event-lines.ts";
import { answerError, answerNothing } from "./front.ts";
import type { StudioJobs } from "./jobs.ts";
import type { StoredModels } from "./model-list.ts";
import type { OpenModels } from "./open-models.ts";
import type { Freed, Hello, JobKind, ModelList, RootPath, RunList, TrainCheck } from "./protocol.ts";
import { bodyOf, parseJobRequest } from "./requests.ts";
import type { Roots } from "./roots.ts";
import type { Runs } from "./runs.ts";
import type { WorkPlans } from "./work-jobs.ts";

export interface StudioParts {
  readonly jobs: StudioJobs;
  readonly open: OpenModels;
  readonly stored: StoredModels;
  readonly roots: Roots;
  readonly runs: Runs;
  readonly plans: WorkPlans;
  readonly bodyLimit: number;
  /** That a training runs on. */
  readonly threads: number;
  /** Folder of the text that is there without being brought. */
  readonly text?: string;
  hello(): Promise<Hello>;
  readonly log: (line: string) => void;
}

const API = "/studio/api";
/** Bins of a run's curves: more than any screen has pixels. */
const MOST_BINS = 4096;

/** The field `model` of a body; null where it has none, or is no JSON, which its route then says. */
function modelOf(text: string): string | null {
  try {
    const body = parseJson(text, { only: new Set(["model"]), maxDepth: 100 });
    const model = body instanceof Map ? body.get("model") : null;
    return typeof model === "string" ? model : null;
  } catch {
    return null;
  }
}

/** A whole number of the address. @throws ApiError 400 */
function wholeNumber(c: Context, name: string, otherwise: number, most = Number.MAX_SAFE_INTEGER): number {
  const text = c.req.query(name);
  if (text === undefined) return otherwise;
  if (/^\d{1,16}$/.test(text) && Number(text) <= most) return Number(text);
  throw invalidRequest(`'${name}' must be a whole number, at most ${most}.`, name, "invalid_value");
}

/** A text of the address. @throws ApiError 400 without one */
function named(c: Context, name: string): string {
  const text = c.req.query(name);
  if (text !== undefined && text.length <= 2000) return text;
  throw invalidRequest(`'${name}' is missing in the address.`, name, "missing_field");
}

/** Builds the routes over the parts of a studio. */
export function createStudioRoutes(parts: StudioParts): Hono {
  const { jobs, open, stored, roots, runs, plans, bodyLimit, log } = parts;
  const app = new Hono();
  const readBody = bodyReader(bodyLimit);

  app.onError((error, c) => answerError(error, c, log, (text) => roots.shown(text)));
  app.notFound(answerNothing);

  const json = async (c: Context): Promise<unknown> => {
    try {
      return JSON.parse(await readBody(c.req.raw));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw invalidRequest(`The body is not valid JSON: ${error.message}.`, null, "invalid_json");
    }
  };
  const models = async (): Promise<ModelList> => {
    await open.measure();
    return { models: await stored.list(open), memory: open.memory() };
  };

  app.get(`${API}/hello`, async (c) => c.json(await parts.hello()));

  app.get(`${API}/models`, async (c) => c.json(await models()));
  app.post(`${API}/models/close`, async (c) => {
    const { model } = bodyOf("close", await json(c), "");
    if (open.state(model) === null) open.find(model);
    await open.close(model);
    return c.json(await models());
  });

  app.get(`${API}/models/inspect`, async (c) => {
    const { inspection } = await import("./inspection.ts");
    return c.json(await inspection(named(c, "model"), stored, open));
  });
  app.delete(`${API}/models`, async (c) => {
    const model = named(c, "model");
    const { path } = await stored.find(model);
    if (open.isTaken(model, path)) {
      throw new ApiError({
        ...{ status: 409, type: "invalid_request_error", param: "model", code: "model_open" },
        message: `${model} is open. Close it first.`,
      });
    }
    const bytes = await stored.remove(model);
    log(`deleted ${model}`);
    return c.json({ model, bytes } satisfies Freed);
  });

  app.get(`${API}/train/presets`, async (c) => {
    const { trainPresets } = await import("./train-presets.ts");
    return c.json(await trainPresets(runs, stored, parts.threads));
  });
  app.post(`${API}/train/check`, async (c) => {
    const { checkTraining } = await import("./train-jobs.ts");
    const { memory } = await checkTraining(bodyOf("train", await json(c)), parts);
    return c.json({ memory } satisfies TrainCheck);
  });

  app.get(`${API}/files`, async (c) =>
    c.json(await roots.entries({ root: named(c, "root"), path: c.req.query("path") ?? "" })),
  );

  /** The run that an address names: `ROOT/PATH`. @throws ApiError 404 */
  const runOf = (text: string): RootPath => {
    const run = roots.parse(text);
    if (run !== null) return run;
    throw new ApiError({
      ...{ status: 404, type: "invalid_request_error", param: "run", code: "unknown_root" },
      message: `'${text.slice(0, 200)}' begins with the name of no root.`,
    });
  };
  app.get(`${API}/runs`, async (c) => c.json({ runs: await runs.list() } satisfies RunList));
  app.get(`${API}/runs/:run{.+}`, async (c) => c.json(await runs.detail(runOf(c.req.param("run")))));
  app.get(`${API}/series`, async (c) => {
    const bins = wholeNumber(c, "bins", 400, MOST_BINS);
    return c.json(await runs.series(runOf(named(c, "run")), Math.max(1, bins)));
  });

  app.post(`${API}/jobs`, async (c) => {
    const text = await readBody(c.req.raw);
    const { kind, body, id, inside } = parseJobRequest(text);
    const plan = isAnswerKind(kind)
      ? answerPlan(kind, body, inside, open)
      : await plans.plan(kind, body, inside);
    return c.json(await jobs.add({ kind: kind as JobKind, plan, request: text, id }), 201);
  });
  app.get(`${API}/jobs`, async (c) => c.json(await jobs.list()));
  app.get(`${API}/jobs/:id`, async (c) => c.json(await jobs.get(c.req.param("id"))));
  app.delete(`${API}/jobs/:id`, async (c) => c.json(await jobs.stop(c.req.param("id"))));
  app.get(`${API}/jobs/:id/events`, async (c) => {
    const headers = { "content-type": "application/x-ndjson; charset=utf-8", "x-accel-buffering": "no" };
    const gone = new AbortController();
    const events = await jobs.events(c.req.param("id"), wholeNumber(c, "after", 0), gone.signal);
    // Nobody would read the lines to their end, and what waits for that would keep the program from ending.
    if (c.req.method === "HEAD") return new Response(null, { headers });
    return new Response(eventLines(events, gone), { headers });
  });

  /** A request of `/v1` for its model, as that model's routes take it: without what only concerns the studio. */
  const handOn = async (c: Context, model: string | null, body: string | null): Promise<Response> => {
    const { app: routes } = open.find(model);
    const { raw } = c.req;
    const type = raw.headers.get("content-type");
    const answer = await routes.request(
      new Request(`http://localhost${c.req.path}`, {
        ...{ method: raw.method, body, signal: raw.signal },
        headers: type === null ? {} : { "content-type": type },
      }),
    );
    return new Response(answer.body, { status: answer.status, headers: new Headers(answer.headers) });
  };
  const modelsOf = async (c: Context): Promise<object[]> => {
    const all = open.names.map(async (model) => {
      const answer = await open
        .find(model)
        .app.request("http://localhost/v1/models", { signal: c.req.raw.signal });
      return ((await answer.json()) as { data: object[] }).data;
    });
    return (await Promise.all(all)).flat();
  };
  app.get("/v1/models", async (c) => c.json({ object: "list", data: await modelsOf(c) }));
  app.get("/v1/models/:id{.+}", (c) => handOn(c, c.req.param("id"), null));
  for (const path of ["/v1/*", "/tokenize", "/detokenize"]) {
    app.post(path, async (c) => {
      const text = await readBody(c.req.raw);
      return await handOn(c, modelOf(text), text);
    });
    app.all(path, (c) => handOn(c, null, null));
  }

  return app;
}
