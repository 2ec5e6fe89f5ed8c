import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { acceptsDfa, Budget } from "./automaton.ts";
import { otherThanDfa, quotedDfa, utf8Ranges } from "./json-string.ts";
import { patternDfa } from "./pattern.ts";

const codes = (text: string) => Array.from(text, (char) => char.codePointAt(0)!);
const matches = (pattern: string, text: string) => {
  const dfa = patternDfa(pattern, new Budget());
  return dfa !== null && acceptsDfa(dfa, codes(text));
};

const atom = fc.constantFrom(
  "a",
  "b",
  "[ab]",
  "[^a]",
  ".",
  "\\d",
  "\\w",
  "\\s",
  "[a-c\\d_-]",
  "\\W",
  "é",
  "\\x41",
);
const tree = fc.letrec<{ regex: string }>((tie) => ({
  regex: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    fc.tuple(tie("regex"), tie("regex")).map(([a, b]) => a + b),
    fc.tuple(tie("regex"), tie("regex")).map(([a, b]) => `(${a}|${b})`),
    fc
      .tuple(tie("regex"), fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "{0,}", "*?"))
      .map(([a, q]) => `(?:${a})${q}`),
    tie("regex").map((a) => `(^${a})`),
    tie("regex").map((a) => `(?:${a}$|b)`),
  ),
})).regex;

describe("patternDfa", () => {
  it("matches what RegExp matches", () => {
    const text = fc.string({
      unit: fc.constantFrom("a", "b", "c", "A", "1", "_", "-", " ", "é", "\n", "日", "😀"),
    });
    fc.assert(
      // The end before the beginning, which only the empty text has, is not looked for.
      fc.property(
        tree.filter((pattern) => !/\$.*\^/.test(pattern)),
        fc.array(text, { minLength: 5, maxLength: 10 }),
        (pattern, list) => {
          const regex = new RegExp(pattern, "u");
          const dfa = patternDfa(pattern, new Budget());
          for (const item of list) {
            expect([pattern, item, dfa !== null && acceptsDfa(dfa, codes(item))]).toEqual([
              pattern,
              item,
              regex.test(item),
            ]);
          }
        },
      ),
      { numRuns: 400 },
    );
  });

  it.each([
    ["^$", "", true],
    ["^\\u{1F600}\\uD83D\\uDE00$", "😀😀", true],
    ["a{,2}", "a{,2}", true],
    ["^[\\]\\\\/-]+$", "]\\/-", true],
    ["^\\/x\\.$", "/x.", true],
    ["(?<year>\\d{4})", "in 2024", true],
    ["^a|b$", "ax", true],
    ["^a|b$", "xa", false],
    ["a^b", "a^b", false],
    ["^(^a$)$", "a", true],
    ["(^a)+", "aab", true],
    ["^(^a)+$", "aa", false],
  ])("%s on %j: %s", (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected);
  });

  it.each([
    ["(?=a)", "(?="],
    ["(?<!a)", "(?<!"],
    ["(a)\\1", "back reference"],
    ["\\k<x>", "back reference"],
    ["\\bword", "word boundary"],
    ["\\p{L}", "escape \\p"],
    ["a**", "quantifier"],
    ["*a", "quantifier"],
    ["(a", "parenthesis"],
    ["a)", "parenthesis"],
    ["[a", "class"],
    ["[z-a]", "range"],
    ["[\\d-z]", "range"],
    ["a{3,1}", "from 3 to 1"],
    ["\\uD800", "surrogate"],
    ["\\01", "octal"],
    ["\\", "backslash"],
    [`${"(".repeat(100)}a${")".repeat(100)}`, "nesting"],
    ["a".repeat(5000), "5000 characters"],
  ])("refuses %.40s by name", (pattern, name) => {
    const budget = new Budget();
    budget.pointer = "#/properties/x/pattern";
    expect(() => patternDfa(pattern, budget)).toThrow(name);
    expect(() => patternDfa(pattern, budget)).toThrow("#/properties/x/pattern");
  });

  it.each([
    "(a|b)*a(a|b){40}",
    "((a{1000}){1000}){1000}",
    "(((){9999999}){9999999}){9999999}",
    "(.*a){30}.{500}",
  ])("refuses %s, which explodes", (pattern) => {
    expect(() => patternDfa(pattern, new Budget())).toThrow(ConfigError);
  });
});

describe("JSON strings", () => {
  it("cuts code points into the byte ranges of their UTF-8 form", () => {
    const utf8 = new TextEncoder();
    const code = fc.integer({ min: 0, max: 0x10ffff }).filter((c) => c < 0xd800 || c > 0xdfff);
    fc.assert(
      fc.property(code, code, code, (a, b, c) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        const bytes = utf8.encode(String.fromCodePoint(c));
        const found = utf8Ranges(low, high).filter(
          (way) =>
            way.length === bytes.length && way.every(([lo, hi], i) => bytes[i] >= lo && bytes[i] <= hi),
        );
        expect(found.length).toBe(c >= low && c <= high ? 1 : 0);
      }),
      { numRuns: 2000 },
    );
  });

  it("writes every text that is not excluded as JSON.stringify does", () => {
    const unit = fc.constantFrom("a", "b", '"', "\\", "\n", "\u0001", "é", "日", "😀", "\u007f", "/");
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit, maxLength: 3 })),
        fc.string({ unit, maxLength: 4 }),
        (names, text) => {
          const budget = new Budget();
          const dfa = quotedDfa(otherThanDfa(names, budget), budget)!;
          const utf8 = new TextEncoder();
          expect(acceptsDfa(dfa, utf8.encode(JSON.stringify(text)))).toBe(!names.includes(text));
          expect(acceptsDfa(dfa, utf8.encode(JSON.stringify(text).slice(0, -1)))).toBe(false);
        },
      ),
      { numRuns: 200 },
    );
  });
});
