/**
 * An evaluation on disk: `evaluation.json` (what is asked), `waves.jsonl` (what is done, wave by wave), and at the end results in the
 * form of lm-evaluation-harness. A line of waves that a power cut tore is dropped, and the evaluation goes on from the one before. Node only.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { nodeFileSource } from "../checkpoint/node-files.ts";
import { linesOf, lineText } from "../data/conversations/json-lines.ts";
import { stageFolder } from "../files/folder-sink.ts";
import { appendToOwnFile, clearAbandonedIn, rewriteOwnFile, truncateOwnFile } from "../files/owned.ts";
import type { HeldLock } from "../files/process-lock.ts";
import { readJson, writeJson } from "../runs/json-file.ts";
import { lockRun } from "../runs/lock.ts";
import { FormatError } from "../tensor/errors.ts";
import type { Evaluation } from "./evaluate.ts";
import type { MetricValue } from "./metrics.ts";
import { dateName, harnessResults, type ResultsAbout } from "./results.ts";
import type { TaskForm, TaskRow } from "./rows.ts";
import type { DoneWave, DoneWork } from "./waves.ts";
import type { WorkLog } from "./work.ts";

export const EVALUATION_FILE = "evaluation.json";
export const WAVES_FILE = "waves.jsonl";
const FORMAT = "deepseek-ts evaluation";

/** A task as an evaluation keeps it. */
export interface KeptTask {
  readonly name: string;
  readonly kind: "rows" | "text";
  readonly path: string;
  readonly form: TaskForm;
  readonly count: number;
  readonly hash: string;
}

/** What an evaluation is of, as plain data; `asked` is the program's that began it. */
export interface EvaluationRecord {
  readonly format: typeof FORMAT;
  readonly model: string;
  /** Milliseconds since 1970. */
  readonly started: number;
  readonly tasks: readonly KeptTask[];
  /** Whether rows are logged with what was asked and answered. */
  readonly log: boolean;
  readonly asked: Readonly<Record<string, unknown>>;
}

/** Work as it is kept. */
interface KeptWork extends DoneWork {
  /** SHA-256 of the row. */
  readonly hash: string;
  /** The row, where it is logged. */
  readonly doc?: unknown;
}

interface KeptWave extends DoneWave {
  readonly done: readonly KeptWork[];
}

/** A row with its values. */
export interface KeptSample {
  readonly task: string;
  readonly row: number;
  readonly hash: string;
  readonly values: Readonly<Record<string, MetricValue>>;
  readonly doc?: unknown;
  readonly log?: WorkLog;
}

/** Characters of a text in a log. */
const MOST_LOGGED = 1 << 16;
/** A line holds a wave: a thousand requests with their texts at most. */
const MOST_LINE = 1 << 28;

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** A value with texts cut to what a log shows. */
function bounded(value: unknown): unknown {
  if (typeof value === "string") {
    const over = value.length - MOST_LOGGED;
    return over <= 0 ? value : `${value.slice(0, MOST_LOGGED)} .. (${over} more characters)`;
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(bounded);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, bounded(each)]));
}

function isWave(value: unknown): value is KeptWave {
  const { task, done, seconds } = (value ?? {}) as Partial<KeptWave>;
  return typeof task === "string" && typeof seconds === "number" && Array.isArray(done) && done.every(isWork);
}

function isWork(value: unknown): boolean {
  const { row, piece, isLast, values, hash } = (value ?? {}) as Partial<KeptWork>;
  const isValue = (each: unknown) =>
    typeof each === "number" ||
    (Array.isArray(each) && each.length === 2 && each.every((part) => typeof part === "number"));
  return (
    [row, piece].every((number) => Number.isSafeInteger(number) && number! >= 0) &&
    typeof isLast === "boolean" &&
    typeof hash === "string" &&
    typeof values === "object" &&
    values !== null &&
    Object.values(values).every(isValue)
  );
}

/** The whole waves of a file, each with the place behind it; ends before the first line that is damaged. */
async function* wavesIn(path: string): AsyncGenerator<{ readonly wave: KeptWave; readonly end: number }> {
  const source = await nodeFileSource(path);
  try {
    for await (const line of linesOf(source, MOST_LINE)) {
      const end = line.offset + line.length + 1;
      // Without its line end it was torn.
      if (end > source.size) return;
      let wave: unknown;
      try {
        wave = JSON.parse(lineText(path, line));
      } catch {
        return;
      }
      if (!isWave(wave)) return;
      yield { wave, end };
    }
  } finally {
    await source.close?.();
  }
}

/** The rows that are done, in order, pieces of one put together. @throws FormatError if `folder` holds no evaluation */
export async function* keptSamples(folder: string): AsyncGenerator<KeptSample> {
  let open: KeptSample | null = null;
  for await (const { wave } of wavesIn(join(folder, WAVES_FILE))) {
    for (const { row, piece, isLast, values, hash, doc, log } of wave.done) {
      const before: KeptSample | null = piece === 0 ? null : open;
      const sample: KeptSample = {
        ...{ task: wave.task, row, hash, values: added(before?.values, values) },
        ...(doc !== undefined && { doc }),
        ...(log && { log: before?.log ? { ...log, answers: sums(before.log, log) } : log }),
      };
      open = sample;
      if (isLast) yield sample;
    }
  }
}

const added = (
  before: KeptSample["values"] | undefined,
  values: KeptSample["values"],
): KeptSample["values"] =>
  before === undefined
    ? values
    : Object.fromEntries(
        Object.entries(values).map(([name, value]) => {
          const earlier = before[name];
          const isPair = typeof value !== "number" && typeof earlier === "object";
          return [name, isPair ? ([value[0] + earlier[0], value[1] + earlier[1]] as const) : value];
        }),
      );

/** Log-likelihoods of windows of one text. */
const sums = (a: WorkLog, b: WorkLog) => [[(a.answers[0][0] as number) + (b.answers[0][0] as number)]];

/** Python's names of truth, as the harness writes them. */
const written = (answer: string | number | boolean) =>
  typeof answer === "boolean" ? (answer ? "True" : "False") : String(answer);

/** A row as the harness logs it. */
function sampleLine({ row, values, hash, doc, log }: KeptSample): Record<string, unknown> {
  const answers = (log?.answers ?? []).map((answer) => answer.map(written));
  const requests = (log?.requests ?? []).map(([read, more], i) => [
    `gen_args_${i}`,
    { arg_0: read, ...(more !== null && { arg_1: more }) },
  ]);
  return {
    ...{ doc_id: row, doc, target: log?.target, arguments: Object.fromEntries(requests) },
    resps: answers.map((answer) => [answer]),
    ...{ filtered_resps: answers, filter: "none", metrics: Object.keys(values) },
    doc_hash: hash,
    prompt_hash: sha256(log?.requests[0]?.[0] ?? ""),
    target_hash: sha256(log?.target ?? ""),
    ...values,
  };
}

export interface FinishedFiles {
  readonly results: string;
  readonly samples: readonly string[];
}

export class EvaluationFolder implements AsyncDisposable {
  readonly path: string;
  readonly record: EvaluationRecord;
  /** What was damaged and is done again; null: nothing. */
  readonly note: string | null;
  readonly #lock: HeldLock;

  private constructor(path: string, record: EvaluationRecord, note: string | null, lock: HeldLock) {
    this.path = path;
    this.record = record;
    this.note = note;
    this.#lock = lock;
  }

  /** Makes the folder of a new evaluation. @throws ConfigError if something is there, FileError */
  static async create(path: string, record: Omit<EvaluationRecord, "format">): Promise<EvaluationFolder> {
    const staged = await stageFolder(path, { kind: "run" });
    try {
      await writeJson(join(staged.path, EVALUATION_FILE), { format: FORMAT, ...record });
      await appendToOwnFile(join(staged.path, WAVES_FILE), "");
      await staged.commit();
    } catch (error) {
      await staged.abort();
      throw error;
    }
    return EvaluationFolder.open(path);
  }

  /** Opens an evaluation to go on with it. @throws FormatError, ConfigError if another process works on it */
  static async open(path: string): Promise<EvaluationFolder> {
    const record = await readRecord(path);
    const lock = await lockRun(path);
    try {
      await clearAbandonedIn(path);
      const file = join(path, WAVES_FILE);
      let [end, count] = [0, 0];
      for await (const wave of wavesIn(file)) {
        end = wave.end;
        count++;
      }
      const { size } = await stat(file);
      if (size > end) await truncateOwnFile(file, end);
      const note = size > end ? `${file}: what follows line ${count} is damaged and done again` : null;
      return new EvaluationFolder(path, record, note, lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** The waves that are done. */
  async *waves(): AsyncGenerator<DoneWave> {
    for await (const { wave } of wavesIn(join(this.path, WAVES_FILE))) yield wave;
  }

  /** Keeps a wave. @throws FileError */
  async keep(wave: DoneWave, rows: ReadonlyMap<number, TaskRow>): Promise<void> {
    const done = wave.done.map(({ log, ...work }): KeptWork => {
      const { fields } = rows.get(work.row)!;
      return {
        ...work,
        hash: sha256(JSON.stringify(fields, null, 2)),
        ...(this.record.log && { doc: bounded(fields), log: bounded(log) as WorkLog }),
      };
    });
    await appendToOwnFile(join(this.path, WAVES_FILE), `${JSON.stringify({ ...wave, done })}\n`);
  }

  /** Writes the results and, where rows are logged, those of each task; earlier ones of this evaluation are replaced. @throws FileError */
  async finish(evaluation: Evaluation, about: ResultsAbout): Promise<FinishedFiles> {
    const date = dateName(this.record.started);
    const samples = this.record.log ? await this.#writeSamples(evaluation, date) : [];
    const results = join(this.path, `results_${date}.json`);
    await writeJson(results, harnessResults(evaluation, about));
    return { results, samples };
  }

  /** Tasks are done one after another: what is read once is written file by file. */
  async #writeSamples({ tasks }: Evaluation, date: string): Promise<string[]> {
    const kept = keptSamples(this.path);
    const paths: string[] = [];
    try {
      let next = await kept.next();
      for (const { name } of tasks) {
        const path = join(this.path, `samples_${name}_${date}.jsonl`);
        await rewriteOwnFile(path, async (write) => {
          for (; !next.done && next.value.task === name; next = await kept.next()) {
            await write(new TextEncoder().encode(`${JSON.stringify(sampleLine(next.value))}\n`));
          }
        });
        paths.push(path);
      }
    } finally {
      await kept.return(undefined);
    }
    return paths;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock.release();
  }
}

async function readRecord(path: string): Promise<EvaluationRecord> {
  const file = join(path, EVALUATION_FILE);
  const value = await readJson(file, "Is this the folder of an evaluation?");
  const { format, model, started, tasks, log, asked } = (value ?? {}) as Partial<EvaluationRecord>;
  const isTask = (task: unknown) => {
    const { name, path: from, kind, form, count, hash } = (task ?? {}) as Partial<KeptTask>;
    return (
      [name, from, kind, form, hash].every((text) => typeof text === "string") && Number.isSafeInteger(count)
    );
  };
  const valid =
    format === FORMAT &&
    typeof model === "string" &&
    Number.isSafeInteger(started) &&
    Array.isArray(tasks) &&
    tasks.every(isTask) &&
    typeof log === "boolean" &&
    typeof asked === "object" &&
    asked !== null;
  if (valid) return value as EvaluationRecord;
  throw new FormatError("not an evaluation of this program", {
    ...{ where: file, name: "format", expected: FORMAT, found: JSON.stringify(format) ?? "nothing" },
    hint: "Is this the folder of an evaluation?",
  });
}
