/**
 * DeepSeek LLM's claim (arXiv 2401.02954, section 3) at our scale: the best size grows as a power of compute, and a fit on small budgets
 * predicts the loss of a run at ten times the largest one.
 *
 *     npm run recipe:scaling -- --small                      a check of the machinery on this repository's sources
 *     npm run recipe:scaling -- --data FOLDER                45M tokens of text or more
 *
 * `--state FOLDER` is where the sweep is, `--results FOLDER` where `results.json` and plots go, if they do not go there too. Ctrl-C saves;
 * the same command goes on. The steps are those of `deepseek-ts scale`, on the same folder.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { MemoryQueue } from "../../src/jobs/memory-queue.ts";
import { extendSweep } from "../../src/scaling/extend.ts";
import { fitSweep } from "../../src/scaling/fit-sweep.ts";
import { plotsOf } from "../../src/scaling/plots.ts";
import { predict, predictionOutcome, startPredicted } from "../../src/scaling/predict.ts";
import { writePlots } from "../../src/scaling/render.ts";
import { scaleSettings } from "../../src/scaling/settings.ts";
import { createSweep, readPlan, runChains, runSweep, type SweepOptions } from "../../src/scaling/sweep.ts";
import { ConfigError } from "../../src/tensor/errors.ts";
import { checkResultsFolder } from "../shared/results-folder.ts";
import { allVerdicts, resultsText } from "./verdicts.ts";

const { values: flags } = parseArgs({
  options: {
    small: { type: "boolean", default: false },
    data: { type: "string" },
    state: { type: "string" },
    results: { type: "string" },
    parallel: { type: "string" },
  },
});

const here = import.meta.dirname;
const size = flags.small ? "small" : "full";
const data = flags.data ?? (flags.small ? join(here, "..", "..", "src") : undefined);
const folder = resolve(flags.state ?? `runs/recipe-scaling-${size}`);
/** Where results go, which nothing goes on from. */
const target = resolve(flags.results ?? folder);
if (target !== folder) checkResultsFolder(target, "results.json");
/** Times that budgets without a minimum get more sizes. */
const EXTENSIONS = 2;
const print = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
const { signal } = controller;

/** Trains with a queue of its own, which is closed with it. */
async function train(run: (options: SweepOptions) => Promise<void>): Promise<void> {
  await using queue = new MemoryQueue();
  await run({
    ...{ queue, signal, parallel: Number(flags.parallel ?? availableParallelism()) },
    onStage: (stage, chains) => print(`${stage}: ${chains.length} chains`),
    onEvent(event) {
      if (event.type !== "outcome" || !event.fresh) return;
      const { bitsPerByte } = event.outcome;
      print(`${event.run}: ${bitsPerByte === null ? "diverged" : `${bitsPerByte.toFixed(4)} bits per byte`}`);
    },
  });
}

/** Adds sizes where minima lie outside; false if there is nothing to add. */
async function extended(): Promise<boolean> {
  try {
    const { added } = await extendSweep(folder);
    print(
      `more sizes: ${added.map(({ rung, compute }) => `${rung} at ${compute.toExponential()}`).join(", ")}`,
    );
    return true;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return false;
  }
}

try {
  const path = join(here, `${size}.json`);
  const { target: compute, ...json } = JSON.parse(await readFile(path, "utf8"));
  if (!existsSync(join(folder, "plan.json"))) {
    if (data === undefined)
      throw new ConfigError("the full recipe needs --data FOLDER, 45M tokens of text or more");
    await createSweep(data, folder, scaleSettings(json, path), path, (_, line) => print(line), signal);
  }
  await train((options) => runSweep(folder, options));
  const written = existsSync(join(folder, "predictions"));
  for (let i = 0; i < EXTENSIONS && !written && (await extended()); i++) {
    await train((options) => runSweep(folder, options));
  }
  const plan = await readPlan(folder);
  let fit = await fitSweep(folder, plan);
  if (fit.lossLaw !== null) {
    if (!written)
      print(`predicted ${(await predict(folder, compute)).loss.toFixed(4)} bits per byte at ${compute}`);
    const { chains } = await startPredicted(folder, compute);
    await train((options) => runChains(folder, chains, options));
    fit = await fitSweep(folder, plan, { at: [compute] });
  }
  const outcomes = fit.lossLaw === null ? [] : [await predictionOutcome(folder, plan, compute)];
  const results = { recipe: "scaling", size, plan, fit, outcomes, verdicts: allVerdicts(fit, outcomes) };
  await mkdir(target, { recursive: true });
  await writeFile(join(target, "results.json"), `${JSON.stringify(results, null, 1)}\n`);
  await writePlots(join(target, "plots"), plotsOf(fit, outcomes));
  console.log(resultsText(results));
} catch (error) {
  if (!signal.aborted) throw error;
  print("stopped and saved: the same command goes on");
  process.exitCode = 130;
}
