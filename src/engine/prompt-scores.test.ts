import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../models/causal-lm.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { Engine } from "./engine.ts";
import type { EngineRequest } from "./job.ts";
import { contentsOf } from "./prompt.ts";
import { PromptScores, rowsOfLogits } from "./prompt-scores.ts";
import { LogitsError } from "./sampling.ts";
import { smallV3 } from "./testing.ts";
import { logProbability } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

const random = new Random(8);
const promptOf = (length: number) => Array.from({ length }, () => random.int(30));

describe("scores of prompts", () => {
  let device: Device;
  let model: CausalLM;
  let before: number;
  beforeAll(async () => {
    device = createReferenceDevice();
    model = smallV3(device);
    // Rotary tables stay.
    await wanted(promptOf(120));
    before = device.backend.memory().buffers;
  });
  afterAll(() => model[Symbol.dispose]());

  /** What one pass over the whole prompt says of tokens 1 to n - 1, the vocabulary being 30 of 32 rows. */
  async function wanted(prompt: readonly number[]): Promise<number[]> {
    using output = device.inference(() => {
      const hidden = model.hidden(model.ids([prompt]));
      return model.logits(hidden.view([prompt.length, hidden.shape[2]]));
    });
    const rows = await rowsOfLogits(output);
    return prompt.slice(1).map((id, i) => logProbability(rows[i], id, 30));
  }

  async function run(engine: Engine, request: EngineRequest) {
    const generation = engine.submit(request);
    const ids: number[] = [];
    for await (const { id } of generation) ids.push(id);
    return { ids, scores: generation.promptScores, stats: generation.stats };
  }

  it("are the model's, however the prompt is cut, and whatever is cached", async () => {
    for (const prefillChunk of [3, 8, 512]) {
      await using engine = new Engine(model, { prefillChunk, vocabularySize: 30 });
      const prompt = promptOf(40);
      const expected = await wanted(prompt);
      for (const maxTokens of [0, 1, 5]) {
        const { ids, scores, stats } = await run(engine, {
          prompt,
          maxTokens,
          stopIds: [],
          promptLogprobs: 3,
        });
        expect(ids).toHaveLength(maxTokens);
        expect(stats).toMatchObject({ cachedTokens: 0, generatedTokens: maxTokens, stopReason: "length" });
        expect(scores.map(({ id }) => id)).toEqual(prompt.slice(1));
        scores.forEach(({ logprob, top }, i) => {
          expect(logprob).toBeCloseTo(expected[i], 5);
          expect(top).toHaveLength(3);
          expect(top![0].logprob).toBeGreaterThanOrEqual(logprob!);
        });
      }
      // What was read for a score serves others.
      const next = await run(engine, { prompt: [...prompt, 1], maxTokens: 1, promptLogprobs: false });
      expect(next.stats.cachedTokens).toBeGreaterThan(30);
      expect(next.scores).toEqual([]);
    }
  });

  it("come beside other requests, with drafts and without, and after a loss of the cache", async () => {
    await using engine = new Engine(model, { prefillChunk: 8, cacheTokens: 100, vocabularySize: 30 });
    const prompts = Array.from({ length: 6 }, () => promptOf(20));
    const expected = await Promise.all(prompts.map(wanted));
    const outputs = prompts.map((prompt, i) =>
      run(engine, { prompt, maxTokens: 30, stopIds: [], promptLogprobs: true, speculative: i % 2 === 0 }),
    );
    for (const [i, { ids, scores }] of (await Promise.all(outputs)).entries()) {
      expect(ids).toHaveLength(30);
      expect(scores).toHaveLength(19);
      scores.forEach(({ logprob, top }, j) => {
        expect(top).toBeUndefined();
        expect(logprob).toBeCloseTo(expected[i][j], 5);
      });
    }
    expect(engine.metrics().preemptions).toBeGreaterThan(0);
  });

  it("hold no memory, also where their request is canceled", async () => {
    {
      await using engine = new Engine(model, { prefillChunk: 4 });
      const request = { prompt: promptOf(60), maxTokens: 3, promptLogprobs: 1 };
      const generation = engine.submit(request);
      await yieldToEventLoop();
      await yieldToEventLoop();
      generation.cancel();
      await run(engine, request);
    }
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("of a prompt of one token are none", async () => {
    await using engine = new Engine(model);
    const { scores, ids } = await run(engine, { prompt: [3], maxTokens: 0, promptLogprobs: 2 });
    expect({ scores, ids }).toEqual({ scores: [], ids: [] });
    // Nothing to read and nothing to write.
    expect((await run(engine, { prompt: [3, 4], maxTokens: 0 })).stats.stopReason).toBe("length");
  });

  it("of continuations are the model's, and what continuations follow is read once", async () => {
    const context = promptOf(50);
    const continuations = [promptOf(1), promptOf(7), promptOf(2), promptOf(1), promptOf(30)];
    for (const prefillChunk of [8, 512]) {
      await using engine = new Engine(model, { prefillChunk, vocabularySize: 30 });
      const runs = continuations.map((continuation) =>
        run(engine, { prompt: context, continuation, maxTokens: 0, promptLogprobs: 1 }),
      );
      for (const [i, { ids, scores, stats }] of (await Promise.all(runs)).entries()) {
        const continuation = continuations[i];
        const expected = (await wanted([...context, ...continuation])).slice(context.length - 1);
        expect(ids).toEqual([]);
        expect(scores.map(({ id }) => id)).toEqual(continuation);
        scores.forEach(({ logprob, top }, j) => {
          expect(logprob).toBeCloseTo(expected[j], 5);
          expect(top![0].logprob).toBeGreaterThanOrEqual(logprob!);
        });
        // The last token of the context is read for each: its row scores the first one of the continuation.
        expect(stats.cachedTokens).toBe(i === 0 ? 0 : context.length - 1);
      }
      const all = continuations.reduce((sum, { length }) => sum + length, 0);
      expect(engine.metrics().batchRows).toBe(context.length - 1 + all);
    }
  });

  it("of continuations come behind a single token too", async () => {
    await using engine = new Engine(model, { vocabularySize: 30 });
    for (const continuation of [promptOf(1), promptOf(9)]) {
      const { scores } = await run(engine, { prompt: [3], continuation, maxTokens: 0 });
      const expected = await wanted([3, ...continuation]);
      expect(scores.map(({ id }) => id)).toEqual(continuation);
      for (const [i, { logprob }] of scores.entries()) expect(logprob).toBeCloseTo(expected[i], 5);
    }
  });

  it("of continuations fill the context to its last token, after a loss of the cache too", async () => {
    using short = smallV3(device, { maxPositions: 40 });
    await using engine = new Engine(short, { prefillChunk: 8, cacheTokens: 70, vocabularySize: 30 });
    const prompts = Array.from({ length: 4 }, () => promptOf(41));
    const runs = prompts.map((tokens) =>
      run(engine, { prompt: tokens.slice(0, 20), continuation: tokens.slice(20), maxTokens: 0 }),
    );
    for (const { scores, stats } of await Promise.all(runs)) {
      expect(scores).toHaveLength(21);
      expect(scores.every(({ top }) => top === undefined)).toBe(true);
      expect(stats.stopReason).toBe("length");
    }
    const ask = (more: Partial<EngineRequest>) =>
      engine.submit({ prompt: promptOf(20), continuation: promptOf(21), maxTokens: 0, ...more });
    expect(() => ask({ continuation: promptOf(22) })).toThrow(/exceed the model's context.*20 \+ 22/s);
    expect(() => ask({ continuation: [32] })).toThrow(/vocabulary.*32/s);
    expect(() => ask({ maxTokens: 1 })).toThrow(/nothing else.*maxTokens/s);
    expect(() => ask({ speculative: true })).toThrow(/speculative/);
    expect(() => ask({ promptExperts: true })).toThrow(/promptExperts/);
  });

  it("are refused where the model gives no numbers, without harm to others", async () => {
    using damaged = smallV3(device, { seed: 2 });
    const { hiddenSize } = damaged.config;
    const row = new Float32Array(hiddenSize).fill(Number.NaN);
    damaged.parameters.group("model.embed_tokens.weight").tensor.set(row, 31 * hiddenSize);
    await using engine = new Engine(damaged, { prefillChunk: 4 });
    const failing = run(engine, { prompt: [1, 2, 31, 3, 4, 5], maxTokens: 2, promptLogprobs: 1 });
    const other = run(engine, { prompt: [1, 2, 3, 4, 5, 6], maxTokens: 2, stopIds: [], promptLogprobs: 1 });
    await expect(failing).rejects.toBeInstanceOf(LogitsError);
    expect((await other).scores).toHaveLength(5);
  });
});

it("knows which rows of a pass are due", () => {
  const scores = new PromptScores(contentsOf([1, 2, 3, 4, 5]), 0, 9);
  expect(scores.due(0, 2)).toEqual({ first: 0, rows: 2 });
  expect(scores.due(0, 5)).toEqual({ first: 0, rows: 4 });
  scores.scores.push({ id: 2 }, { id: 3 });
  expect(scores.due(0, 3)).toEqual({ first: 2, rows: 1 });
  expect(scores.due(0, 2).rows).toBe(0);
  expect(scores.complete).toBe(false);
  scores.scores.push({ id: 4 }, { id: 5 });
  expect(scores.due(0, 5).rows).toBe(0);
  expect(scores.complete).toBe(true);
});
