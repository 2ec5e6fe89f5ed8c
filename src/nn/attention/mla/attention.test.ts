import { describe, expect, it } from "vitest";
import { absorbs } from "./attention.ts";
import type { MlaConfig } from "./config.ts";

describe("the choice between the forms of latent attention", () => {
  const v3: MlaConfig = {
    kind: "mla",
    heads: 128,
    queryRank: 1536,
    latentRank: 512,
    nopeDim: 128,
    ropeDim: 64,
    valueDim: 128,
  };

  it("absorbs the one or two tokens of a decoding step, whatever came before", () => {
    for (const length of [3, 10, 1000, 100_000]) {
      expect(absorbs(v3, 1, length)).toBe(true);
      expect(absorbs(v3, 2, length)).toBe(true);
    }
  });

  it("expands a sequence that begins", () => {
    for (const tokens of [1, 2, 5, 4000]) expect(absorbs(v3, tokens, tokens)).toBe(false);
  });

  it("changes over once, near 128 tokens over a long past (V3)", () => {
    for (const start of [256, 2000, 8000, 100_000]) {
      const forms = Array.from({ length: 600 }, (_, i) => absorbs(v3, i + 1, start + i + 1));
      const change = forms.indexOf(false);
      expect(forms.slice(change).includes(true)).toBe(false);
      expect(change).toBeGreaterThan(80);
      expect(change).toBeLessThan(140);
    }
  });
});
