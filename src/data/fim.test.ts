import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import type { Tokenizer } from "./corpus.ts";
import { encodeCorpus, encodeDocument, splitForFim } from "./fim.ts";

const tokenizer: Tokenizer = {
  encode: (text) => [...new TextEncoder().encode(text)],
  eosId: 256,
  bosId: 257,
  fim: { begin: 258, hole: 259, end: 260 },
};
const character = fc.constantFrom("a", "\n", "é", "中", "😀", "𝐀", "e\u0301");
const always = { fim: { rate: 1, seed: 3 } };

function decode(ids: number[]): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(ids));
}

describe("fill in the middle", () => {
  it("keeps the text, in prefix-suffix-middle order, and never splits a character", () => {
    fc.assert(
      fc.property(fc.array(character, { minLength: 1 }), fc.nat(), (characters, file) => {
        const text = characters.join("");
        const path = `f${file}`;
        const ids = encodeDocument(tokenizer, path, text, always);
        const [begin, hole, end, eos] = [258, 259, 260, 256].map((id) => ids.indexOf(id));
        expect([begin, eos]).toEqual([0, ids.length - 1]);
        const prefix = decode(ids.slice(1, hole));
        const suffix = decode(ids.slice(hole + 1, end));
        const middle = decode(ids.slice(end + 1, eos));
        expect(prefix + middle + suffix).toBe(text);
        expect(middle).not.toBe("");
      }),
    );
  });

  it("draws both cuts uniformly from distinct positions", () => {
    const random = new Random(5);
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const { prefix, middle } = splitForFim("a😀b", random)!;
      const key = `${prefix.length},${prefix.length + middle.length}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    // Positions 0, 1, 3, 4 in UTF-16 units: six pairs.
    expect([...counts.keys()].sort()).toEqual(["0,1", "0,3", "0,4", "1,3", "1,4", "3,4"]);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(splitForFim("", random)).toBeNull();
    expect(splitForFim("x", random)).toEqual({ prefix: "", middle: "x", suffix: "" });
  });

  it("transforms at the rate, by seed and path only", async () => {
    const files = Array.from({ length: 2000 }, (_, i) => ({ path: `f${i}`, text: "some text" }));
    const chosen = async (rate: number, seed: number, list = files) => {
      const set = new Set<string>();
      for await (const d of encodeCorpus(list, tokenizer, { fim: { rate, seed } }))
        if (d.ids[0] === 258) set.add(d.path);
      return set;
    };
    const half = await chosen(0.5, 1);
    expect(Math.abs(half.size - 1000)).toBeLessThan(100);
    expect(await chosen(0.5, 1, [...files].reverse())).toEqual(half);
    expect(await chosen(0.5, 2)).not.toEqual(half);
    expect((await chosen(0, 1)).size).toBe(0);
    expect((await chosen(1, 1)).size).toBe(2000);
  });

  it("encodes plain documents, counts bytes and refuses what the tokenizer lacks", async () => {
    expect(encodeDocument(tokenizer, "a", "é")).toEqual([0xc3, 0xa9, 256]);
    expect(encodeDocument(tokenizer, "a", "", { ...always, bos: true })).toEqual([257, 256]);
    for await (const d of encodeCorpus([{ path: "a", text: "é!" }], tokenizer)) expect(d.bytes).toBe(3);
    const plain: Tokenizer = { encode: tokenizer.encode, eosId: 0 };
    expect(() => encodeDocument(plain, "a", "b", always)).toThrow(/sentinels/);
    expect(() => encodeDocument(plain, "a", "b", { bos: true })).toThrow(/beginning-of-text/);
    expect(() => encodeDocument(tokenizer, "a", "b", { fim: { rate: 2, seed: 0 } })).toThrow(/fim.rate/);
  });
});
