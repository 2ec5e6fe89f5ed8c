/**
 * A sweep as a folder, and its stages as jobs: the grids first, laws of rate and batch from them, then the IsoFLOP runs. Any number of
 * processes with the same queue and folder share the work; what is done stands in the folder, so a sweep goes on after any end.
 *
 *     plan.json  prepared/  runs/  results/  laws.json  fit.json  predictions/
 */
import { randomBytes } from "node:crypto";
import { join, resolve } from "node:path";
import { stageFolder } from "../files/folder-sink.ts";
import { isTaken } from "../files/temporary.ts";
import { readTextFile, readTextIfThere } from "../files/text-file.ts";
import type { Job, JobContext, JobQueue } from "../jobs/job.ts";
import { writeText } from "../runs/json-file.ts";
import { type Progress, prepareRun, selectTexts } from "../runs/preparation.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { ChainThreads } from "./chain-threads.ts";
import { type Chain, gridChains, isoflopChains } from "./chains.ts";
import { fitHyperparameters, type Grid, type HyperparameterFit } from "./hyperparameters.ts";
import { planSweep, type RunLaws, type ScalePlan } from "./plan.ts";
import { type RunOutcome, readOutcome, settingsOf } from "./results.ts";
import { openSealed, sealedText } from "./sealed.ts";
import type { ScaleSettings } from "./settings.ts";
import type { ChainEvent } from "./train-chain.ts";

const PLAN = "plan.json";
const LAWS = "laws.json";

/** Chains that wait in the queue at a time. */
const AHEAD = 64;

/**
 * Prepares the data of a sweep and writes its plan into a new folder, which appears when it is whole.
 * @throws ConfigError if something is at `out`, or for a plan that cannot be; the signal's reason
 */
export async function createSweep(
  source: string,
  out: string,
  settings: ScaleSettings,
  where: string,
  progress: Progress = () => {},
  signal?: AbortSignal,
): Promise<ScalePlan> {
  const id = randomBytes(6).toString("hex");
  const data = { id, source: resolve(source) };
  // What is wrong whatever the data are is better known before they are read.
  planSweep(settings, { ...data, trainTokens: Number.POSITIVE_INFINITY, heldOutTokens: 0 }, where);
  if (await isTaken(join(out, PLAN))) {
    throw new ConfigError("there is a sweep already", { where: out, hint: "Choose another folder." });
  }
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const texts = await selectTexts(source, settings.run, progress, signal);
    const prepared = join(staged.path, "prepared");
    const { trainTokens, heldOutTokens, vocabSize } = await prepareRun(
      texts,
      prepared,
      settings.run,
      progress,
      signal,
    );
    const measured = { ...settings, run: { ...settings.run, vocabSize } };
    const plan = planSweep(measured, { ...data, trainTokens, heldOutTokens }, where);
    await writeText(join(staged.path, PLAN), sealedText(plan));
    await staged.commit();
    return plan;
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

const NO_PLAN = "Is this the folder of a sweep? deepseek-ts scale plan makes one.";

/** @throws FormatError if the folder holds no sweep, or its plan was edited */
export async function readPlan(folder: string): Promise<ScalePlan> {
  const where = join(folder, PLAN);
  const text = await readTextIfThere(where);
  if (text === null) throw new FormatError("no such file", { where, hint: NO_PLAN });
  const plan = openSealed<ScalePlan>(text, where, "Plan another sweep with other settings.");
  if (plan.format === 1) return plan;
  throw new FormatError("saved by another version", {
    where,
    name: "format",
    expected: 1,
    found: plan.format,
  });
}

/** Writes the plan of a sweep's folder anew. */
export async function replacePlan(folder: string, plan: ScalePlan): Promise<void> {
  await writeText(join(folder, PLAN), sealedText(plan));
}

/** The laws that runs follow; null while the grids that decide them are not done. */
export async function lawsOf(folder: string, plan: ScalePlan): Promise<RunLaws | null> {
  const { hyperparameters } = plan.settings;
  if (hyperparameters !== "fit") return hyperparameters;
  if (!(await isTaken(join(folder, LAWS)))) return null;
  const where = join(folder, LAWS);
  return openSealed(await readTextFile(where), where, "Delete it: the grids give it again.");
}

/** Outcomes of the runs of chains that are there, in the order of the chains. @throws ConfigError, FormatError */
export async function outcomesOf(
  folder: string,
  plan: ScalePlan,
  chains: readonly Chain[],
): Promise<{ readonly outcomes: RunOutcome[]; readonly missing: number }> {
  const { sequenceLength } = plan.settings.run.training;
  const outcomes: RunOutcome[] = [];
  let missing = 0;
  for (const chain of chains) {
    for (const run of chain.runs) {
      const outcome = await readOutcome(folder, run.name, settingsOf(chain, run, sequenceLength));
      if (outcome === null) missing++;
      else outcomes.push(outcome);
    }
  }
  return { outcomes, missing };
}

/** Laws of rate and batch from the outcomes of grids. @throws ConfigError */
export function fitGrids(outcomes: readonly RunOutcome[]): HyperparameterFit {
  const budgets = [...new Set(outcomes.map(({ compute }) => compute))].sort((a, b) => a - b);
  return fitHyperparameters(
    budgets.map((compute): Grid => {
      const runs = outcomes.filter((each) => each.compute === compute);
      return {
        compute,
        runs: runs.map((run) => ({ ...run, loss: run.bitsPerByte ?? Number.POSITIVE_INFINITY })),
      };
    }),
  );
}

export interface SweepOptions {
  readonly queue: JobQueue;
  /** Chains that this process trains at a time (default 1). */
  readonly parallel?: number;
  /** Threads of each (default 1). */
  readonly threads?: number;
  readonly onStage?: (stage: "grid" | "isoflop" | "target", chains: readonly Chain[]) => void;
  readonly onEvent?: (event: ChainEvent) => void;
  readonly signal?: AbortSignal;
}

/**
 * Trains what is left of a sweep, grids first. An error or a stop closes the queue: what this process trains is saved, and in a
 * queue of many processes others take it over. @throws ConfigError, FormatError, JobFailedError, the signal's reason
 */
export async function runSweep(folder: string, options: SweepOptions): Promise<void> {
  await atWork(folder, options, async (plan, work) => {
    const { chains } = gridChains(plan);
    if (chains.length > 0) {
      options.onStage?.("grid", chains);
      await work(chains);
    }
    let laws = await lawsOf(folder, plan);
    if (laws === null) {
      const { outcomes } = await outcomesOf(folder, plan, chains);
      laws = fitGrids(outcomes);
      await writeText(join(folder, LAWS), sealedText(laws));
    }
    const sweep = isoflopChains(plan, laws);
    options.onStage?.("isoflop", sweep);
    await work(sweep);
  });
}

/** Trains chains of a sweep that are not part of its stages; otherwise as `runSweep`. */
export async function runChains(
  folder: string,
  chains: readonly Chain[],
  options: SweepOptions,
): Promise<void> {
  await atWork(folder, options, async (_, work) => {
    options.onStage?.("target", chains);
    await work(chains);
  });
}

type Work = (chains: readonly Chain[]) => Promise<void>;

async function atWork(
  folder: string,
  options: SweepOptions,
  body: (plan: ScalePlan, work: Work) => Promise<void>,
): Promise<void> {
  const plan = await readPlan(folder);
  await using threads = new ChainThreads({ plan, folder, threads: options.threads ?? 1 });
  try {
    await body(plan, workOn(folder, plan, threads, options));
  } catch (error) {
    // Before the threads end: what they train is saved first.
    await options.queue.close();
    throw error;
  }
}

/** Takes part in a sweep's jobs; the function adds chains that are not done and waits for them, also where another process trains them. */
function workOn(folder: string, plan: ScalePlan, threads: ChainThreads, options: SweepOptions): Work {
  const { queue, parallel = 1, signal, onEvent = () => {} } = options;
  const kind = `scale-${plan.id}`;
  queue.process<Chain, ChainEvent, null>(
    kind,
    async (chain, context: JobContext<ChainEvent>) => {
      await threads.train(chain, context.emit, context.signal);
      return null;
    },
    { concurrency: parallel },
  );
  return async (chains) => {
    const open: Chain[] = [];
    for (const chain of chains) {
      const { outcomes, missing } = await outcomesOf(folder, plan, [chain]);
      if (missing > 0) open.push(chain);
      else {
        for (const [i, outcome] of outcomes.entries()) {
          onEvent({ type: "outcome", run: chain.runs[i].name, outcome, fresh: false });
        }
      }
    }
    // Jobs that ended without all of their outcomes: each gets another id.
    const ended = new Set((await queue.list()).filter(({ ended }) => ended !== null).map(({ id }) => id));
    let next = 0;
    let failed = false;
    const one = async () => {
      while (next < open.length && !failed) {
        const chain = open[next++];
        let attempt = 1;
        while (ended.has(`${kind}-${chain.name}-${attempt}`)) attempt++;
        signal?.throwIfAborted();
        const job = await queue.add<Chain, ChainEvent, null>(kind, chain, {
          id: `${kind}-${chain.name}-${attempt}`,
        });
        try {
          await follow(job, onEvent, signal);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(AHEAD, open.length) }, one));
  };
}

async function follow(
  job: Job<ChainEvent, null>,
  onEvent: (event: ChainEvent) => void,
  signal?: AbortSignal,
) {
  const result = job.result();
  result.catch(() => {});
  for await (const { event } of job.events(0, signal)) onEvent(event);
  signal?.throwIfAborted();
  await result;
}
