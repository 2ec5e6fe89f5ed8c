import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { prepareCorpus } from "./prepare.ts";
import { isHeldOut, splitFiles } from "./split.ts";

const files = Array.from({ length: 1000 }, (_, i) => ({ path: `src/f${i}.ts`, text: `text number ${i}` }));

describe("held-out split", () => {
  it("holds out about the fraction, stable when files are added", () => {
    const { train, heldOut } = splitFiles(files, { fraction: 0.1, seed: 1 });
    expect(train.length + heldOut.length).toBe(1000);
    expect(Math.abs(heldOut.length - 100)).toBeLessThan(35);
    expect(heldOut).toEqual(files.filter((f) => isHeldOut(f.path, { fraction: 0.1, seed: 1 })));
    const half = splitFiles(files.slice(0, 500), { fraction: 0.1, seed: 1 });
    expect(half.heldOut).toEqual(heldOut.filter((f) => files.indexOf(f) < 500));
    expect(splitFiles(files, { fraction: 0.1, seed: 2 }).heldOut).not.toEqual(heldOut);
  });

  it("never puts the same content on both sides, and keeps one text for training", () => {
    const file = fc.record({ path: fc.string(), text: fc.constantFrom("a", "b ", "b", "c\r\n", "c\n", "d") });
    fc.assert(
      fc.property(fc.array(file), fc.nat(4), fc.nat(100), (list, atLeast, seed) => {
        const { train, heldOut } = splitFiles(list, { fraction: 0.3, atLeast, seed });
        const sides = [train, heldOut].map((side) => new Set(side.map((f) => f.text.trim())));
        expect([...sides[0]].filter((t) => sides[1].has(t))).toEqual([]);
        expect(train.length + heldOut.length).toBe(list.length);
        if (list.length > 0) expect(train.length).toBeGreaterThan(0);
        const distinct = sides[0].size + sides[1].size;
        expect(sides[1].size).toBeGreaterThanOrEqual(Math.min(atLeast, Math.max(0, distinct - 1)));
      }),
    );
    expect(() => splitFiles([], { fraction: 1 })).toThrow(/fraction/);
  });

  it("does not depend on the order of the files, also where texts are equal", () => {
    const list = Array.from({ length: 40 }, (_, i) => ({ path: `f${i}.ts`, text: `text ${i % 7}` }));
    const heldOut = (order: typeof list) =>
      splitFiles(order, { fraction: 0.4, seed: 3 })
        .heldOut.map(({ path }) => path)
        .sort();
    const expected = heldOut(list);
    expect(expected.length).toBeGreaterThan(0);
    fc.assert(
      fc.property(fc.shuffledSubarray(list, { minLength: list.length }), (order) => {
        expect(heldOut(order)).toEqual(expected);
      }),
    );
  });

  it("the whole pipeline removes duplicates, splits and orders", async () => {
    const copies = files.slice(0, 50).map((f) => ({ path: `copy/${f.path}`, text: f.text }));
    const { train, heldOut, dedupe } = await prepareCorpus([...files, ...copies], {
      dedupe: { near: false },
      split: { fraction: 0, atLeast: 7 },
    });
    expect(heldOut).toHaveLength(7);
    expect(train).toHaveLength(993);
    expect(dedupe.exact).toBe(50);
  });
});
