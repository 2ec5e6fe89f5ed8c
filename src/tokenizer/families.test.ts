import { describe, expect, it } from "vitest";
import { classBody, FAMILIES, preTokenizerJson, TOKEN } from "./families.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";

const idIn = (family: keyof typeof FAMILIES, content: string) =>
  FAMILIES[family].tokens.find((token) => token.content === content)?.id;

describe("FAMILIES", () => {
  it("spells tokens with U+FF5C and U+2581", () => {
    expect(Array.from(TOKEN.bos, (c) => c.charCodeAt(0)).filter((c) => c > 0x7f)).toEqual([
      0xff5c, 0x2581, 0x2581, 0xff5c,
    ]);
    expect(TOKEN.bos).toBe("<｜begin▁of▁sentence｜>");
    expect(TOKEN.eot).toMatch(/^[\x20-\x7e]+$/);
  });

  it("orders fim ids hole, begin, end everywhere", () => {
    for (const [family, first] of [
      ["v2", 100_002],
      ["coder", 32_015],
      ["v3", 128_800],
    ] as const) {
      expect([TOKEN.fimHole, TOKEN.fimBegin, TOKEN.fimEnd].map((t) => idIn(family, t))).toEqual([
        first,
        first + 1,
        first + 2,
      ]);
    }
    expect(idIn("llm", TOKEN.fimHole)).toBeUndefined();
  });

  it("has the published ends of each table", () => {
    expect(idIn("v3", TOKEN.toolSep)).toBe(128_814);
    expect(idIn("v3", TOKEN.user)).toBe(128_803);
    expect(idIn("v3", "<｜place▁holder▁no▁799｜>")).toBe(128_799);
    expect(idIn("v2", TOKEN.toolSep)).toBe(100_017);
    expect(idIn("coder", TOKEN.eot)).toBe(32_021);
    expect(FAMILIES.llm.letters.at(-1)).toEqual({ content: "ü", id: 100_014, verified: true });
    expect(FAMILIES.coder.letters.find((t) => t.content === "ü")?.id).toBe(32_009);
    expect(FAMILIES.v2.letters).toEqual([]);
  });

  it("has no id twice and none beyond the padded vocabulary", () => {
    for (const family of Object.values(FAMILIES)) {
      const ids = [...family.tokens, ...family.letters].map((token) => token.id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(Math.max(...ids)).toBeLessThan(family.paddedVocabSize);
    }
  });
});

describe("the letter class of LLM-100K", () => {
  it("is built from numbers, so that normalization cannot change it", () => {
    const json = JSON.stringify(preTokenizerJson("llm-100k"));
    for (const code of [0x2126, 0x212a, 0x1fbe]) expect(json).toContain(String.fromCodePoint(code));
    expect(classBody("41-5A B5")).toBe("A-Zµ");
  });

  it("holds cased scripts and not the others", () => {
    const cut = compilePreTokenizer(preTokenizerJson("llm-100k"));
    const pieces: string[] = [];
    // ASCII letters are split off again by the punctuation stage, whose second range holds them.
    cut("éЖ \u{10400}ひβa", (piece) => pieces.push(piece));
    expect(pieces).toEqual(["éЖ", " \u{10400}", "ひ", "β", "a"]);
  });
});
