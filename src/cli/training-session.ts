/** Training as a person at a terminal sees it: preparation, the live view, Ctrl-C, and what it all took. */
import { countParameters } from "../models/count.ts";
import type { Device } from "../tensor/tensor.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { LiveView, type Output, short } from "./live-view.ts";
import { type Progress, prepareRun, type RunTexts, selectTexts } from "./preparation.ts";
import type { RunConfig } from "./run-config.ts";
import { Run, type RunResult } from "./training-run.ts";

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

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** "peak memory 31.0 MB = weights 5.0 MB + ..". */
export function memoryText(run: Run): string {
  const { peak, weights, gradients, moments, activations } = run.memory();
  return (
    `peak memory ${megabytes(peak)} = weights ${megabytes(weights)} + gradients ${megabytes(gradients)} + ` +
    `moments ${megabytes(moments)} + activations ${megabytes(activations)}`
  );
}

export interface SessionResult extends RunResult {
  /** What the process should exit with: 0, or 130 and 143 after a signal. */
  readonly exitCode: number;
}

/** Trains the run in `folder` from where it stands, with the live view on `output`; `after` gets the trained run. */
export async function trainWithView(
  folder: string,
  device: Device,
  output: Output,
  after: (run: Run, result: RunResult) => Promise<void> = async () => {},
): Promise<SessionResult> {
  await using run = await Run.open(folder, device);
  const { total, activated, mtp } = countParameters(run.model.config);
  const extra = mtp > 0 ? ` and ${short(mtp)} to predict a further token` : "";
  const begin = run.trainer.step > 0 ? `, continuing after step ${run.trainer.step}` : "";
  output.write(
    `model     ${run.model.config.modelType}, ${short(total)} parameters (${short(activated)} per token)${extra}${begin}\n`,
  );
  const view = new LiveView(output, () => run.trainer.options.steps);
  using interrupt = listenForInterrupt(() =>
    view.note("finishing this step and saving; Ctrl-C again ends at once without saving"),
  );
  const result = await run.train(
    {
      onStep: (metrics, remaining) => view.step(metrics, remaining),
      onEvaluation: (step, evaluation) => view.evaluation(step, evaluation),
      onNotice: (text) => view.note(text),
    },
    interrupt.signal,
  );
  if (result.finished) {
    view.end();
    output.write(`${memoryText(run)}\n`);
    await after(run, result);
    return { ...result, exitCode: 0 };
  }
  output.write(`stopped and saved after step ${result.step}. Continue with:\n`);
  output.write(`  npx deepseek-ts train --resume ${quote(folder)}\n`);
  return { ...result, exitCode: interrupt.exitCode };
}

/** A word for a shell, quoted where it needs to be. */
export function quote(word: string): string {
  return /^[\w./@:=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
