/** What tokens say of the pass that gave them, against routers of a plain pass and against the engine's own record. */
import { describe, expect, it } from "vitest";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";
import { Engine } from "./engine.ts";
import { ExpertReport, type WeightedExperts } from "./expert-report.ts";
import { generate } from "./generate.ts";
import type { EngineRequest } from "./job.ts";
import { FakeModel } from "./testing-model.ts";
import type { GeneratedToken } from "./token-sampler.ts";

async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const made: GeneratedToken[] = [];
  for await (const token of tokens) made.push(token);
  return made;
}

const promptOf = (length: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length }, () => random.int(61));
};

const without = ({ inside: _, ...token }: GeneratedToken): GeneratedToken => token;

describe.each(["v2", "v3"] as const)("the inside of %s", (name) => {
  const device = createReferenceDevice();
  const model: CausalLM = createModel({ ...tinyConfigs[name], num_hidden_layers: 4 }, device, {
    seed: 4,
    std: 0.3,
  });
  const speculative = model.config.mtpLayers > 0;

  /** By position and layer, what routers choose in one pass over `ids`, and the weights. */
  function plain(ids: readonly number[]): { ids: number[]; weights: number[] }[][] {
    const kept = new Map<string, Tensor>();
    const capture = (name: string, tensor: Tensor) => {
      if (/^router\.\d+\.topk_(ids|weights)$/.test(name)) kept.set(name, tensor);
      else tensor.dispose();
    };
    device.tidy(() => void model.hidden(model.ids([ids]), { capture }));
    const layers = Array.from({ length: model.config.layers }, (_, layer) => layer).filter((layer) =>
      kept.has(`router.${layer}.topk_ids`),
    );
    expect(layers.length).toBeGreaterThan(1);
    const found = ids.map((_, position) =>
      layers.map((layer) => {
        const row = (name: string) => {
          const tensor = kept.get(`router.${layer}.${name}`)!;
          const [, topK] = tensor.shape;
          return [...doubles(tensor)].slice(position * topK, (position + 1) * topK);
        };
        return { ids: row("topk_ids"), weights: row("topk_weights") };
      }),
    );
    for (const tensor of kept.values()) tensor.dispose();
    return found;
  }

  function checkExperts(prompt: readonly number[], tokens: readonly GeneratedToken[]): void {
    const all = plain([...prompt, ...tokens.map(({ id }) => id)]);
    for (const [i, { inside }] of tokens.entries()) {
      const { topK, ids, weights } = inside!.experts as WeightedExperts;
      expect(ids).toBeInstanceOf(Uint8Array);
      const layers = all[prompt.length - 1 + i];
      expect(ids.length).toBe(layers.length * topK);
      for (const [layer, wanted] of layers.entries()) {
        const found = Array.from({ length: topK }, (_, k) => layer * topK + k);
        expect(found.map((at) => ids[at]).sort((a, b) => a - b)).toEqual(wanted.ids);
        for (const at of found) {
          // Up to rounding: the plain pass reads all tokens at once.
          expect(weights[at]).toBeCloseTo(wanted.weights[wanted.ids.indexOf(ids[at])], 5);
          if (at > layer * topK) expect(weights[at]).toBeLessThanOrEqual(weights[at - 1]);
        }
      }
    }
  }

  it("is that of a plain pass: in a batch, in chunks, from a shared beginning, with drafts, after a loss of the cache", async () => {
    const beginning = promptOf(17, 9);
    const wanted = Array.from({ length: 4 }, (_, i) => ({
      ...{ prompt: [...beginning, ...promptOf(3 + i, 20 + i)], maxTokens: 18, stopIds: [] },
      ...{ temperature: i === 2 ? 0 : 0.8, seed: i, logprobs: 3 },
      ...{ speculative: speculative && i % 2 === 0, experts: i === 1, inside: i !== 3 },
    }));
    const run = async (requests: readonly EngineRequest[]) => {
      await using engine = new Engine(model, { maxBatch: 4, prefillChunk: 8, cacheTokens: 64 });
      const generations = requests.map((request) => engine.submit(request));
      const outputs = await Promise.all(generations.map(collect));
      return { outputs, stats: generations.map(({ stats }) => stats), metrics: engine.metrics() };
    };
    const on = await run(wanted);
    const off = await run(wanted.map((request) => ({ ...request, inside: false })));
    // Tokens and their log-probabilities to the bit.
    expect(on.outputs.map((tokens) => tokens.map(without))).toEqual(off.outputs);
    expect(off.outputs.flat().some((token) => "inside" in token)).toBe(false);
    expect(on.outputs[3].some((token) => "inside" in token)).toBe(false);
    expect(on.metrics.preemptions).toBeGreaterThan(0);
    expect(on.stats.some(({ cachedTokens }) => cachedTokens > 0)).toBe(true);
    for (const [i, { prompt, inside }] of wanted.entries()) {
      if (inside) checkExperts(prompt, on.outputs[i]);
      const fates = on.outputs[i].flatMap((token) => token.inside ?? []);
      const accepted = fates.filter(({ drafted }) => drafted).length;
      const refused = fates.filter(({ refused }) => refused !== null).length;
      const { speculative: drafts } = on.stats[i];
      if (drafts) expect(drafts).toMatchObject({ drafted: accepted + refused, accepted });
      else expect(accepted + refused).toBe(0);
      for (const { id, inside } of on.outputs[i]) expect(inside?.refused).not.toBe(id);
    }
    for (const { experts, inside } of on.outputs[1]) {
      const { topK, ids } = inside!.experts!;
      const sorted = experts!.map((_, layer) =>
        [...ids.slice(layer * topK, (layer + 1) * topK)].sort((a, b) => a - b),
      );
      expect(sorted).toEqual(experts);
    }
    if (speculative) {
      expect(on.metrics.acceptedTokens).toBeGreaterThan(0);
      expect(on.metrics.draftedTokens).toBeGreaterThan(on.metrics.acceptedTokens);
    }
  });

  it("is told by one sequence alone, the same tokens without it", async () => {
    const prompt = promptOf(20, 5);
    const options = { maxTokens: 12, stopIds: [], prefillChunk: 6, temperature: 1, seed: 3, speculative };
    const tokens = await collect(generate(model, prompt, { ...options, inside: true }));
    checkExperts(prompt, tokens);
    expect(tokens.map(without)).toEqual(await collect(generate(model, prompt, options)));
  });
});

it("has no experts where a model has none, and tells drafts all the same", async () => {
  const model = new FakeModel(createReferenceDevice());
  const request = { prompt: [5, 7], maxTokens: 40, stopIds: [], inside: true, speculative: true };
  await using engine = new Engine(model);
  const generation = engine.submit(request);
  const fates = (await collect(generation)).map(({ inside }) => inside!);
  expect(fates.every(({ experts }) => experts === null)).toBe(true);
  const { drafted, accepted } = generation.stats.speculative!;
  expect(accepted).toBeGreaterThan(0);
  expect(fates.filter(({ drafted }) => drafted).length).toBe(accepted);
  expect(fates.filter(({ refused }) => refused !== null).length).toBe(drafted - accepted);
  expect(drafted).toBeGreaterThan(accepted);
  // One number of four bytes for each token of both caches: the last two are not read any more, or not by the module.
  expect(generation.stats.cacheBytes).toBeGreaterThan(2 * 4 * 38);
  expect(generation.stats.cacheBytes).toBeLessThanOrEqual(2 * 4 * 42);
});

it("has experts of no layer where all layers are dense", async () => {
  const device = createReferenceDevice();
  const config = { ...tinyConfigs.v2Lite, first_k_dense_replace: tinyConfigs.v2Lite.num_hidden_layers };
  using model = createModel(config, device, { seed: 4, std: 0.3 });
  const [token] = await collect(generate(model, [3], { maxTokens: 1, stopIds: [], inside: true }));
  expect(token.inside).toEqual({
    ...{ drafted: false, refused: null },
    experts: { topK: 0, ids: new Uint8Array(0), weights: new Float32Array(0) },
  });
});

it.each([
  [256, Uint8Array],
  [257, Uint16Array],
  [65_536, Uint16Array],
  [65_537, Uint32Array],
])("orders experts by weight, then id, and tells %i of them apart", async (experts, type) => {
  const device = createReferenceDevice();
  const last = experts - 1;
  const router = {
    layer: 0,
    ids: device.tensor([0, 1, 2, 2, 5, last], [2, 3], "i32"),
    weights: device.tensor([1, 2, 3, 0.25, 0.5, 0.5], [2, 3]),
    scores: device.tensor([0], [1]),
    counts: device.tensor([0], [1], "i32"),
    bias: null,
  };
  using report = new ExpertReport(experts, true);
  report.take([router]);
  await report.read();
  expect(report.weightedAt(1)).toEqual({
    ...{ topK: 3, ids: type.of(5, last, 2), weights: Float32Array.of(0.5, 0.5, 0.25) },
  });
});
