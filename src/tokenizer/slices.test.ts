import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { type PreTokenizerName, preTokenizerJson, TOKEN } from "./families.ts";
import type { PreTokenizerJson, SplitBehavior, TokenizerJson } from "./schema.ts";
import { finish, LONG_TEXT } from "./slices.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
import { trainBpe } from "./train-bpe.ts";

const FAMILIES: readonly PreTokenizerName[] = ["llm-100k", "coder-32k", "v3-128k", "llama3", "qwen2"];
const BEHAVIORS: readonly SplitBehavior[] = [
  "Isolated",
  "Removed",
  "MergedWithPrevious",
  "MergedWithNext",
  "Contiguous",
];

let json: TokenizerJson;
beforeAll(async () => {
  const texts = ["tokenizer.ts", "policy.ts"].map((name) =>
    readFileSync(new URL(name, import.meta.url), "utf8"),
  );
  json = await trainBpe([...texts, "héllo wörld 你好 🚀 ".repeat(5)], { vocabSize: 600 });
});

const added = (content: string, rest: object = {}) => ({
  ...{ id: 0, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false },
  ...rest,
});

function withChanges(change: (copy: Record<string, unknown> & { model: object }) => void): Tokenizer {
  const copy = structuredClone(json) as unknown as Record<string, unknown> & { model: object };
  copy.added_tokens = [
    ...json.added_tokens,
    added("<left>", { lstrip: true }),
    added("<right>", { rstrip: true }),
    added("<one>", { single_word: true }),
    added("<no\u0301>", { normalized: true }),
    added("<"),
  ];
  change(copy);
  return loadTokenizer(copy);
}

/** Words that meet at cuts: long and short runs of one kind, pairs, marks, digits, tokens and halves of them. */
const WORDS = [
  ..."a b Z é ü 你 中 한 ₩ 7 ½ ٣ _ - ' . ! \u0301 \u200d \0 🚀 \ud800 \udc00 \ud83d \uFEFF \u0085 \u3000".split(
    " ",
  ),
  " ",
  "\n",
  "\r\n",
  "\t",
  "word",
  "'ll",
  "don't",
  "e\u0301",
  TOKEN.eos,
  TOKEN.fimHole,
  "<left>",
  "<right>",
  "<one>",
  "<no\u0301>",
  "<",
  "<|",
  "｜>",
];

/** Long texts: words, each of them up to some thousand times. */
const longText = fc
  .array(fc.tuple(fc.constantFrom(...WORDS), fc.constantFrom(1, 2, 3, 40, 700, 2100, 5000)), {
    minLength: 1,
    maxLength: 12,
  })
  .map((parts) => parts.map(([word, times]) => word.repeat(times)).join(""))
  .map((text) => (text.length > LONG_TEXT ? text : text + "x ".repeat(LONG_TEXT)));

function sameIds(tokenizer: Tokenizer, runs: number): void {
  fc.assert(
    fc.property(longText, fc.boolean(), fc.boolean(), (text, parseSpecial, addSpecialTokens) => {
      const options = { parseSpecial, addSpecialTokens };
      const work = tokenizer.encodeSlices(text, options);
      let pauses = 0;
      let result = work.next();
      for (; !result.done; result = work.next()) pauses++;
      expect(result.value.join(" ")).toBe(tokenizer.encode(text, options).join(" "));
      expect(pauses).toBeGreaterThan(text.length / 40_000 - 1);
    }),
    { numRuns: runs },
  );
}

describe("encodeSlices", () => {
  it.each(FAMILIES)("gives the ids of encode, for the pre-tokenizer %s", (name) => {
    sameIds(
      withChanges((copy) => {
        copy.pre_tokenizer = preTokenizerJson(name);
      }),
      12,
    );
  });

  it.each(BEHAVIORS)("gives them for splits of the behavior %s", (behavior) => {
    for (const invert of [false, true]) {
      const pre_tokenizer: PreTokenizerJson = {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: "\\p{L}+|\\s" }, behavior, invert },
          { type: "Digits", individual_digits: false },
          { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
        ],
      };
      const tokenizer = withChanges((copy) => {
        copy.pre_tokenizer = pre_tokenizer;
      });
      sameIds(tokenizer, 5);
    }
  });

  it("gives them with a normalizer, and where whole tokens go before merges", () => {
    for (const type of ["NFC", "NFD", "NFKC"]) {
      const tokenizer = withChanges((copy) => {
        copy.normalizer = { type };
        copy.model = { ...copy.model, ignore_merges: true };
      });
      sameIds(tokenizer, 5);
    }
  });

  it("leaves other texts in the middle of one alone", () => {
    const tokenizer = withChanges(() => {});
    const texts = ["wörd".repeat(3000), "a b\nc 12 ".repeat(800), `${"中".repeat(4000)}<left>`];
    const works = texts.map((text) => tokenizer.encodeSlices(text));
    const results: number[][] = [];
    while (results.filter(Boolean).length < works.length) {
      works.forEach((work, i) => {
        const { done, value } = work.next();
        if (done && value) results[i] = value;
        tokenizer.encode(`word ${i} ${"x".repeat(100)}`);
      });
    }
    expect(results).toEqual(texts.map((text) => tokenizer.encode(text)));
  });

  it("pauses within one very long word, and can be given up", () => {
    const tokenizer = withChanges(() => {});
    let pauses = 0;
    for (const _ of tokenizer.encodeSlices("x".repeat(200_000))) pauses++;
    expect(pauses).toBeGreaterThan(50);
    const work = tokenizer.encodeSlices("x".repeat(200_000));
    work.next();
    expect(work.return([]).done).toBe(true);
  });

  it("refuses what is no text, as encode does", () => {
    expect(() => finish(withChanges(() => {}).encodeSlices(7 as unknown as string))).toThrow(
      /must be a string/,
    );
  });
});
