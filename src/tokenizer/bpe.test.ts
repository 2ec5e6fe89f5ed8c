import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError } from "../tensor/errors.ts";
import { buildBpe } from "./bpe.ts";
import { BYTE_TO_CHAR, BYTES_BY_CHAR, textToByteChars, tokenToBytes } from "./byte-alphabet.ts";

const MERGES: [string, string][] = [
  ["b", "c"],
  ["a", "b"],
  ["a", "a"],
  ["a", "bc"],
  ["aa", "a"],
  ["aa", "aa"],
  ["Ã", "©"],
  ["ab", "c"],
];
const tokens = [...new Set([...BYTES_BY_CHAR.map((b) => BYTE_TO_CHAR[b]), ...MERGES.map(([l, r]) => l + r)])];
const vocab = new Map(tokens.map((token, id) => [token, id]));

/** The definition, as slowly as it reads: merge the lowest-ranked pair, leftmost first, until none is left. */
function slowly(piece: string): number[] {
  const parts = Array.from(textToByteChars(piece));
  for (;;) {
    const rank = (i: number) => MERGES.findIndex(([l, r]) => l === parts[i] && r === parts[i + 1]);
    const candidates = parts.map((_, i) => ({ i, rank: rank(i) })).filter((c) => c.rank >= 0);
    if (candidates.length === 0) return parts.map((part) => vocab.get(part)!);
    const { i } = candidates.reduce((best, c) => (c.rank < best.rank ? c : best));
    parts.splice(i, 2, parts[i] + parts[i + 1]);
  }
}

function encode(piece: string, encoder = buildBpe(vocab, MERGES, false)): number[] {
  const out: number[] = [];
  encoder(piece, out);
  return out;
}

describe("buildBpe", () => {
  it("equals the definition for short pieces (scan) and long ones (heap)", () => {
    const encoder = buildBpe(vocab, MERGES, false);
    const unit = fc.constantFrom("a", "b", "c", "é", "🚀", "€");
    for (const [minLength, maxLength] of [
      [1, 30],
      [65, 200],
    ]) {
      fc.assert(
        fc.property(fc.string({ unit, minLength, maxLength }), (piece) => {
          expect(encode(piece, encoder)).toEqual(slowly(piece));
          // The second time comes from the cache.
          expect(encode(piece, encoder)).toEqual(slowly(piece));
        }),
        { numRuns: 60 },
      );
    }
  });

  it("takes a long run in well under quadratic time", () => {
    const started = performance.now();
    expect(encode("a".repeat(80_000))).toHaveLength(20_000);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  it("with ignore_merges takes a whole token before merging", () => {
    const extended = new Map([...vocab, ["cab", 999] as const]);
    expect(encode("cab", buildBpe(extended, MERGES, true))).toEqual([999]);
    expect(encode("cab", buildBpe(extended, MERGES, false))).toEqual([vocab.get("c"), vocab.get("ab")]);
  });

  it("refuses merges outside the vocabulary and bytes without a symbol", () => {
    expect(() => buildBpe(vocab, [["x", "y"]], false)).toThrow(/merges\[0\].*xy/);
    const without = new Map([...vocab].filter(([token]) => token !== "a"));
    expect(() => encode("a", buildBpe(without, [], false))).toThrow(FormatError);
    expect(() => encode("a", buildBpe(without, [], false))).toThrow("0x61");
  });
});

describe("the byte alphabet", () => {
  it("is GPT-2's", () => {
    expect(BYTE_TO_CHAR[0x20]).toBe("Ġ");
    expect(BYTE_TO_CHAR[0x0a]).toBe("Ċ");
    expect(BYTE_TO_CHAR[0xad]).toBe("\u0143");
    expect(new Set(BYTE_TO_CHAR).size).toBe(256);
    expect(BYTES_BY_CHAR[0]).toBe("!".charCodeAt(0));
    expect(BYTES_BY_CHAR.indexOf(9)).toBe(197);
    expect(BYTES_BY_CHAR.indexOf(10)).toBe(198);
    expect(BYTES_BY_CHAR.indexOf(32)).toBe(220);
  });

  it("is undone by tokenToBytes", () => {
    expect(new TextDecoder().decode(tokenToBytes(textToByteChars("a é🚀\n"))!)).toBe("a é🚀\n");
    expect(tokenToBytes("<｜")).toBeNull();
  });
});
