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

  const longText = (lines: number, word: string) =>
    Array.from({ length: lines }, (_, i) => `${word} line number ${i}\n`).join("");

  it("holds out the end of one text, at a line, however short", () => {
    for (const lines of [6, 100, 10_000]) {
      const text = longText(lines, "a");
      const { train, heldOut } = splitFiles([{ path: "input.txt", text }], { fraction: 0.1 });
      expect([train.length, heldOut.length]).toEqual([1, 1]);
      expect(train[0].text + heldOut[0].text).toBe(text);
      expect(heldOut[0].text.startsWith("a line")).toBe(true);
      const share = heldOut[0].text.length / text.length;
      expect(share).toBeGreaterThan(0.05);
      expect(share).toBeLessThan(0.2);
    }
    const one = splitFiles([{ path: "a", text: "😀".repeat(500) }], { fraction: 0.1 });
    // A line's beginning that is far away is not a place to cut.
    for (const text of [`short\n${"word ".repeat(2000)}`, `${"word ".repeat(2000)}\nshort`]) {
      const [held] = splitFiles([{ path: "a", text }], { fraction: 0.1 }).heldOut;
      expect(Math.abs(held.text.length / text.length - 0.1)).toBeLessThan(0.01);
    }
    expect(one.heldOut[0].text).toMatch(/^(😀){50}$/u);
    expect(splitFiles([{ path: "a", text: "x" }]).heldOut).toEqual([]);
    expect(splitFiles([{ path: "a", text: longText(99, "a") }], { fraction: 0 }).heldOut).toEqual([]);
  });

  it("divides files above a tenth of the corpus and keeps the others whole", () => {
    const list = [
      { path: "long.txt", text: longText(3000, "l") },
      ...Array.from({ length: 300 }, (_, i) => ({ path: `s${i}`, text: longText(10, `s${i}`) })),
    ];
    const { train, heldOut } = splitFiles(list, { fraction: 0.1, seed: 2 });
    const [head, tail] = [train, heldOut].map((side) => side.find(({ path }) => path === "long.txt")!.text);
    expect(head + tail).toBe(list[0].text);
    expect(Math.abs(tail.length / list[0].text.length - 0.1)).toBeLessThan(0.01);
    const whole = heldOut.filter(({ path }) => path !== "long.txt");
    expect(whole).toEqual(list.slice(1).filter((f) => isHeldOut(f.path, { fraction: 0.1, seed: 2 })));
    const total = list.reduce((sum, { text }) => sum + text.length, 0);
    const held = heldOut.reduce((sum, { text }) => sum + text.length, 0);
    expect(Math.abs(held / total - 0.1)).toBeLessThan(0.04);
    // Of two files, each gives its end; equal ones are cut at the same place.
    const two = splitFiles([list[0], { path: "copy", text: list[0].text }, list[5]], { fraction: 0.1 });
    expect(two.heldOut.map(({ text }) => text)).toEqual([two.heldOut[0].text, two.heldOut[0].text]);
  });

  it("takes the last sections of a long file, in order of their numbers", () => {
    const sections = Array.from({ length: 12 }, (_, index) => ({
      path: `f#${11 - index}`,
      text: longText(200, `n${index}`),
      section: { file: "f", index },
    }));
    const order = [3, 11, 0, 7, 10, 1, 2, 4, 5, 6, 8, 9].map((i) => sections[i]);
    const { train, heldOut } = splitFiles(order, { fraction: 0.2 });
    expect(heldOut.map(({ section }) => section.index)).toEqual([11, 10, 9]);
    const cut = [train, heldOut].map((side) => side.find(({ section }) => section.index === 9)!.text);
    expect(cut.join("")).toBe(sections[9].text);
    expect(train).toHaveLength(10);
    // Shorter than a tenth: whole, and on one side.
    const others = Array.from({ length: 200 }, (_, i) => ({
      ...sections[0],
      path: `o${i}`,
      section: undefined,
    }));
    const all = [...sections, ...others.map((f, i) => ({ ...f, text: longText(300, `o${i}`) }))];
    for (let seed = 0; seed < 20; seed++) {
      const split = splitFiles(all, { fraction: 0.3, seed });
      const sides = [split.train, split.heldOut].map((s) => s.filter(({ section }) => section).length);
      expect(sides.sort((a, b) => a - b)).toEqual([0, 12]);
    }
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
