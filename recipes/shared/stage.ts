/**
 * One stage of a recipe on disk: `FOLDER/NAME/step-*` with weights, moments and the position in the data, and a log. A stage
 * that was stopped goes on where its newest step stands; one that is done is read.
 */
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { modelEntries } from "../../src/checkpoint/entries.ts";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import type { Objective, Trainable } from "../../src/train/objectives/objective.ts";
import { loadTraining, savedSteps, saveTraining, stepFolder } from "../../src/train/state.ts";
import { type StepMetrics, Trainer, type TrainOptions } from "../../src/train/trainer.ts";

/**
 * How long a stage is: a number of updates, or minutes of two processor cores, which the machine's speed turns into updates on
 * the way. Minutes are of processor time, so that what else runs on the machine makes a stage longer, not shorter of training.
 */
export type StageLength = { readonly steps: number } | { readonly minutes: number };

/** Batches that may depend on how much of a stage is over. */
export interface StageBatches<B extends Batch> extends BatchSource<B> {
  next(batch: number, progress?: number): Promise<B | readonly B[]>;
}

export interface StageSpec<M extends Trainable, B extends Batch> {
  readonly name: string;
  readonly model: M;
  readonly batches: StageBatches<B>;
  readonly objective: Objective<M, B>;
  readonly options: Omit<TrainOptions, "steps" | "batch"> & { readonly batch: number };
  readonly length: StageLength;
  /** Named in the log's first line and in results. */
  readonly config: Record<string, unknown>;
  /** Whether the model has the moving average of its weights after the stage, which is also saved, as `averaged`. */
  readonly averaged?: boolean;
}

export interface StageContext {
  /** Where the stages' folders are. */
  readonly folder: string;
  /** Asked after each step; true stops the stage, which is saved first. */
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

/** Thrown when a stage was stopped and saved before its end. */
export class StageStopped extends Error {}

const SAVE_SECONDS = 90;
export const CORES = 2;

/** Processor seconds since `before`, over two cores. */
export function coreSeconds(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / CORES;
}

const PRINT_SECONDS = 20;
/** The speed is that of the last steps; a busy machine becomes faster and slower. */
const SPEED_STEPS = 25;

interface Progress {
  /** Seconds of training so far, without what was lost: processor time, over two cores. */
  readonly seconds: number;
  readonly steps: number | null;
}

async function stepsIn(folder: string): Promise<number[]> {
  return savedSteps(await readdir(folder).catch(() => []));
}

/** Steps of a stage before its speed is known. */
const UNKNOWN = 1_000_000;

function newTrainer<M extends Trainable, B extends Batch>(
  model: M,
  batches: BatchSource<B>,
  options: TrainOptions,
  objective: Objective<M, B>,
): Trainer<M, B> {
  return new Trainer<M, B>(model, batches, options, ...([objective] as never));
}

/** Whether a stage was trained to its end: then nothing that it learns from has to be made again. */
export async function stageDone(folder: string, name: string): Promise<boolean> {
  const newest = (await stepsIn(join(folder, name))).at(-1);
  if (newest === undefined) return false;
  const file = join(folder, name, stepFolder(newest), "stage.json");
  const { steps } = JSON.parse(await readFile(file, "utf8")) as Progress;
  return steps !== null && newest >= steps;
}

/** Trains a stage to its end, from where it stands. @throws StageStopped if it was stopped before */
export async function runStage<M extends Trainable, B extends Batch>(
  { name, model, batches, objective, options, length, config, averaged = false }: StageSpec<M, B>,
  { folder, stopped, print }: StageContext,
): Promise<{ readonly steps: number; readonly seconds: number }> {
  const own = join(folder, name);
  await mkdir(own, { recursive: true });
  const { batch, ...rest } = options;
  const fixed = "steps" in length ? length.steps : null;
  const progress = (): number => trainer.stageStep / (trainer.options.steps ?? UNKNOWN);
  const source: BatchSource<B> = {
    next: (size) => batches.next(size, progress()),
    state: () => batches.state(),
    restore: (state) => batches.restore(state),
  };
  const whole = { ...rest, batch: { size: batch }, steps: fixed ?? UNKNOWN };
  using trainer = newTrainer(model, source, whole, objective);
  let seconds = 0;
  const newest = (await stepsIn(own)).at(-1);
  if (newest !== undefined) {
    const path = join(own, stepFolder(newest));
    await loadTraining(trainer, nodeFolder(path));
    const saved = JSON.parse(await readFile(join(path, "stage.json"), "utf8")) as Progress;
    seconds = saved.seconds;
    if (saved.steps !== null) trainer.setSteps(saved.steps);
    if (!trainer.done) print(`${name}: goes on at step ${newest}`);
  }
  let savedStep = newest;
  const save = async () => {
    if (trainer.step === savedStep) return;
    savedStep = trainer.step;
    await trainer.checkWeights();
    const saving: Progress = { seconds, steps: trainer.options.steps };
    const sink = await nodeFolderSink(join(own, stepFolder(trainer.step)));
    await saveTraining(trainer, sink, { config, files: { "stage.json": `${JSON.stringify(saving)}\n` } });
    for (const step of await stepsIn(own)) {
      if (step < trainer.step) await rm(join(own, stepFolder(step)), { recursive: true });
    }
  };
  const durations: number[] = [];
  let [saved, printed] = [seconds, Number.NEGATIVE_INFINITY];
  const means = new Map<string, number>();
  while (!trainer.done) {
    const began = process.cpuUsage();
    const metrics = await trainer.trainStep();
    const took = coreSeconds(began);
    seconds += took;
    durations.push(took);
    if ("minutes" in length) {
      const recent = durations.slice(-SPEED_STEPS).sort((a, b) => a - b);
      const step = recent.reduce((a, b) => a + b) / recent.length;
      const left = length.minutes * 60 - seconds;
      // The first steps compile kernels.
      if (durations.length >= 8 || left <= 0) {
        trainer.setSteps(trainer.step + Math.max(0, Math.round(left / step)));
      }
    }
    const key = metrics.kind ?? "loss";
    means.set(key, 0.9 * (means.get(key) ?? metrics.loss) + 0.1 * metrics.loss);
    if (seconds - printed >= PRINT_SECONDS || trainer.done) {
      printed = seconds;
      await appendFile(join(own, "log.jsonl"), `${JSON.stringify(logLine(metrics, seconds, means))}\n`);
      const losses = [...means].map(([kind, value]) => `${kind} ${value.toFixed(3)}`).join(", ");
      print(`${name}: step ${metrics.step} of ${trainer.options.steps}, ${Math.round(seconds)} s, ${losses}`);
    }
    if (seconds - saved >= SAVE_SECONDS && !trainer.done) {
      saved = seconds;
      await save();
    }
    // A step computes on this thread and its results are there at once: signals come between steps or never.
    await setImmediate();
    if (stopped() && !trainer.done) {
      await save();
      throw new StageStopped(`${name}: stopped and saved at step ${trainer.step}`);
    }
  }
  await save();
  if (averaged) {
    trainer.average?.exchange();
    const sink = await nodeFolderSink(join(own, "averaged"), { force: true });
    await saveCheckpoint(sink, modelEntries(model), { config });
  }
  return { steps: trainer.step, seconds };
}

function logLine(
  { step, loss, gradientNorm, learningRate, terms }: StepMetrics,
  seconds: number,
  means: Map<string, number>,
) {
  return {
    step,
    seconds: Math.round(seconds),
    loss,
    gradientNorm,
    learningRate,
    ...terms,
    means: Object.fromEntries(means),
  };
}
