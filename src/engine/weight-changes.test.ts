/** What an engine does when its model's weights change: nothing computed with the old ones is used again. */
import { describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import type { TokenModel } from "../models/token-model.ts";
import { DisposedError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { doubles } from "../tensor/testing.ts";
import { ModelSource } from "./conversation.ts";
import { Engine } from "./engine.ts";
import { EngineFailedError } from "./engine-options.ts";
import { generate } from "./generate.ts";
import type { Generation } from "./generation.ts";
import { FakeModel } from "./testing-model.ts";
import type { GeneratedToken } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of tokens) ids.push(id);
  return ids;
}

const promptOf = (length: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length }, () => random.int(61));
};

/** A model, and a change of all that it computes. */
function fake(): [TokenModel, () => void] {
  const model = new FakeModel(createReferenceDevice());
  return [model, () => void (model.weight += 11)];
}

function v3(): [TokenModel, () => void] {
  const model = createModel(tinyConfigs.v3, createReferenceDevice(), { seed: 4, std: 0.3 });
  const embedding = doubles(model.parameters.get("model.embed_tokens.weight"));
  return [model, () => embedding.set(embedding.map((value, i) => (i % 3 === 0 ? value : -value)))];
}

/** What `body` returns at the first pass at which that is not null; steps may follow each other in one turn. */
function duringPass<T>(model: TokenModel, body: () => T | null): Promise<T> {
  const { hidden } = model;
  return new Promise((resolve) => {
    model.hidden = (...given) => {
      const result = body();
      if (result !== null) {
        model.hidden = hidden;
        resolve(result);
      }
      return hidden.apply(model, given);
    };
  });
}

describe.each([
  ["fake", fake],
  ["v3", v3],
] as const)("a change of the weights (%s)", (_, make) => {
  const options = { maxTokens: 24, stopIds: [] };

  it("frees stored prefixes, and running requests go on with the new weights", async () => {
    const [model, change] = make();
    const alone = (prompt: number[], maxTokens = 24) =>
      collect(generate(model, prompt, { ...options, maxTokens }));
    await alone(promptOf(100, 1));
    const before = model.device.backend.memory().buffers;
    const prompts = [1, 2, 3].map((seed) => promptOf(30, seed));
    const old = await Promise.all(prompts.map((prompt) => alone(prompt)));
    {
      await using engine = new Engine(model, { prefillChunk: 8, maxBatch: 2 });
      const stored = promptOf(40, 7);
      const first = await collect(engine.submit({ prompt: stored, ...options }));
      let made: number[] = [];
      const changeWeights = async () => {
        await yieldToEventLoop();
        const { running, cacheTokens } = engine.metrics();
        expect({ running, cacheTokens }).toEqual({ running: 0, cacheTokens: 0 });
        // No step runs meanwhile.
        made = generations.map(({ stats }) => stats.generatedTokens);
        for (let i = 0; i < 5; i++) await yieldToEventLoop();
        expect(generations.map(({ stats }) => stats.generatedTokens)).toEqual(made);
        change();
      };
      const changed = duringPass(model, () =>
        generations[0].stats.generatedTokens < 5 ? null : engine.changeWeights(changeWeights),
      );
      const generations = prompts.map((prompt, i) =>
        engine.submit({ prompt, ...options, speculative: i === 1 }),
      );
      const outputs = generations.map(collect);
      await changed;
      expect(made[0]).toBeGreaterThanOrEqual(5);
      expect(made[0]).toBeLessThan(24);
      expect(made[2]).toBe(0);
      for (const [i, prompt] of prompts.entries()) {
        const output = await outputs[i];
        const kept = old[i].slice(0, made[i]);
        expect(output).toEqual([...kept, ...(await alone([...prompt, ...kept], 24 - made[i]))]);
        expect(output).not.toEqual(old[i]);
        expect(generations[i].stats).toMatchObject({ generatedTokens: 24, weightChanges: i < 2 ? 1 : 0 });
      }
      const again = engine.submit({ prompt: stored, ...options, reusePrefix: true });
      expect(await collect(again)).toEqual(await alone(stored));
      expect(again.stats.cachedTokens).toBe(0);
      expect(await alone(stored)).not.toEqual(first);
    }
    expect(model.device.backend.memory().buffers).toBe(before);
  });

  it("scores a prompt anew that is being read", async () => {
    const [model, change] = make();
    await using engine = new Engine(model, { prefillChunk: 4 });
    const request = { prompt: promptOf(30, 5), maxTokens: 0, promptLogprobs: true };
    let scored = 0;
    const changed = duringPass(model, () => {
      scored = scoring.promptScores.length;
      return scored < 8 ? null : engine.changeWeights(change);
    });
    const scoring = engine.submit(request);
    await changed;
    expect(scored).toBe(8);
    await collect(scoring);
    const after = engine.submit(request);
    await collect(after);
    expect(scoring.promptScores).toEqual(after.promptScores);
    expect(scoring.stats.weightChanges).toBe(0);
  });

  it("is made known to a conversation's cache by clearing it", async () => {
    const [model, change] = make();
    using source = new ModelSource(model);
    const run = async () => {
      const { tokens, stats } = source.generate(promptOf(20, 3), options);
      return { ids: await collect(tokens), cached: stats().cachedTokens };
    };
    const before = await run();
    expect((await run()).cached).toBe(19);
    change();
    source.clearCache();
    const after = await run();
    expect(after).toEqual({ ids: await collect(generate(model, promptOf(20, 3), options)), cached: 0 });
    expect(after.ids).not.toEqual(before.ids);
  });

  it("goes on where a change fails, and refuses changes when it is beyond use", async () => {
    const [model] = make();
    const engine = new Engine(model);
    const expected = await collect(generate(model, [1, 2], options));
    const running: Generation = engine.submit({ prompt: [1, 2], ...options });
    await running.next();
    const failing = engine.changeWeights(() => {
      throw new Error("no such file");
    });
    const next = engine.changeWeights(() => {});
    await expect(failing).rejects.toThrow("no such file");
    await next;
    expect(await collect(running)).toEqual(expected.slice(1));
    expect(running.stats.weightChanges).toBe(2);
    // One that waits when the engine is closed, and one after.
    const late = engine.changeWeights(() => {});
    const closing = engine[Symbol.asyncDispose]();
    await expect(late).rejects.toBeInstanceOf(DisposedError);
    await closing;
    expect(() => engine.changeWeights(() => {})).toThrow(DisposedError);
    const broken = new Engine(model);
    model.hidden = () => {
      throw new Error("no more memory");
    };
    await expect(collect(broken.submit({ prompt: [1], maxTokens: 2 }))).rejects.toThrow("no more memory");
    expect(() => broken.changeWeights(() => {})).toThrow(EngineFailedError);
  });
});
