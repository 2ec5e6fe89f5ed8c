import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../tokenizer/index.ts";
import { worldSample } from "./sample.ts";
import { golden } from "./testing.ts";
import { worldPieces, worldTokenizer, worldVocabulary } from "./vocabulary.ts";

describe("the vocabulary", () => {
  const ids = new Map(worldVocabulary().map((token, id) => [token, id]));

  it("has 116 tokens, each once", () => {
    expect(ids.size).toBe(116);
    expect(worldVocabulary("<image>").indexOf("<image>")).toBe(3);
    expect(new Set(worldVocabulary("<image>")).size).toBe(116);
  });

  it("gives the golden ids", () => {
    expect(golden.tokens.length).toBeGreaterThan(5);
    for (const { text, ids: expected } of golden.tokens) {
      expect(worldPieces(text).map((piece) => ids.get(piece))).toEqual(expected);
    }
  });

  it("holds every piece of the world, and nothing that the world does not use", () => {
    const used = new Set<string>();
    let longest = 0;
    for (const stream of ["questions", "captions", "text", "charts", "tables", "language"] as const) {
      for (let i = 0; i < 600; i++) {
        const { question, answer } = worldSample(stream, 8, i);
        const pieces = [...worldPieces(question), ...worldPieces(answer)];
        longest = Math.max(longest, pieces.length);
        for (const piece of pieces) used.add(piece);
      }
    }
    expect([...used].filter((piece) => !ids.has(piece))).toEqual([]);
    // Roles, image tokens, line feeds and colons belong to prompts.
    expect([...ids].filter(([token, id]) => id >= 9 && !used.has(token)).map(([token]) => token)).toEqual([
      "\n",
      ":",
    ]);
    expect(longest).toBe(145);
  });
});

describe("worldTokenizer", () => {
  it("writes the files that the Rust library was tried with", () => {
    const fixture = new URL("../../../test/fixtures/tokenizers/word-level.json", import.meta.url);
    const [world, vl2] = JSON.parse(readFileSync(fixture, "utf8"));
    expect(worldTokenizer().tokenizer).toEqual(world.tokenizer);
    expect(worldTokenizer({ image: "<image>" }).tokenizer).toEqual(vl2.tokenizer);
  });

  it("loads, gives the golden ids and reads its own text again", () => {
    const { tokenizer: json, config } = worldTokenizer();
    const tokenizer = loadTokenizer(JSON.stringify(json), JSON.stringify(config));
    const plain = { addSpecialTokens: false };
    for (const { text, ids } of golden.tokens) expect(tokenizer.encode(text, plain)).toEqual(ids);
    expect(tokenizer.prefixIds).toEqual([1]);
    expect(tokenizer.specialIds).toMatchObject({ bos: 1, eos: 2, pad: 0 });
    for (const stream of ["questions", "text", "charts", "tables", "language"] as const) {
      for (let i = 0; i < 50; i++) {
        const { question, answer } = worldSample(stream, 9, i);
        for (const text of [question, answer]) {
          const ids = tokenizer.encode(text, plain);
          expect(tokenizer.encode(tokenizer.decode(ids), plain)).toEqual(ids);
        }
      }
    }
    const again = (text: string) => tokenizer.decode(tokenizer.encode(text, plain));
    for (const text of ["WWSPR", "136", "red", "yes", "95 + 41 =", "what color is the ring ?"]) {
      expect(again(text)).toBe(text);
    }
  });

  it("refuses another image token", () => {
    expect(() => worldTokenizer({ image: "<img>" as "<image>" })).toThrow("<img>");
  });
});
