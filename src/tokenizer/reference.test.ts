import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../checkpoint/byte-source.ts";
import { openGguf } from "../checkpoint/gguf/reader.ts";
import { FAMILIES } from "./families.ts";
import { fimPrompt } from "./fim.ts";
import { ggufTokenizer } from "./gguf-tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

const FOLDER = new URL("../../test/fixtures/tokenizers/", import.meta.url);

async function open(name: "llm" | "coder") {
  const file = new URL(`ggml-vocab-deepseek-${name}.gguf`, FOLDER);
  const read = (suffix: string) => readFileSync(new URL(file.href + suffix), "utf8");
  const vocabulary = await openGguf(bytesSource(readFileSync(file), file.pathname));
  return {
    tokenizer: ggufTokenizer(vocabulary),
    inputs: read(".inp").split("\n__ggml_vocab_test__\n"),
    outputs: read(".out")
      .split("\n")
      .map((line) => line.trim().split(" ").filter(Boolean).map(Number)),
  };
}

const plain = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text, { addSpecialTokens: false });
const llm = await open("llm");
const coder = await open("coder");

// text, LLM ids, Coder ids
const VECTORS: [string, string, string][] = [
  ["Hello world", "17464 1843", "17535 1835"],
  [" Hello", "37727", "414 9489"],
  ["The quick brown fox", "549 3399 10176 32431", "546 3383 10186 267 2652"],
  ["1234567", "16 17 18 19 20 21 22", "16 17 18 19 20 21 22"],
  ["3.14159", "18 13 16 19 16 20 24", "18 13 16 19 16 20 24"],
  ["\n\n", "185 185", "185 185"],
  ["\r\n", "188 185", "188 185"],
  ["    ", "251", "251"],
  ["   \n", "300 185", "315 185"],
  ["\t\tx", "184 43609", "184 184 87"],
  ["a  b", "64 207 270", "64 207 270"],
  ["It's", "1385 6 82", "1380 6 82"],
  ["x == y and a != b", "87 2318 320 285 245 3485 270", "87 2312 320 285 245 2069 28 270"],
  ["def f(x):\n    return x", "1558 267 7 87 1780 185 300 972 1376", "1551 267 7 87 1772 185 315 967 1371"],
  ["foo_bar", "12435 62 1684", "12453 62 1677"],
  ["你好世界", "84313 4997", "1367 1248 4986"],
  ["日本語", "10162 13072 239", "10169 13099 239"],
  ["안녕", "74727 217 165 214 230", "166 230 217 165 214 230"],
  ["café", "91774 587", "66 2623 584"],
  ["🚀", "10044 95300", "10047 235 209"],
  ["Führer", "37 100014 71 6245", "37 32009 71 6247"],
];

describe.each([
  ["DeepSeek LLM", llm, 1],
  ["DeepSeek-Coder", coder, 2],
] as const)("%s, against the reference encodings", (_, vocabulary, column) => {
  it("gives all 47 reference sequences and decodes them back", () => {
    const { tokenizer, inputs, outputs } = vocabulary!;
    expect(inputs).toHaveLength(47);
    inputs.forEach((text, i) => {
      // The last text of the file ends with the file's own line feed.
      const input = i === inputs.length - 1 ? text.replace(/\n$/, "") : text;
      const ids = plain(tokenizer, input);
      expect(ids, JSON.stringify(input)).toEqual(outputs[i]);
      expect(tokenizer.decode(ids)).toBe(input);
    });
  });

  it.each(VECTORS)("encodes %j", (...row) => {
    const ids = plain(vocabulary!.tokenizer, row[0]);
    expect(ids.join(" ")).toBe(row[column]);
    expect(vocabulary!.tokenizer.decode(ids)).toBe(row[0]);
  });
});

describe("special tokens of the real vocabularies", () => {
  it("LLM: BOS first, published V2 sequence, fim not special", () => {
    const { tokenizer } = llm!;
    expect(tokenizer.encode("Hello")[0]).toBe(100_000);
    expect(plain(tokenizer, "Hello! 毕老师！1 + 1 = 2").join(" ")).toBe(
      "17464 0 207 7689 7842 2160 16 919 207 16 403 207 17",
    );
    // 35 also with the Rust library (tokenizers 0.23.2) on the same vocabulary.
    expect(plain(tokenizer, "<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>")).toHaveLength(35);
    expect(() => fimPrompt(tokenizer, "a", "b")).toThrow("fim▁begin");
    expect(tokenizer.specialIds).toMatchObject({ bos: 100_000, eos: 100_001, pad: 100_001 });
  });

  it("Coder: fill in the middle", () => {
    const { tokenizer } = coder!;
    const text = "<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>";
    expect(plain(tokenizer, text)).toEqual([32016, 64, 32015, 65, 32017]);
    expect(fimPrompt(tokenizer, "a", "b")).toEqual([32013, 32016, 64, 32015, 65, 32017]);
    // Not marked special in this file, yet plain text when control tokens are not parsed.
    const untrusted = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
    expect(untrusted.some((id) => id >= 32_013)).toBe(false);
    expect(tokenizer.decode(untrusted)).toBe(text);
    for (const { content, id } of FAMILIES.coder.tokens) expect(tokenizer.idOf(content)).toBe(id);
  });
});
