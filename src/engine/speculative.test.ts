import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { Random } from "../tensor/random.ts";
import { type Device, Scope } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { type GenerateOptions, type GenerationStats, generate } from "./generate.ts";
import { argmax, type Candidates, candidates } from "./sampling.ts";
import { residual, verify } from "./speculative.ts";
import { makePredictable, smallV3 } from "./testing.ts";
import { TokenSampler } from "./token-sampler.ts";

async function collect(model: CausalLM, prompt: number[], options: GenerateOptions) {
  const generator = generate(model, prompt, { stopIds: [], ...options });
  const ids: number[] = [];
  for (;;) {
    const next = await generator.next();
    if (next.done) return { ids, stats: next.value as GenerationStats };
    ids.push(next.value.id);
  }
}

/** Statistic of observed against expected counts over its 0.9999 quantile (Wilson and Hilferty): above 1 is a failure. */
function chiSquare(observed: ArrayLike<number>, expected: ArrayLike<number>): number {
  let statistic = 0;
  let cells = 0;
  let restObserved = 0;
  let restExpected = 0;
  const add = (o: number, e: number) => {
    statistic += (o - e) ** 2 / e;
    cells++;
  };
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] >= 5) add(observed[i], expected[i]);
    else {
      restObserved += observed[i];
      restExpected += expected[i];
    }
  }
  if (restExpected >= 5) add(restObserved, restExpected);
  else if (restExpected === 0 && restObserved > 0) return Number.POSITIVE_INFINITY;
  const k = cells - 1;
  return statistic / (k * (1 - 2 / (9 * k) + 3.719 * Math.sqrt(2 / (9 * k))) ** 3);
}

let device: Device;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
});

describe("speculative decoding", () => {
  it("gives the tokens of plain greedy decoding, whatever is accepted", async () => {
    let accepted = 0;
    let drafted = 0;
    for (const [vocabulary, seed] of [
      [6, 1],
      [6, 2],
      [12, 3],
      [40, 4],
      [40, 5],
    ]) {
      using model = smallV3(device, { vocabulary, seed });
      for (const [length, maxTokens] of [
        [1, 1],
        [1, 2],
        [2, 3],
        [3, 4],
        [9, 5],
        [33, 60],
      ]) {
        const random = new Random(seed, length);
        const prompt = Array.from({ length }, () => random.int(vocabulary));
        for (const repetitionPenalty of [1, 1.3]) {
          const options = { maxTokens, repetitionPenalty, prefillChunk: 8 };
          const plain = await collect(model, prompt, options);
          const twin = await collect(model, prompt, { ...options, speculative: true });
          expect(twin.ids).toEqual(plain.ids);
          expect(plain.stats.speculative).toBeUndefined();
          const counts = twin.stats.speculative!;
          expect(counts.drafted).toBeGreaterThanOrEqual(Math.floor((maxTokens - 1) / 2));
          expect(counts.drafted).toBeLessThanOrEqual(Math.max(0, maxTokens - 2));
          accepted += counts.accepted;
          drafted += counts.drafted;
        }
      }
    }
    expect(accepted).toBeGreaterThan(20);
    expect(drafted - accepted).toBeGreaterThan(100);
  });

  it("drafts what the module without caches would", async () => {
    let total = 0;
    for (const [vocabulary, seed] of [
      [6, 1],
      [8, 7],
      [12, 3],
    ]) {
      using model = smallV3(device, { vocabulary, seed });
      const prompt = Array.from({ length: 19 }, (_, i) => (i * i + seed) % vocabulary);
      const maxTokens = 60;
      const { ids, stats } = await collect(model, prompt, { maxTokens, prefillChunk: 8, speculative: true });
      const sequence = [...prompt, ...ids];
      const drafts: number[] = [];
      {
        using _scope = new Scope(device);
        const states = model.hidden(model.ids([sequence.slice(0, -1)]));
        const { normed } = model.mtp(states, model.ids([sequence.slice(1)]));
        const logits = (await model.logits(normed).data()) as Float32Array;
        for (let i = 0; i < sequence.length - 1; i++) {
          drafts.push(argmax(logits.subarray(i * vocabulary, (i + 1) * vocabulary)));
        }
      }
      const expected = { drafted: 0, accepted: 0 };
      for (let made = 1; made <= maxTokens - 2; made++) {
        const at = prompt.length + made;
        expected.drafted++;
        if (drafts[at - 2] !== sequence[at]) continue;
        expected.accepted++;
        made++;
      }
      expect(stats.speculative).toMatchObject(expected);
      expect(expected.drafted).toBeGreaterThan(expected.accepted);
      total += expected.accepted;
    }
    expect(total).toBeGreaterThan(10);
  });

  it("accepts every draft where the future is certain, in half the passes", async () => {
    using model = smallV3(device, { vocabulary: 40 });
    makePredictable(model);
    const plain = await collect(model, [3, 17], { maxTokens: 41 });
    const { ids, stats } = await collect(model, [3, 17], { maxTokens: 41, speculative: true });
    expect(ids).toEqual(plain.ids);
    expect(new Set(ids).size).toBe(40);
    expect(stats.speculative).toEqual({ drafted: 20, accepted: 20, acceptanceRate: 1 });
  });

  it("samples whole sequences from the distribution of the model", async () => {
    const V = 4;
    const options = { temperature: 0.8, topP: 0.97 };
    using model = smallV3(device, { vocabulary: V, hidden: 16, layers: 1, seed: 6, std: 0.35 });
    const prompt = [1, 2];
    const depth = 4;
    // Probability of every continuation, from the model without cache.
    let level = new Map<string, { ids: number[]; p: number }>([["", { ids: [], p: 1 }]]);
    for (let i = 0; i < depth; i++) {
      const next = new Map<string, { ids: number[]; p: number }>();
      for (const { ids, p } of level.values()) {
        using _scope = new Scope(device);
        const states = model.hidden(model.ids([[...prompt, ...ids]]));
        const logits = (await model.logits(model.last(states)).data()) as Float32Array;
        const { ids: choices, probabilities } = candidates(logits, options);
        for (let id = 0; id < V; id++) {
          const at = choices.indexOf(id);
          const longer = [...ids, id];
          next.set(longer.join(), { ids: longer, p: p * (at < 0 ? 0 : probabilities[at]) });
        }
      }
      level = next;
    }
    const keys = [...level.keys()];
    const runs = 2500;
    const expected = keys.map((key) => level.get(key)!.p * runs);
    const observed = new Float64Array(keys.length);
    let accepted = 0;
    let drafted = 0;
    for (let seed = 0; seed < runs; seed++) {
      const { ids, stats } = await collect(model, prompt, {
        ...options,
        maxTokens: depth,
        seed,
        speculative: true,
      });
      observed[keys.indexOf(ids.join())]++;
      accepted += stats.speculative!.accepted;
      drafted += stats.speculative!.drafted;
    }
    expect(chiSquare(observed, expected)).toBeLessThan(1);
    expect(accepted / drafted).toBeGreaterThan(0.2);
    expect(accepted / drafted).toBeLessThan(0.95);
    // The test can tell: a slightly flatter model would fail it.
    const flatter = expected.map((e) => (e / runs) ** 0.8);
    const total = flatter.reduce((a, b) => a + b, 0);
    expect(
      chiSquare(
        observed,
        flatter.map((e) => (e / total) * runs),
      ),
    ).toBeGreaterThan(1);
  });
});

describe("the pass that verifies a draft", () => {
  /** States and logits of tokens 7 and 9 after `start` tokens, read in one pass or in two. */
  async function read(model: CausalLM, start: number, passes: number[][], capacity: number) {
    const prompt = Array.from({ length: start }, (_, i) => (i * i + 3) % 40);
    using _scope = new Scope(model.device);
    using cache = model.createCache(capacity);
    model.hidden(model.ids([prompt]), { cache });
    const bits: number[] = [];
    for (const ids of passes) {
      const states = model.hidden(model.ids([ids]), { cache });
      for (const output of [states, model.logits(states)])
        bits.push(...new Int32Array(((await output.data()) as Float32Array).slice().buffer));
    }
    return bits;
  }

  /** The order in which two passes give what one pass gives: states, then logits, of each token. */
  function paired(bits: number[], d: number, vocabulary: number): number[] {
    const [states, logits] = [bits.slice(0, 2 * d), bits.slice(2 * d)];
    return [0, 1].flatMap((i) => [
      ...states.slice(i * d, (i + 1) * d),
      ...logits.slice(i * vocabulary, (i + 1) * vocabulary),
    ]);
  }

  for (const threads of [1, 2]) {
    for (const relaxed of [true, false]) {
      // Heads on both sides of what the kernel for few rows takes, and of a unit of 64 rows for two tokens.
      it(`has the bits of two passes (${threads} threads, relaxed ${relaxed})`, async () => {
        const cpu = await cpuDevice(threads, relaxed);
        for (const heads of [1, 2, 3, 8, 33]) {
          for (const dtype of ["f32", "bf16"] as const) {
            const shape = { hidden: heads === 3 ? 72 : 32, vocabulary: 40 };
            using model = smallV3(cpu, { ...shape, heads, dtype, seed: heads });
            // Around the ends of key blocks and splits, and with caches that grow at different times.
            for (const start of [1, 5, 47, 63, 64, 95, 96, 191, 400]) {
              const one = await read(model, start, [[7, 9]], start + 300);
              const two = await read(model, start, [[7], [9]], start + 1);
              expect(paired(one, shape.hidden, shape.vocabulary)).toEqual(two);
            }
          }
        }
      });
    }
  }
});

describe("the rejection test", () => {
  const distribution = (weights: number[]): Candidates => {
    const total = weights.reduce((a, b) => a + b, 0);
    const ids = weights.map((_, i) => i).filter((i) => weights[i] > 0);
    return { ids: Int32Array.from(ids), probabilities: Float64Array.from(ids, (i) => weights[i] / total) };
  };

  it("turns draws of any draft distribution into draws of the target", () => {
    const random = new Random(11);
    const sampler = new TokenSampler({ temperature: 1 }, random, [], 5);
    const cases = [
      [
        [5, 2, 2, 1, 0],
        [1, 1, 1, 1, 1],
      ],
      [
        [1, 0, 3, 0, 1],
        [4, 3, 1, 1, 1],
      ],
      [
        [1, 2, 3, 4, 5],
        [0, 0, 0, 1, 0],
      ],
      [
        [0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1],
      ],
      [
        [3, 1, 1, 1, 2],
        [3, 1, 1, 1, 2],
      ],
    ];
    for (const [p, q] of cases) {
      const [target, draft] = [distribution(p), distribution(q)];
      const runs = 40_000;
      const counts = new Float64Array(5);
      let accepted = 0;
      for (let i = 0; i < runs; i++) {
        const result = verify(target, draft, sampler.draw(draft), sampler);
        counts[result.id]++;
        if (result.accepted) accepted++;
      }
      const sum = p.reduce((a, b) => a + b, 0);
      expect(
        chiSquare(
          counts,
          p.map((w) => (w / sum) * runs),
        ),
      ).toBeLessThan(1);
      const overlap = p.reduce((a, w, i) => a + Math.min(w / sum, q[i] / q.reduce((x, y) => x + y, 0)), 0);
      expect(accepted / runs).toBeCloseTo(overlap, 1);
    }
  });

  it("leaves a residual that is a distribution outside the draft's surplus", () => {
    const weights = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(weights, weights, (p, q) => {
        fc.pre(p.some((w) => w > 0) && q.some((w) => w > 0));
        const [target, draft] = [distribution(p), distribution(q)];
        const { ids, probabilities } = residual(target, draft);
        expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        const same = probabilities.every((w, i) => Math.abs(w - target.probabilities[i]) < 1e-12);
        ids.forEach((id, i) => {
          const at = draft.ids.indexOf(id);
          if (!same && at >= 0 && draft.probabilities[at] > target.probabilities[i])
            expect(probabilities[i]).toBe(0);
        });
      }),
    );
  });
});
