/**
 * A prediction of a larger run: written down with its date and commit before the run starts, never changed afterwards. The run refuses to
 * start without it, or if the file was changed since it started.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeTextFile } from "../files/file-sink.ts";
import { isTaken, makeFolders } from "../files/temporary.ts";
import { readTextFile, readTextIfThere } from "../files/text-file.ts";
import { writeText } from "../runs/json-file.ts";
import { type Interval, mean } from "../statistics/sample.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type Chain, computeName } from "./chains.ts";
import { fitSweep, type SweepFit } from "./fit-sweep.ts";
import { denseModel, ladder } from "./ladder.ts";
import { powerLawAt } from "./least-squares.ts";
import { lossAt } from "./loss-law.ts";
import {
  batchSequences,
  faultOf,
  isDenseRung,
  measuredRungs,
  type Rung,
  type ScalePlan,
  stepsFor,
} from "./plan.ts";
import { openSealed, sealedText } from "./sealed.ts";
import { meanInterval } from "./statistics.ts";
import { outcomesOf, readPlan } from "./sweep.ts";

export interface Prediction {
  readonly format: 1;
  /** Of the sweep. */
  readonly plan: string;
  /** ISO 8601. */
  readonly date: string;
  /** Of the git repository in which it was made; null outside one. */
  readonly commit: string | null;
  readonly compute: number;
  /** C over the largest budget of the fit. */
  readonly beyond: number;
  /** What the laws call best. */
  readonly model: number;
  readonly model95: Interval | null;
  readonly tokens: number;
  readonly tokens95: Interval | null;
  /** Held-out bits per byte at the optimum. */
  readonly loss: number;
  readonly loss95: Interval | null;
  /** Of the surface, at the size and the tokens of the run. */
  readonly surfaceLoss: number | null;
  /** Standard deviation of one run's loss between seeds, as a part of the loss. */
  readonly deviation: number | null;
  /** The runs that will be made, a seed each. */
  readonly chains: readonly Chain[];
}

/** How far a model may be from the size that the laws call best. */
const NEAR = 1.25;

const pathOf = (folder: string, compute: number) =>
  join(folder, "predictions", `${computeName(compute)}.json`);
const startedPath = (folder: string, compute: number) =>
  join(folder, "predictions", `${computeName(compute)}.started`);
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

async function commitOf(): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)("git", ["rev-parse", "HEAD"]);
    return stdout.trim();
  } catch {
    return null;
  }
}

/** The model nearest to M: one of the plan's, or of a dense ladder any shape. @throws ConfigError if none is near */
function nearestRung(plan: ScalePlan, model: number): Rung {
  const { run, rungs } = plan.settings;
  const { sequenceLength } = run.training;
  const shapes = isDenseRung(plan) ? ladder({ from: model, to: model, length: sequenceLength }) : [];
  const made = shapes.map((shape) => ({
    name: `d${shape.width}-l${shape.layers}`,
    model: denseModel(shape),
  }));
  const known = new Set(rungs.map(({ name }) => name));
  const added = measuredRungs({ run, rungs: made.filter(({ name }) => !known.has(name)) }, "plan.json");
  const distance = ({ flopsPerToken }: Rung) => Math.abs(Math.log(flopsPerToken / model));
  const all = [...plan.rungs, ...added];
  const best = all.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  if (distance(best) <= Math.log(NEAR)) return best;
  throw new ConfigError("no model of the ladder is near the predicted size", {
    where: "predict",
    expected: `M = ${model.toPrecision(4)} within a factor of ${NEAR}`,
    found: `${best.name} with M = ${best.flopsPerToken}`,
    hint: "Choose another --compute, or plan a sweep whose ladder has such a model.",
  });
}

/** The prediction at a budget, not written yet. @throws ConfigError if the fit gives no law, or no such run can be made */
export function predictionAt(
  plan: ScalePlan,
  fit: SweepFit,
  compute: number,
): Omit<Prediction, "date" | "commit"> {
  const where = "predict";
  const { allocation, lossLaw, laws, surface, bootstrap, problems, missing } = fit;
  if (missing > 0) {
    throw new ConfigError("runs of the sweep are missing", {
      ...{ where, expected: "all of them", found: `${missing} missing` },
      hint: "Run the sweep to its end first: a prediction is written once.",
    });
  }
  if (allocation === null || lossLaw === null || laws === null) {
    throw new ConfigError("the fit gives no law", { where, found: problems.join(" ") });
  }
  const largest = Math.max(...fit.profiles.map((profile) => profile.compute));
  if (!(compute > largest)) {
    throw new ConfigError("not beyond the runs of the fit", {
      ...{ where, name: "compute", expected: `above ${largest.toExponential(3)}`, found: compute },
    });
  }
  const { run, seeds, warmupSteps } = plan.settings;
  const { sequenceLength } = run.training;
  const model = powerLawAt(allocation.model, compute);
  const rung = nearestRung(plan, model);
  const batch = batchSequences(powerLawAt(laws.batchTokens, compute), sequenceLength);
  const steps = stepsFor(compute, rung, batch * sequenceLength);
  const fault = faultOf(steps, batch * sequenceLength, plan.trainTokens);
  if (fault !== null) {
    const hint = "Choose a smaller --compute, or plan a sweep on more text.";
    throw new ConfigError("the run cannot be made", { ...{ where, found: fault, hint } });
  }
  const tokens = steps * batch * sequenceLength;
  const interval = bootstrap?.predictions.find((each) => each.compute === compute);
  return {
    ...{ format: 1, plan: plan.id, compute, beyond: compute / largest },
    ...{ model, model95: interval?.model ?? null },
    ...{ tokens: powerLawAt(allocation.data, compute), tokens95: interval?.tokens ?? null },
    ...{ loss: lossAt(lossLaw, compute), loss95: interval?.loss ?? null },
    surfaceLoss:
      surface &&
      surface.E + surface.A * rung.flopsPerToken ** -surface.alpha + surface.B * tokens ** -surface.beta,
    deviation: bootstrap?.deviation ?? null,
    chains: seeds.map((seed): Chain => {
      const name = `target-${computeName(compute)}-s${seed}`;
      const learningRate = powerLawAt(laws.learningRate, compute);
      return {
        ...{ name, rung, seed, learningRate, batch, warmupSteps },
        runs: [{ name, stage: "target", compute, steps }],
      };
    }),
  };
}

/**
 * Fits the sweep and writes the prediction for a budget. @throws ConfigError if there is one, if its runs have been started, if the
 * fit gives no law, or if no such run can be made
 */
export async function predict(folder: string, compute: number): Promise<Prediction> {
  const plan = await readPlan(folder);
  const path = pathOf(folder, compute);
  if (await isTaken(path)) {
    throw new ConfigError("this budget has been predicted: a prediction is not changed afterwards", {
      ...{ where: path, hint: "Predict another budget, or plan another sweep." },
    });
  }
  const fit = await fitSweep(folder, plan, { at: [compute] });
  const drawn = predictionAt(plan, fit, compute);
  for (const { name } of drawn.chains) {
    if (!(await isTaken(join(folder, "runs", name)))) continue;
    throw new ConfigError("the run has been started already", {
      ...{ where: join(folder, "runs", name), hint: "What is written after that is no prediction." },
    });
  }
  const prediction = { ...drawn, date: new Date().toISOString(), commit: await commitOf() };
  await makeFolders(join(folder, "predictions"));
  await writeTextFile(path, sealedText(prediction));
  return prediction;
}

async function readPrediction(
  folder: string,
  compute: number,
): Promise<{ prediction: Prediction; hash: string }> {
  const path = pathOf(folder, compute);
  const text = await readTextFile(path);
  const hash = hashOf(text);
  const started = await readTextIfThere(startedPath(folder, compute));
  if (started !== null && started.trim() !== hash) {
    throw new ConfigError("the prediction was changed after its run had started", {
      ...{ where: path, expected: `sha256 ${started.trim()}`, found: `sha256 ${hash}` },
    });
  }
  return { prediction: openSealed(text, path, "Take it from where it was published."), hash };
}

/** The runs of a prediction, which from now on may not change. @throws ConfigError if nothing was predicted, or it was changed */
export async function startPredicted(folder: string, compute: number): Promise<Prediction> {
  if (!(await isTaken(pathOf(folder, compute)))) {
    throw new ConfigError("nothing was predicted for this budget", {
      ...{ where: folder, name: "target", found: compute },
      hint: "Write the prediction down first: deepseek-ts scale predict.",
    });
  }
  const { prediction, hash } = await readPrediction(folder, compute);
  await writeText(startedPath(folder, compute), `${hash}\n`);
  return prediction;
}

/** A prediction beside what its runs gave. */
export interface PredictionOutcome {
  readonly prediction: Prediction;
  /** Bits per byte of the seeds that are done. */
  readonly losses: readonly number[];
  /** Mean loss over the prediction, less 1; null before a run is done. */
  readonly error: number | null;
  /** Student's 95 % interval of the mean loss; null for fewer than two seeds. */
  readonly loss95: Interval | null;
  readonly missing: number;
}

/** @throws ConfigError if a prediction was changed */
export async function predictionOutcome(
  folder: string,
  plan: ScalePlan,
  compute: number,
): Promise<PredictionOutcome> {
  const { prediction } = await readPrediction(folder, compute);
  const { outcomes, missing } = await outcomesOf(folder, plan, prediction.chains);
  const losses = outcomes.flatMap(({ bitsPerByte }) => bitsPerByte ?? []);
  return {
    ...{ prediction, losses, missing },
    error: losses.length === 0 ? null : mean(losses) / prediction.loss - 1,
    loss95: losses.length < 2 ? null : meanInterval(losses),
  };
}
