/** What runs of a sweep came to: a file for each, read from the run's own log, kept with the settings that it had. */
import { join } from "node:path";
import { makeFolders } from "../files/temporary.ts";
import { readTextFile, readTextIfThere } from "../files/text-file.ts";
import { writeText } from "../runs/json-file.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import type { Chain, ChainRun, Stage } from "./chains.ts";
import { openSealed, sealedText } from "./sealed.ts";

/** The settings that a result stands for. */
export interface RunSettings {
  readonly stage: Stage;
  readonly rung: string;
  readonly seed: number;
  /** C that was planned. */
  readonly compute: number;
  readonly flopsPerToken: number;
  readonly learningRate: number;
  readonly batchTokens: number;
  readonly warmupSteps: number;
  readonly steps: number;
}

export interface RunOutcome extends RunSettings {
  readonly tokens: number;
  /** C that was spent. */
  readonly spent: number;
  /** Held-out bits per byte; null if training diverged. */
  readonly bitsPerByte: number | null;
  /** Nats per token; null if training diverged. */
  readonly loss: number | null;
  readonly heldOutTokens: number;
  /** Of this run's own steps, without those that it shares. */
  readonly seconds: number;
}

export function settingsOf(chain: Chain, { stage, compute, steps }: ChainRun, length: number): RunSettings {
  const { rung, seed, learningRate, batch, warmupSteps } = chain;
  return {
    ...{ stage, rung: rung.name, seed, compute, flopsPerToken: rung.flopsPerToken, learningRate },
    ...{ batchTokens: batch * length, warmupSteps, steps },
  };
}

const pathOf = (folder: string, name: string) => join(folder, "results", `${name}.json`);

/**
 * The outcome of a run; null if there is none yet.
 * @throws ConfigError if it was run with other settings, FormatError if the file is damaged
 */
export async function readOutcome(
  folder: string,
  name: string,
  settings: RunSettings,
): Promise<RunOutcome | null> {
  const path = pathOf(folder, name);
  const text = await readTextIfThere(path);
  if (text === null) return null;
  const outcome = openSealed<RunOutcome>(text, path, "Delete it: the run gives it again.");
  for (const key of Object.keys(settings) as (keyof RunSettings)[]) {
    if (outcome[key] === settings[key]) continue;
    throw new ConfigError("the plan has changed since this run", {
      ...{ where: path, name: key, expected: settings[key], found: outcome[key] },
      hint: "Plan a new sweep in another folder: runs under different settings do not belong into one fit.",
    });
  }
  return outcome;
}

export async function writeOutcome(folder: string, name: string, outcome: RunOutcome): Promise<void> {
  await makeFolders(join(folder, "results"));
  await writeText(pathOf(folder, name), sealedText(outcome));
}

/** The last evaluation of a finished run and the seconds of its steps, from its log. @throws FormatError */
export async function outcomeOf(runFolder: string, settings: RunSettings): Promise<RunOutcome> {
  const path = join(runFolder, "metrics.jsonl");
  const { steps, batchTokens, flopsPerToken } = settings;
  let seconds = 0;
  let last: { loss: number; tokens: number; bitsPerByte: number } | null = null;
  for (const line of (await readTextFile(path)).split("\n")) {
    if (line === "") continue;
    const record = JSON.parse(line);
    if (record.kind === "step") seconds += batchTokens / record.speed;
    else if (record.kind === "evaluation" && record.step === steps) last = record;
  }
  if (last === null) {
    throw new FormatError("no evaluation after the last step", {
      ...{ where: path, expected: `one after step ${steps}` },
      hint: "Delete the run's folder and run the sweep again.",
    });
  }
  const tokens = steps * batchTokens;
  return {
    ...settings,
    ...{ tokens, spent: tokens * flopsPerToken, bitsPerByte: last.bitsPerByte, loss: last.loss },
    ...{ heldOutTokens: last.tokens, seconds },
  };
}

/** The outcome of a run whose figures were not finite. */
export function divergedOutcome(settings: RunSettings): RunOutcome {
  const tokens = settings.steps * settings.batchTokens;
  const spent = tokens * settings.flopsPerToken;
  return { ...settings, tokens, spent, bitsPerByte: null, loss: null, heldOutTokens: 0, seconds: 0 };
}
