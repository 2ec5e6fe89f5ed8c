/** Requests that begin alike and come together: one reads what they have in common, and all get what they get alone. */
import { beforeAll, describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import type { TokenModel } from "../models/token-model.ts";
import type { CacheDtype } from "../nn/cache.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { Engine } from "./engine.ts";
import { generate } from "./generate.ts";
import type { Generation } from "./generation.ts";
import type { EngineRequest } from "./job.ts";
import { FakeModel } from "./testing-model.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

async function collect(generation: Generation): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of generation) ids.push(id);
  return ids;
}

async function alone(model: TokenModel, request: EngineRequest, prefillChunk: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of generate(model, request.prompt, { ...request, prefillChunk })) ids.push(id);
  return ids;
}

const promptOf = (random: Random, length: number, vocabulary: number) =>
  Array.from({ length }, () => random.int(vocabulary));

/** Calls `body` within pass number `pass` from now on; several may follow each other in one turn of the event loop. */
function during<T>(model: TokenModel, pass: number, body: () => T): Promise<T> {
  const { hidden } = model;
  let left = pass;
  return new Promise((resolve) => {
    model.hidden = (...given) => {
      if (--left === 0) {
        model.hidden = hidden;
        resolve(body());
      }
      return hidden.apply(model, given);
    };
  });
}

describe("samples of one prompt on the CPU", () => {
  let device: Device;
  beforeAll(async () => {
    device = await cpuDevice(1, true);
  });
  const names = Object.keys(tinyConfigs) as (keyof typeof tinyConfigs)[];

  // The last token of this prompt is a piece of its own alone too, and with at most eight rows float weights give every
  // row the bits it has alone.
  it.each(names)("read it once and get the tokens of single runs (%s)", async (name) => {
    using model = createModel(tinyConfigs[name], device, { seed: 4, std: 0.3 });
    const prompt = promptOf(new Random(5), 33, model.config.vocabSize);
    for (const speculative of model.config.mtpLayers > 0 ? [false, true] : [false]) {
      const wanted = [1, 2, 3, 4].map((seed) => {
        return { prompt, maxTokens: 8, stopIds: [], temperature: 1, seed, speculative };
      });
      const expected: number[][] = [];
      for (const request of wanted) expected.push(await alone(model, request, 8));
      await using engine = new Engine(model, { prefillChunk: 8 });
      const generations = wanted.map((request) => engine.submit(request));
      expect(await Promise.all(generations.map(collect))).toEqual(expected);
      expect(generations.map(({ stats }) => stats.cachedTokens)).toEqual([0, 32, 32, 32]);
      const { promptTokens, cachedPromptTokens } = engine.metrics();
      expect([promptTokens, cachedPromptTokens]).toEqual([4 * 33, 3 * 32]);
    }
  });

  it.each(["bf16", "f16"] as CacheDtype[])("do so over caches in %s", async (cacheDtype) => {
    using model = createModel(tinyConfigs.v3, device, { seed: 4, std: 0.3 });
    const prompt = promptOf(new Random(6), 33, model.config.vocabSize);
    const wanted = [1, 2, 3, 4].map((seed) => {
      return { prompt, maxTokens: 8, stopIds: [], temperature: 1, seed };
    });
    const outputs = async (requests: readonly EngineRequest[]) => {
      await using engine = new Engine(model, { prefillChunk: 8, cacheDtype });
      return await Promise.all(requests.map((request) => collect(engine.submit(request))));
    };
    const expected: number[][] = [];
    for (const request of wanted) expected.push(...(await outputs([{ ...request, reusePrefix: false }])));
    expect(await outputs(wanted)).toEqual(expected);
  });
});

describe("requests that begin alike", () => {
  const device = createReferenceDevice();
  const model = new FakeModel(device);
  const options = { maxTokens: 6, stopIds: [] };

  it("start from what another is reading, as soon as it is there", async () => {
    const random = new Random(8);
    const prompt = promptOf(random, 100, 61);
    await using engine = new Engine(model, { prefillChunk: 8 });
    const first = engine.submit({ prompt, ...options });
    const fork = { prompt: [...prompt.slice(0, 60), 1, 2, 3], ...options };
    // What is one token longer waits for the fork.
    const longer = { prompt: [...prompt.slice(0, 60), ...promptOf(random, 30, 61)], ...options };
    const longest = { prompt: [...longer.prompt, 7], ...options };
    const wanted = [fork, longer, longest];
    const generations = await during(model, 3, () => wanted.map((request) => engine.submit(request)));
    const outputs = await Promise.all(generations.map(collect));
    for (const [i, request] of wanted.entries()) expect(outputs[i]).toEqual(await alone(model, request, 8));
    expect(generations.map(({ stats }) => stats.cachedTokens)).toEqual([60, 60, 90]);
    expect(await collect(first)).toEqual(await alone(model, { prompt, ...options }, 8));
  });

  it("read by themselves what is not worth the wait, or if they are told to", async () => {
    const prompt = promptOf(new Random(9), 40, 61);
    await using engine = new Engine(model, { prefillChunk: 8 });
    const wanted = [
      { prompt, ...options },
      { prompt: [...prompt.slice(0, 15), 1, 2], ...options },
      { prompt, ...options, reusePrefix: false },
      { prompt, ...options, promptLogprobs: true },
      // A prediction module needs states of its own, which none of the others makes.
      { prompt, ...options, speculative: true },
    ];
    const generations = wanted.map((request) => engine.submit(request));
    await Promise.all(generations.map(collect));
    expect(generations.map(({ stats }) => stats.cachedTokens)).toEqual([0, 0, 0, 0, 0]);
  });

  it("hold pages together, which count once", async () => {
    const before = device.backend.memory().buffers;
    const prompt = promptOf(new Random(11), 400, 61);
    for (const [reusePrefix, together] of [
      [true, 6],
      [false, 2],
    ] as const) {
      await using engine = new Engine(model, { cacheTokens: 1000 });
      const wanted = [1, 2, 3, 4, 5, 6].map((seed) => {
        return { prompt, maxTokens: 40, stopIds: [], temperature: 1, seed, reusePrefix };
      });
      const seen = { running: 0, tokens: 0 };
      const outputs = wanted.map(async (request) => {
        const ids: number[] = [];
        for await (const { id } of engine.submit(request)) {
          const { running, cacheTokens } = engine.metrics();
          seen.running = Math.max(seen.running, running);
          seen.tokens = Math.max(seen.tokens, cacheTokens);
          ids.push(id);
        }
        return ids;
      });
      for (const [i, output] of outputs.entries())
        expect(await output).toEqual(await alone(model, wanted[i], 512));
      expect(seen.running).toBe(together);
      expect(seen.tokens).toBeLessThanOrEqual(1000);
      expect(engine.metrics().preemptions).toBe(0);
    }
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("read on where the one that they wait for is canceled", async () => {
    const prompt = promptOf(new Random(10), 100, 61);
    await using engine = new Engine(model, { prefillChunk: 8 });
    const reader = engine.submit({ prompt, ...options });
    const waiting = [1, 2, 3].map((seed) => engine.submit({ prompt, ...options, temperature: 1, seed }));
    await during(model, 3, () => null);
    reader.cancel();
    waiting[0].cancel();
    for (const [i, generation] of waiting.slice(1).entries()) {
      const request = { prompt, ...options, temperature: 1, seed: i + 2 };
      expect(await collect(generation)).toEqual(await alone(model, request, 8));
    }
    // What three passes read is kept.
    expect(waiting.map(({ stats }) => stats.cachedTokens)).toEqual([0, 24, 99]);
  });

  it("get what they get alone, whatever comes, goes, is canceled or gives way", async () => {
    const before = device.backend.memory().buffers;
    let preemptions = 0;
    for (const seed of [1, 2, 3, 4]) {
      const random = new Random(seed, 3);
      const stems: number[][] = [promptOf(random, 200, 61)];
      // Each goes on from the beginning of an earlier one.
      for (let i = 0; i < 5; i++) {
        const stem = stems[random.int(stems.length)];
        stems.push([...stem.slice(0, 1 + random.int(stem.length)), ...promptOf(random, 20, 61)]);
      }
      const wanted = Array.from({ length: 40 }, (_, i) => ({
        prompt: [...stems[random.int(stems.length)], ...promptOf(random, random.int(3), 61)],
        maxTokens: 1 + random.int(150),
        stopIds: [],
        temperature: 1,
        seed: i,
        speculative: random.int(3) === 0,
        reusePrefix: random.int(5) > 0,
      }));
      {
        await using engine = new Engine(model, { prefillChunk: 8, maxBatch: 8, cacheTokens: 400 });
        const outputs: Promise<number[] | null>[] = [];
        for (const request of wanted) {
          const generation = engine.submit(request);
          outputs.push(collect(generation));
          for (let turns = seed > 2 ? 0 : random.int(4); turns > 0; turns--) await yieldToEventLoop();
          if (random.int(5) > 0) continue;
          generation.cancel();
          outputs[outputs.length - 1] = Promise.resolve(null);
        }
        for (const [i, output] of outputs.entries()) {
          const ids = await output;
          if (ids !== null) expect(ids).toEqual(await alone(model, wanted[i], 8));
        }
        const metrics = engine.metrics();
        expect(metrics).toMatchObject({ running: 0, waiting: 0 });
        expect(metrics.cacheTokens).toBeLessThanOrEqual(engine.cacheTokens);
        expect(metrics.cachedPromptTokens).toBeGreaterThan(200);
        preemptions += metrics.preemptions;
      }
      expect(device.backend.memory().buffers).toBe(before);
    }
    expect(preemptions).toBeGreaterThan(0);
  });
});
