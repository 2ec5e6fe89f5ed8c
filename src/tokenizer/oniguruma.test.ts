import { describe, expect, it } from "vitest";
import { FormatError } from "../tensor/errors.ts";
import { compileOniguruma, translateOniguruma } from "./oniguruma.ts";

const all = (pattern: string, text: string) => text.match(compileOniguruma(pattern)) ?? [];

describe("translateOniguruma", () => {
  it("gives \\s Oniguruma's meaning: U+0085 in, U+FEFF out", () => {
    expect(all("\\s", "\u0085\uFEFF \u3000\u200B")).toEqual(["\u0085", " ", "\u3000"]);
    expect(all("\\S", "\u0085\uFEFF a")).toEqual(["\uFEFF", "a"]);
    expect(all("[^\\s]", "\u0085\uFEFF a")).toEqual(["\uFEFF", "a"]);
    expect(all("[\\S\\n]", "\n \u0085\uFEFF")).toEqual(["\n", "\uFEFF"]);
  });

  it("gives \\d, \\w and . their Unicode meanings", () => {
    expect(all("\\d+", "12\u0663x")).toEqual(["12\u0663"]);
    expect(all("\\w+", "é_1 -")).toEqual(["é_1"]);
    expect(all(".", "\r\n\u2028")).toEqual(["\r", "\u2028"]);
  });

  it("reads escapes, classes, properties, groups and quantifiers", () => {
    expect(all("[!\\-\\]\\[/]", "-a][!/")).toEqual(["-", "]", "[", "!", "/"]);
    expect(all("[]a]", "]a")).toEqual(["]", "a"]);
    expect(all("[a-]", "a-")).toEqual(["a", "-"]);
    expect(all("\\p{^L}|\\P{N}", "a1")).toEqual(["a", "1"]);
    expect(all("\\p{Han}+", "a汉字")).toEqual(["汉字"]);
    expect(all("\\x41\\u0042\\x{1F680}", "AB🚀")).toEqual(["AB🚀"]);
    expect(all("(?:a|b){,2}c", "abc")).toEqual(["abc"]);
    expect(all("(?<=a)b(?!c)", "ab abc")).toEqual(["b"]);
    expect(all("'x}{", "'x}{")).toEqual(["'x}{"]);
    expect(all("\\s+$", "a \n ")).toEqual([" \n "]);
    expect(all("[😀-😂]", "😁")).toEqual(["😁"]);
  });

  it("leaves case out inside (?i:..) and nowhere else", () => {
    expect(all("(?i:'s|'ll|(?:'k))|x", "'s'S'ſ'lL'K'Kx X")).toEqual([
      "'s",
      "'S",
      "'ſ",
      "'lL",
      "'K",
      "'K",
      "x",
    ]);
    expect(all("(a(?i:b)c)d", "aBcd aBCd abcD")).toEqual(["aBcd"]);
  });

  it("never matches in the middle of a line with $", () => {
    expect(all("a$", "a\na")).toHaveLength(1);
  });

  it.each([
    ["(?i:[ab])", "a class under (?i"],
    ["(?i:é)", "beyond ASCII"],
    ["(?i)a", "(?i)"],
    ["(?x:a)", "(?x"],
    ["a++", "possessive"],
    ["(?>a)", "(?>"],
    ["(a)\\1", "\\1"],
    ["\\bx", "\\b"],
    ["[[:alpha:]]", "POSIX"],
    ["[a[b]]", "class inside"],
    ["[a&&b]", "&&"],
    ["[b-a]", "empty range"],
    ["\\p{Nonsense}", "Nonsense"],
    ["[a", "without ]"],
    ["*a", "of nothing"],
    ["a\\", "backslash"],
    ["[\\W]", "\\W"],
  ])("refuses %s by name", (pattern, name) => {
    expect(() => translateOniguruma(pattern)).toThrow(FormatError);
    expect(() => translateOniguruma(pattern)).toThrow(name);
  });

  it("reports unbalanced groups", () => {
    expect(() => compileOniguruma("(a")).toThrow(FormatError);
  });
});
