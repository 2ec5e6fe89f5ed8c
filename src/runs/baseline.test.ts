import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe } from "../tokenizer/train-bpe.ts";
import { scoreTokens, trainNgram } from "./baseline.ts";

const texts = ["const a = 1;\nconst b = 2;\n", "export const bücher = [1, 2, 3];\n", "const c = a + b;\n"];
const files = texts.map((text, i) => ({ path: `${i}.ts`, text }));
const run = { train: files };

describe("the n-gram beside a model", async () => {
  const ngram = await trainNgram(run, 3);
  const tokenizer = loadTokenizer(await trainBpe(texts, { vocabSize: 280 }));
  const eos = tokenizer.specialIds.eos!;
  const stream = Int32Array.from(texts.flatMap((text) => [...tokenizer.encode(text), eos]));
  const encoder = new TextEncoder();

  it("is trained on every byte once", () => {
    expect(ngram.trainedBytes).toBe(encoder.encode(texts.join("")).length);
  });

  it("scores each document from its own beginning, and the first token not at all", () => {
    const score = scoreTokens(ngram, stream, tokenizer);
    const whole = texts.map((text) => ngram.evaluate(encoder.encode(text)));
    const first = ngram.evaluate(tokenizer.bytesOf(stream[0]));
    const sum = (of: (s: { bits: number; bytes: number }) => number) => whole.reduce((n, s) => n + of(s), 0);
    expect(score.bytes).toBe(sum((s) => s.bytes) - first.bytes);
    expect(score.bits).toBeCloseTo(sum((s) => s.bits) - first.bits, 9);
    expect(score.bitsPerByte).toBeCloseTo(score.bits / score.bytes, 12);
  });

  it("counts the bytes of the targets only, wherever the stream is cut", () => {
    for (let length = 2; length < stream.length; length++) {
      const part = stream.slice(0, length);
      const bytes = Array.from(part.subarray(1), (id) => (id === eos ? 0 : tokenizer.bytesOf(id).length));
      expect(scoreTokens(ngram, part, tokenizer).bytes).toBe(bytes.reduce((a, b) => a + b, 0));
    }
    expect(scoreTokens(ngram, Int32Array.from([eos, ...stream]), tokenizer).bytes).toBe(ngram.trainedBytes);
  });
});
