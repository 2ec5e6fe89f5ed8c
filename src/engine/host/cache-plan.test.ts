import { describe, expect, it } from "vitest";
import { type CacheWishes, type MachineMemory, planCaches } from "./cache-plan.ts";

const GiB = 2 ** 30;
const large = {
  maxPositions: 163_840,
  tokenBytes: 2 ** 16,
  memory: { free: 16 * GiB, total: 32 * GiB } as MachineMemory | null,
};
const plan = (wishes: CacheWishes, more: Partial<typeof large> = {}) =>
  planCaches(wishes, { ...large, ...more });

describe("a plan of caches", () => {
  it("takes what the model has where nothing is asked for, as far as caches hold it", () => {
    expect(plan({})).toEqual({ context: 32_768, cacheTokens: 32_768, notice: null });
    expect(plan({}, { maxPositions: 2048 })).toEqual({ context: 2048, cacheTokens: 32_768, notice: null });
  });

  it("takes what is asked for", () => {
    expect(plan({ context: 8192 })).toMatchObject({ context: 8192, cacheTokens: 32_768, notice: null });
    expect(plan({ context: 100_000 })).toMatchObject({ context: 100_000, cacheTokens: 100_000 });
    expect(plan({ cacheTokens: 1000 })).toMatchObject({ context: 1000, cacheTokens: 1000, notice: null });
    expect(plan({ context: 500, cacheTokens: 1000 })).toMatchObject({ context: 500, cacheTokens: 1000 });
  });

  it.each<[CacheWishes, RegExp]>([
    [{ context: 163_841 }, /max_position_embeddings = 163840 tokens; found: 163841/],
    [{ context: 2000, cacheTokens: 1999 }, /at least context = 2000 tokens; found: 1999/],
    [{ cacheTokens: 524_289 }, /at most 524288 tokens \(34\.4 GB\); found: 524289/],
    [{ context: 0 }, /context; expected: an integer, 1 or more; found: 0/],
    [{ context: Number.NaN }, /found: NaN/],
    [{ cacheTokens: 1.5 }, /cacheTokens; .*found: 1.5/],
  ])("refuses %o with both numbers", (wishes, message) => expect(() => plan(wishes)).toThrow(message));

  it("fits what was not asked for to the memory, and says so", () => {
    // DeepSeek LLM 7B: keys and values of all heads, a megabyte per token.
    const { context, cacheTokens, notice } = plan({}, { maxPositions: 4096, tokenBytes: 2 ** 20 });
    expect({ context, cacheTokens }).toEqual({ context: 4096, cacheTokens: 13_107 });
    expect(notice).toContain("limited to 13,107 tokens");
    expect(plan({ context: 20_000 }, { tokenBytes: 2 ** 20 })).toMatchObject({
      context: 20_000,
      cacheTokens: 20_000,
      notice: expect.stringContaining("21.0 GB when full; 17.2 GB"),
    });
    expect(plan({}, { tokenBytes: 2 ** 30, memory: { ...large.memory!, free: 1 } }).cacheTokens).toBe(1);
  });

  it("has the default size where the memory is not known, or what is asked for", () => {
    const unknown = { tokenBytes: 2 ** 30, memory: null };
    expect(plan({}, unknown)).toEqual({ context: 32_768, cacheTokens: 32_768, notice: null });
    expect(plan({ cacheTokens: 50_000 }, unknown)).toMatchObject({ context: 50_000, notice: null });
  });
});
