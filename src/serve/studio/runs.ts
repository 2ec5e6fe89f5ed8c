/** The training runs below the roots: those that run here, those of the command line, those that have ended. They are only read. */
import type { FileHandle } from "node:fs/promises";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { lockOwner } from "../../files/process-lock.ts";
import { RUN_LOCK } from "../../runs/lock.ts";
import { isPolicyRun } from "../../runs/policy/config.ts";
import { SAMPLES_FILE } from "../../runs/samples.ts";
import { isStaged } from "../../runs/staged/config.ts";
import { isTuned } from "../../runs/tuned/config.ts";
import { ApiError } from "../errors.ts";
import { MetricsSeries } from "./metrics-series.ts";
import type { JsonObject, RootPath, RunDetail, RunEntry, RunSeries } from "./protocol.ts";
import { RecentlyUsed } from "./recently-used.ts";
import { walkRoots } from "./root-walk.ts";
import type { Roots } from "./roots.ts";
import { shownPath } from "./shown-path.ts";

/** Runs that are told. */
const MOST_RUNS = 500;
const MOST_CONFIG = 4 * 2 ** 20;
/** Bytes at the end of a log that are looked at for its last rows, and at each place of the small curve. */
const TAIL = 256 * 1024;
const SAMPLE = 32 * 1024;
const CURVE = 40;
/** Bytes of a log that are read for one request; the next one reads on. */
const AT_ONCE = 64 * 2 ** 20;
/** Logs that are kept as they were read, and bytes that all of them together may take. */
const MOST_KEPT = 16;
const MOST_BYTES = 128 * 2 ** 20;
const LOG = "metrics.jsonl";
/** Samples that are told, evenly over those at the end of their file, and bytes of that end. */
const MOST_SAMPLES = 100;
const SAMPLES_TAIL = 512 * 1024;
const MOST_SAMPLE = 4000;

type Row = Readonly<Record<string, unknown>>;

/** Rows of a piece of a log; without the lines that the piece cuts. */
function rowsOf(text: string, fromStart: boolean): Row[] {
  const lines = text.split("\n");
  // What follows the last line's end is still being written.
  lines.pop();
  if (!fromStart) lines.shift();
  return lines.flatMap((line) => {
    try {
      const row: unknown = JSON.parse(line);
      return typeof row === "object" && row !== null && Number.isSafeInteger((row as Row).step)
        ? [row as Row]
        : [];
    } catch {
      return [];
    }
  });
}

async function piece(handle: FileHandle, from: number, length: number): Promise<string> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, from);
  return buffer.toString("utf8", 0, bytesRead);
}

const numberOf = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const isLoss = ({ kind, loss }: Row) => kind !== "evaluation" && numberOf(loss) !== null;

interface Glance {
  readonly step: number;
  readonly loss: number | null;
  readonly heldOut: number | null;
  readonly speed: number | null;
  readonly curve: readonly number[];
}

/** What a log says at its end, and losses from places all over it. */
async function glanceAt(handle: FileHandle, size: number): Promise<Glance> {
  const from = Math.max(0, size - TAIL);
  const tail = rowsOf(await piece(handle, from, size - from), from === 0);
  const last = tail.findLast(isLoss);
  const held = tail.findLast(({ kind }) => kind === "evaluation");
  let curve: number[];
  if (from === 0) {
    const losses = tail.filter(isLoss).map(({ loss }) => loss as number);
    const every = Math.max(1, Math.ceil(losses.length / CURVE));
    curve = losses.filter((_, i) => (losses.length - 1 - i) % every === 0);
  } else {
    curve = [];
    for (let i = 0; i < CURVE; i++) {
      const at = Math.floor(((size - SAMPLE) * i) / (CURVE - 1));
      const found = rowsOf(await piece(handle, at, SAMPLE), at === 0).find(isLoss);
      if (found !== undefined) curve.push(found.loss as number);
    }
  }
  return {
    step: Math.max(0, ...tail.map(({ step }) => step as number)),
    loss: numberOf(last?.loss),
    heldOut: numberOf(held?.bitsPerByte) ?? numberOf(held?.loss),
    speed: numberOf(last?.speed),
    curve,
  };
}

const NOTHING: Glance = { step: 0, loss: null, heldOut: null, speed: null, curve: [] };

function kindOf(json: JsonObject): RunEntry["kind"] {
  if (isPolicyRun(json)) return "grpo";
  if (isTuned(json)) return json.kind as "sft" | "dpo";
  return isStaged(json) ? "stages" : "train";
}

/** Steps of the whole run, as far as its settings say. */
function stepsOf(json: JsonObject): number | null {
  const { stages, training, steps } = json as {
    stages?: readonly { readonly steps?: unknown }[];
    training?: { readonly steps?: unknown };
    steps?: unknown;
  };
  if (Array.isArray(stages)) {
    const each = stages.map((stage) => numberOf(stage?.steps));
    return each.every((count) => count !== null) ? each.reduce((sum, count) => sum + count!, 0) : null;
  }
  return numberOf(training?.steps) ?? numberOf(steps);
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

export class Runs {
  readonly #roots: Roots;
  readonly #jobOf: (run: RootPath) => Promise<string | null>;
  readonly #series = new RecentlyUsed<MetricsSeries>(MOST_KEPT, MOST_BYTES);
  #turn: Promise<unknown> = Promise.resolve();

  /** @param jobOf the job that trains a run here */
  constructor(roots: Roots, jobOf: (run: RootPath) => Promise<string | null>) {
    this.#roots = roots;
    this.#jobOf = jobOf;
  }

  /** The settings of a run; null for a folder that is none. */
  async #settings(run: RootPath): Promise<JsonObject | null> {
    const inner = { root: run.root, path: run.path === "" ? "run.json" : `${run.path}/run.json` };
    const handle = await this.#roots.openFile(inner).catch(() => null);
    if (handle === null) return null;
    try {
      if ((await handle.stat()).size > MOST_CONFIG) return null;
      const json: unknown = JSON.parse(await handle.readFile("utf8"));
      return typeof json === "object" && json !== null && !Array.isArray(json) ? (json as JsonObject) : null;
    } catch {
      return null;
    } finally {
      await handle.close();
    }
  }

  async #openLog(run: RootPath, file = LOG): Promise<FileHandle | null> {
    const inner = { root: run.root, path: run.path === "" ? file : `${run.path}/${file}` };
    return await this.#roots.openFile(inner).catch(() => null);
  }

  async #entry(run: RootPath, settings: JsonObject): Promise<RunEntry> {
    const folder = await this.#roots.resolve(run);
    const log = await this.#openLog(run);
    let glance = NOTHING;
    let changed = (await stat(join(folder, "run.json"))).mtimeMs;
    if (log !== null) {
      try {
        const { size, mtimeMs } = await log.stat();
        changed = Math.max(changed, mtimeMs);
        glance = await glanceAt(log, size);
      } finally {
        await log.close();
      }
    }
    const running = (await lockOwner(join(folder, RUN_LOCK))) !== null;
    const finished =
      (await exists(join(folder, "model", "config.json"))) || (await exists(join(folder, "adapter")));
    return {
      ...{ run, kind: kindOf(settings), ...glance },
      state: running ? "running" : finished ? "finished" : "stopped",
      steps: stepsOf(settings),
      changed: Math.round(changed),
    };
  }

  /** All, the one that changed last first. */
  async list(): Promise<RunEntry[]> {
    const found: RunEntry[] = [];
    const look = async (place: RootPath) => {
      const settings = await this.#settings(place);
      if (settings === null) return null;
      const entry = await this.#entry(place, settings).catch(() => null);
      if (entry !== null) found.push(entry);
      return settings;
    };
    await walkRoots(this.#roots, { look, most: MOST_RUNS });
    return found.sort((a, b) => b.changed - a.changed);
  }

  /** @throws ApiError 404 for what is no run */
  async #known(run: RootPath): Promise<JsonObject> {
    await this.#roots.resolve(run);
    const settings = await this.#settings(run);
    if (settings !== null) return settings;
    throw new ApiError({
      ...{ status: 404, type: "invalid_request_error", param: "run", code: "run_not_found" },
      message: `There is no training run at '${shownPath(run).slice(0, 200)}': its folder has no run.json.`,
    });
  }

  /** @throws ApiError 404 */
  async detail(run: RootPath): Promise<RunDetail> {
    const config = await this.#known(run);
    const job = await this.#jobOf(run);
    return { ...(await this.#entry(run, config)), config, samples: await this.#samples(run), job };
  }

  /** What the model said at evaluations: its beginning and how it went on. */
  async #samples(run: RootPath): Promise<RunDetail["samples"]> {
    const file = await this.#openLog(run, SAMPLES_FILE);
    if (file === null) return [];
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - SAMPLES_TAIL);
      const found = rowsOf(await piece(file, from, size - from), from === 0).flatMap(
        ({ step, prompt, text }) =>
          typeof prompt === "string" && typeof text === "string"
            ? [
                {
                  step: step as number,
                  prompt: prompt.slice(0, MOST_SAMPLE),
                  text: text.slice(0, MOST_SAMPLE),
                },
              ]
            : [],
      );
      const every = Math.ceil(found.length / MOST_SAMPLES);
      return found.filter((_, i) => (found.length - 1 - i) % every === 0);
    } finally {
      await file.close();
    }
  }

  /** @throws ApiError 404 */
  async series(run: RootPath, bins: number): Promise<RunSeries> {
    await this.#known(run);
    // One after the other: two readers of one log would take its lines twice.
    const turn = this.#turn.then(() => this.#read(run, bins));
    this.#turn = turn.catch(() => {});
    return await turn;
  }

  async #read(run: RootPath, bins: number): Promise<RunSeries> {
    const key = shownPath(run);
    const log = await this.#openLog(run);
    if (log === null) return new MetricsSeries().series(bins, 0);
    try {
      const before = this.#series.get(key) ?? new MetricsSeries();
      const series = await before.read(log, AT_ONCE);
      this.#series.use(key, series);
      return series.series(bins, (await log.stat()).size);
    } finally {
      await log.close();
    }
  }
}
