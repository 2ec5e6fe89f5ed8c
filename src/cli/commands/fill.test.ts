import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { loadTokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import { cutAt, fitTexts } from "./fill.ts";

describe("cutAt", () => {
  const text = "ab\ncde\n";
  it.each([
    [1, 1, ""],
    [1, 3, "ab"],
    [2, 1, "ab\n"],
    [2, 4, "ab\ncde"],
    [3, 1, "ab\ncde\n"],
  ])("line %d, column %d", (line, column, prefix) => {
    expect(cutAt(text, { line, column }, "f")).toEqual({ prefix, suffix: text.slice(prefix.length) });
  });

  it.each([
    [1, 4, "a column of 1 to 3"],
    [4, 1, "1 to 3"],
  ])("refuses line %d, column %d", (line, column, expected) => {
    expect(() => cutAt(text, { line, column }, "f")).toThrow(`expected: ${expected}`);
    expect(() => cutAt(text, { line, column }, "f")).toThrow(ConfigError);
  });
});

describe("cutAt in other scripts and systems", () => {
  const whole = (text: string, line: number, column: number) => {
    const { prefix, suffix } = cutAt(text, { line, column }, "f");
    expect(prefix + suffix).toBe(text);
    return prefix;
  };

  it.each([
    ["a\r\nb\r\n", 1, 2, "a"],
    ["a\r\nb\r\n", 2, 1, "a\r\n"],
    ["\ufeffab\nc", 1, 1, "\ufeff"],
    ["\ufeffab\nc", 1, 3, "\ufeffab"],
    ["\ufeffab\nc", 2, 2, "\ufeffab\nc"],
    ["a😀b", 1, 2, "a"],
    ["a😀b", 1, 4, "a😀"],
    ["e\u0301x", 1, 3, "e\u0301"],
    ["\r", 1, 2, "\r"],
    ["", 1, 1, ""],
    ["\ufeff", 1, 1, "\ufeff"],
  ])("%j, line %d, column %d", (text, line, column, prefix) => {
    expect(whole(text, line, column)).toBe(prefix);
  });

  it.each([
    ["a😀b", 3, 'column 2 before "😀" or 4 after it'],
    ["e\u0301x", 2, 'column 1 before "e\u0301" or 3 after it'],
    ["👩‍👩‍👧x", 3, 'column 1 before "👩‍👩‍👧" or 9 after it'],
    ["🇩🇪🇫🇷", 3, 'column 1 before "🇩🇪" or 5 after it'],
    ["a\r\nb", 3, "a column of 1 to 2"],
    ["\ufeffab", 4, "a column of 1 to 3"],
  ])("refuses to cut %j before column %d", (text, column, expected) => {
    expect(() => cutAt(text, { line: 1, column }, "f")).toThrow(expected);
  });

  it("cuts any text between characters and keeps all of it", () => {
    const unit = fc.constantFrom(
      "a",
      "\r",
      "\n",
      "\r\n",
      "😀",
      "\u0301",
      "\ufeff",
      "🇩",
      "\u200d",
      "ü",
      "\ud800",
    );
    const place = fc.record({
      line: fc.integer({ min: 1, max: 4 }),
      column: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 20 }), place, (text, place) => {
        let prefix: string;
        try {
          prefix = whole(text, place.line, place.column);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          return;
        }
        const suffix = text.slice(prefix.length);
        expect(/[\ud800-\udbff]$/.test(prefix) && /^[\udc00-\udfff]/.test(suffix)).toBe(false);
        expect(prefix.endsWith("\r") && suffix.startsWith("\n")).toBe(false);
      }),
    );
  });
});

describe("fitTexts", async () => {
  const tokenizer = loadTokenizer(
    await trainBpe(["const a = 1;\nconst ü = 2;\n".repeat(4)], { vocabSize: 270 }),
  );
  const size = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).length;

  it("leaves alone what fits", () => {
    const texts = { prefix: "const a", suffix: "= 1;" };
    expect(fitTexts(tokenizer, texts, size("const a") + size("= 1;"))).toEqual(texts);
  });

  it("keeps the ends at the hole, the prefix in whole lines", () => {
    const prefix = "const a = 1;\n".repeat(50);
    const suffix = "const b = 2;\n".repeat(50);
    const fitted = fitTexts(tokenizer, { prefix, suffix }, 100);
    expect(fitted.prefix).toMatch(/^(const a = 1;\n)+$/);
    expect(suffix.startsWith(fitted.suffix)).toBe(true);
    expect(size(fitted.suffix)).toBe(25);
  });

  it("stays within the budget and the slack that the command leaves, and invents no text", () => {
    const texts = fc.string({ unit: fc.constantFrom("a", "ü", "\n", "const ", "😀"), maxLength: 60 });
    fc.assert(
      fc.property(texts, texts, fc.integer({ min: 0, max: 80 }), (prefix, suffix, budget) => {
        const fitted = fitTexts(tokenizer, { prefix, suffix }, budget);
        expect(prefix.endsWith(fitted.prefix)).toBe(true);
        expect(suffix.startsWith(fitted.suffix)).toBe(true);
        expect(size(fitted.prefix) + size(fitted.suffix)).toBeLessThanOrEqual(budget + 8);
      }),
    );
  });
});
