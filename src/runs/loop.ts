/** The loop that runs on disk share: steps, their log, evaluations and saved states, until the end or a request to stop. */
import { NotFiniteError } from "../tensor/errors.ts";
import type { Evaluation } from "../train/evaluate.ts";
import type { StepMetrics } from "../train/trainer.ts";
import type { MetricsLog } from "./metrics-log.ts";

/** How long the run is; null while a run limited by time has not measured its speed. */
export interface RunLength {
  /** Steps in total. */
  readonly steps: number | null;
  /** Seconds left. */
  readonly seconds: number | null;
}

/** What a run tells while it trains. */
export interface RunEvents {
  onStep?(metrics: StepMetrics, length: RunLength): void;
  onEvaluation?(step: number, result: Evaluation): void;
  onSave?(step: number, folder: string): void;
  /** Something that the user should know, in one line. */
  onNotice?(text: string): void;
}

/** Seconds of each step since the loop began, and all of them with evaluations. */
export interface Measured {
  readonly durations: readonly number[];
  readonly elapsed: number;
}

/** What makes the updates. */
export interface LoopedTrainer {
  /** Updates made in the whole run. */
  readonly step: number;
  readonly done: boolean;
  /** Steps of the whole run; null until they are measured. */
  readonly steps: number | null;
}

/** A run, as its loop sees it. */
export interface LoopedRun {
  readonly log: MetricsLog;
  readonly trainer: LoopedTrainer;
  /** Steps between two evaluations and two saved states; the last step has both. */
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  /** One update; aborted before it, it throws the signal's reason and has changed nothing. */
  trainStep(signal?: AbortSignal): Promise<StepMetrics>;
  /** Null if nothing is held out. */
  evaluate(): Promise<Evaluation | null>;
  /** Writes what the model says after a step that was evaluated. */
  sample?(step: number): Promise<void>;
  save(): Promise<void>;
  /** Sets the number of steps of a run limited by time, once its speed is known. */
  setLength(measured: Measured): Promise<void>;
}

/** Steps over which the speed is measured when seconds set the length of a run. */
const MEASURED_STEPS = 24;

/**
 * Trains until the end or until `signal` aborts, and saves. @returns the last evaluation, null if there was none
 * @throws NotFiniteError if a figure is not finite: nothing is saved then
 */
export async function trainLoop(
  run: LoopedRun,
  events: RunEvents = {},
  signal?: AbortSignal,
): Promise<Evaluation | null> {
  const { log, trainer } = run;
  let evaluation: Evaluation | null = null;
  let saved = trainer.step;
  const began = performance.now();
  const durations: number[] = [];
  const save = async () => {
    await run.save();
    saved = trainer.step;
  };
  while (!trainer.done && !signal?.aborted) {
    const stepBegan = performance.now();
    let metrics: StepMetrics;
    try {
      metrics = await run.trainStep(signal);
    } catch (error) {
      if (signal?.aborted && error === signal.reason) break;
      throw error;
    }
    durations.push((performance.now() - stepBegan) / 1000);
    const elapsed = (performance.now() - began) / 1000;
    if (trainer.steps === null && durations.length === MEASURED_STEPS)
      await run.setLength({ durations, elapsed });
    const { steps } = trainer;
    const left = steps === null ? null : ((steps - metrics.step) * elapsed) / durations.length;
    events.onStep?.(metrics, { steps, seconds: left });
    await log.append({ kind: "step", ...metrics });
    const last = trainer.done;
    if (last || metrics.step % run.evaluateEvery === 0) {
      const found = await run.evaluate();
      if (found !== null) {
        if (!Number.isFinite(found.loss)) {
          throw new NotFiniteError("the loss on held-out text is not finite", {
            where: `after training step ${metrics.step}`,
            found: found.loss,
            hint: "Try a lower learningRate.peak or a longer warm-up.",
          });
        }
        evaluation = found;
        events.onEvaluation?.(metrics.step, found);
        await log.append({ kind: "evaluation", step: metrics.step, ...found });
        await run.sample?.(metrics.step);
      }
    }
    if (last || metrics.step % run.saveEvery === 0) await save();
    // Lets a pending Ctrl-C be handled.
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (saved !== trainer.step) await save();
  return evaluation;
}
