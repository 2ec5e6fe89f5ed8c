/** Training as a person at a terminal sees it: preparation, the live view, Ctrl-C, and what it all took. */

import type { Job, JobQueue } from "../jobs/job.ts";
import type { RunConfig } from "../runs/config.ts";
import { addRunJob, type PrepareEvent, processRuns } from "../runs/jobs.ts";
import type { StagedConfig } from "../runs/staged/config.ts";
import type { TrainEvent, TrainedRun, TrainingTask } from "../runs/training-thread.ts";
import type { TunedRows, TunedTask } from "../runs/tuned/preparation.ts";
import { formatBytes, formatCompact } from "../text/units.ts";
import type { TrainingMemory } from "../train/memory.ts";
import { type JobEnd, runJob } from "./job-session.ts";
import { LiveView } from "./live-view.ts";
import type { Output } from "./output.ts";

/** Progress of preparation, redrawn in one line on a terminal; elsewhere only what ends a stage. */
export function progressLine(out: Output): {
  progress(stage: PrepareEvent["stage"], message: string): void;
  end(): void;
} {
  let stage = "";
  let last = "";
  let drawn = false;
  const end = () => {
    if (last === "") return;
    out.write(drawn ? "\n" : `${last}\n`);
    last = "";
    drawn = false;
  };
  return {
    progress(next, message) {
      if (next !== stage) end();
      stage = next;
      last = `${next.padEnd(9)} ${message}`;
      if (!out.isTTY) return;
      out.write(`\r\x1b[2K${last.slice(0, (out.columns ?? 80) - 1)}`);
      drawn = true;
    },
    end,
  };
}

/**
 * Selects and prepares the text below `folder` as the run `out`, telling `output` about it. Gives what the process should
 * exit with: 0, or the status of the signal that canceled the work, which then leaves nothing.
 */
export async function prepare(
  folder: string,
  out: string,
  config: RunConfig,
  output: Output,
): Promise<number> {
  const { exitCode } = await prepared(
    (queue) => addRunJob(queue, "prepare", { folder, out, config }),
    output,
  );
  return exitCode;
}

/** Checks model and data of a run in stages and makes its folder; otherwise as `prepare`. */
export async function prepareStages(out: string, config: StagedConfig, output: Output): Promise<number> {
  const { exitCode } = await prepared((queue) => addRunJob(queue, "prepare-stages", { out, config }), output);
  return exitCode;
}

/** Reads and tokenizes rows into a run's folder; `result` is null where it was canceled, which leaves nothing. */
export function prepareRows(task: TunedTask, output: Output): Promise<JobEnd<TunedRows>> {
  return prepared((queue) => addRunJob(queue, "prepare-tuned", task), output);
}

async function prepared<R>(
  add: (queue: JobQueue) => Promise<Job<PrepareEvent, R>>,
  output: Output,
): Promise<JobEnd<R>> {
  const line = progressLine(output);
  try {
    return await runJob(
      (queue) => {
        processRuns(queue);
        return add(queue);
      },
      { onEvent: ({ stage, message }) => line.progress(stage, message) },
    );
  } finally {
    line.end();
  }
}

/** "peak memory 31.0 MB = weights 5.0 MB + ..". */
export function memoryText({ peak, weights, gradients, moments, activations }: TrainingMemory): string {
  return (
    `peak memory ${formatBytes(peak)} = weights ${formatBytes(weights)} + gradients ${formatBytes(gradients)} + ` +
    `moments ${formatBytes(moments)} + activations ${formatBytes(activations)}`
  );
}

export interface SessionResult extends TrainedRun {
  /** What the process should exit with: 0, or that of the signal that stopped it. */
  readonly exitCode: number;
}

function show(view: LiveView, event: TrainEvent): void {
  if (event.type === "note") view.note(event.text);
  else if (event.type === "step") view.step(event.metrics, event.length);
  else if (event.type === "evaluation") view.evaluation(event.step, event.evaluation);
  else {
    const { modelType, parameters, step } = event.run;
    const { total, activated, mtp } = parameters;
    const extra = mtp > 0 ? `, plus ${formatCompact(mtp)} in the multi-token-prediction module` : "";
    const begin = step > 0 ? `, continuing after step ${step}` : "";
    view.note(
      `model     ${modelType}, ${formatCompact(total)} parameters (${formatCompact(activated)} per token)${extra}${begin}`,
    );
  }
}

/** Trains the run in `task.folder` from where it stands, with the live view on `output`; `command` continues it. */
export async function trainWithView(
  task: TrainingTask,
  output: Output,
  command = "train",
): Promise<SessionResult> {
  const view = new LiveView(output);
  const { result, exitCode, cause } = await runJob(
    (queue) => {
      processRuns(queue);
      return addRunJob(queue, "train", task);
    },
    {
      onEvent: (event) => show(view, event),
      onInterrupt: () =>
        view.note("finishing this step and saving; Ctrl-C again exits at once without saving"),
      outlivesReader: true,
    },
  );
  // A run that is canceled saves, and says how far it came: else that failed.
  if (result === null) throw cause ?? new Error("a canceled training returned nothing");
  if (result.finished) {
    view.end();
    output.write(`${memoryText(result.memory)}\n`);
    return { ...result, exitCode: 0 };
  }
  view.note(`stopped and saved after step ${result.step}. Continue with:`);
  output.write(`  npx deepseek-ts ${command} --resume ${quote(task.folder)}\n`);
  return { ...result, exitCode };
}

/** A word for a shell, quoted if it needs to be. */
export function quote(word: string): string {
  return /^[\w./@:=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
