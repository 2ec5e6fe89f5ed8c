/** A command of post-training from its options to a trained model: preparation, training with the live view, what comes next. */
import type { Command } from "commander";
import type { TunedConfig } from "../runs/tuned/config.ts";
import { usageError } from "./commands/options.ts";
import { checkFree, freeRunFolder } from "./commands/train.ts";
import { prepareRows, trainWithView } from "./training-session.ts";
import {
  type AskedRun,
  askedRun,
  rowsText,
  type TunedDefaults,
  type TunedFlags,
  tunedMemory,
  tunedRunConfig,
  tunedSteps,
} from "./tuned-options.ts";

/** Runs the command's action. `settings` makes the run's configuration of what all kinds share. */
export async function runTuned<F extends TunedFlags>(
  command: Command,
  model: string | undefined,
  flags: F,
  defaults: TunedDefaults,
  settings: (asked: AskedRun, flags: F) => TunedConfig,
): Promise<void> {
  const { stdout } = process;
  const name = command.name();
  let out: string;
  if (flags.resume !== undefined) {
    const { resume, threads: _threads, ...others } = flags;
    const extra = Object.keys(others)[0];
    if (model !== undefined || extra !== undefined) {
      usageError(command, `--resume uses the run's own settings; remove ${extra ?? model}`);
    }
    out = resume;
    const { kind } = await tunedRunConfig(out);
    if (kind !== name)
      usageError(command, `the run is one of \`deepseek-ts ${kind}\`: continue it with that`);
  } else {
    if (model === undefined) usageError(command, "no model given");
    const asked = await askedRun(model, flags, defaults);
    const config = settings(asked, flags);
    out = flags.out ?? (await freeRunFolder(name));
    await checkFree(out);
    stdout.write(`memory    at most ${tunedMemory(config, asked.described, flags.ignoreMemory)}\n`);
    const { epochs, template, described } = asked;
    const { batch, warmup: warmupSteps, saveEvery } = flags;
    const task = {
      ...{ out, config, epochs, files: described.files, asked: { batch, warmupSteps, saveEvery } },
      ...(template !== undefined && { template }),
      ...(flags.offline !== undefined && { hub: { offline: flags.offline } }),
    };
    const { result, exitCode } = await prepareRows(task, stdout);
    if (result === null) {
      process.exitCode = exitCode;
      return;
    }
    stdout.write(rowsText(result, config.sequenceLength));
    stdout.write(`run       ${out}\n`);
  }
  const result = await trainWithView({ folder: out, threads: flags.threads }, stdout, name);
  if (result.finished) stdout.write(tunedSteps(out, result, await tunedRunConfig(out)));
  process.exitCode = result.exitCode;
}
