import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { loadModel } from "../checkpoint/model.ts";
import { nodeFileSource, nodeFolder } from "../checkpoint/node-files.ts";
import { openSafetensors } from "../checkpoint/safetensors.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { type Device, Scope } from "../tensor/tensor.ts";
import { type GeneratedToken, type GenerateOptions, type GenerationStats, generate } from "./generate.ts";
import { argmax } from "./sampling.ts";
import { smallV3 } from "./testing.ts";
import { logProbability } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

const fixtures = join(import.meta.dirname, "../../test/fixtures/");

async function collect(
  model: CausalLM,
  prompt: number[],
  options: GenerateOptions,
): Promise<{ ids: number[]; tokens: GeneratedToken[]; stats: GenerationStats }> {
  const generator = generate(model, prompt, options);
  const tokens: GeneratedToken[] = [];
  for (;;) {
    const next = await generator.next();
    if (next.done) return { ids: tokens.map((t) => t.id), tokens, stats: next.value };
    tokens.push(next.value);
  }
}

let device: Device;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
});

describe("greedy continuations of the references", () => {
  it.each(["llm/mha", "llm/gqa", "moe/v1", "v2/lite", "v2/full", "v3/base", "v3/mtp"])("%s", async (name) => {
    const before = device.backend.memory().buffers;
    const inputs = JSON.parse(readFileSync(`${fixtures}${name}/inputs.json`, "utf8"));
    const source = await nodeFileSource(`${fixtures}${name}/expected.safetensors`);
    const bytes = await (await openSafetensors(source)).read("generated");
    await source.close?.();
    const expected = Array.from(new Int32Array(bytes.slice().buffer));
    const model = await loadModel(nodeFolder(fixtures + name), device);
    const options = { maxTokens: inputs.max_new_tokens, stopIds: [] };
    const runs: Partial<GenerateOptions>[] = [{}, { prefillChunk: 3 }];
    if (model.config.attention.kind === "mla") runs.push({ mlaForm: "expanded" }, { mlaForm: "absorbed" });
    if (model.config.mtpLayers > 0) runs.push({ speculative: true }, { speculative: true, prefillChunk: 3 });
    for (const extra of runs) {
      const { ids, stats } = await collect(model, inputs.prompt_ids, { ...options, ...extra });
      expect(ids, JSON.stringify(extra)).toEqual(expected);
      expect(stats.stopReason).toBe("length");
    }
    model[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(before);
  });
});

describe("generate", () => {
  let model: CausalLM;
  let before: number;
  beforeAll(async () => {
    model = smallV3(device);
    // A long first pass makes rotary tables that stay, for all 4096 positions.
    await collect(model, new Array(2100).fill(2), { maxTokens: 1 });
    before = device.backend.memory().buffers;
  });
  afterAll(() => model[Symbol.dispose]());
  afterEach(() => {
    expect(device.backend.memory().buffers).toBe(before);
    expect(device.scopes.length).toBe(0);
  });

  it("chooses what the model without a cache finds most probable, with its log-probability", async () => {
    const { ids, tokens } = await collect(model, [5, 9, 2], { maxTokens: 20, stopIds: [], logprobs: true });
    const sequence = [5, 9, 2];
    for (const [i, id] of ids.entries()) {
      using _scope = new Scope(device);
      const logits = (await model
        .logits(model.last(model.hidden(model.ids([sequence]))))
        .data()) as Float32Array;
      expect(argmax(logits)).toBe(id);
      expect(tokens[i].logprob).toBeCloseTo(logProbability(logits, id), 4);
      sequence.push(id);
    }
    expect(new Set(ids).size).toBeGreaterThan(2);
  });

  it("is the same for any chunking of the prompt", async () => {
    const prompt = Array.from({ length: 40 }, (_, i) => (i * 7) % 32);
    const whole = await collect(model, prompt, { maxTokens: 30, stopIds: [] });
    for (const prefillChunk of [1, 7, 20, 39, 40]) {
      const { ids } = await collect(model, prompt, { maxTokens: 30, stopIds: [], prefillChunk });
      expect(ids).toEqual(whole.ids);
    }
  });

  it("repeats itself for one seed and differs for others", async () => {
    const options = { maxTokens: 40, stopIds: [], temperature: 1, topP: 0.9, repetitionPenalty: 1.1 };
    const of = async (seed: number, speculative = false) =>
      (await collect(model, [4], { ...options, seed, speculative })).ids.join();
    const first = await of(1);
    expect(await of(1)).toBe(first);
    expect(await of(2)).not.toBe(first);
    expect(await of(1, true)).toBe(await of(1, true));
  });

  it("ends after a stop token, which is part of the output", async () => {
    const { ids } = await collect(model, [5, 9, 2], { maxTokens: 30, stopIds: [] });
    const stop = ids[6];
    const expected = ids.slice(0, ids.indexOf(stop) + 1);
    for (const speculative of [false, true]) {
      const result = await collect(model, [5, 9, 2], { maxTokens: 30, stopIds: [stop], speculative });
      expect(result.ids).toEqual(expected);
      expect(result.stats).toMatchObject({
        stopReason: "stop",
        generatedTokens: expected.length,
        promptTokens: 3,
      });
    }
    // The configuration's EOS is 1.
    const byDefault = await collect(model, [5], { maxTokens: 300, temperature: 2 });
    const end = byDefault.ids.indexOf(1);
    expect(byDefault.stats.stopReason).toBe("stop");
    expect(end).toBe(byDefault.ids.length - 1);
  });

  it("never chooses rows beyond the vocabulary", async () => {
    for (const speculative of [false, true]) {
      const options = {
        maxTokens: 60,
        stopIds: [],
        temperature: 5,
        vocabularySize: 7,
        speculative,
        logprobs: true,
      };
      const { ids, tokens } = await collect(model, [30, 31], options);
      expect(ids.every((id) => id < 7)).toBe(true);
      expect(new Set(ids).size).toBe(7);
      expect(tokens.every(({ logprob }) => logprob! < 0)).toBe(true);
    }
  });

  it("frees everything when the consumer leaves early or throws, and with other work in between", async () => {
    for (const speculative of [false, true]) {
      for (const prefillChunk of [2, 512]) {
        let seen = 0;
        for await (const _ of generate(model, [1, 2, 3, 4, 5], {
          maxTokens: 50,
          stopIds: [],
          speculative,
          prefillChunk,
        })) {
          using scope = new Scope(device);
          device.zeros([3]);
          expect(scope.tensors.length).toBe(1);
          if (++seen === 3) break;
        }
        expect(device.backend.memory().buffers).toBe(before);
      }
      const failing = (async () => {
        for await (const _ of generate(model, [1], { maxTokens: 50, stopIds: [], speculative }))
          throw new Error("enough");
      })();
      await expect(failing).rejects.toThrow("enough");
    }
    await generate(model, [1], { maxTokens: 5 }).return(undefined as never);
  });

  it("runs several generations at once as if alone, inside a caller's scope", async () => {
    const options = { maxTokens: 25, stopIds: [], temperature: 1 };
    const alone = await Promise.all(
      [1, 2].map(async (seed) => (await collect(model, [seed, 7], { ...options, seed })).ids),
    );
    using scope = new Scope(device);
    const together = await Promise.all([1, 2].map((seed) => collect(model, [seed, 7], { ...options, seed })));
    expect(together.map(({ ids }) => ids)).toEqual(alone);
    expect(scope.tensors.length).toBe(0);
  });

  it("ends on abort: before it starts, from a timer, and from the consumer", async () => {
    const already = await collect(model, [1, 2], { maxTokens: 5, signal: AbortSignal.abort() });
    expect(already.stats).toMatchObject({ stopReason: "aborted", generatedTokens: 0 });
    for (const speculative of [false, true]) {
      const timer = new AbortController();
      setTimeout(() => timer.abort(), 30);
      const timed = await collect(model, [1, 2], {
        maxTokens: 4000,
        stopIds: [],
        speculative,
        signal: timer.signal,
      });
      expect(timed.stats.stopReason).toBe("aborted");
      expect(timed.stats.generatedTokens).toBe(timed.ids.length);
      expect(timed.ids.length).toBeLessThan(4000);
      const controller = new AbortController();
      const generator = generate(model, [1, 2], {
        maxTokens: 40,
        stopIds: [],
        speculative,
        signal: controller.signal,
      });
      for (let i = 0; i < 4; i++) await generator.next();
      controller.abort();
      const last = await generator.next();
      expect(last).toMatchObject({ done: true, value: { stopReason: "aborted", generatedTokens: 4 } });
    }
  });

  it("continues a cache that holds the start of the prompt", async () => {
    const prompt = [3, 1, 4, 1, 5];
    const first = await collect(model, prompt, { maxTokens: 10, stopIds: [] });
    const turn = [...prompt, ...first.ids, 9, 2, 6];
    const fresh = await collect(model, turn, { maxTokens: 10, stopIds: [] });
    using cache = model.createCache(8);
    await collect(model, prompt, { maxTokens: 10, stopIds: [], cache });
    expect(cache.length).toBe(14);
    const continued = await collect(model, turn, { maxTokens: 10, stopIds: [], cache });
    expect(continued.ids).toEqual(fresh.ids);
    expect(continued.stats).toMatchObject({ promptTokens: 18, cachedTokens: 14 });
    expect(() => generate(model, prompt, { maxTokens: 1, cache })).toThrow(/at most 4 tokens.*27 tokens/);
    expect(() => generate(model, turn, { maxTokens: 1, cache, speculative: true })).toThrow(ConfigError);
  });

  it("fills the context to its last position and refuses what exceeds it, with the numbers", async () => {
    using short = smallV3(device, { maxPositions: 20 });
    for (const speculative of [false, true]) {
      const { ids } = await collect(short, [1, 2, 3], { maxTokens: 17, stopIds: [], speculative });
      expect(ids.length).toBe(17);
    }
    expect(() => generate(short, [1, 2, 3], { maxTokens: 18 })).toThrow(
      /max_position_embeddings = 20.*3 \+ 18.*at most 17/,
    );
    expect(() => generate(short, new Int32Array(25), { maxTokens: 1 })).toThrow(/25 \+ 1.*at least 6 tokens/);
  });

  it("refuses options out of range by name", () => {
    const refused = (prompt: number[], options: Partial<GenerateOptions>, message: RegExp) =>
      expect(() => generate(model, prompt, { maxTokens: 4, ...options })).toThrow(message);
    refused([], {}, /prompt is empty/);
    refused([1, 32], {}, /0 to 31; found: 32/);
    refused([1], { maxTokens: 0 }, /maxTokens/);
    refused([1], { prefillChunk: 1.5 }, /prefillChunk/);
    refused([1], { vocabularySize: 33 }, /vocabularySize.*at most 32/);
    refused([1], { temperature: -1 }, /temperature/);
    using plain = smallV3(device, { mtpLayers: 0 });
    expect(() => generate(plain, [1], { maxTokens: 4, speculative: true })).toThrow(
      /num_nextn_predict_layers/,
    );
  });

  it("gives the same tokens on the reference backend", async () => {
    const reference = createReferenceDevice();
    using twin = smallV3(reference);
    const options = { maxTokens: 12, stopIds: [] };
    const { ids } = await collect(twin, [5, 9, 2], options);
    expect(ids).toEqual((await collect(model, [5, 9, 2], options)).ids);
  });
});

describe("a pass in turns", () => {
  afterEach(() => vi.restoreAllMocks());
  const prompt = Array.from({ length: 60 }, (_, i) => 2 + ((i * 7) % 30));

  it("gives the bits of one without, with a turn before every layer", async () => {
    const { buffers } = device.backend.memory();
    using model = smallV3(device, { layers: 4 });
    using plain = model.createCache();
    using turned = model.createCache();
    using ids = model.ids([prompt]);
    using expected = device.inference(() => model.hidden(ids, { segments: [{ cache: plain, tokens: 60 }] }));
    let turns = 0;
    using found = await model.hiddenByLayer(ids, { segments: [{ cache: turned, tokens: 60 }] }, () => {
      turns++;
      return yieldToEventLoop();
    });
    expect(turns).toBe(4);
    expect(await found.data()).toEqual(await expected.data());
    expect(turned.length).toBe(60);
    for (const one of [plain, turned, ids, expected, found, model]) one[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("is given up between layers when the caller stops, and leaves the cache as it was", async () => {
    using model = smallV3(device, { layers: 4 });
    using cache = model.createCache();
    // Always due: every layer gives a turn.
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (now += 1000));
    const controller = new AbortController();
    const turn = vi.spyOn(model, "hiddenByLayer");
    const stopped = collect(model, prompt, { maxTokens: 4, cache, signal: controller.signal });
    await until(() => expect(turn).toHaveBeenCalled());
    controller.abort();
    const { ids, stats } = await stopped;
    expect({ ids, reason: stats.stopReason, length: cache.length }).toEqual({
      ids: [],
      reason: "aborted",
      length: 0,
    });
    vi.restoreAllMocks();
    const whole = await collect(model, prompt, { maxTokens: 4, stopIds: [] });
    expect((await collect(model, prompt, { maxTokens: 4, stopIds: [], cache })).ids).toEqual(whole.ids);
  });
});

async function until(check: () => void): Promise<void> {
  for (;;) {
    try {
      return check();
    } catch {
      await yieldToEventLoop();
    }
  }
}
