/**
 * Groups of completions from an engine, which reads each prompt once for all its samples. All requests of a wave are made before
 * any of them ends, so that what an engine without other guests samples depends on seeds alone, never on the time that rewards
 * take.
 */
import type { Engine } from "../../engine/engine.ts";
import { QueueFullError } from "../../engine/engine-options.ts";
import type { Generation } from "../../engine/generation.ts";
import type { EngineRequest } from "../../engine/job.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Random } from "../../tensor/random.ts";
import type { PolicyPrompt } from "./prompts.ts";

export interface SamplingSettings {
  /** Completions of a prompt. */
  readonly samples: number;
  /** Most tokens of a completion. */
  readonly maxTokens: number;
  readonly temperature: number;
  /** Tokens that end a completion, and belong to it. */
  readonly stopIds: readonly number[];
  /** Tokens that exist; default: those of the engine. */
  readonly vocabularySize?: number;
}

export interface SampledCompletion {
  readonly ids: readonly number[];
  /** Whether it ended at the limit of tokens. */
  readonly truncated: boolean;
}

export interface SampledGroup<Row> {
  readonly prompt: PolicyPrompt<Row>;
  readonly completions: readonly SampledCompletion[];
}

/**
 * Samples a group for each prompt; `onGroup` gets every group when it is complete, in any order, and its work goes on while
 * others are sampled. Seeds are drawn from `random` in the order of prompts. What fails or is aborted ends all of it.
 * @throws ConfigError if the engine cannot queue a group
 */
export async function sampleGroups<Row, T>(
  engine: Engine,
  prompts: readonly PolicyPrompt<Row>[],
  settings: SamplingSettings,
  random: Random,
  onGroup: (group: SampledGroup<Row>, signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T[]> {
  const { samples } = settings;
  if (samples > engine.maxQueue) {
    throw new ConfigError("a group does not fit the engine's queue", {
      ...{ where: "sampleGroups", name: "samples" },
      ...{ expected: `at most maxQueue = ${engine.maxQueue}`, found: samples },
    });
  }
  const wave = Math.floor(engine.maxQueue / samples);
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const results: T[] = [];
  for (let begin = 0; begin < prompts.length; begin += wave) {
    const part = prompts.slice(begin, begin + wave);
    signal.throwIfAborted();
    const groups = part.map((prompt) => ({
      prompt,
      completions: Array.from({ length: samples }, () =>
        complete(engine, prompt, settings, random.u32(), stop),
      ),
    }));
    const works = groups.map(async ({ prompt, completions }) => {
      try {
        const done = await Promise.all(completions);
        stop.throwIfAborted();
        return await onGroup({ prompt, completions: done }, stop);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    const settled = await Promise.allSettled(works);
    signal.throwIfAborted();
    // The first fault, not what others threw because of it.
    if (failed.signal.aborted) throw failed.signal.reason;
    for (const each of settled) if (each.status === "fulfilled") results.push(each.value);
  }
  return results;
}

/** How long to wait for a place that others have in the queue. */
const BUSY_MS = 20;

/** Submits as soon as the queue has room, at once if nobody else uses the engine; null if the signal is aborted before. */
async function submit(engine: Engine, request: EngineRequest): Promise<Generation | null> {
  while (!request.signal?.aborted) {
    try {
      return engine.submit(request);
    } catch (error) {
      if (!(error instanceof QueueFullError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
  }
  return null;
}

async function complete(
  engine: Engine,
  { ids: prompt }: PolicyPrompt,
  { maxTokens, temperature, stopIds, vocabularySize }: SamplingSettings,
  seed: number,
  signal: AbortSignal,
): Promise<SampledCompletion> {
  const generation = await submit(engine, {
    ...{ prompt, maxTokens, temperature, stopIds, seed, signal },
    ...(vocabularySize !== undefined && { vocabularySize }),
  });
  const ids: number[] = [];
  for await (const { id } of generation ?? []) ids.push(id);
  return { ids, truncated: !stopIds.includes(ids[ids.length - 1]) };
}
