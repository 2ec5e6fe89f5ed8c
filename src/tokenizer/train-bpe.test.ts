import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { BYTE_TO_CHAR, BYTES_BY_CHAR, textToByteChars } from "./byte-alphabet.ts";
import { preTokenizerJson, TOKEN } from "./families.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";
import { loadTokenizer } from "./tokenizer.ts";
import {
  DEFAULT_SPECIAL_TOKENS,
  type TrainBpeProgress,
  trainBpe,
  trainedTokenizerConfig,
} from "./train-bpe.ts";

const SOURCES = ["train-bpe.ts", "bpe.ts", "oniguruma.ts", "families.ts"].map((name) =>
  readFileSync(new URL(name, import.meta.url), "utf8"),
);

/** The trainer's definition: recount every pair after every merge. */
function trainSlowly(texts: readonly string[], merges: number): string[][] {
  const counts = new Map<string, number>();
  const cut = compilePreTokenizer(preTokenizerJson("v3-128k"));
  for (const text of texts) cut(text, (piece) => counts.set(piece, (counts.get(piece) ?? 0) + 1));
  const words = [...counts].map(([piece, count]) => ({ parts: Array.from(textToByteChars(piece)), count }));
  const ids = new Map(BYTES_BY_CHAR.map((byte, rank) => [BYTE_TO_CHAR[byte], rank]));
  const done: string[][] = [];
  while (done.length < merges) {
    const pairs = new Map<string, { left: string; right: string; count: number }>();
    for (const { parts, count } of words) {
      for (let i = 0; i + 1 < parts.length; i++) {
        const key = `${parts[i]} ${parts[i + 1]}`;
        const pair = pairs.get(key) ?? { left: parts[i], right: parts[i + 1], count: 0 };
        pair.count += count;
        pairs.set(key, pair);
      }
    }
    const id = (token: string) => ids.get(token)!;
    const [best] = [...pairs.values()].sort(
      (a, b) => b.count - a.count || id(a.left) - id(b.left) || id(a.right) - id(b.right),
    );
    if (!best || best.count < 2) break;
    done.push([best.left, best.right]);
    const token = best.left + best.right;
    if (!ids.has(token)) ids.set(token, ids.size);
    for (const { parts } of words) {
      for (let i = 0; i + 1 < parts.length; i++) {
        if (parts[i] === best.left && parts[i + 1] === best.right) parts.splice(i, 2, token);
      }
    }
  }
  return done;
}

describe("trainBpe", () => {
  it("equals the definition on random runs, where pairs overlap and ties abound", async () => {
    const random = new Random(3);
    for (let round = 0; round < 20; round++) {
      const texts = Array.from({ length: 5 }, () => {
        const word = () => Array.from({ length: 1 + random.int(12) }, () => "aabcé"[random.int(5)]).join("");
        return Array.from({ length: 20 }, word).join(" ");
      });
      const json = await trainBpe(texts, { vocabSize: 259 + 60, specialTokens: [] });
      const slow = trainSlowly(texts, json.model.merges.length);
      expect(json.model.merges).toEqual(slow);
    }
  });

  it("equals the definition on TypeScript", async () => {
    const json = await trainBpe(SOURCES.slice(0, 2), { vocabSize: 259 + 80, specialTokens: [] });
    expect(json.model.merges).toEqual(trainSlowly(SOURCES.slice(0, 2), 80));
  });

  it("lays the vocabulary out as V3 does, with exactly the size asked for", async () => {
    const json = await trainBpe(SOURCES, { vocabSize: 700 });
    const { vocab } = json.model;
    expect(Object.keys(vocab)).toHaveLength(700 - 6);
    expect([vocab[TOKEN.bos], vocab[TOKEN.eos], vocab[TOKEN.pad]]).toEqual([0, 1, 2]);
    // `!`, `1`, TAB, LF and space as the published V3 sequences have them.
    expect(["!", "1", "ĉ", "Ċ", "Ġ"].map((token) => vocab[token])).toEqual([3, 19, 200, 201, 223]);
    expect(json.added_tokens.slice(3).map(({ id, content }) => [content, id])).toEqual(
      DEFAULT_SPECIAL_TOKENS.map((token, i) => [token, 694 + i]),
    );
    const tokenizer = loadTokenizer(JSON.stringify(json), trainedTokenizerConfig(2048));
    expect(tokenizer.vocabSize).toBe(700);
    // Any class named after a model brings that model's pre-tokenizer along.
    expect(trainedTokenizerConfig(2048).tokenizer_class).toBe("PreTrainedTokenizerFast");
    expect(tokenizer.specialIds).toEqual({
      bos: 0,
      eos: 1,
      pad: 2,
      fimHole: 694,
      fimBegin: 695,
      fimEnd: 696,
    });
    expect(tokenizer.prefixIds).toEqual([]);
    for (let id = 0; id < 700; id++) expect(tokenizer.tokenOf(id)).toBeDefined();
    for (const text of SOURCES) {
      const ids = tokenizer.encode(text);
      expect(ids.length).toBeLessThan(text.length / 1.8);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  it("is deterministic, also from an asynchronous source", async () => {
    async function* stream() {
      yield* SOURCES;
    }
    const options = { vocabSize: 500 };
    expect(JSON.stringify(await trainBpe(stream(), options))).toBe(
      JSON.stringify(await trainBpe(SOURCES, options)),
    );
  });

  it("stops with a note when the pairs run out", async () => {
    const reports: TrainBpeProgress[] = [];
    const json = await trainBpe(["abab abab"], { vocabSize: 400, onProgress: (p) => reports.push(p) });
    const size = loadTokenizer(json).vocabSize;
    expect(size).toBe(259 + json.model.merges.length + 6);
    expect(size).toBeLessThan(400);
    expect(reports.at(-1)).toMatchObject({
      stage: "done",
      mergesWanted: 135,
      note: expect.stringContaining("400"),
    });
    expect((await trainBpe([], { vocabSize: 265 })).model.merges).toEqual([]);
  });

  it("writes a file that Hugging Face's own library reads and encodes alike", async () => {
    const { Tokenizer } = await import("@huggingface/tokenizers");
    const json = await trainBpe(SOURCES, { vocabSize: 600 });
    const theirs = new Tokenizer(json, trainedTokenizerConfig(2048));
    const ours = loadTokenizer(json);
    for (const text of [...SOURCES, "x = [1234567];\n\n\t日本 é", `${TOKEN.user}hi${TOKEN.eot}`]) {
      expect(ours.encode(text)).toEqual(theirs.encode(text).ids);
      expect(ours.decode(theirs.encode(text).ids)).toBe(text);
    }
  });

  it("survives tokens that are names of Object.prototype", async () => {
    const json = await trainBpe(Array(4).fill("constructor\nvalueOf\n"), { vocabSize: 400 });
    const tokenizer = loadTokenizer(JSON.stringify(json));
    expect(tokenizer.idOf("constructor")).toBeGreaterThan(258);
    expect(tokenizer.encode("valueOf")).toEqual([json.model.vocab.valueOf]);
    expect(tokenizer.idOf("toString")).toBeUndefined();
  });

  it("never learns a token that spells a special one", async () => {
    const json = await trainBpe(Array(9).fill("hello hello"), { vocabSize: 300, specialTokens: ["hello"] });
    expect(json.model.vocab.hello).toBeUndefined();
    const tokenizer = loadTokenizer(json);
    expect(tokenizer.encode("hello")).toEqual([tokenizer.vocabSize - 1]);
  });

  it.each([
    [{ vocabSize: 264 }, /265/],
    [{ vocabSize: 1000.5 }, /1000.5/],
    [{ vocabSize: 400, specialTokens: ["<x>", "<x>"] }, /<x>/],
    [{ vocabSize: 400, specialTokens: [TOKEN.bos] }, /begin/],
    [{ vocabSize: 400, specialTokens: [""] }, /specialTokens/],
    [{ vocabSize: 400, minFrequency: 0 }, /minFrequency/],
  ])("refuses %j", async (options, message) => {
    await expect(trainBpe(["a"], options)).rejects.toThrow(ConfigError);
    await expect(trainBpe(["a"], options)).rejects.toThrow(message);
  });
});

it("cuts texts as another family does if asked to: digits alone, say", async () => {
  const texts = Array.from({ length: 9 }, () => "x = 1234 + 1234");
  const whole = await trainBpe(texts, { vocabSize: 280 });
  const single = await trainBpe(texts, { vocabSize: 280, preTokenizer: "qwen2" });
  const longest = (json: typeof whole) =>
    Math.max(...Object.keys(json.model.vocab).map((token) => (/^\d*$/.test(token) ? token.length : 0)));
  expect(longest(whole)).toBe(3);
  expect(longest(single)).toBe(1);
  const tokenizer = loadTokenizer(single, trainedTokenizerConfig(64));
  expect(tokenizer.decode(tokenizer.encode("x = 1234 + 56"))).toBe("x = 1234 + 56");
});
