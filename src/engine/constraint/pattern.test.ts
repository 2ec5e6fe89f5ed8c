import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { finish } from "../../tokenizer/slices.ts";
import { acceptsDfa, Budget } from "./automaton.ts";
import { Grammar } from "./grammar.ts";
import { matchedBody } from "./json-matched.ts";
import { utf8Ranges } from "./json-string.ts";
import { countedPattern, patternDfa } from "./pattern.ts";
import { lengthDfa, otherThanDfa } from "./string-sets.ts";
import { accepts } from "./test-writing.ts";
import { propertyRanges } from "./unicode.ts";

const codes = (text: string) => Array.from(text, (char) => char.codePointAt(0)!);
const matches = (pattern: string, text: string) => {
  const dfa = finish(patternDfa(pattern, new Budget()));
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
    fc.tuple(tie("regex"), fc.constantFrom("=", "!")).map(([a, sign]) => `(?${sign}${a})`),
    fc.tuple(tie("regex"), fc.constantFrom("\\b", "\\B")).map(([a, edge]) => `${a}${edge}`),
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
        tree.filter((pattern) => !/\$.*\^|\(\?[=!].*\\b/i.test(pattern)),
        fc.array(text, { minLength: 5, maxLength: 10 }),
        (pattern, list) => {
          const regex = new RegExp(pattern, "u");
          const dfa = finish(patternDfa(pattern, new Budget()));
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
    ["[\\w-.]+$", "a-.", true],
    ["^[\\d-z]$", "y", false],
    ["^\\cJ$", "\n", true],
    ["^(?!\\.)(?!.*\\.\\.)[a-z.]+$", "a.b", true],
    ["^(?!\\.)(?!.*\\.\\.)[a-z.]+$", "a..b", false],
    ["^(?=.*\\d)(?=.*[A-Z])[^ ]{3,5}$", "aB1", true],
    ["^(?=.*\\d)(?=.*[A-Z])[^ ]{3,5}$", "ab1", false],
    ["^(?:(?!ab).)*$", "aab", false],
    ["^(?:(?!ab).)*$", "aacb", true],
    ["^(?!(?=a)(?!ab))", "ac", false],
    ["^(?!(?=a)(?!ab))", "ab", true],
    ["^a(?=^)", "a", false],
    ["^(?=^a)", "a", true],
    ["^a(?!$)", "a", false],
    ["^a(?=$)$", "a", true],
    ["\\bcat\\b", "a cat.", true],
    ["\\bcat\\b", "cats", false],
    ["^\\p{Lu}\\p{L}+$", "Éa", true],
    ["^\\p{Lu}\\p{L}+$", "éa", false],
    ["^[\\p{Script=Greek}\\d]+$", "αβ1", true],
    ["^\\P{L}$", "1", true],
  ])("%s on %j: %s", (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected);
  });

  it.each([
    ["(?<!a)", "lookbehind (?<!"],
    ["(?<=a)b", "lookbehind (?<="],
    ["(?=a)*", "quantifier after a lookahead"],
    ["(?i)a", "group (?i"],
    ["(a)\\1", "back reference"],
    ["\\k<x>", "back reference"],
    ["(?=\\bword)", "word boundary"],
    ["\\pL", "escape \\p without"],
    ["\\p{Klingon}", "unknown property \\p{Klingon}"],
    ["\\q", "escape \\q"],
    ["a**", "quantifier"],
    ["*a", "quantifier"],
    ["(a", "parenthesis"],
    ["a)", "parenthesis"],
    ["[a", "class"],
    ["[z-a]", "range"],
    ["a{3,1}", "from 3 to 1"],
    ["\\uD800", "surrogate"],
    ["\\01", "octal"],
    ["\\", "backslash"],
    [`${"(".repeat(100)}a${")".repeat(100)}`, "nesting"],
    ["a".repeat(5000), "more than 4096 characters"],
  ])("refuses %.40s by name", (pattern, name) => {
    const budget = new Budget();
    budget.pointer = "#/properties/x/pattern";
    expect(() => finish(patternDfa(pattern, budget))).toThrow(name);
    expect(() => finish(patternDfa(pattern, budget))).toThrow("#/properties/x/pattern");
  });

  it.each([
    "(a|b)*a(a|b){40}",
    "((a{1000}){1000}){1000}",
    "(((){9999999}){9999999}){9999999}",
    "(.*a){30}.{500}",
  ])("refuses %s, which explodes", (pattern) => {
    expect(() => finish(patternDfa(pattern, new Budget()))).toThrow(ConfigError);
  });
});

describe("properties of characters", () => {
  it("are those of the runtime, for every character", () => {
    for (const name of ["L", "Lu", "Nd", "Script=Han", "Emoji", "ASCII"]) {
      const ranges = propertyRanges(name)!;
      const regex = new RegExp(`^\\p{${name}}$`, "u");
      const inside = new Set<number>();
      for (const [low, high] of ranges) {
        for (const code of [low - 1, low, high, high + 1])
          if (code >= 0 && code <= 0x10ffff) inside.add(code);
      }
      for (const code of inside) {
        if (code >= 0xd800 && code <= 0xdfff) continue;
        const held = ranges.some(([low, high]) => code >= low && code <= high);
        expect([name, code, held]).toEqual([name, code, regex.test(String.fromCodePoint(code))]);
      }
      let count = 0;
      for (let code = 0; code <= 0x10ffff; code += 7) {
        if ((code < 0xd800 || code > 0xdfff) && regex.test(String.fromCodePoint(code))) count++;
      }
      const held = ranges.reduce((n, [low, high]) => n + Math.floor(high / 7) - Math.ceil(low / 7) + 1, 0);
      expect([name, held]).toEqual([name, count]);
    }
    expect(propertyRanges("L}|a{")).toBeNull();
  });
});

describe("counted patterns", () => {
  it.each([
    ["^.{1,255}$", 1, 255],
    ["^(?:\\S{2,65535})$", 2, 65535],
    ["^([a-z]){300}$", 300, 300],
    ["^[a-z]{20,}$", 20, Number.POSITIVE_INFINITY],
  ])("%s has the count apart from its states", (pattern, min, max) => {
    const counted = finish(countedPattern(pattern, new Budget()));
    expect(counted).toMatchObject({ min, max });
    expect(counted.dfa!.size).toBeLessThan(3);
  });

  it.each(["^a{3}$", "^(ab){1,40}$", ".{1,40}", "^.{1,40}a$"])("%s has it in its states", (pattern) => {
    expect(finish(countedPattern(pattern, new Budget()))).toMatchObject({
      min: 0,
      max: Number.POSITIVE_INFINITY,
    });
  });
});

describe("JSON strings", () => {
  it("of a pattern and a length are those of their product", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "é", "日", "😀", '"'), maxLength: 9 });
    fc.assert(
      fc.property(
        fc.constantFrom("^(ab)*$", "^a*b?$", "b", "^(aaa|é😀)*$", "^.{2,4}$", "^a?b?é?$", "(?!.*b)^.*$"),
        fc.nat(6),
        fc.option(fc.nat(5), { nil: Number.POSITIVE_INFINITY }),
        fc.array(text, { minLength: 20, maxLength: 20 }),
        fc.array(fc.nat(), { minLength: 60, maxLength: 60 }),
        (pattern, min, more, texts, choices) => {
          const budget = new Budget();
          const dfa = finish(patternDfa(pattern, budget))!;
          const body = finish(matchedBody(dfa, min, min + more, budget));
          const length = lengthDfa(min, min + more, budget)!;
          for (const item of texts) {
            const fits = acceptsDfa(dfa, codes(item)) && acceptsDfa(length, codes(item));
            const given = [pattern, min, more, item];
            expect([...given, accepts(body, JSON.stringify(item).slice(1))]).toEqual([...given, fits]);
          }
          if (body === null) return;
          // Whatever is begun can be ended.
          const grammar = new Grammar(body);
          let state = grammar.start();
          for (const choice of choices) {
            const nexts = Array.from({ length: 256 }, (_, byte) => grammar.advance(state, byte)).filter(
              (next) => next !== null,
            );
            if (nexts.length === 0) break;
            state = nexts[choice % nexts.length];
          }
          expect(state.complete || state.stacks.length > 0).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("are whole UTF-8: no long forms, surrogates or code points beyond Unicode", () => {
    const budget = new Budget();
    const body = finish(
      matchedBody(finish(patternDfa("^.*$", budget))!, 0, Number.POSITIVE_INFINITY, budget),
    );
    const bad = [
      [0xc0, 0x80],
      [0xc1, 0xbf],
      [0xe0, 0x9f, 0xbf],
      [0xed, 0xa0, 0x80],
      [0xf0, 0x8f, 0xbf, 0xbf],
    ];
    for (const bytes of [...bad, [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0x80], [0xff]]) {
      expect([bytes, accepts(body, Uint8Array.from([...bytes, 0x22]))]).toEqual([bytes, false]);
    }
    for (const char of [
      "\u0080",
      "\u07ff",
      "\u0800",
      "\ud7ff",
      "\ue000",
      "\uffff",
      "\u{10000}",
      "\u{10ffff}",
      "\x7f",
    ]) {
      expect([char, accepts(body, `${char}"`)]).toEqual([char, true]);
    }
  });

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
          const body = finish(matchedBody(otherThanDfa(names, budget), 0, Number.POSITIVE_INFINITY, budget));
          expect(accepts(body, JSON.stringify(text).slice(1))).toBe(!names.includes(text));
          expect(accepts(body, JSON.stringify(text).slice(1, -1))).toBe(false);
        },
      ),
      { numRuns: 200 },
    );
  });
});
