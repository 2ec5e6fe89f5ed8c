import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError } from "../tensor/errors.ts";
import { type PreTokenizerName, preTokenizerJson } from "./families.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };

/** Any character; half of them low, where the classes differ most. (fast-check's "binary" takes seconds to set up.) */
const character = fc
  .oneof(fc.integer({ min: 0, max: 0x3100 }), fc.integer({ min: 0, max: 0x10f7ff }))
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

function pieces(json: unknown, text: string): string[] {
  const out: string[] = [];
  compilePreTokenizer(json)(text, (piece) => out.push(piece));
  return out;
}

const stage = (...stages: unknown[]) => ({ type: "Sequence", pretokenizers: [...stages, BYTE_LEVEL] });
const split = (behavior: string, invert = false, pattern: unknown = { String: "-" }) =>
  stage({ type: "Split", pattern, behavior, invert });

describe("Split", () => {
  // The example of the Rust library's own documentation and tests.
  it.each([
    ["Isolated", ["the", "-", "final", "-", "-", "countdown"]],
    ["Removed", ["the", "final", "countdown"]],
    ["MergedWithPrevious", ["the-", "final-", "-", "countdown"]],
    ["MergedWithNext", ["the", "-final", "-", "-countdown"]],
    ["Contiguous", ["the", "-", "final", "--", "countdown"]],
  ])("%s", (behavior, expected) => {
    expect(pieces(split(behavior), "the-final--countdown")).toEqual(expected);
    // Inverting the complementary pattern gives the same if runs do not matter.
    if (behavior === "Removed" || behavior === "Contiguous") {
      expect(pieces(split(behavior, true, { Regex: "[^-]+" }), "the-final--countdown")).toEqual(expected);
    }
  });

  it("handles texts without a match, and only matches", () => {
    expect(pieces(split("Removed"), "abc")).toEqual(["abc"]);
    expect(pieces(split("Removed", true), "abc")).toEqual([]);
    expect(pieces(split("Removed"), "--")).toEqual([]);
    expect(pieces(split("Isolated"), "--")).toEqual(["-", "-"]);
    expect(pieces(split("Isolated"), "")).toEqual([]);
  });

  it("takes string patterns literally and ignores empty matches", () => {
    expect(pieces(split("Isolated", false, { String: "a.b" }), "axb a.b")).toEqual(["axb ", "a.b"]);
    expect(pieces(split("Isolated", false, { Regex: "x*" }), "a🚀xxb")).toEqual(["a🚀", "xx", "b"]);
  });
});

describe("the other stages", () => {
  it("splits digits one by one or together", () => {
    expect(pieces(stage({ type: "Digits", individual_digits: true }), "a12½")).toEqual(["a", "1", "2", "½"]);
    expect(pieces(stage({ type: "Digits", individual_digits: false }), "a12½b")).toEqual(["a", "12½", "b"]);
  });

  it("applies GPT-2's expression and prefix space in ByteLevel", () => {
    const json = { type: "ByteLevel", add_prefix_space: true, use_regex: true };
    expect(pieces(json, "I've 12  cats!\n")).toEqual([" I", "'ve", " 12", " ", " cats", "!", "\n"]);
    expect(pieces(BYTE_LEVEL, "I've 12")).toEqual(["I've 12"]);
  });

  it("runs each stage inside the pieces of the one before", () => {
    const json = stage(
      { type: "Split", pattern: { String: "|" }, behavior: "Removed", invert: false },
      { type: "Split", pattern: { Regex: "\\s+$" }, behavior: "Isolated", invert: false },
    );
    expect(pieces(json, "a |b c")).toEqual(["a", " ", "b c"]);
  });

  it.each([
    [{ type: "Metaspace" }, "Metaspace"],
    [stage({ type: "Whitespace" }), "Whitespace"],
    [{ type: "Sequence", pretokenizers: [] }, "Sequence"],
    [{ type: "Digits", individual_digits: true }, "ByteLevel"],
    [{ type: "Sequence", pretokenizers: [BYTE_LEVEL, BYTE_LEVEL] }, "last"],
    [split("Sideways"), "Sideways"],
    [split("Isolated", false, { Glob: "*" }), "Glob"],
    [split("Isolated", false, { String: "" }), "empty"],
    [null, "pre_tokenizer"],
  ])("refuses %j by name", (json, name) => {
    expect(() => compilePreTokenizer(json)).toThrow(FormatError);
    expect(() => compilePreTokenizer(json)).toThrow(name);
  });
});

describe("the families' pre-tokenizers", () => {
  it("V3 groups digits by three and keeps line breaks with punctuation", () => {
    expect(pieces(preTokenizerJson("v3-128k"), "f(1234567);\n\n  x_y = `z`")).toEqual([
      ..."f|(|123|456|7|);\n\n| | x|_y| =| `|z|`".split("|"),
    ]);
    expect(pieces(preTokenizerJson("v3-128k"), "日本ひら한글 a  b")).toEqual([
      "日本ひら",
      "한글",
      " a",
      " ",
      " b",
    ]);
  });

  it("LLM and Coder isolate line breaks and single digits", () => {
    expect(pieces(preTokenizerJson("llm-100k"), "a\r\nb 12")).toEqual(["a", "\r", "\n", "b", " ", "1", "2"]);
    expect(pieces(preTokenizerJson("coder-32k"), "x == y.\n")).toEqual(["x", " ==", " y", ".", "\n"]);
  });

  it("keeps every character, in order", () => {
    for (const name of ["llm-100k", "coder-32k", "v3-128k"] satisfies PreTokenizerName[]) {
      const cut = compilePreTokenizer(preTokenizerJson(name));
      fc.assert(
        fc.property(fc.string({ unit: character, maxLength: 40 }), (text) => {
          const pieces: string[] = [];
          cut(text, (piece) => pieces.push(piece));
          expect(pieces).not.toContain("");
          expect(pieces.join("")).toBe(text);
        }),
      );
    }
  });
});
