/** The experts that an engine reports, against the routers of a plain pass over the same tokens. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";
import { Engine } from "./engine.ts";
import type { TokenExperts } from "./expert-report.ts";
import { generate } from "./generate.ts";
import type { EngineRequest } from "./job.ts";
import { FakeModel } from "./testing-model.ts";
import type { GeneratedToken } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const made: GeneratedToken[] = [];
  for await (const token of tokens) made.push(token);
  return made;
}

const promptOf = (length: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length }, () => random.int(61));
};

describe.each(["deepseek", "v2Lite", "v2", "v3"] as const)("experts of %s", (name) => {
  const device = createReferenceDevice();
  let model: CausalLM;
  let before: number;
  beforeAll(() => {
    model = createModel({ ...tinyConfigs[name], num_hidden_layers: 4 }, device, { seed: 4, std: 0.3 });
    plain(promptOf(150, 1));
    before = device.backend.memory().buffers;
  });
  afterEach(() => vi.restoreAllMocks());
  afterAll(() => expect(device.backend.memory().buffers).toBe(before));

  /** By position, what routers choose in one pass over `ids`. */
  function plain(ids: readonly number[]): TokenExperts[] {
    const layers = new Map<number, Tensor>();
    const capture = (name: string, tensor: Tensor) => {
      const layer = /^router\.(\d+)\.topk_ids$/.exec(name)?.[1];
      if (layer) layers.set(Number(layer), tensor);
      else tensor.dispose();
    };
    device.tidy(() => void model.hidden(model.ids([ids]), { capture }));
    expect(layers.size).toBeGreaterThan(1);
    const chosen = [...layers.values()].map((tensor) => {
      const [topK, values] = [tensor.shape[1], [...doubles(tensor)]];
      tensor.dispose();
      return (position: number) => values.slice(position * topK, (position + 1) * topK);
    });
    return ids.map((_, position) => chosen.map((at) => at(position)));
  }

  /** What the tokens and the prompt of a request should report. */
  function expected(prompt: readonly number[], tokens: readonly GeneratedToken[]) {
    const all = plain([...prompt, ...tokens.map(({ id }) => id)]);
    return { prompt: all.slice(0, prompt.length), tokens: all.slice(prompt.length - 1, -1) };
  }

  it("are those of a plain pass, beside other requests, with drafts, and after a loss of the cache", async () => {
    const speculative = model.config.mtpLayers > 0;
    const wanted = Array.from({ length: 6 }, (_, i) => ({
      ...{ prompt: promptOf(12 + i, 20 + i), maxTokens: 22, stopIds: [], temperature: 0.8, seed: i },
      ...{ speculative: speculative && i % 2 === 0, experts: i % 3 !== 1, promptExperts: i % 3 !== 0 },
    }));
    await using engine = new Engine(model, { maxBatch: 6, prefillChunk: 8, cacheTokens: 100 });
    const generations = wanted.map((request) => engine.submit(request));
    const outputs = await Promise.all(generations.map(collect));
    for (const [i, { prompt, experts, promptExperts }] of wanted.entries()) {
      const found = expected(prompt, outputs[i]);
      expect(outputs[i].length).toBe(22);
      if (experts) expect(outputs[i].map((token) => token.experts)).toEqual(found.tokens);
      else expect(outputs[i].some((token) => "experts" in token)).toBe(false);
      expect(generations[i].promptExperts).toEqual(promptExperts ? found.prompt : []);
    }
    const { preemptions, draftedTokens, acceptedTokens } = engine.metrics();
    expect(preemptions).toBeGreaterThan(1);
    if (speculative) expect(acceptedTokens).toBeGreaterThan(0);
    if (speculative) expect(draftedTokens).toBeGreaterThan(acceptedTokens);
  });

  it("of a prompt need it to be read, those of tokens do not", async () => {
    await using engine = new Engine(model);
    const request: EngineRequest = { prompt: promptOf(40, 3), maxTokens: 3, stopIds: [], experts: true };
    const first = await collect(engine.submit(request));
    const found = expected(promptOf(40, 3), first);
    const reusing = engine.submit(request);
    expect(await collect(reusing)).toEqual(first);
    expect(reusing.stats.cachedTokens).toBe(39);
    const reading = engine.submit({ ...request, promptExperts: true, reusePrefix: true });
    expect(await collect(reading)).toEqual(first);
    expect(reading.stats.cachedTokens).toBe(0);
    expect(reading.promptExperts).toEqual(found.prompt);
    const without = engine.submit({ prompt: promptOf(40, 3), maxTokens: 0, promptExperts: true });
    expect(await collect(without)).toEqual([]);
    expect(without.promptExperts).toEqual(found.prompt);
    expect(first.map((token) => token.experts)).toEqual(found.tokens);
  });

  it("are reported by a pass in turns, and by one sequence alone", async () => {
    // Always due: every layer gives a turn.
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (now += 1000));
    const prompt = promptOf(20, 5);
    const options = { maxTokens: 8, stopIds: [], prefillChunk: 6, experts: true };
    const speculative = model.config.mtpLayers > 0;
    const tokens = await collect(generate(model, prompt, { ...options, speculative }));
    expect(tokens.map(({ experts }) => experts)).toEqual(expected(prompt, tokens).tokens);
    const controller = new AbortController();
    const stopped = collect(generate(model, prompt, { ...options, signal: controller.signal }));
    await yieldToEventLoop();
    controller.abort();
    expect((await stopped).length).toBeLessThan(8);
  });

  it("are not captured where nobody asks", async () => {
    const hidden = vi.spyOn(model, "hidden");
    const layered = vi.spyOn(model, "hiddenByLayer");
    const request: EngineRequest = { prompt: promptOf(9, 6), maxTokens: 4, stopIds: [] };
    await collect(generate(model, promptOf(9, 6), request));
    await using engine = new Engine(model);
    await collect(engine.submit(request));
    // Once the prompt's are known, no pass collects any more.
    await collect(engine.submit({ ...request, promptExperts: true }));
    const collecting = hidden.mock.calls.map(([, options]) => options?.routers !== null);
    expect(collecting).toEqual([...[false, false, false, false], ...[true, false, false, false]]);
    expect(layered.mock.calls.map(([, { routers }]) => routers)).toEqual([null, null, null, null]);
  });
});

it("are refused where a model has none", async () => {
  const model = new FakeModel(createReferenceDevice());
  const request = { prompt: [1], maxTokens: 1 };
  expect(() => generate(model, [1], { ...request, experts: true })).toThrow(/no experts.*name: experts/);
  await using engine = new Engine(model);
  expect(() => engine.submit({ ...request, experts: true })).toThrow(/no experts.*name: experts/);
  expect(() => engine.submit({ ...request, promptExperts: true })).toThrow(/name: promptExperts/);
});
