/**
 * What workers do with jobs. Every handler may be given a job that a killed worker left half done, or that another one does at the
 * same time: it looks into the store first, and what it adds there is added once.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { JobQueue } from "../../jobs/job.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { LeanSession } from "../lean/session.ts";
import type { TextGenerator } from "../search/generator.ts";
import type { ProofTask, SearchTools } from "../search/search.ts";
import type { SearchOptions } from "../search/search-options.ts";
import { CheckedLean } from "../store/checked-lean.ts";
import type { ProofStore } from "../store/store.ts";
import type { TextQuestion } from "../store/stored-generator.ts";
import { SearchMeetingError, storedSearch } from "../store/stored-search.ts";
import {
  type GenerateJob,
  jobKind,
  LEAN_SAYS,
  type LeanSays,
  MODEL_SAYS,
  type ModelSays,
  PROBE,
  type SearchJob,
  type VerifyDone,
  type VerifyJob,
} from "./jobs.ts";
import type { LeanQuestion } from "./queued-lean.ts";

/** Answers questions with a Lean of this process, as many at a time as it checks. */
export function serveVerify(queue: JobQueue, store: ProofStore, given: LeanSession): void {
  const lean = given instanceof CheckedLean ? given : new CheckedLean(given, store);
  const { kind, version, slots } = lean;
  store.setSetting(LEAN_SAYS, { kind, version, slots } satisfies LeanSays);
  queue.process<VerifyJob, never, VerifyDone>(
    jobKind("verify"),
    async ({ key, lean: wanted, timeout }, { signal }) => {
      if (wanted !== version) refuse("Lean", wanted, version);
      const question = store.question(key, "lean") as LeanQuestion;
      const options = { ...question.options, timeout: timeout ?? undefined, signal };
      const answer =
        question.ask === "check"
          ? await lean.check(question.input, options)
          : await lean.verify(question.problem, question.code, options);
      return { failure: answer.failure };
    },
    { concurrency: slots },
  );
}

/** Batches of texts that may wait for Lean before models pause. */
const AHEAD = 4;
const PAUSE_MS = 100;

export interface ServeGenerateOptions {
  /** Batches written at the same time (default 2: one is prepared while the other is written). */
  readonly concurrency?: number;
  /** Tokens that a prompt and what follows should have together (default 4,096). */
  readonly contextTokens?: number;
}

/** Writes texts with a model of this process. It pauses while more than four batches wait for Lean. */
export function serveGenerate(
  queue: JobQueue,
  store: ProofStore,
  generator: TextGenerator,
  { concurrency = 2, contextTokens = 4096 }: ServeGenerateOptions = {},
): void {
  const { model } = generator;
  const says: ModelSays = {
    ...{ model, contextTokens, mostTokens: generator.contextTokens ?? null },
    probeTokens: generator.countTokens(PROBE),
  };
  store.setSetting(MODEL_SAYS, says);
  queue.process<GenerateJob, never, null>(
    jobKind("generate"),
    async ({ keys, model: wanted }, { signal }) => {
      if (wanted !== model) refuse("model", wanted, model);
      while ((await queue.waiting(jobKind("verify"))) > AHEAD * keys.length) {
        await wait(PAUSE_MS, undefined, { signal });
      }
      const open = keys.filter((key) => store.written(key) === null);
      const questions = open.map((key) => store.question(key, "text") as TextQuestion);
      if (questions.length === 0) return null;
      const { maxTokens, temperature, topP, stop } = questions[0];
      const texts = generator.generate(
        questions.map(({ prompt }) => prompt),
        { seeds: questions.map(({ seed }) => seed), maxTokens, temperature, topP, stop, signal },
      );
      for await (const { index, text, tokens, end } of texts) {
        store.keepWritten(open[index], model, { text, tokens, end });
      }
      return null;
    },
    { concurrency },
  );
}

/** A search as the store keeps it. */
export interface SearchQuestion {
  readonly task: ProofTask;
  readonly options: Omit<SearchOptions, "log" | "signal">;
}

/** Times that a search goes on behind what another worker kept meanwhile. */
const MEETINGS = 50;

/** Proves theorems, so many at the same time, with a model and a Lean that may be elsewhere. */
export function serveSearch(
  queue: JobQueue,
  store: ProofStore,
  tools: SearchTools,
  { concurrency = 4 }: { readonly concurrency?: number } = {},
): void {
  queue.process<SearchJob, never, null>(
    jobKind("search"),
    async ({ key }, { signal }) => {
      const { task, options } = store.question(key, "search") as SearchQuestion;
      await searchToEnd(store, task, tools, { ...options, signal });
      return null;
    },
    { concurrency },
  );
}

/** Drives a search until all of it is in the store. @throws as `storedSearch` */
export async function searchToEnd(
  store: ProofStore,
  task: ProofTask,
  tools: SearchTools,
  options: Omit<SearchOptions, "log">,
): Promise<void> {
  const { signal } = options;
  for (let met = 0; ; met++) {
    try {
      for await (const _ of storedSearch(store, task, tools, options));
      return;
    } catch (error) {
      // A worker that was taken for dead may live: what it has kept is read, and the search goes on behind it.
      if (signal?.aborted || met === MEETINGS || !(error instanceof SearchMeetingError)) throw error;
      await wait(PAUSE_MS, undefined, { signal });
    }
  }
}

function refuse(what: string, wanted: string, found: string): never {
  throw new ConfigError(`a job for another ${what} than this worker has`, {
    ...{ where: "worker", expected: wanted, found },
    hint: "Start a worker with it, or ask again with what the workers have.",
  });
}
