/** What the studio is made of behind its front, put together once it listens: most of its program is here. Node only. */
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import type { Hono } from "hono";
import { thisMachine } from "../../files/machine.ts";
import { userCacheFolder } from "../../files/user-cache.ts";
import { hubSettings } from "../../pretrained/hub-settings.ts";
import { createApp } from "../app.ts";
import { imageLoader } from "../image-loader.ts";
import { BODY_LIMIT } from "../server.ts";
import { startEngineThread } from "../worker-channel.ts";
import { createStudioRoutes } from "./app.ts";
import { JobJournal } from "./job-journal.ts";
import { StudioJobs } from "./jobs.ts";
import { StoredModels } from "./model-list.ts";
import { OpenModels } from "./open-models.ts";
import type { Hello } from "./protocol.ts";
import { Roots } from "./roots.ts";
import { Runs } from "./runs.ts";
import { StudioLean } from "./studio-lean.ts";
import type { StudioOptions } from "./studio-options.ts";
import { WorkPlans } from "./work-jobs.ts";

export interface OpenedParts {
  readonly app: Hono;
  readonly roots: Roots;
  readonly jobs: StudioJobs;
  readonly open: OpenModels;
  readonly plans: WorkPlans;
  /** Stops every job, closes every model. */
  close(): Promise<void>;
}

/** @param session names this start of the server @throws FileError for a root that cannot be read */
export async function openParts(options: StudioOptions, session: string): Promise<OpenedParts> {
  const { version, threads, memory = thisMachine, log = () => {} } = options;
  const roots = await Roots.open(options.roots);
  const { cacheDir } = await hubSettings(options.hub);
  const journal = await JobJournal.open(
    options.journal ?? join(userCacheFolder(), "studio"),
    session,
    log,
  ).catch((error: Error) => {
    log(`warning: jobs cannot be written down: ${error.message}`);
    return null;
  });
  const jobs = new StudioJobs({ log, journal, shown: (text) => roots.shown(text) });
  const images = imageLoader({ allowUrls: false });
  const open = new OpenModels({
    // Who may ask was settled before any of its routes is reached.
    routes: (state, servedName) =>
      createApp(
        state,
        {
          ...{ servedName, apiKeys: [], allowOrigins: [], allowHosts: ["*"], images, log },
          bodyLimit: BODY_LIMIT,
        },
        null,
      ),
    start: startEngineThread,
    ...{ memory, log },
  });
  const stored = new StoredModels(roots, cacheDir);
  const lean = new StudioLean();
  const plans = new WorkPlans({ open, stored, roots, lean, threads, hub: options.hub, text: options.text });

  const runs = new Runs(roots, (run) => jobs.trainerOf(run));

  async function hello(): Promise<Hello> {
    return {
      ...{ version, session, roots: roots.list, memory: open.memory() },
      threads: threads ?? availableParallelism(),
      processor: cpus()[0]?.model.trim() ?? "unknown",
      lean: await lean.known(),
      kinds: ["chat", "complete", "draw", ...plans.kinds],
    };
  }

  const app = createStudioRoutes({
    ...{ jobs, open, stored, roots, runs, plans, hello, log, text: options.text },
    bodyLimit: BODY_LIMIT,
    threads: threads ?? availableParallelism(),
  });
  return {
    ...{ app, roots, jobs, open, plans },
    async close() {
      await jobs.close();
      await Promise.all([open.closeAll(), lean.close()]);
    },
  };
}
