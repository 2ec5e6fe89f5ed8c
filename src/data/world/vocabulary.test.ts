import { describe, expect, it } from "vitest";
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
  it("refuses another image token", () => {
    expect(() => worldTokenizer({ image: "<img>" as "<image>" })).toThrow("<img>");
  });
});
