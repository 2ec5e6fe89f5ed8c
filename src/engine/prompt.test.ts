/** Prompts with embeddings among their ids: what is read, compared, scored and kept. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import type { TokenModel } from "../models/token-model.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { ModelSource } from "./conversation.ts";
import { Engine } from "./engine.ts";
import { type GenerateOptions, generate } from "./generate.ts";
import type { Generation } from "./generation.ts";
import type { EngineRequest } from "./job.ts";
import {
  beginningOf,
  commonPrefix,
  contentsOf,
  type EmbeddingPart,
  idsIn,
  type Prompt,
  spanAt,
} from "./prompt.ts";
import { FakeModel } from "./testing-model.ts";
import type { GeneratedToken } from "./token-sampler.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const made: GeneratedToken[] = [];
  for await (const token of tokens) made.push(token);
  return made;
}

async function alone(model: TokenModel, prompt: Prompt, options: GenerateOptions) {
  const iterator = generate(model, prompt, options);
  const tokens: GeneratedToken[] = [];
  for (;;) {
    const { done, value } = await iterator.next();
    if (done) return { tokens, stats: value };
    tokens.push(value);
  }
}

const idsOf = (count: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length: count }, () => 2 + random.int(59));
};

describe("contents", () => {
  const device = createReferenceDevice();
  const part = (rows: number, hash: string, placeholderId = 5): EmbeddingPart => ({
    ...{ embeddings: device.empty([rows, 1]), hash, placeholderId },
  });
  const common = (a: Prompt, b: Prompt) => {
    const [x, y] = [contentsOf(a), contentsOf(b)];
    expect(commonPrefix(y, x)).toBe(commonPrefix(x, y));
    return commonPrefix(x, y);
  };

  it("put parts one after another", () => {
    const contents = contentsOf([[1, 2], part(3, "a"), Int32Array.of(7), part(1, "b", 6), part(2, "c")]);
    expect(contents.tokens).toEqual([1, 2, 5, 5, 5, 7, 6, 5, 5]);
    expect(contents.spans.map(({ start, length, hash }) => [start, length, hash])).toEqual([
      [2, 3, "a"],
      [6, 1, "b"],
      [7, 2, "c"],
    ]);
    expect(idsIn(contents)).toEqual([1, 2, 7]);
    expect([1, 2, 4, 5, 8].map((position) => spanAt(contents, position)?.hash)).toEqual([
      ...[undefined, "a", "a", undefined, "c"],
    ]);
    expect(beginningOf(contents, 4)).toEqual({
      tokens: [1, 2, 5, 5],
      spans: [{ start: 2, length: 3, hash: "a" }],
    });
    expect(contentsOf(Uint16Array.of(4, 5))).toEqual({ tokens: [4, 5], spans: [] });
    expect(contentsOf([])).toEqual({ tokens: [], spans: [] });
  });

  it("are compared by ids and hashes, place by place", () => {
    expect(common([1, 2, 3], [1, 2])).toBe(2);
    expect(common([1, 2, 3], [1, 4, 3])).toBe(1);
    const one = [[1, 2], part(3, "a"), [7, 8]];
    expect(common(one, [[1, 2], part(3, "a"), [7, 9]])).toBe(6);
    expect(common(one, [[1, 2], part(3, "b"), [7, 8]])).toBe(2);
    expect(common(one, [1, 2, 5, 5, 5, 7, 8])).toBe(2);
    expect(common(one, [[1, 2], part(2, "a"), [5, 7, 8]])).toBe(2);
    expect(common(one, [[1], part(3, "a"), [7, 8]])).toBe(1);
    expect(common(one, [[1, 2], part(3, "a", 4), [7, 8]])).toBe(2);
    expect(common(one, [1, 3])).toBe(1);
    // The second image differs; and one that only begins beyond what the ids share.
    const two = [[1], part(2, "a"), part(2, "b"), [3]];
    expect(common(two, [[1], part(2, "a"), part(2, "c"), [3]])).toBe(3);
    expect(common(two, [[1], part(2, "a"), [9], part(2, "b")])).toBe(3);
    expect(common(two, [[1], part(2, "a"), [5, 5, 3]])).toBe(3);
    expect(common(two, [[1], part(2, "a"), part(2, "b"), [3], part(2, "c")])).toBe(6);
    // A cache that ends inside an image.
    const [cut, whole] = [beginningOf(contentsOf(two), 4), contentsOf(two)];
    expect(commonPrefix(cut, whole)).toBe(4);
  });

  it("of a hundred thousand tokens are compared in one walk", () => {
    const long = Array.from({ length: 100_000 }, (_, i) => i % 60);
    const images = Array.from({ length: 50 }, (_, i) => part(100, `image ${i}`));
    const prompt = [long, ...images, [1]];
    expect(common(prompt, [long, ...images, [2]])).toBe(105_000);
    expect(common(prompt, [long, ...images.slice(0, 49), part(100, "other"), [1]])).toBe(104_900);
  });
});

describe.each(["fake", "llama", "v3"] as const)("embeddings in a prompt (%s)", (name) => {
  const device = createReferenceDevice();
  const model: TokenModel =
    name === "fake" ? new FakeModel(device) : createModel(tinyConfigs[name], device, { seed: 4, std: 0.3 });
  const made: Tensor[] = [];
  let before: number;

  /** The embeddings of `ids`: a prompt with them in place of the ids is the same prompt to the model. */
  function embedded(ids: readonly number[], hash = ids.join()): EmbeddingPart {
    const embeddings = device.inference(() => model.embed(model.ids([ids])).view([ids.length, -1]));
    made.push(embeddings);
    return { embeddings, hash, placeholderId: 3 };
  }

  const ids = idsOf(60, 9);
  let prompt: Prompt;
  beforeAll(async () => {
    // Rotary tables stay.
    await alone(model, idsOf(100, 1), { maxTokens: 2 });
    before = device.backend.memory().buffers;
    prompt = [ids.slice(0, 10), embedded(ids.slice(10, 35)), embedded(ids.slice(35, 37)), ids.slice(37)];
  });
  afterAll(() => {
    for (const tensor of made) tensor.dispose();
    expect(device.backend.memory().buffers).toBe(before);
  });
  const kinds = [false, true].filter((speculative) => !speculative || model.config.mtpLayers > 0);
  const base = { maxTokens: 12, stopIds: [], logprobs: 2 };

  it("are read as the tokens they stand for, however the prompt is cut", async () => {
    for (const speculative of kinds) {
      for (const prefillChunk of [4, 512]) {
        const options = { ...base, speculative, prefillChunk, temperature: 0.7 };
        const expected = await alone(model, ids, options);
        const found = await alone(model, prompt, options);
        expect(found.tokens).toEqual(expected.tokens);
        // The module reads the embedding of the next token, as it would read its id.
        expect(found.stats.speculative).toEqual(expected.stats.speculative);
        expect(found.stats.promptTokens).toBe(60);
      }
    }
  });

  it("are kept for sequences that read their prompt again, beside others", async () => {
    const options = { ...base, temperature: 0.7 };
    const expected = await alone(model, ids, { ...options, prefillChunk: 8 });
    await using engine = new Engine(model, { maxBatch: 4, prefillChunk: 8, cacheTokens: 160 });
    const others = [1, 2].map((seed) =>
      engine.submit({ prompt: idsOf(30, seed), maxTokens: 40, stopIds: [] }),
    );
    const part = embedded(ids.slice(10, 35));
    const late = engine.submit({ ...options, prompt: [ids.slice(0, 10), part, ids.slice(35)] });
    // It has its own view.
    part.embeddings.dispose();
    expect(await collect(late)).toEqual(expected.tokens);
    expect(late.stats).toMatchObject({ promptTokens: 60, cachedTokens: 0 });
    expect(late.stats.preemptions).toBeGreaterThan(0);
    for (const other of others) expect((await collect(other)).length).toBe(40);
    // Without running, and in the middle.
    const waiting = engine.submit({ ...base, prompt });
    waiting.cancel();
    const running = engine.submit({ ...base, prompt, maxTokens: 90 });
    await running.next();
    running.cancel();
  });

  it("have no score of their own", async () => {
    const wanted = { ...base, promptLogprobs: 1 };
    await using engine = new Engine(model, { prefillChunk: 16 });
    const [plain, mixed] = [ids, prompt].map((given) => engine.submit({ ...wanted, prompt: given }));
    expect(await collect(mixed)).toEqual(await collect(plain));
    const expected = plain.promptScores.map((score, i) => (i + 1 >= 10 && i + 1 < 37 ? { id: 3 } : score));
    expect(mixed.promptScores).toEqual(expected);
  });

  it("share caches by their hash, and never by their placeholders", async () => {
    const start = idsOf(20, 4);
    const ending = [7, 8, 9];
    const [one, other] = [idsOf(30, 5), idsOf(30, 6)];
    const twin = embedded(one, "one");
    const wanted = { a: [start, twin, ending], b: [start, embedded(other, "other"), ending] };
    const plain = { a: [...start, ...one, ...ending], b: [...start, ...other, ...ending] };
    for (const speculative of kinds) {
      const options = { ...base, speculative };
      await using engine = new Engine(model);
      const run = async (given: Prompt) => {
        const generation = engine.submit({ ...options, prompt: given });
        return { tokens: await collect(generation), cached: generation.stats.cachedTokens };
      };
      const expected = { a: await alone(model, plain.a, options), b: await alone(model, plain.b, options) };
      // Different tokens, or a wrong cache would not show.
      expect(expected.a.tokens).not.toEqual(expected.b.tokens);
      expect(await run(wanted.a)).toEqual({ tokens: expected.a.tokens, cached: 0 });
      const second = await run(wanted.b);
      expect(second.tokens).toEqual(expected.b.tokens);
      // The module has seen the image's first embedding at the position before it.
      expect(second.cached).toBe(speculative ? 19 : 20);
      // Made anew, with the same hash; and by one that is still running.
      const again = [start, embedded(one, "one"), ending];
      expect(await run(again)).toEqual({ tokens: expected.a.tokens, cached: 52 });
      const long: EngineRequest = { ...options, maxTokens: 60, prompt: wanted.b };
      const running: Generation = engine.submit(long);
      await running.next();
      expect(await run(wanted.b)).toEqual({ tokens: expected.b.tokens, cached: 52 });
      expect((await run(wanted.a)).tokens).toEqual(expected.a.tokens);
      running.cancel();
      await yieldToEventLoop();
    }
  });

  it("are compared by a conversation's cache too", async () => {
    using source = new ModelSource(model);
    const options = { ...base };
    const start = idsOf(20, 4);
    const [one, other] = [idsOf(10, 5), idsOf(10, 6)];
    const run = async (given: Prompt) => {
      const stream = source.generate(given, options);
      return { tokens: await collect(stream.tokens), cached: stream.stats().cachedTokens };
    };
    const expected = async (given: number[]) => (await alone(model, given, options)).tokens;
    const a: Prompt = [start, embedded(one, "one"), [7, 8]];
    const found = await run(a);
    expect(found).toEqual({ tokens: await expected([...start, ...one, 7, 8]), cached: 0 });
    const b = await run([start, embedded(other, "other"), [7, 8]]);
    expect(b).toEqual({ tokens: await expected([...start, ...other, 7, 8]), cached: 20 });
    const reply = b.tokens.map(({ id }) => id);
    const next = await run([start, embedded(other, "other"), [7, 8, ...reply, 9]]);
    const plain = [...start, ...other, 7, 8, ...reply, 9];
    expect(next).toEqual({ tokens: await expected(plain), cached: 43 });
  });

  it("are no tokens to penalties", async () => {
    const options = { maxTokens: 1, stopIds: [] };
    const [best] = (await alone(model, [4, ...ids.slice(10, 20), 6], options)).tokens;
    expect([4, 6]).not.toContain(best.id);
    const part = { ...embedded(ids.slice(10, 20)), placeholderId: best.id };
    const { tokens } = await alone(model, [[4], part, [6]], { ...options, repetitionPenalty: 1e6 });
    expect(tokens).toEqual([best]);
  });
});

describe("what is refused", () => {
  const device = createReferenceDevice();
  const model = new FakeModel(device);

  it("is named, with its place", () => {
    const good = { embeddings: device.empty([2, 1]), hash: "a", placeholderId: 3 };
    const refused = (part: object, message: RegExp) => {
      const options = { prompt: [[1, 2], { ...good, ...part }], maxTokens: 2 };
      expect(() => generate(model, options.prompt, options)).toThrow(message);
      const engine = new Engine(model);
      expect(() => engine.submit(options)).toThrow(message);
    };
    const { buffers } = device.backend.memory();
    refused({ hash: "" }, /content hash.*position 2/);
    refused({ placeholderId: 61 }, /prompt.*0 to 60; found: 61/);
    const wide = device.empty([2, 3]);
    refused({ embeddings: wide }, /position 2.*f32 \[n, 1\].*f32 \[2, 3\]/);
    const ids = device.empty([2, 1], "i32");
    refused({ embeddings: ids }, /f32 \[n, 1\].*i32 \[2, 1\]/);
    refused({ embeddings: createReferenceDevice().empty([2, 1]) }, /another device/);
    expect(() => generate(model, [[]], { maxTokens: 1 })).toThrow(/prompt is empty/);
    expect(device.backend.memory().buffers).toBe(buffers + 2);
  });
});

describe("on the CPU", () => {
  afterAll(() => vi.restoreAllMocks());

  it("ids beside embeddings keep their bits, and without embeddings ids are read as before", async () => {
    const device = await cpuDevice(1, true);
    using model = createModel(tinyConfigs.v3, device, { seed: 4, std: 0.3 });
    const options = { maxTokens: 10, stopIds: [], logprobs: true };
    const embed = vi.spyOn(model, "embed");
    const hidden = vi.spyOn(model, "hidden");
    const plain = idsOf(8, 3);
    const expected = await alone(model, plain, { ...options, prefillChunk: 4 });
    expect(hidden.mock.calls.length).toBe(0);
    const layered = embed.mock.calls.length;
    await using engine = new Engine(model, { maxBatch: 4, prefillChunk: 4 });
    expect(await collect(engine.submit({ ...options, prompt: plain, reusePrefix: false }))).toEqual(
      expected.tokens,
    );
    const passes = hidden.mock.calls;
    expect(passes.length).toBeGreaterThan(0);
    expect(layered).toBeGreaterThan(0);
    // Each pass embeds its ids itself, once.
    expect(embed.mock.calls.length).toBe(layered + passes.length);
    using embeddings = device.inference(() => model.embed(model.ids([idsOf(6, 2)])).view([6, -1]));
    const part = { embeddings, hash: "x", placeholderId: 3 };
    const mixed = { ...options, prompt: [[4, 5], part, [6]], reusePrefix: false };
    const beside = engine.submit(mixed);
    const tokens = await collect(engine.submit({ ...options, prompt: plain, reusePrefix: false }));
    expect(tokens).toEqual(expected.tokens);
    const own = await alone(model, [4, 5, ...idsOf(6, 2), 6], { ...options, prefillChunk: 4 });
    expect(await collect(beside)).toEqual(own.tokens);
  });
});
