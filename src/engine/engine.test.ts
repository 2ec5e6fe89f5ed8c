import { beforeAll, describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import type { TokenModel } from "../models/token-model.ts";
import { PAGE } from "../nn/page-pool.ts";
import { ConfigError, DisposedError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { TokenConstraint } from "./constraint.ts";
import { Engine } from "./engine.ts";
import { EngineFailedError, QueueFullError } from "./engine-options.ts";
import { generate } from "./generate.ts";
import type { Generation } from "./generation.ts";
import type { EngineRequest } from "./job.ts";
import { LogitsError } from "./sampling.ts";
import { smallV3 } from "./testing.ts";
import { FakeModel } from "./testing-model.ts";
import type { GeneratedToken } from "./token-sampler.ts";
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

function promptOf(random: Random, length: number, vocabulary: number): number[] {
  return Array.from({ length }, () => random.int(vocabulary));
}

/** Requests of many lengths and kinds. */
function requests(
  model: TokenModel,
  count: number,
  seed: number,
  longest = 40,
): (EngineRequest & { readonly prompt: number[] })[] {
  const random = new Random(seed);
  const { vocabSize, mtpLayers } = model.config;
  return Array.from({ length: count }, (_, i) => ({
    prompt: promptOf(random, 1 + random.int(longest), vocabSize),
    maxTokens: 1 + random.int(20),
    seed: i,
    stopIds: random.int(3) === 0 ? [random.int(vocabSize), random.int(vocabSize)] : [],
    temperature: [0, 0.7, 1.5][random.int(3)],
    topP: random.int(2) === 0 ? 1 : 0.9,
    repetitionPenalty: random.int(3) === 0 ? 1.2 : 1,
    presencePenalty: random.int(3) === 0 ? 0.5 : 0,
    speculative: mtpLayers > 0 && random.int(2) === 0,
  }));
}

/** Submits at random moments; the outputs in the order of the requests. */
async function serve(engine: Engine, wanted: readonly EngineRequest[], seed: number): Promise<number[][]> {
  const random = new Random(seed, 1);
  const outputs: Promise<number[]>[] = [];
  for (const request of wanted) {
    outputs.push(collect(engine.submit(request)));
    for (let turns = random.int(8); turns > 0; turns--) await yieldToEventLoop();
  }
  return Promise.all(outputs);
}

// What the engine decides is tested with the fake; the others bring the caches of both kinds of attention.
describe.each(["fake", "llama", "v3"] as const)("%s in double precision", (name) => {
  const device = createReferenceDevice();
  const model: TokenModel =
    name === "fake" ? new FakeModel(device) : createModel(tinyConfigs[name], device, { seed: 4, std: 0.3 });
  const settings = [
    [1, 4, 8],
    [2, 16, 16],
    [3, 1, 512],
  ];

  it("gives every request what it gets alone, whatever other requests come and go", async () => {
    const before = device.backend.memory().buffers;
    for (const [seed, maxBatch, prefillChunk] of name === "fake" ? settings : settings.slice(0, 1)) {
      const wanted = requests(model, 14, seed);
      const expected: number[][] = [];
      for (const request of wanted) expected.push(await alone(model, request, prefillChunk));
      {
        await using engine = new Engine(model, { maxBatch, prefillChunk });
        expect(await serve(engine, wanted, seed)).toEqual(expected);
        const metrics = engine.metrics();
        expect(metrics).toMatchObject({
          running: 0,
          waiting: 0,
          generatedTokens: expected.flat().length,
          promptTokens: wanted.reduce((sum, { prompt }) => sum + prompt.length, 0),
          cachedPromptTokens: 0,
          preemptions: 0,
        });
        if (maxBatch > 1) expect(metrics.batchRows / metrics.steps).toBeGreaterThan(2);
        if (model.config.mtpLayers > 0) expect(metrics.draftedTokens).toBeGreaterThan(10);
        expect(metrics.cacheTokens).toBeGreaterThan(0);
        expect(metrics.cacheBytes).toBeGreaterThan(metrics.cacheTokens);
      }
      expect(device.backend.memory().buffers).toBeLessThanOrEqual(before + 2);
    }
  });

  it("finishes all within a budget too small for them together", async () => {
    const wanted = requests(model, 10, 9).map((request) => ({ ...request, maxTokens: 20 }));
    const expected: number[][] = [];
    for (const request of wanted) expected.push(await alone(model, request, 8));
    await using engine = new Engine(model, { maxBatch: 6, prefillChunk: 8, cacheTokens: 90 });
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, engine.metrics().cacheTokens);
    }, 0);
    expect(await serve(engine, wanted, 9)).toEqual(expected);
    clearInterval(watch);
    expect(most).toBeLessThanOrEqual(90);
    expect(engine.metrics().cacheTokens).toBeLessThanOrEqual(90);
  });

  it("lets the youngest give way where there is no room, and resumes them", async () => {
    const random = new Random(77);
    const { vocabSize, mtpLayers } = model.config;
    const wanted = Array.from({ length: 6 }, (_, i) => ({
      prompt: promptOf(random, 10, vocabSize),
      maxTokens: 22,
      stopIds: [],
      temperature: 0.8,
      seed: i,
      speculative: mtpLayers > 0 && i % 2 === 0,
    }));
    const expected: number[][] = [];
    for (const request of wanted) expected.push(await alone(model, request, 8));
    await using engine = new Engine(model, { maxBatch: 6, prefillChunk: 8, cacheTokens: 90 });
    const generations = wanted.map((request) => engine.submit(request));
    expect(await Promise.all(generations.map(collect))).toEqual(expected);
    const preemptions = generations.map(({ stats }) => stats.preemptions);
    expect(preemptions.reduce((sum, count) => sum + count, 0)).toBe(engine.metrics().preemptions);
    expect(engine.metrics().preemptions).toBeGreaterThan(1);
    // The oldest goes through, the youngest waits most.
    expect(preemptions[0]).toBe(0);
    expect(preemptions.at(-1)).toBe(Math.max(...preemptions));
    expect(engine.metrics().promptTokens).toBe(60);
    expect(generations.every(({ stats }) => stats.generatedTokens === 22)).toBe(true);
  });

  it("starts from what other sequences hold", async () => {
    await using engine = new Engine(model, { prefillChunk: 8 });
    const random = new Random(31);
    const { vocabSize, mtpLayers } = model.config;
    for (const speculative of mtpLayers > 0 ? [false, true] : [false]) {
      const prompt = promptOf(random, 50, vocabSize);
      const options = { maxTokens: 12, stopIds: [], speculative };
      const first = engine.submit({ prompt, ...options });
      const output = await collect(first);
      expect(first.stats.cachedTokens).toBe(0);
      // The next turn takes all of it over.
      const turn = { prompt: [...prompt, ...output, 3, 5], ...options };
      const second = engine.submit(turn);
      expect(await collect(second)).toEqual(await alone(model, turn, 8));
      // The module may not have seen the last states.
      expect(second.stats.cachedTokens).toBeGreaterThanOrEqual(speculative ? 58 : 61);
      // The same again: all but its last token.
      const again = engine.submit(turn);
      expect(await collect(again)).toEqual(await alone(model, turn, 8));
      expect(again.stats.cachedTokens).toBe(63);
      // Others that share a part, at once: copies, from the store and from each other.
      const forks = [1, 2, 3].map((id) => ({
        prompt: [...turn.prompt.slice(0, 20), id, id, id],
        ...options,
      }));
      const entries = engine.metrics().cacheTokens;
      const generations = forks.map((fork) => engine.submit(fork));
      for (const [i, generation] of generations.entries()) {
        expect(await collect(generation)).toEqual(await alone(model, forks[i], 8));
        // The module's state at a position depends on the token after it.
        expect(generation.stats.cachedTokens).toBe(speculative ? 19 : 20);
        const fresh = engine.submit({ ...forks[i], reusePrefix: false });
        await collect(fresh);
        expect(generation.stats.speculative).toEqual(fresh.stats.speculative);
      }
      expect(engine.metrics().cacheTokens).toBeGreaterThan(entries + 60);
      // Too short to be worth it.
      const short = engine.submit({ prompt: prompt.slice(0, 12), ...options });
      await collect(short);
      expect(short.stats.cachedTokens).toBe(0);
    }
    expect(engine.metrics().cachedPromptTokens).toBeGreaterThan(150);
  });
});

describe("the engine", () => {
  const device = createReferenceDevice();
  const model: TokenModel = new FakeModel(device);
  const before = 0;

  it("lets short requests through while a long prompt is read", async () => {
    await using engine = new Engine(model, { prefillChunk: 8, maxBatch: 4 });
    const running = engine.submit({ prompt: [1, 2, 3], maxTokens: 60, stopIds: [] });
    await running.next();
    const long = engine.submit({ prompt: promptOf(new Random(2), 100, 32), maxTokens: 2, stopIds: [] });
    const start = running.stats.generatedTokens;
    await long.next();
    // 13 pieces of prompt, and a token of the other beside each.
    expect(running.stats.generatedTokens - start).toBeGreaterThanOrEqual(12);
  });

  it("ends requests when they are canceled, wherever they are, and goes on with the others", async () => {
    {
      await using engine = new Engine(model, { maxBatch: 2, prefillChunk: 8 });
      const wanted = requests(model, 2, 5).map((request) => ({ ...request, maxTokens: 25, stopIds: [] }));
      const expected: number[][] = [];
      for (const request of wanted) expected.push(await alone(model, request, 8));
      const endless = { prompt: promptOf(new Random(3), 60, 32), maxTokens: 2000, stopIds: [] };
      const controller = new AbortController();
      const waiting = engine.submit({ ...endless, signal: controller.signal });
      const never = engine.submit({ ...endless, signal: AbortSignal.abort() });
      expect(never.ended).toBe(true);
      expect(await collect(never)).toEqual([]);
      expect(never.stats).toMatchObject({ stopReason: "aborted", generatedTokens: 0 });
      const decoding = engine.submit(endless);
      const queued = engine.submit(endless);
      const outputs = wanted.map((request) => collect(engine.submit(request)));
      expect(engine.metrics()).toMatchObject({ waiting: 5 });
      queued.cancel();
      expect(engine.metrics()).toMatchObject({ waiting: 4 });
      await yieldToEventLoop();
      controller.abort();
      expect(waiting.ended).toBe(true);
      let seen = 0;
      for await (const _ of decoding) if (++seen === 5) break;
      expect(decoding.stats.stopReason).toBe("aborted");
      expect(await Promise.all(outputs)).toEqual(expected);
      expect(await queued.next()).toEqual({ done: true, value: undefined });
      decoding.cancel();
      expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0 });
    }
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("frees everything when it is closed in the middle", async () => {
    for (const turns of [0, 1, 2, 5]) {
      const engine = new Engine(model, { prefillChunk: 8 });
      const generations = requests(model, 5, 6).map((request) =>
        // More than a fast machine generates in so few turns.
        engine.submit({ ...request, maxTokens: 3000, stopIds: [], speculative: true }),
      );
      for (let i = 0; i < turns; i++) await yieldToEventLoop();
      await engine[Symbol.asyncDispose]();
      expect(generations.every(({ ended, stats }) => ended && stats.stopReason === "aborted")).toBe(true);
      expect(device.backend.memory().buffers).toBe(before);
      expect(() => engine.submit({ prompt: [1], maxTokens: 1 })).toThrow(DisposedError);
    }
  });

  it("refuses more requests than may wait, with the counts", async () => {
    await using engine = new Engine(model, { maxBatch: 2, maxQueue: 3 });
    const request = { prompt: [1, 2], maxTokens: 4, stopIds: [] };
    const first = Array.from({ length: 5 }, () => engine.submit(request));
    const refused = () => engine.submit(request);
    expect(refused).toThrow(QueueFullError);
    expect(refused).toThrow(/at most 3 waiting/);
    await first[0].next();
    expect(engine.metrics()).toMatchObject({ running: 2, waiting: 3 });
    expect(refused).toThrow(QueueFullError);
    await Promise.all(first.map(collect));
    expect((await collect(engine.submit(request))).length).toBe(4);
  });

  it("refuses what cannot be run, with the numbers", async () => {
    await using engine = new Engine(model, { cacheTokens: 50 });
    const refused = (request: Partial<EngineRequest>, message: RegExp) =>
      expect(() => engine.submit({ prompt: [1], maxTokens: 4, ...request })).toThrow(message);
    refused({ maxTokens: 4096 }, /max_position_embeddings = 4096.*1 \+ 4096/);
    refused({ maxTokens: 50 }, /cacheTokens = 50.*1 \+ 50/);
    refused({ prompt: [] }, /prompt is empty/);
    refused({ prompt: [61] }, /0 to 60; found: 61/);
    refused({ logitBias: [[61, 1]] }, /logitBias/);
    refused({ logprobs: 1.5 }, /logprobs/);
    expect(() => new Engine(model, { maxBatch: 0 })).toThrow(ConfigError);
    expect(() => new Engine(model, { maxQueue: -1 })).toThrow(/maxQueue/);
    expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0, steps: 0 });
  });

  it("reports what was done and how probable it was", async () => {
    await using engine = new Engine(model, { vocabularySize: 20 });
    const generation = engine.submit({ prompt: [1, 2, 3], maxTokens: 5, stopIds: [], logprobs: 3 });
    const tokens: GeneratedToken[] = [];
    for await (const token of generation) tokens.push(token);
    for (const { id, logprob, top } of tokens) {
      expect(id).toBeLessThan(20);
      expect(top?.length).toBe(3);
      expect(top![0]).toEqual({ id, logprob });
      expect(top![1].logprob).toBeLessThanOrEqual(top![0].logprob);
    }
    const { queueMs, prefillMs, decodeMs, cacheBytes, ...rest } = generation.stats;
    expect(rest).toEqual({
      promptTokens: 3,
      cachedTokens: 0,
      generatedTokens: 5,
      preemptions: 0,
      weightChanges: 0,
      stopReason: "length",
    });
    for (const ms of [queueMs, prefillMs, decodeMs]) expect(ms).toBeGreaterThanOrEqual(0);
    // All tokens but the last were read.
    using cache = model.createCache(7);
    expect(cacheBytes).toBe((7 * cache.pool.pageBytes) / PAGE);
    const ids = tokens.map(({ id }) => id);
    const stopped = engine.submit({ prompt: [1, 2, 3], maxTokens: 5, stopIds: [ids[2]] });
    expect(await collect(stopped)).toEqual(ids.slice(0, ids.indexOf(ids[2]) + 1));
    expect(stopped.stats.stopReason).toBe("stop");
  });

  /** Lets only even tokens come, and the output end after `length` of them; fails at token `fails`. */
  function even(length: number, fails = Number.POSITIVE_INFINITY): TokenConstraint {
    let made = 0;
    return {
      mask: (logits) => {
        if (made === fails) throw new Error("broken constraint");
        for (let i = 1; i < logits.length; i += 2) logits[i] = Number.NEGATIVE_INFINITY;
      },
      accept: (id) => {
        expect(id % 2).toBe(0);
        made++;
      },
      get complete() {
        return made >= length;
      },
      get finished() {
        return made >= length;
      },
      clone: () => even(length - made, fails - made),
    };
  }

  it("keeps to constraints, and a broken one breaks nothing else", async () => {
    await using engine = new Engine(model);
    for (const speculative of [false, true]) {
      const base = { prompt: [7, 8, 9], stopIds: [], temperature: 1.5, seed: 4, speculative };
      const request = { ...base, maxTokens: 30 };
      const bound = engine.submit({ ...request, constraint: even(9) });
      const free = engine.submit(request);
      const broken = engine.submit({ ...request, constraint: even(9, 4) });
      const ids = await collect(bound);
      expect(ids.length).toBe(9);
      expect(bound.stats.stopReason).toBe("stop");
      expect(ids).toEqual(await alone(model, { ...request, constraint: even(9) }, 512));
      const partial: number[] = [];
      await expect(
        (async () => {
          for await (const { id } of broken) partial.push(id);
        })(),
      ).rejects.toThrow("broken constraint");
      expect(partial).toEqual(ids.slice(0, 4));
      expect(broken.stats).toMatchObject({ stopReason: "failed", generatedTokens: 4 });
      expect(await collect(free)).toEqual(await alone(model, request, 512));
    }
  });

  it("fails as a whole where the device fails, and says so to all", async () => {
    {
      await using engine = new Engine(model, { maxBatch: 2 });
      const generations = [1, 2, 3].map((id) =>
        engine.submit({ prompt: [id], maxTokens: 2000, stopIds: [], speculative: true }),
      );
      await generations[0].next();
      const { hidden } = model;
      model.hidden = () => {
        throw new Error("no more memory");
      };
      for (const generation of generations) {
        const failure = await collect(generation).then(
          () => null,
          (error: unknown) => error,
        );
        expect(failure).toBeInstanceOf(EngineFailedError);
        expect(String(failure)).toContain("no more memory");
      }
      model.hidden = hidden;
      expect(() => engine.submit({ prompt: [1], maxTokens: 1 })).toThrow(EngineFailedError);
      expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0, cacheTokens: 0, cacheBytes: 0 });
    }
    expect(device.backend.memory().buffers).toBe(before);
  });
});

describe("on the CPU", () => {
  let device: Device;
  beforeAll(async () => {
    device = await cpuDevice(1, true);
  });

  // At most eight rows in a pass: float weights then give every row the bits it has alone.
  it.each(Object.keys(tinyConfigs) as (keyof typeof tinyConfigs)[])(
    "gives the tokens of single runs (%s)",
    async (name) => {
      using model = createModel(tinyConfigs[name], device, { seed: 4, std: 0.3 });
      const wanted = requests(model, 20, 12, 8).map((request) => ({ ...request, speculative: false }));
      const expected: number[][] = [];
      for (const request of wanted) expected.push(await alone(model, request, 4));
      await using engine = new Engine(model, { maxBatch: 4, prefillChunk: 4 });
      expect(await serve(engine, wanted, 12)).toEqual(expected);
    },
  );

  it("fails the requests whose logits are not finite, and gives the others theirs", async () => {
    using model = createModel(tinyConfigs.v3, device, { seed: 4, std: 0.3 });
    const { vocabSize, hiddenSize } = model.config;
    const damaged = vocabSize - 1;
    const wanted = requests(model, 8, 14, 8).map(({ prompt, ...request }) => ({
      ...request,
      prompt: Array.from(prompt, (id) => id % damaged),
      logitBias: [[damaged, -1000] as const],
      stopIds: [],
    }));
    const expected: number[][] = [];
    for (const request of wanted) expected.push(await alone(model, request, 4));
    const row = new Float32Array(hiddenSize).fill(Number.NaN);
    model.parameters.group("model.embed_tokens.weight").tensor.set(row, damaged * hiddenSize);
    await using engine = new Engine(model, { maxBatch: 8, prefillChunk: 4 });
    const failing = wanted.map((request, i) =>
      collect(
        engine.submit({ ...request, prompt: [...request.prompt.slice(0, i), damaged, 1], logprobs: i % 3 }),
      ).then(
        () => null,
        (error: unknown) => error,
      ),
    );
    const others = wanted.map((request) => collect(engine.submit(request)));
    for (const error of await Promise.all(failing)) expect(error).toBeInstanceOf(LogitsError);
    expect(await Promise.all(others)).toEqual(expected);
    expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0 });
  });

  it.each(["q4", "q8"] as const)("gives the tokens of single runs in any batch (v3, %s)", async (dtype) => {
    using model = createModel(tinyConfigs.v3, device, { seed: 4, std: 0.3, dtype });
    const wanted = requests(model, 24, 13);
    const expected: number[][] = [];
    for (const request of wanted) expected.push(await alone(model, request, 16));
    {
      await using engine = new Engine(model, { prefillChunk: 16 });
      expect(await serve(engine, wanted, 13)).toEqual(expected);
    }
    // All at once: how many meet in a step does not depend on how fast steps are then.
    await using engine = new Engine(model, { prefillChunk: 16 });
    expect(await Promise.all(wanted.map((request) => collect(engine.submit(request))))).toEqual(expected);
    const { batchRows, steps, acceptedTokens } = engine.metrics();
    expect(batchRows / steps).toBeGreaterThan(8);
    expect(acceptedTokens).toBeGreaterThan(0);
  });

  it("keeps caches in half precision where it is asked to", async () => {
    using model = smallV3(device);
    const request = { prompt: promptOf(new Random(3), 40, 32), maxTokens: 24, stopIds: [] };
    const bytes: number[] = [];
    for (const cacheDtype of ["f32", "bf16"] as const) {
      await using engine = new Engine(model, { cacheDtype });
      expect((await collect(engine.submit(request))).length).toBe(24);
      const again = engine.submit({ ...request, speculative: true });
      expect((await collect(again)).length).toBe(24);
      const fork = engine.submit({ ...request, prompt: [...request.prompt.slice(0, 18), 1] });
      expect((await collect(fork)).length).toBe(24);
      expect(fork.stats.cachedTokens).toBe(18);
      bytes.push(engine.metrics().cacheBytes);
    }
    expect(bytes[0]).toBe(2 * bytes[1]);
  });
});
