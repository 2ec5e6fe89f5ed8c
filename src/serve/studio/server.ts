/** Starts the studio: one port of this machine for its page, its jobs and `/v1` of the models that are open. Node only. */
import { randomBytes, randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { EngineClient } from "../../engine/host/engine-client.ts";
import { thisMachine } from "../../files/machine.ts";
import { userCacheFolder } from "../../files/user-cache.ts";
import { type HubOptions, hubSettings } from "../../pretrained/hub-settings.ts";
import { closeHttp, createHttpServer, listen } from "../http-server.ts";
import { imageLoader } from "../request-images.ts";
import { BODY_LIMIT } from "../server.ts";
import { createStudioApp } from "./app.ts";
import { studioGuard } from "./guard.ts";
import { JobJournal } from "./job-journal.ts";
import { StudioJobs } from "./jobs.ts";
import { StoredModels } from "./model-list.ts";
import { type MeasureMemory, OpenModels } from "./open-models.ts";
import type { Hello, JobView } from "./protocol.ts";
import { Roots, shownPath } from "./roots.ts";
import { Runs } from "./runs.ts";
import { StudioLean } from "./studio-lean.ts";
import { WorkPlans } from "./work-jobs.ts";

export interface StudioOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Folders that the page may list, read and write below. */
  readonly roots: readonly string[];
  /** Names of a proxy before it. */
  readonly allowHosts?: readonly string[];
  /** Asks for no token: for programs on a machine with no other users. */
  readonly withoutToken?: boolean;
  /** Folder of the built page; default: that of the package. */
  readonly page?: string;
  /** Of this program, for the page to compare with its own. */
  readonly version: string;
  /** Threads of each model; default: the machine's cores. */
  readonly threads?: number;
  /** Where the hub is and its cache lies; default: by the environment. */
  readonly hub?: HubOptions;
  /** Folder where running jobs are written down; default: in the user's cache. */
  readonly journal?: string;
  readonly memory?: MeasureMemory;
  readonly log?: (line: string) => void;
}

export interface RunningStudio {
  readonly port: number;
  /** Without the token. */
  readonly url: string;
  readonly token: string | null;
  /** The name of what lies at a path below a root. @throws ApiError 404 for any other */
  nameOf(path: string): string;
  /** Opens a model, as the page would. @throws ApiError */
  openModel(model: string): Promise<JobView>;
  /** The engine of an open model; null for any other. */
  engineOf(model: string): EngineClient | null;
  /** Jobs that wait or run. */
  running(): Promise<readonly JobView[]>;
  /** Stops every job, closes every model, ends every connection. */
  close(): Promise<void>;
}

/** Where the page is built, in the source tree and in the package. */
export const STUDIO_PAGE = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../../../dist/studio" : "../../studio", import.meta.url),
);

const HOST = "127.0.0.1";

/** Starts listening; models are opened later. @throws ConfigError if the port cannot be had */
export async function startStudio(options: StudioOptions): Promise<RunningStudio> {
  const { port, allowHosts = [], version, threads, memory = thisMachine, log = () => {} } = options;
  const token = options.withoutToken ? null : randomBytes(32).toString("base64url");
  const session = randomUUID();
  const roots = await Roots.open(options.roots);
  const { cacheDir } = await hubSettings(options.hub);
  const journal = await JobJournal.open(options.journal ?? join(userCacheFolder(), "studio"), session, log);
  const jobs = new StudioJobs({ log, journal, shown: (text) => roots.shown(text) });
  const images = imageLoader({ allowUrls: false });
  const open = new OpenModels({ bodyLimit: BODY_LIMIT, images, log, memory, verifier: null });
  const stored = new StoredModels(roots, cacheDir);
  const lean = new StudioLean();
  const plans = new WorkPlans({ open, stored, roots, lean, threads, hub: options.hub });

  const runs = new Runs(roots, async (run) => {
    const trains = ({ kind, title }: JobView) =>
      ["train", "resume"].includes(kind) && title.endsWith(` ${run}`);
    return (await jobs.open()).find(trains)?.id ?? null;
  });

  async function hello(): Promise<Hello> {
    return {
      ...{ version, session, roots: roots.list, memory: open.memory() },
      threads: threads ?? availableParallelism(),
      processor: cpus()[0]?.model.trim() ?? "unknown",
      lean: await lean.known(),
      kinds: ["chat", "complete", "draw", ...plans.kinds],
    };
  }

  let ownPort = port;
  const guard = studioGuard({ port: () => ownPort, allowHosts, token });
  const app = createStudioApp({
    ...{ guard, jobs, open, stored, roots, runs, plans, hello, log },
    page: options.page ?? STUDIO_PAGE,
    bodyLimit: BODY_LIMIT,
  });
  const server = createHttpServer(app.fetch, log);
  await listen(server, port, HOST);
  ownPort = (server.address() as AddressInfo).port;
  let closing: Promise<void> | null = null;

  async function close(): Promise<void> {
    const ended = closeHttp(server);
    await jobs.close();
    await Promise.all([open.closeAll(), lean.close()]);
    // Readers of events get their last line out.
    if (!(await ended(500))) server.closeAllConnections();
  }

  return {
    port: ownPort,
    url: `http://${HOST}:${ownPort}/`,
    token,
    nameOf: (path) => shownPath(roots.placeOf(path)),
    async openModel(model) {
      const plan = await plans.plan("open", new Map([["model", model]]), false);
      return await jobs.add({ kind: "open", plan, request: model });
    },
    engineOf: (model) => open.engineOf(model),
    running: () => jobs.open(),
    close: () => (closing ??= close()),
  };
}
