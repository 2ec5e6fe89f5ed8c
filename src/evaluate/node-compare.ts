/** Two results on the same rows, of this program or of lm-evaluation-harness with `--log_samples`: paired, row by row. Node only. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nodeFileSource } from "../checkpoint/node-files.ts";
import { lineJson, lineName, linesOf, lineText } from "../data/conversations/json-lines.ts";
import { explained } from "../files/file-error.ts";
import { readJson } from "../runs/json-file.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { keptSamples, WAVES_FILE } from "./evaluation-folder.ts";
import { type Comparison, compareValues, type Metric, type MetricValue, metricNamed } from "./metrics.ts";

/** Values of a row by metric, and a hash of the row; null: it is not known. */
interface JudgedRow {
  readonly hash: string | null;
  readonly values: Readonly<Record<string, MetricValue>>;
}

/** The rows of a result, by task and by number. */
interface JudgedRows {
  readonly where: string;
  readonly tasks: ReadonlyMap<string, ReadonlyMap<number, JudgedRow>>;
  /** Whether more of a metric is better, where the results say so. */
  readonly higherIsBetter: ReadonlyMap<string, boolean>;
}

/** Two models by one metric of a task. */
export interface TaskComparison extends Comparison {
  readonly task: string;
  readonly metric: string;
  readonly higherIsBetter: boolean;
  /** Rows that only one of both judged, which are left out. */
  readonly onlyA: number;
  readonly onlyB: number;
}

const MOST_LINE = 1 << 28;
const MOST_ROWS = 5_000_000;

const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The results file that a path names: itself, or the newest in a folder or one below it. @throws ConfigError */
async function resultsFile(path: string): Promise<string> {
  const info = await explained(path, "read", () => stat(path));
  if (!info.isDirectory()) return path;
  const found: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const names = entry.isDirectory() ? await readdir(join(path, entry.name)) : [];
    const all = entry.isDirectory() ? names.map((name) => join(entry.name, name)) : [entry.name];
    found.push(...all.filter((name) => /^results_.*\.json$/.test(basename(name))));
  }
  const newest = found.sort((a, b) => (basename(a) < basename(b) ? -1 : 1)).at(-1);
  if (newest !== undefined) return join(path, newest);
  throw new ConfigError("no results in the folder", {
    ...{ where: path, expected: "results_*.json, or the folder of an evaluation" },
  });
}

/** @throws ConfigError, FormatError */
async function judgedRows(path: string): Promise<JudgedRows> {
  const given = await explained(path, "read", () => stat(path));
  const folder = given.isDirectory() ? path : dirname(path);
  if (await isThere(join(folder, WAVES_FILE))) return ownRows(folder);
  const file = await resultsFile(path);
  const results = (await readJson(file, "Name a results_*.json or its folder.")) as {
    readonly results?: Record<string, unknown>;
    readonly higher_is_better?: Record<string, Record<string, unknown>>;
  } | null;
  const { results: figures = {}, higher_is_better: directions = {} } = results ?? {};
  const date = /^results_(.*)\.json$/.exec(basename(file))?.[1];
  const names = await readdir(dirname(file));
  const tasks = new Map<string, Map<number, JudgedRow>>();
  for (const task of Object.keys(figures)) {
    const samples = names.filter((name) => name === `samples_${task}_${date}.jsonl`);
    if (samples.length === 1) tasks.set(task, await loggedRows(join(dirname(file), samples[0])));
  }
  if (tasks.size === 0) {
    throw new ConfigError("results without their rows, which a comparison needs", {
      ...{ where: file, expected: `samples_TASK_${date ?? "DATE"}.jsonl beside it` },
      hint: "Evaluate with --log-samples (lm_eval: --log_samples).",
    });
  }
  const higherIsBetter = new Map<string, boolean>();
  for (const [task, metrics] of Object.entries(directions)) {
    for (const [metric, is] of Object.entries(metrics ?? {})) {
      if (typeof is === "boolean") higherIsBetter.set(`${task}/${metric}`, is);
    }
  }
  return { where: file, tasks, higherIsBetter };
}

async function ownRows(folder: string): Promise<JudgedRows> {
  const tasks = new Map<string, Map<number, JudgedRow>>();
  for await (const { task, row, hash, values } of keptSamples(folder)) {
    const rows = tasks.get(task) ?? new Map<number, JudgedRow>();
    tasks.set(task, rows.set(row, { hash, values }));
  }
  return { where: folder, tasks, higherIsBetter: new Map() };
}

const isValue = (value: unknown): value is MetricValue =>
  typeof value === "number" ||
  (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "number"));

/** Rows as the harness logs them; several filters of one row are metrics of their own. @throws FormatError */
async function loggedRows(path: string): Promise<Map<number, JudgedRow>> {
  const source = await nodeFileSource(path);
  const rows = new Map<number, JudgedRow>();
  try {
    for await (const line of linesOf(source, MOST_LINE)) {
      const where = lineName(path, line.number);
      const json = (lineJson(path, line.number, lineText(path, line)) ?? {}) as Record<string, unknown>;
      const { doc_id: number, doc_hash: hash, filter = "none", metrics } = json;
      if (!Number.isSafeInteger(number)) {
        throw new FormatError("not a row of a log", { where, name: "doc_id", expected: "a whole number" });
      }
      const names = Array.isArray(metrics)
        ? metrics.filter((name) => typeof name === "string")
        : Object.keys(json).filter((name) => metricNamed(name) !== null);
      const values = names.flatMap((name) => {
        const value = json[name];
        const key = filter === "none" ? name : `${name},${filter}`;
        return isValue(value) ? [[key, value] as const] : [];
      });
      const before = rows.get(number as number)?.values;
      rows.set(number as number, {
        hash: typeof hash === "string" ? hash : null,
        values: { ...before, ...Object.fromEntries(values) },
      });
      if (rows.size > MOST_ROWS) {
        throw new FormatError("too many rows", { where: path, expected: `at most ${MOST_ROWS}` });
      }
    }
  } finally {
    await source.close?.();
  }
  return rows;
}

/** The metric of a name, perhaps with a filter behind it. */
function metricOf(name: string, higherIsBetter: boolean | undefined): Metric | null {
  const known = metricNamed(name.split(",")[0]);
  if (known !== null) return { ...known, name };
  if (higherIsBetter === undefined) return null;
  return { name, higherIsBetter, aggregation: "mean", isShare: false };
}

function compareTask(task: string, a: JudgedRows, b: JudgedRows): TaskComparison[] {
  const [rowsA, rowsB] = [a.tasks.get(task)!, b.tasks.get(task)!];
  const common = [...rowsA.keys()].filter((row) => rowsB.has(row)).sort((x, y) => x - y);
  const other = common.find((row) => {
    const [hashA, hashB] = [rowsA.get(row)!.hash, rowsB.get(row)!.hash];
    return hashA !== null && hashB !== null && hashA !== hashB;
  });
  if (other !== undefined || common.length === 0) {
    throw new ConfigError("the results are of other rows", {
      ...{ where: task, expected: `the rows of ${a.where}` },
      found: other === undefined ? "none of them" : `another row ${other} in ${b.where}`,
      hint: "Evaluate both models on the same file.",
    });
  }
  const names = Object.keys(rowsA.get(common[0])!.values);
  return names.flatMap((name) => {
    const direction = (rows: JudgedRows) => rows.higherIsBetter.get(`${task}/${name.split(",")[0]}`);
    const metric = metricOf(name, direction(a) ?? direction(b));
    const pairs = common.map((row) => [rowsA.get(row)!.values[name], rowsB.get(row)!.values[name]] as const);
    if (metric === null || pairs.some(([x, y]) => x === undefined || y === undefined)) return [];
    const kinds = new Set(pairs.flatMap(([x, y]) => [typeof x, typeof y]));
    if (kinds.size !== 1) return [];
    const { higherIsBetter } = metric;
    const compared = compareValues(
      metric,
      pairs.map(([x]) => x),
      pairs.map(([, y]) => y),
    );
    const [onlyA, onlyB] = [rowsA.size - common.length, rowsB.size - common.length];
    return [{ task, metric: name, higherIsBetter, onlyA, onlyB, ...compared }];
  });
}

/**
 * Compares two results, each a folder of an evaluation, a `results_*.json` with its samples beside it, or a folder with such.
 * @throws ConfigError for results without rows, tasks in common, or the same rows; FormatError, FileError
 */
export async function compareResults(a: string, b: string): Promise<TaskComparison[]> {
  const [first, second] = [await judgedRows(a), await judgedRows(b)];
  const tasks = [...first.tasks.keys()].filter((task) => second.tasks.has(task));
  if (tasks.length === 0) {
    throw new ConfigError("no task in common", {
      ...{ where: `${a} and ${b}`, expected: [...first.tasks.keys()], found: [...second.tasks.keys()] },
    });
  }
  return tasks.flatMap((task) => compareTask(task, first, second));
}
