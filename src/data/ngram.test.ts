import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { CountTable } from "./count-table.ts";
import { ByteNgram } from "./ngram.ts";

/** The definition, with strings and maps: modified Kneser-Ney over zero-padded texts. */
function bruteForce(texts: number[][], order: number): (context: number[], byte: number) => number {
  const counts: Map<string, number>[] = [];
  const top = new Map<string, number>();
  for (const text of texts) {
    const padded = [...Array<number>(order - 1).fill(0), ...text];
    for (let i = 0; i < text.length; i++) {
      const key = padded.slice(i, i + order).join();
      top.set(key, (top.get(key) ?? 0) + 1);
    }
  }
  counts[order] = top;
  for (let n = order - 1; n >= 1; n--) {
    counts[n] = new Map();
    for (const key of counts[n + 1].keys()) {
      const shorter = key.split(",").slice(1).join();
      counts[n].set(shorter, (counts[n].get(shorter) ?? 0) + 1);
    }
  }
  const discounts = counts.map((map) => {
    const n = (k: number) => [...map.values()].filter((c) => c === k).length;
    const y = n(1) / (n(1) + 2 * n(2));
    return [1, 2, 3].map((k) => {
      const d = k - ((k + 1) * y * n(k + 1)) / n(k);
      return d > 0 && d < k ? d : 0.5;
    });
  });
  const probability = (n: number, context: number[], byte: number): number => {
    if (n === 0) return 1 / 256;
    const lower = probability(n - 1, context.slice(1), byte);
    const discount = (c: number) => (c === 0 ? 0 : discounts[n][Math.min(c, 3) - 1]);
    let total = 0;
    let mass = 0;
    for (const [key, c] of counts[n]) {
      if (key.split(",").slice(0, -1).join() !== context.join()) continue;
      total += c;
      mass += discount(c);
    }
    if (total === 0) return lower;
    const c = counts[n].get([...context, byte].join()) ?? 0;
    return (c - discount(c)) / total + (mass / total) * lower;
  };
  return (context, byte) => {
    const padded = [...Array<number>(order).fill(0), ...context];
    return probability(order, order === 1 ? [] : padded.slice(-(order - 1)), byte);
  };
}

const text = fc.array(fc.constantFrom(0, 97, 98, 99, 200, 255), { maxLength: 40 });

describe("ByteNgram", () => {
  it("matches the definition for every order", () => {
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 4 }),
        text,
        fc.integer({ min: 1, max: 8 }),
        (texts, context, order) => {
          const model = new ByteNgram({ order });
          for (const t of texts) {
            model.train(Uint8Array.from(t.slice(0, 3)));
            model.train(Uint8Array.from(t.slice(3)));
            model.endText();
          }
          const expected = bruteForce(texts, order);
          for (const byte of [0, 97, 98, 99, 200, 255, 7]) {
            expect(model.probability(Uint8Array.from(context), byte)).toBeCloseTo(
              expected(context, byte),
              12,
            );
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("gives positive probabilities that sum to one", () => {
    const random = new Random(3);
    const bytes = Uint8Array.from({ length: 3000 }, () => 97 + Math.floor(random.uniform() ** 3 * 12));
    for (const order of [1, 2, 5, 8]) {
      const model = new ByteNgram({ order });
      model.train(bytes);
      for (const context of [
        [],
        [97],
        [250, 3],
        [...bytes.subarray(50, 60)],
        [97, 97, 97, 97, 97, 97, 97, 97],
      ]) {
        let sum = 0;
        for (let b = 0; b < 256; b++) {
          const p = model.probability(Uint8Array.from(context), b);
          expect(p).toBeGreaterThan(0);
          sum += p;
        }
        expect(sum).toBeCloseTo(1, 10);
      }
    }
  });

  it("evaluates to the sum of its probabilities, 8 bits per byte untrained", async () => {
    const model = new ByteNgram();
    const sample = new TextEncoder().encode("the cat sat on the mat, and the cat ate the rat");
    expect(model.evaluate(sample).bitsPerByte).toBe(8);
    expect(model.evaluate(new Uint8Array())).toEqual({ bytes: 0, bits: 0, bitsPerByte: 0 });
    await model.trainTexts(["the cat sat on the mat. ".repeat(20), "a rat ate the hat. ".repeat(10)]);
    let bits = 0;
    for (let i = 0; i < sample.length; i++)
      bits -= Math.log2(model.probability(sample.subarray(0, i), sample[i]));
    const score = model.evaluate(sample);
    expect(score.bits).toBeCloseTo(bits, 9);
    expect(score.bitsPerByte).toBeLessThan(3);
    expect((await model.evaluateTexts(["the cat", "the rat"])).bytes).toBe(14);
    expect(model.trainedBytes).toBe(670);
  });

  it("refuses bad orders and more n-grams than allowed", () => {
    expect(() => new ByteNgram({ order: 9 })).toThrow(/order/);
    const random = new Random(1);
    const model = new ByteNgram({ maxNgrams: 1000 });
    const noise = Uint8Array.from({ length: 5000 }, () => random.int(256));
    expect(() => model.train(noise)).toThrow(/distinct n-grams/);
  });
});

describe("CountTable", () => {
  it("agrees with a map", () => {
    const random = new Random(8);
    const table = new CountTable(Number.POSITIVE_INFINITY, 2);
    const map = new Map<string, number>();
    for (let i = 0; i < 20000; i++) {
      const [h, l] = [random.int(3) - 1, random.int(4000) * 1048576];
      table.add(h, l, i % 3 === 0 ? 2 : 1);
      const key = `${h >>> 0},${l >>> 0}`;
      map.set(key, (map.get(key) ?? 0) + (i % 3 === 0 ? 2 : 1));
    }
    expect(table.size).toBe(map.size);
    table.each((h, l, count) => expect(count).toBe(map.get(`${h},${l}`)));
    expect(table.find(77, 1)).toBe(-1);
  });
});
