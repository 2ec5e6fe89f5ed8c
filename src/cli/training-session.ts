/** Training as a person at a terminal sees it: preparation, the live view, Ctrl-C, and what it all took. */

import type { RunConfig } from "../runs/config.ts";
import { type Progress, prepareRun, type RunTexts, selectTexts } from "../runs/preparation.ts";
import type { TrainingMemory } from "../runs/run.ts";
import { type TrainedRun, type TrainingTask, trainInThread } from "../runs/training-thread.ts";
import { formatBytes, formatCompact } from "../text/units.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { LiveView, type Output } from "./live-view.ts";

/** Progress of preparation, redrawn in one line on a terminal; elsewhere only what ends a stage. */
export function progressLine(out: Output): { progress: Progress; end(): void } {
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

/** Selects and prepares the text below `folder` as the run `out`, telling `output` about it. */
export async function prepare(
  folder: string,
  out: string,
  config: RunConfig,
  output: Output,
): Promise<RunTexts> {
  const line = progressLine(output);
  try {
    const texts = await selectTexts(folder, config, line.progress);
    await prepareRun(texts, out, config, line.progress);
    return texts;
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

/** Trains the run in `task.folder` from where it stands, with the live view on `output`. */
export async function trainWithView(task: TrainingTask, output: Output): Promise<SessionResult> {
  const view = new LiveView(output);
  using interrupt = listenForInterrupt(() =>
    view.note("finishing this step and saving; Ctrl-C again ends at once without saving"),
  );
  const result = await trainInThread(
    task,
    {
      opened({ modelType, parameters: { total, activated, mtp }, step }) {
        const extra = mtp > 0 ? ` and ${formatCompact(mtp)} to predict a further token` : "";
        const begin = step > 0 ? `, continuing after step ${step}` : "";
        view.note(
          `model     ${modelType}, ${formatCompact(total)} parameters (${formatCompact(activated)} per token)${extra}${begin}`,
        );
      },
      note: (text) => view.note(text),
      step: (metrics, length) => view.step(metrics, length),
      evaluation: (step, evaluation) => view.evaluation(step, evaluation),
    },
    interrupt.signal,
  );
  if (result.finished) {
    view.end();
    output.write(`${memoryText(result.memory)}\n`);
    return { ...result, exitCode: 0 };
  }
  view.note(`stopped and saved after step ${result.step}. Continue with:`);
  output.write(`  npx deepseek-ts train --resume ${quote(task.folder)}\n`);
  return { ...result, exitCode: interrupt.exitCode };
}

/** A word for a shell, quoted if it needs to be. */
export function quote(word: string): string {
  return /^[\w./@:=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
