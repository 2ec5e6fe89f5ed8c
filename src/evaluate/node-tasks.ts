/** Tasks from files: rows as JSON Lines or Parquet, texts as files and folders. All of them are read and checked before anything is asked. Node only. */
import { createHash, type Hash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { ALL_FILTERS } from "../data/filters.ts";
import { folderCorpus } from "../data/node-files.ts";
import { type OpenRowsOptions, openRows } from "../data/rows/node-rows.ts";
import { isRowFile } from "../data/rows/row-files.ts";
import type { SelectOptions } from "../data/select.ts";
import { ConfigError } from "../tensor/errors.ts";
import { rowKey } from "../train/policy/key.ts";
import { checkRow, type RewardName } from "../train/policy/named-rewards.ts";
import { type TaskForm, type TaskRow, type TextRow, taskRow } from "./rows.ts";
import type { EvaluationTask } from "./waves.ts";

/** Where a task is from. */
export interface TaskSource {
  readonly name: string;
  /** `rows`: a file of rows, a folder of such files, or a data set on the hub; `text`: a file or folder of text. */
  readonly kind: "rows" | "text";
  /** As `openRows` and `folderCorpus` take it. */
  readonly path: string;
}

export interface OpenTaskOptions
  extends Pick<OpenRowsOptions, "split" | "subset" | "offline">,
    Pick<SelectOptions, "extensions"> {
  /** Rows to read; examples are drawn from all of them. */
  readonly limit?: number;
  /** Whether a judge looks at answers; the built-in rewards that it is made of. */
  readonly isJudged?: boolean;
  readonly rewards?: readonly RewardName[];
  /** Field with what is right. */
  readonly key?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (rows: number) => void;
}

/** A task that was read once. */
export interface OpenedTask extends EvaluationTask {
  readonly count: number;
  readonly source: TaskSource;
  /** SHA-256 of all that was read. */
  readonly hash: string;
  /** Files that are no text, for texts of a folder. */
  readonly leftOut: number;
}

/** Rows are held in memory, but for texts. */
const MOST_ROWS = 1_000_000;
const MOST_CHARACTERS = 1 << 28;
const PROGRESS_ROWS = 1000;
const NO_FILTERS = Object.fromEntries(Object.keys(ALL_FILTERS).map((name) => [name, false]));

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * A task as a command line names it: `PATH`, or `NAME=PATH`; in front of the path `text:` or `rows:` where its name does not tell:
 * files of rows and names on the hub are rows, everything else is text.
 */
export async function taskSource(text: string): Promise<TaskSource> {
  const equals = text.indexOf("=");
  const isNamed = equals > 0 && !(await exists(text));
  const given = isNamed ? text.slice(equals + 1) : text;
  const [, marked, rest] = /^(text|rows):(.+)$/s.exec(given) ?? [];
  const path = marked === undefined || (await exists(given)) ? given : rest;
  if (path === "" || path === undefined) {
    throw new ConfigError("a task without a file", {
      where: "task",
      expected: "PATH or NAME=PATH",
      found: text,
    });
  }
  const kind = path === given ? ((await exists(path)) && !isRowFile(path) ? "text" : "rows") : marked;
  const name = isNamed
    ? text.slice(0, equals)
    : basename(path).replace(/\.(jsonl|ndjson|json|parquet|txt|md)$/i, "");
  return { name: nameOfTask(name), kind: kind as TaskSource["kind"], path };
}

/** A name that can be a part of a file's. */
function nameOfTask(name: string): string {
  const safe = name.replace(/[^\p{L}\p{N}.-]+/gu, "_").replace(/^[.-]+/, "");
  if (safe !== "" && safe.length <= 100) return safe;
  throw new ConfigError("not a name of a task", {
    where: "task",
    expected: "1 to 100 letters, digits, _, - and .",
    found: JSON.stringify(name),
    hint: "Name it: NAME=PATH.",
  });
}

const addTo = (hash: Hash, value: unknown) => void hash.update(`${JSON.stringify(value)}\n`);

/** Finds, reads and checks a task. @throws FormatError naming file, line and field; ConfigError, HubError, FileError */
export async function openTask(source: TaskSource, options: OpenTaskOptions = {}): Promise<OpenedTask> {
  return source.kind === "rows" ? openRowTask(source, options) : openTextTask(source, options);
}

async function openRowTask(source: TaskSource, options: OpenTaskOptions): Promise<OpenedTask> {
  const {
    limit = Number.POSITIVE_INFINITY,
    isJudged = false,
    rewards = [],
    key,
    signal,
    onProgress,
  } = options;
  const { split, subset, offline } = options;
  const found = await openRows([source.path], {
    // What is judged is what was held out, where names tell.
    ...{ split, subset, offline },
  });
  const hash = createHash("sha256");
  let form: TaskForm | undefined;
  const held: TaskRow[] = [];
  let [count, characters] = [0, 0];
  async function* read(): AsyncGenerator<TaskRow> {
    for await (const { row, where } of found.read("fields", { ...(signal && { signal }) })) {
      const task = taskRow(row.fields, where, { ...(form && { form }), isJudged });
      form ??= task.form;
      if (task.form === "answer") {
        for (const name of rewards)
          checkRow(name, where, { key: rowKey(task.fields, key), row: task.fields });
      }
      yield task;
    }
  }
  for await (const row of read()) {
    const text = JSON.stringify(row.fields);
    hash.update(`${text}\n`);
    if (++count % PROGRESS_ROWS === 0) onProgress?.(count);
    if (row.form === "text") {
      if (count === limit) break;
      continue;
    }
    characters += text.length;
    if (count > MOST_ROWS || characters > MOST_CHARACTERS) {
      throw new ConfigError("too many rows to judge by", {
        ...{
          where: source.path,
          expected: `at most ${MOST_ROWS} rows of ${MOST_CHARACTERS} characters together`,
        },
        hint: "Take a part of them.",
      });
    }
    held.push(row);
  }
  const rows = form === "text" ? { [Symbol.asyncIterator]: read } : held;
  return { name: source.name, form: form!, rows, count, source, hash: hash.digest("hex"), leftOut: 0 };
}

async function openTextTask(source: TaskSource, options: OpenTaskOptions): Promise<OpenedTask> {
  const { limit = Number.POSITIVE_INFINITY, extensions = "all", signal, onProgress } = options;
  const corpus = await folderCorpus(source.path, { extensions, filters: NO_FILTERS });
  async function* read(): AsyncGenerator<TextRow> {
    for await (const { path, text } of corpus) {
      signal?.throwIfAborted();
      yield { form: "text", text, fields: { path, text } };
    }
  }
  const hash = createHash("sha256");
  let count = 0;
  for await (const { fields } of read()) {
    addTo(hash, fields);
    if (++count % PROGRESS_ROWS === 0) onProgress?.(count);
    if (count === limit) break;
  }
  if (count === 0) {
    throw new ConfigError("no texts", { where: source.path, expected: "files of UTF-8 text", found: "none" });
  }
  const leftOut = Object.values(corpus.report.dropped).reduce((sum, dropped) => sum + dropped, 0);
  const rows = { [Symbol.asyncIterator]: read };
  return { name: source.name, form: "text", rows, count, source, hash: hash.digest("hex"), leftOut };
}
