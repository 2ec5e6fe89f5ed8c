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
