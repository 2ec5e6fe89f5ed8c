import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { best, LogitsError } from "./sampling.ts";
import {
  logNorm,
  logProbability,
  scoredToken,
  TokenSampler,
  type TokenSamplerOptions,
} from "./token-sampler.ts";

const logits = Float32Array.from([1, 3, 2, 3, -1, 9]);

/** Tokens 0 to 4 exist. */
function greedy(options: TokenSamplerOptions, context: number[] = []): TokenSampler {
  return new TokenSampler(options, new Random(1), context, 5);
}

function pick(sampler: TokenSampler): number {
  const id = sampler.draw(sampler.distribution(logits));
  sampler.accept(id, logits);
  return id;
}

describe("TokenSampler", () => {
  it("takes presence off once, frequency each time, of generated tokens only", () => {
    const present = greedy({ presencePenalty: 1.5 }, [1, 1, 3]);
    expect([1, 2, 3, 4, 5].map(() => pick(present))).toEqual([1, 3, 2, 1, 1]);
    const frequent = greedy({ frequencyPenalty: 0.75 }, [1]);
    expect([1, 2, 3, 4, 5, 6].map(() => pick(frequent))).toEqual([1, 3, 1, 3, 2, 1]);
    const rewarded = greedy({ presencePenalty: -9, logitBias: [[4, 5]] });
    expect([1, 2].map(() => pick(rewarded))).toEqual([4, 4]);
  });

  it("lets no stop token come before so many tokens", () => {
    const sampler = greedy({ minTokens: 2, stopIds: [1, 3] });
    expect([1, 2, 3].map(() => pick(sampler))).toEqual([2, 2, 1]);
    expect(pick(greedy({ minTokens: 2 }))).toBe(1);
  });

  it("adds biases and leaves the logits and the reported probabilities alone", () => {
    const before = logits.slice();
    const sampler = greedy(
      {
        logitBias: [
          [1, -100],
          [3, -100],
        ],
        repetitionPenalty: 2,
        logprobs: 2,
      },
      [2],
    );
    const distribution = sampler.distribution(logits);
    expect([...distribution.ids]).toEqual([0]);
    expect(logits).toEqual(before);
    const token = sampler.accept(0, logits);
    expect(token.logprob).toBeCloseTo(logProbability(logits, 0, 5), 12);
    expect(token.top?.map(({ id }) => id)).toEqual([1, 3]);
    expect(token.top?.[0].logprob).toBeCloseTo(logProbability(logits, 1, 5), 12);
    expect(greedy({ logprobs: true }).accept(1, logits)).toEqual({
      id: 1,
      logprob: logProbability(logits, 1, 5),
    });
    expect(greedy({ logprobs: 0 }).accept(1, logits).top).toEqual([]);
    expect(greedy({}).accept(1, logits)).toEqual({ id: 1 });
  });

  it("refuses logits that are not finite, greedy or not, whatever hides them", () => {
    const hiding = {
      mask: (values: Float32Array) => void values.fill(Number.NEGATIVE_INFINITY, 1, 5),
      accept: () => {},
      complete: false,
      finished: false,
      clone: () => hiding,
    };
    const { NaN: none, POSITIVE_INFINITY: endless, NEGATIVE_INFINITY: never } = Number;
    const broken = [[1, none, 2, 3, 4], [1, 2, 3, 4, endless], new Array<number>(5).fill(never)];
    const options: TokenSamplerOptions[] = [
      {},
      { constraint: hiding },
      { logitBias: [[0, 100]] },
      { repetitionPenalty: 2 },
    ];
    for (const values of broken) {
      for (const [i, option] of options.entries()) {
        for (const temperature of [0, 1]) {
          const sampler = greedy({ ...option, temperature }, [0]);
          const distribution = () => sampler.distribution(Float32Array.from(values));
          if (i > 0 || temperature === 0 || values[0] !== never) expect(distribution).toThrow(LogitsError);
          else expect(distribution).toThrow();
        }
      }
      expect(() => logProbability(values, 0)).toThrow(LogitsError);
    }
    expect(greedy({}).distribution(Float32Array.from([1, never, 2, 3, 4])).ids[0]).toBe(4);
  });

  it("refuses where a constraint leaves nothing", () => {
    const constraint = {
      mask: (values: Float32Array) => void values.fill(Number.NEGATIVE_INFINITY, 0, 5),
      accept: () => {},
      complete: false,
      finished: false,
      clone: () => constraint,
    };
    for (const temperature of [0, 1]) {
      expect(() => greedy({ constraint, temperature }).distribution(logits)).toThrow(
        /no token is allowed here/,
      );
    }
    expect(greedy({ constraint }).finished).toBe(false);
    expect(greedy({}).finished).toBe(false);
  });

  it("finds the best ids in order, ties by id", () => {
    expect(best(logits, 4, 5)).toEqual([1, 3, 2, 0]);
    expect(best(logits, 9, 5)).toEqual([1, 3, 2, 0, 4]);
    expect(best(logits, 0)).toEqual([]);
    const random = new Random(4);
    const many = Float32Array.from({ length: 2100 }, () => random.int(40));
    const sorted = [...many.keys()].sort((a, b) => many[b] - many[a] || a - b);
    expect(best(many, 37)).toEqual(sorted.slice(0, 37));
  });
});

it("a token is scored with and without alternatives alike, and not among what is no number", () => {
  const random = new Random(9);
  const many = Float32Array.from({ length: 3000 }, () => random.normal() * 4);
  const { logprob } = scoredToken(many, 17, true, 3000);
  expect(logprob).toBe(logProbability(many, 17));
  for (const alternatives of [0, 1, 5]) {
    const found = scoredToken(many, 17, alternatives, 3000);
    expect(found.logprob).toBe(logprob);
    const ids = best(many, alternatives);
    expect(found.top).toEqual(ids.map((id) => ({ id, logprob: logProbability(many, id) })));
  }
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    for (const at of [0, 1700, 2999]) {
      const damaged = Float32Array.from(many);
      damaged[at] = value;
      for (const alternatives of [true, 0, 5]) {
        expect(() => scoredToken(damaged, 17, alternatives, 3000)).toThrow(LogitsError);
      }
    }
  }
});

describe("logNorm", () => {
  it.each([0.001, 1, 12, 700])("is that of exact exponentials over logits of spread %f", (spread) => {
    const random = new Random(7);
    const many = Float32Array.from({ length: 5000 }, () => random.normal() * spread + 3);
    many[11] = Number.NEGATIVE_INFINITY;
    many[4999] = 1e30;
    const count = 4999;
    const largest = Math.max(...many.slice(0, count));
    const exact = many.slice(0, count).reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    expect(Math.abs(Math.exp(logNorm(many, count) - largest) / exact - 1)).toBeLessThan(1e-9);
  });

  it("is a lone logit itself", () => {
    expect(logNorm([-3.25], 1)).toBe(-3.25);
    expect(logProbability([-3.25, Number.NEGATIVE_INFINITY], 0)).toBe(0);
  });
});
