/** `deepseek-ts scale`: plans a sweep of models and budgets, runs it, fits scaling laws, and predicts a larger run before it is made. */
import { readdir, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Argument, Command } from "commander";
import { BullmqQueue } from "../../jobs/bullmq-queue.ts";
import { MemoryQueue } from "../../jobs/memory-queue.ts";
import { readJson, writeJson } from "../../runs/json-file.ts";
import { chainCost } from "../../scaling/chains.ts";
import { extendSweep } from "../../scaling/extend.ts";
import { fitProfiles } from "../../scaling/fit-profiles.ts";
import { fitPath, fitSweep, readProfiles } from "../../scaling/fit-sweep.ts";
import { plotsOf } from "../../scaling/plots.ts";
import { predict, predictionOutcome, startPredicted } from "../../scaling/predict.ts";
import { writePlots } from "../../scaling/render.ts";
import { scaleSettings } from "../../scaling/settings.ts";
import { createSweep, readPlan, runChains, runSweep, type SweepOptions } from "../../scaling/sweep.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { ProgressLine } from "../progress-line.ts";
import {
  computeText,
  extendedText,
  fitText,
  outcomeText,
  planText,
  predictionText,
  sweepFitText,
} from "../scale-text.ts";
import { progressLine, quote } from "../training-session.ts";
import { positiveInteger, positiveNumber, usageError } from "./options.ts";

const help = `
Actions:
  plan FOLDER    reads a folder of text, prepares its tokens, and writes the plan of a sweep to --out
  run SWEEP      trains what is left of it: grids of learning rate and batch, then sizes at equal compute
  fit SWEEP      fits the laws to what there is, and draws them with npm install vega vega-lite sharp
  fit FILE       the same of runs made elsewhere, as JSON (docs/scaling.md)
  predict SWEEP  writes size, tokens and loss of a larger run down, which run --target then makes

scale.json, of which only ladder and budgets are needed:
  {"ladder": {"from": 2.5e5, "to": 3.2e7}, "seeds": [1, 2, 3],
   "budgets": [3e11, 1e12, 3e12, 1e13, 3e13],
   "grid": {"budgets": [1e12, 1e13]},
   "run": {"vocabSize": 512, "training": {"sequenceLength": 128}}}

Examples:
  deepseek-ts scale plan src --config scale.json --out runs/scale
  deepseek-ts scale run runs/scale --parallel 2
  deepseek-ts scale run runs/scale --queue redis://127.0.0.1:6379      in as many processes as you like
  deepseek-ts scale fit runs/scale --json
  deepseek-ts scale plan runs/scale --extend                           more sizes where fit finds the minimum outside
  deepseek-ts scale predict runs/scale --compute 3e14
  deepseek-ts scale run runs/scale --target 3e14

Exit status: 0 success, 1 error, or a fit without a law, 2 usage error, 130 interrupted by Ctrl-C: run again to go on.`;

interface ScaleFlags {
  readonly config?: string;
  readonly out?: string;
  readonly queue?: string;
  readonly parallel?: number;
  readonly threads?: number;
  readonly compute?: number;
  readonly target?: number;
  readonly extend?: boolean;
  readonly json?: boolean;
}

/** Options that each action takes. */
const taken: Readonly<Record<string, readonly (keyof ScaleFlags)[]>> = {
  plan: ["config", "out", "extend", "json"],
  run: ["queue", "parallel", "threads", "target"],
  fit: ["json"],
  predict: ["compute", "json"],
};

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function plan(command: Command, folder: string, flags: ScaleFlags): Promise<void> {
  const { config, out, json, extend } = flags;
  if (extend) {
    if (config !== undefined || out !== undefined)
      usageError(command, "plan --extend takes no --config and no --out");
    const extended = await extendSweep(folder);
    if (json) print(extended);
    else
      process.stdout.write(
        `${extendedText(extended)}Continue with:\n  npx deepseek-ts scale run ${quote(folder)}\n`,
      );
    return;
  }
  if (config === undefined || out === undefined) return usageError(command, "plan needs --config and --out");
  const settings = scaleSettings(await readJson(config, "--config takes a JSON file."), config);
  using interrupt = listenForInterrupt(() => {});
  const line = progressLine(process.stderr);
  try {
    const made = await createSweep(folder, out, settings, config, line.progress, interrupt.signal);
    line.end();
    if (json) print(made);
    else process.stdout.write(`${planText(made)}Continue with:\n  npx deepseek-ts scale run ${quote(out)}\n`);
  } catch (error) {
    line.end();
    if (!interrupt.signal.aborted) throw error;
  }
  process.exitCode = interrupt.exitCode;
}

async function run(folder: string, flags: ScaleFlags): Promise<void> {
  const { queue: url, parallel = availableParallelism(), threads, target } = flags;
  const { sequenceLength } = (await readPlan(folder)).settings.run.training;
  const predicted = target === undefined ? null : await startPredicted(folder, target);
  const line = new ProgressLine(process.stderr);
  using interrupt = listenForInterrupt(() =>
    line.note("finishing steps and saving; Ctrl-C again exits at once"),
  );
  const { signal } = interrupt;
  await using queue = url === undefined ? new MemoryQueue() : await BullmqQueue.open(url);
  let total = 0;
  let done = 0;
  const options: SweepOptions = {
    ...{ queue, parallel, threads, signal },
    onStage(stage, chains) {
      [total, done] = [chains.reduce((sum, chain) => sum + chain.runs.length, 0), 0];
      const cost = chains.reduce((sum, chain) => sum + chainCost(chain, sequenceLength).shared, 0);
      line.note(`${stage}: ${total} runs, C ${computeText(cost)}`);
    },
    onEvent(event) {
      if (event.type === "step") {
        const { run, step, steps, loss } = event;
        line.tell(`${done} of ${total}  ${run}  step ${step} of ${steps}  loss ${loss.toFixed(3)}`);
        return;
      }
      done++;
      if (event.fresh)
        line.note(
          `${String(done).padStart(String(total).length)} of ${total}  ${outcomeText(event.outcome)}`,
        );
    },
  };
  try {
    if (predicted === null) await runSweep(folder, options);
    else await runChains(folder, predicted.chains, options);
  } catch (error) {
    if (!signal.aborted) throw error;
    line.note(`stopped and saved. Continue with:\n  npx deepseek-ts scale run ${quote(folder)}`);
    process.exitCode = interrupt.exitCode;
    return;
  } finally {
    line.clear();
  }
  process.stdout.write(`all runs are done. Continue with:\n  npx deepseek-ts scale fit ${quote(folder)}\n`);
}

/** Budgets that were predicted, in rising order. */
async function predictedBudgets(folder: string): Promise<number[]> {
  const names = await readdir(join(folder, "predictions")).catch((): string[] => []);
  const budgets = names.filter((name) => name.endsWith(".json")).map((name) => Number(name.slice(0, -5)));
  return budgets.filter((budget) => budget > 0).sort((a, b) => a - b);
}

async function fitRuns(path: string, { json }: ScaleFlags): Promise<void> {
  if ((await stat(path)).isFile()) {
    const found = fitProfiles(await readProfiles(path));
    if (json) print(found);
    else process.stdout.write(fitText(found));
    process.exitCode = found.lossLaw === null ? 1 : 0;
    return;
  }
  const plan = await readPlan(path);
  const budgets = await predictedBudgets(path);
  const found = await fitSweep(path, plan, { at: budgets });
  const predictions = await Promise.all(budgets.map((budget) => predictionOutcome(path, plan, budget)));
  await writeJson(fitPath(path), { ...found, predictions });
  const { folder, names, missing } = await writePlots(join(path, "plots"), plotsOf(found, predictions));
  if (json) print({ ...found, predictions });
  else process.stdout.write([sweepFitText(found), ...predictions.map(predictionText)].join("\n"));
  if (names.length > 0) process.stderr.write(`plots in ${folder}: ${names.join(", ")}\n`);
  if (missing !== null) process.stderr.write(`for pictures as SVG and PNG: npm install ${missing}\n`);
  process.exitCode = found.lossLaw === null ? 1 : 0;
}

async function predictLarger(command: Command, folder: string, { compute, json }: ScaleFlags): Promise<void> {
  if (compute === undefined) return usageError(command, "predict needs --compute");
  const prediction = await predict(folder, compute);
  if (json) print(prediction);
  else {
    const missing = prediction.chains.length;
    process.stdout.write(predictionText({ prediction, losses: [], error: null, loss95: null, missing }));
    process.stdout.write(
      `Continue with:\n  npx deepseek-ts scale run ${quote(folder)} --target ${compute}\n`,
    );
  }
}

export function scaleCommand(): Command {
  const command = new Command("scale")
    .summary("fit scaling laws and predict a larger run")
    .description(
      "Trains models of rising size at equal compute, fits the laws of size, data, loss, learning rate and batch, and predicts a " +
        "larger run before it is made.",
    )
    .addArgument(new Argument("<action>", "what to do").choices(Object.keys(taken)))
    .argument("<folder>", "plan: the folder of text; otherwise that of the sweep")
    .option("--config <file>", "plan: JSON file with the ladder, budgets and settings of the runs")
    .option("--out <folder>", "plan: new folder of the sweep")
    .option(
      "--extend",
      "plan: add sizes to budgets of a sweep whose minimum lies outside those that were run",
    )
    .option(
      "--queue <url>",
      "run: redis://host:port of a Redis or Valkey that processes share, with the folder",
    )
    .option("--parallel <n>", "run: runs at a time in this process (default: one per core)", positiveInteger)
    .option("--target <compute>", "run: make the runs that were predicted for this budget", positiveNumber)
    .option("--compute <flops>", "predict: budget of the larger run", positiveNumber)
    .option("--json", "plan, fit, predict: print one JSON object");
  return command
    .option("--threads <n>", "run: threads of each of them (default: 1)", positiveInteger)
    .addHelpText("after", flowing(help))
    .action(async (action: string, folder: string, flags: ScaleFlags) => {
      const other = (Object.keys(flags) as (keyof ScaleFlags)[]).find(
        (name) => !taken[action].includes(name),
      );
      if (other !== undefined) usageError(command, `${action} takes no --${other}`);
      if (action === "plan") await plan(command, folder, flags);
      else if (action === "run") await run(folder, flags);
      else if (action === "fit") await fitRuns(folder, flags);
      else await predictLarger(command, folder, flags);
    });
}
