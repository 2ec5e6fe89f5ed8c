/** Training as a job: a run's folder is prepared below a root, then trained in a thread, or one that was stopped goes on. */

import { checkFolderPlace, realPlace } from "../../files/place.ts";
import { isInnerPath } from "../../files/sink.ts";
import { configFrom, savedConfig } from "../../runs/config.ts";
import { readJson } from "../../runs/json-file.ts";
import { isPolicyRun } from "../../runs/policy/config.ts";
import {
  checkStaged,
  isStaged,
  type MixtureEntry,
  type StagedConfig,
  savedStaged,
} from "../../runs/staged/config.ts";
import { stagedMemory } from "../../runs/staged/preparation.ts";
import { checkMemory } from "../../runs/training-memory.ts";
import { type TrainEvent, trainInThread } from "../../runs/training-thread.ts";
import { isTuned } from "../../runs/tuned/config.ts";
import { nearestTypescript } from "../../runs/typescript-folder.ts";
import { workInThread } from "../../runs/work-thread.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import type { JobPlan, JobWork } from "./jobs.ts";
import type { StoredModels } from "./model-list.ts";
import type { JsonObject } from "./protocol.ts";
import type { BodyOf } from "./requests.ts";
import type { Roots } from "./roots.ts";
import { shownPath } from "./shown-path.ts";

export interface TrainParts {
  readonly roots: Roots;
  readonly stored: StoredModels;
  readonly threads?: number;
  /** Folder of the text that is there without being brought; default: the nearest TypeScript. */
  readonly text?: string;
}

/** A path in a configuration, `ROOT/PATH`, as one of this machine. @throws ApiError 400, 404 */
async function rootPathOf(text: string, roots: Roots): Promise<string> {
  const place = roots.parse(text);
  if (place !== null) return await roots.resolve(place);
  const names = roots.list.map(({ name }) => name).join(", ");
  throw invalidRequest(
    `'${text.slice(0, 200)}' does not begin with the name of a root (${names}).`,
    "body.config",
    "unknown_root",
  );
}

/** A run in stages, with its paths below the roots resolved. @throws ApiError */
async function stagesOf(config: StagedConfig, { roots, stored }: TrainParts): Promise<StagedConfig> {
  const { model, stages } = config;
  if (model.vae !== undefined) {
    throw invalidRequest(
      "'model.vae' is not taken here: put the folder vae into the model's.",
      "body.config.model.vae",
    );
  }
  const source = async (entry: MixtureEntry): Promise<MixtureEntry> => {
    if ("world" in entry) return entry;
    if ("text" in entry) return { ...entry, text: await rootPathOf(entry.text, roots) };
    if (entry.allowAbsolute) {
      throw invalidRequest(
        "'allowAbsolute' is not taken here: images must lie below a root.",
        "body.config.stages",
      );
    }
    const images = entry.images === undefined ? {} : { images: await rootPathOf(entry.images, roots) };
    return { ...entry, data: await rootPathOf(entry.data, roots), ...images };
  };
  const { path } = await stored.find(model.folder);
  return {
    ...config,
    model: { ...model, folder: path },
    stages: await Promise.all(
      stages.map(async (stage) => ({ ...stage, mixture: await Promise.all(stage.mixture.map(source)) })),
    ),
  };
}

/** Trains what lies in a folder; stopped, it saves first. */
async function train(
  folder: string,
  run: { readonly root: string; readonly path: string },
  { threads }: TrainParts,
  work: JobWork,
): Promise<JsonObject> {
  const tell = (row: JsonObject) => work.emit({ type: "training", row });
  const onEvent = (event: TrainEvent) => {
    if (event.type === "step") {
      const { metrics, length } = event;
      tell({ ...metrics, kind: "step", modality: metrics.kind ?? null, secondsLeft: length.seconds });
      work.note({ done: metrics.step, total: length.steps, unit: "steps", text: "trains" });
    } else if (event.type === "evaluation")
      tell({ kind: "evaluation", step: event.step, ...event.evaluation });
    else if (event.type === "note") tell({ kind: "note", text: event.text });
    else {
      tell({ kind: "opened", ...event.run });
      work.progress({ done: event.run.step, total: null, unit: "steps", text: "trains" });
    }
  };
  const { finished, step, tokens, evaluation } = await trainInThread(
    { folder, threads },
    onEvent,
    work.signal,
  );
  return { run, finished, step, tokens, evaluation };
}

/** Settings that `train` takes as well: what they may not have is said of the field that has it. */
function atField<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { where, name } = error.detail;
    const path = where === CONFIG && name !== undefined && name !== "" ? `${field}.${name}` : field;
    throw invalidRequest(error.message, path, "invalid_value");
  }
}

/** What settings are named by in errors. */
const CONFIG = "config";

export interface CheckedTraining {
  /** The run's folder. */
  readonly folder: string;
  /** The line about its memory. */
  readonly memory: string;
  prepare(work: JobWork): Promise<unknown>;
}

/**
 * Everything that can be refused before anything is begun. @throws ApiError with the field that is wrong, for settings that no run
 * can have and a place that is taken
 */
export async function checkTraining(
  { out, data, config }: BodyOf<"train">,
  parts: TrainParts,
): Promise<CheckedTraining> {
  const { roots } = parts;
  const folder = await atPlace("body.out", roots, async () => {
    const free = await roots.place(out);
    await checkFolderPlace(await realPlace(free), {});
    return free;
  });
  const told = (work: JobWork) => (event: { readonly stage: string; readonly message: string }) => {
    work.emit({ type: "training", row: { kind: "prepare", ...event } });
    work.note({ done: 0, total: null, unit: "steps", text: event.message.slice(0, 200) });
  };
  if (isStaged(config)) {
    if (data !== null) {
      throw invalidRequest(
        "A run in stages says itself where its data are: 'data' must be null.",
        "body.data",
      );
    }
    atField("body.config", () => checkStaged(config, CONFIG));
    const staged = await stagesOf(config as unknown as StagedConfig, parts);
    return {
      folder,
      memory: await stagedMemory(staged, false),
      prepare: (work) =>
        workInThread("prepare-stages", { out: folder, config: staged }, told(work), work.signal),
    };
  }
  if (data === null) throw invalidRequest("'data' must name a folder of text, or a file.", "body.data");
  const { config: settings } = atField("body.config", () => configFrom(config, CONFIG));
  const source = await atPlace("body.data", roots, () =>
    data === "typescript" ? builtInText(parts) : roots.resolve(data),
  );
  const { include } = settings.data;
  const outside = include.find((path) => data === "typescript" || !isInnerPath(path));
  if (outside !== undefined) {
    const why = data === "typescript" ? "is for a folder of yours" : "leaves the folder of the data";
    throw invalidRequest(`'${outside.slice(0, 100)}' ${why}.`, "body.config.data.include", "invalid_value");
  }
  return {
    folder,
    memory: atField("body.config", () => checkMemory(settings)),
    prepare: (work) =>
      workInThread("prepare", { folder: source, out: folder, config: settings }, told(work), work.signal),
  };
}

const builtInText = async ({ text }: TrainParts) => text ?? (await nearestTypescript(process.cwd()));

/** A place of a request: what is wrong with it is said of its field. */
async function atPlace<T>(field: string, roots: Roots, find: () => Promise<T>): Promise<T> {
  try {
    return await find();
  } catch (error) {
    if (error instanceof ApiError) throw new ApiError({ ...error.shape, param: field });
    if (!(error instanceof DeepseekError)) throw error;
    throw invalidRequest(roots.shown(error.message), field, "invalid_value");
  }
}

/** A new run. @throws ApiError for settings that no run can have, and a place that is taken */
export async function trainPlan(body: BodyOf<"train">, parts: TrainParts): Promise<JobPlan> {
  const { out } = body;
  const { folder, prepare } = await checkTraining(body, parts);
  return {
    ...{ lane: "train", title: `train ${shownPath(out)}`, model: null, leaves: { run: out } },
    async run(work) {
      work.progress({ done: 0, total: null, unit: "steps", text: "prepares the data" });
      await prepare(work);
      return await train(folder, out, parts, work);
    },
  };
}

/** A run that was stopped. @throws ApiError 404, ConfigError for a run that is continued in another way */
export async function resumePlan({ run }: BodyOf<"resume">, parts: TrainParts): Promise<JobPlan> {
  const folder = await parts.roots.resolve(run);
  const path = `${folder}/run.json`;
  const json = await readJson(path);
  if (isPolicyRun(json)) {
    throw invalidRequest(
      "A run of `deepseek-ts grpo` needs its rewards: continue it on the command line.",
      "body.run",
      "unsupported_value",
    );
  }
  if (isStaged(json)) {
    const { fingerprints: _, ...saved } = json as Record<string, unknown>;
    await stagedMemory(savedStaged(saved, path), false);
  } else if (!isTuned(json)) checkMemory(savedConfig(json, path).config);
  return {
    ...{ lane: "train", title: `resume ${shownPath(run)}`, model: null, leaves: { run } },
    run: (work) => train(folder, run, parts, work),
  };
}
