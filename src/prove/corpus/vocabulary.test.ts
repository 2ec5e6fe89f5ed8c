import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadTokenizer } from "../../tokenizer/tokenizer.ts";
import { trainedTokenizerConfig } from "../../tokenizer/train-bpe.ts";
import { corpusItem } from "./sample.ts";
import { PROVER_VOCABULARY, proverTexts, trainProverTokenizer } from "./vocabulary.ts";

const json = await trainProverTokenizer(1, 600);
const tokenizer = loadTokenizer(json, trainedTokenizerConfig(512));
const length = (text: string) => tokenizer.encode(text).length;

test("brings back every statement, proof, goal and problem, of other splits too", () => {
  const other = Array.from({ length: 60 }, (_, i) => corpusItem({ split: "test" }, i));
  const texts = [
    ...proverTexts(2, 60),
    ...other.flatMap((item) => [item.preamble, item.statement, item.informal]),
  ];
  for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  const fixture = new URL("../../../test/fixtures/prover/segmentation.json", import.meta.url);
  const cases = JSON.parse(readFileSync(fixture, "utf8"));
  const states = JSON.stringify(cases, null, 2);
  expect(states).toContain("⊢");
  expect(tokenizer.decode(tokenizer.encode(states))).toBe(states);
});

test("has the asked size, no token of two digits, and small statements", () => {
  const tokens = Object.keys(json.model.vocab);
  expect(tokens.length + json.added_tokens.length).toBeGreaterThanOrEqual(PROVER_VOCABULARY);
  expect(tokens.filter((token) => /\d.*\d/.test(token))).toEqual([]);
  for (let i = 0; i < 150; i++) {
    const { preamble, statement, thoughts } = corpusItem({ split: "train" }, i);
    expect(length(preamble) + length(statement)).toBeLessThan(220);
    expect(length(preamble) + length(statement) + length(thoughts ?? "")).toBeLessThan(512);
  }
});
