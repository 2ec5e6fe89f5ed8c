/** What the inside of a token takes between threads, and what figures say of answers that are hardly any. */
import { describe, expect, it } from "vitest";
import { f16ToF32 } from "../../tensor/float-formats.ts";
import type { EngineStats } from "../generation.ts";
import { figuresOf, insideBytes, packedInside } from "./inside.ts";

const token = { id: 7, text: "a", logprob: -0.5 };

it.each([
  ["DeepSeek-V2-Lite", 26, 6, 64, 500],
  ["DeepSeek-V3", 58, 8, 256, 1500],
])("experts of %s fit what a token may take", (_, layers, topK, experts, most) => {
  const ids = Uint8Array.from({ length: layers * topK }, (_, i) => (i * 37) % experts);
  const weights = Float32Array.from(ids, (id) => 2.5 / (1 + id));
  const inside = { drafted: false, refused: 9, experts: { topK, ids, weights } };
  const entry = packedInside(token, [token], inside, (id) => `t${id}`);
  const { experts: packed, ...rest } = entry;
  expect(packed!.ids.byteLength + packed!.weights.byteLength).toBe(3 * layers * topK);
  expect(3 * layers * topK).toBeLessThan(most);
  for (const [i, weight] of f16ToF32(packed!.weights).entries()) {
    expect(Math.abs(weight - weights[i])).toBeLessThanOrEqual(weights[i] / 2 ** 11);
  }
  expect(rest).toEqual({
    ...{ ...token, alternatives: [token], drafted: false },
    refused: { id: 9, text: "t9" },
  });
  expect(insideBytes([entry, entry])).toBe(2 * (3 * layers * topK + JSON.stringify(rest).length));
});

describe("figures", () => {
  const stats: EngineStats = {
    ...{ promptTokens: 9, cachedTokens: 4, generatedTokens: 5, queueMs: 1, prefillMs: 20, decodeMs: 100 },
    ...{ preemptions: 0, weightChanges: 0, cacheBytes: 4096, stopReason: "stop" },
  };

  it("count tokens a second behind the first", () => {
    expect(figuresOf(stats, 25)).toEqual({
      ...{ firstTokenMs: 25, queueMs: 1, tokensPerSecond: 40, promptTokens: 9, cachedTokens: 4 },
      ...{ tokens: 5, cacheBytes: 4096, drafts: null },
    });
    const speculative = { drafted: 3, accepted: 2, acceptanceRate: 2 / 3 };
    expect(figuresOf({ ...stats, speculative }, 25).drafts).toEqual({ drafted: 3, accepted: 2 });
  });

  it.each([
    [0, 0],
    [1, 0],
    [1, 3],
    [2, 0],
  ])("have no speed where %i tokens took %i ms", (generatedTokens, decodeMs) => {
    expect(figuresOf({ ...stats, generatedTokens, decodeMs }, null).tokensPerSecond).toBeNull();
  });
});
