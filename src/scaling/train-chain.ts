/**
 * Trains a chain: the trunk up to a run's first drop, that run from the trunk's state to its end, the trunk on to the next one. Killed at
 * any moment it goes on where it was; two processes never train the same run, since each run has its lock.
 */
import { join, relative } from "node:path";
import { removeOwnFolder } from "../files/owned.ts";
import { isTaken } from "../files/temporary.ts";
import { createLinkedRun, extendRun } from "../runs/linked-run.ts";
import { Run } from "../runs/run.ts";
import { RunStates } from "../runs/states.ts";
import { NotFiniteError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import type { StepMetrics } from "../train/trainer.ts";
import { type Chain, type ChainRun, chainConfig, trunkSteps } from "./chains.ts";
import type { ScalePlan } from "./plan.ts";
import {
  divergedOutcome,
  outcomeOf,
  type RunOutcome,
  readOutcome,
  settingsOf,
  writeOutcome,
} from "./results.ts";

export type ChainEvent =
  | {
      readonly type: "step";
      readonly run: string;
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
    }
  | { readonly type: "outcome"; readonly run: string; readonly outcome: RunOutcome; readonly fresh: boolean };

const runFolder = (folder: string, name: string) => join(folder, "runs", name);
const statesOf = (run: string) => new RunStates(join(run, "checkpoints"));

/** Milliseconds between two events of one training. */
const EVENT_MS = 500;

/**
 * Trains what is left of a chain. @param folder the sweep's @returns outcomes of its runs in their order
 * @throws ConfigError, FormatError, the signal's reason: then what is trained is saved
 */
export async function trainChain(
  device: Device,
  plan: ScalePlan,
  folder: string,
  chain: Chain,
  emit: (event: ChainEvent) => void,
  signal?: AbortSignal,
): Promise<RunOutcome[]> {
  const { sequenceLength } = plan.settings.run.training;
  const outcomes: RunOutcome[] = [];
  for (const run of chain.runs) {
    signal?.throwIfAborted();
    const settings = settingsOf(chain, run, sequenceLength);
    let outcome = await readOutcome(folder, run.name, settings);
    const fresh = outcome === null;
    if (outcome === null) {
      // Where the trunk diverged, each longer run finds that from its last saved state; one that diverged behind it ends alone.
      const ended = await trainRun(device, plan, folder, chain, run, emit, signal);
      outcome = ended ? await outcomeOf(runFolder(folder, run.name), settings) : divergedOutcome(settings);
      await writeOutcome(folder, run.name, outcome);
      // Nothing continues from a finished run; its model stays.
      const states = statesOf(runFolder(folder, run.name));
      for (const step of await states.steps()) await removeOwnFolder(states.path(step));
    }
    outcomes.push(outcome);
    emit({ type: "outcome", run: run.name, outcome, fresh });
  }
  return outcomes;
}

/** @returns false if training diverged */
async function trainRun(
  device: Device,
  plan: ScalePlan,
  folder: string,
  chain: Chain,
  run: ChainRun,
  emit: (event: ChainEvent) => void,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const own = runFolder(folder, run.name);
  const train = (path: string, steps: number) =>
    trainFolder(device, path, signal, (step, loss) =>
      emit({ type: "step", run: run.name, step, steps, loss }),
    );
  try {
    if (!(await isTaken(join(own, "run.json")))) {
      const start = chain.runs.length === 1 ? null : await trunkState(plan, folder, chain, run, train);
      const prepared = relative(own, join(folder, "prepared"));
      const links = { prepared, ...(start !== null && { start: relative(own, start) }) };
      await createLinkedRun(own, chainConfig(plan.settings.run, chain, run.steps), links, plan.source);
    }
    await train(own, run.steps);
    return true;
  } catch (error) {
    if (error instanceof NotFiniteError) return false;
    throw error;
  }
}

/** The trunk's state at a run's first drop; null if the trunk is beyond it: the run then makes all its steps, to the same bits. */
async function trunkState(
  plan: ScalePlan,
  folder: string,
  chain: Chain,
  run: ChainRun,
  train: (path: string, steps: number) => Promise<unknown>,
): Promise<string | null> {
  const steps = trunkSteps(run);
  if (steps === 0) return null;
  const trunk = runFolder(folder, `trunk-${chain.name}`);
  const states = statesOf(trunk);
  if (!(await isTaken(join(trunk, "run.json")))) {
    const prepared = relative(trunk, join(folder, "prepared"));
    await createLinkedRun(
      trunk,
      chainConfig(plan.settings.run, chain, null, steps),
      { prepared },
      plan.source,
    );
  }
  const reached = (await states.steps()).at(-1) ?? 0;
  if (reached > steps) return null;
  if (reached < steps) {
    await extendRun(trunk, steps);
    await train(trunk, steps);
  }
  return states.path(steps);
}

/** Trains a run's folder to its end. @throws the signal's reason */
async function trainFolder(
  device: Device,
  path: string,
  signal: AbortSignal | undefined,
  onStep: (step: number, loss: number) => void,
): Promise<void> {
  let told = 0;
  await using run = await Run.open(path, device);
  const onEachStep = ({ step, loss }: StepMetrics) => {
    if (performance.now() - told < EVENT_MS) return;
    told = performance.now();
    onStep(step, loss);
  };
  const { finished } = await run.train({ onStep: onEachStep }, signal);
  if (!finished) signal?.throwIfAborted();
}
