/** From the rows of a task to waves of work, and what comes of a wave. */
import { Engine } from "../engine/engine.ts";
import { ConfigError } from "../tensor/errors.ts";
import { choiceWork, textWork } from "./likelihood-work.ts";
import { ShotDrawing } from "./prompts.ts";
import type { TaskForm, TaskRow } from "./rows.ts";
import type { EvaluatedModel, EvaluationSettings } from "./settings.ts";
import type { Work, WorkResult, WorkSettings } from "./work.ts";
import { answerWork, infillWork } from "./writing-work.ts";

/** A task: rows of one form. */
export interface EvaluationTask {
  readonly name: string;
  readonly form: TaskForm;
  /** May be read one after the other, and again. */
  readonly rows: readonly TaskRow[] | AsyncIterable<TaskRow>;
  /** How many there are, if that is known. */
  readonly count?: number;
  /** Rows that examples are drawn from; default: the task's own, if they are a list. */
  readonly shotRows?: readonly TaskRow[];
}

/** A piece of work that is done. */
export interface DoneWork extends WorkResult {
  /** Which row, from 0, which piece of it, and whether that is its last one. */
  readonly row: number;
  readonly piece: number;
  readonly isLast: boolean;
}

/** A wave that is done: plain data. */
export interface DoneWave {
  readonly task: string;
  readonly done: readonly DoneWork[];
  /** Time that it took. */
  readonly seconds: number;
}

/** Where the next piece of work is. */
export interface Position {
  readonly row: number;
  readonly piece: number;
}

/** A wave ends at so many tokens that are read anew, or so many requests. */
const WAVE_TOKENS = 8192;
const WAVE_REQUESTS = 1024;
/** Where texts are written, a wave has so many for each place of a pass: few wait for the last ones to end. */
const WRITTEN_PER_PLACE = 4;
/** Cached tokens of a wave, unless one request needs more. */
const CACHE_TOKENS = 32_768;

export interface PlacedWork {
  readonly work: Work;
  readonly row: TaskRow;
  readonly place: Pick<DoneWork, "row" | "piece" | "isLast">;
  /** Rows that are done with it, and the share of one that is not. */
  readonly through: number;
}

/** Whether text is written. */
const writes = (form: TaskForm) => form === "answer" || form === "infill";

/** The work of a task from a position on, piece by piece. @throws ConfigError */
export async function* worksOf(
  task: EvaluationTask,
  { shots, limit }: { readonly shots: number; readonly limit: number },
  from: Position,
  settings: WorkSettings,
): AsyncGenerator<PlacedWork> {
  const own = Array.isArray(task.rows) ? (task.rows as readonly TaskRow[]) : [];
  const isOwn = task.shotRows === undefined;
  const hasShots = task.form === "choices" || task.form === "answer";
  const drawing = new ShotDrawing(
    task.name,
    task.shotRows ?? own,
    hasShots ? shots : 0,
    settings.seed,
    isOwn,
  );
  let number = 0;
  for await (const row of task.rows) {
    if (number >= limit) return;
    const place = { row: number, piece: 0, isLast: true };
    const where = `${task.name} row ${number}`;
    if (row.form !== task.form) {
      throw new ConfigError("a row of another form", { where, expected: task.form, found: row.form });
    }
    const examples = drawing.for(isOwn ? number : null);
    if (number++ < from.row) continue;
    const rest = { row, place, through: number };
    if (row.form === "choices") yield { work: choiceWork(row, examples, settings, where), ...rest };
    else if (row.form === "answer") yield { work: answerWork(row, examples, place.row, settings), ...rest };
    else if (row.form === "infill") yield { work: infillWork(row, place.row, settings), ...rest };
    else {
      let piece = place.row === from.row ? from.piece : 0;
      const { pieces, works } = textWork(row, piece, settings);
      if (pieces === 0) throw new ConfigError("a text without tokens", { where });
      for (const work of works) {
        const isLast = ++piece === pieces;
        const through = place.row + piece / pieces;
        yield { work, row, place: { row: place.row, piece: piece - 1, isLast }, through };
      }
    }
  }
}

/** Tokens that a work reads beyond what the one before it begins with. */
function newTokens({ prompt, further }: Work, before: Work | undefined): number {
  let common = 0;
  if (before !== undefined)
    while (common < prompt.length && prompt[common] === before.prompt[common]) common++;
  return prompt.length - common + further;
}

/** Parts works into waves. */
export async function* wavesOf(
  works: AsyncIterable<PlacedWork>,
  form: TaskForm,
  batchSize: number,
): AsyncGenerator<readonly PlacedWork[]> {
  const requestsWanted = writes(form)
    ? Math.min(WAVE_REQUESTS, WRITTEN_PER_PLACE * batchSize)
    : WAVE_REQUESTS;
  const tokensWanted = writes(form) ? Number.POSITIVE_INFINITY : WAVE_TOKENS;
  let wave: PlacedWork[] = [];
  let [tokens, requests] = [0, 0];
  for await (const placed of works) {
    tokens += newTokens(placed.work, wave.at(-1)?.work);
    requests += placed.work.requests;
    wave.push(placed);
    if (tokens < tokensWanted && requests < requestsWanted) continue;
    yield wave;
    wave = [];
    [tokens, requests] = [0, 0];
  }
  if (wave.length > 0) yield wave;
}

/** Does all works of a wave; the first fault ends the others. */
export async function runWave(
  { model, tokenizer }: EvaluatedModel,
  wave: readonly PlacedWork[],
  { batchSize, cacheDtype }: { readonly batchSize: number } & Pick<EvaluationSettings, "cacheDtype">,
  signal: AbortSignal,
): Promise<DoneWork[]> {
  const requests = wave.reduce((sum, { work }) => sum + work.requests, 0);
  const longest = Math.max(...wave.map(({ work }) => work.longest));
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  await using engine = new Engine(model, {
    ...{ maxBatch: batchSize, maxQueue: requests, cacheTokens: Math.max(longest, CACHE_TOKENS) },
    ...(cacheDtype !== undefined && { cacheDtype }),
    vocabularySize: Math.min(tokenizer.vocabSize, model.config.vocabSize),
  });
  const order = wave.map((_, i) => i).sort((a, b) => wave[b].work.longest - wave[a].work.longest || a - b);
  const results = new Array<DoneWork>(wave.length);
  await Promise.allSettled(
    order.map(async (i) => {
      const { work, place } = wave[i];
      try {
        results[i] = { ...place, ...(await work.run(engine, stop)) };
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    }),
  );
  signal.throwIfAborted();
  if (failed.signal.aborted) throw failed.signal.reason;
  return results;
}
