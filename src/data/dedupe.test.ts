import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { collect } from "./corpus.ts";
import {
  agreement,
  chooseBands,
  Deduplicator,
  dedupe,
  jaccard,
  normalizeText,
  shingleHashes,
} from "./dedupe.ts";

function words(random: Random, count: number): string[] {
  return Array.from({ length: count }, () => `w${random.int(5000)}`);
}

/** A copy with a share of its words replaced. */
function mutate(random: Random, list: readonly string[], share: number): string[] {
  return list.map((w) => (random.uniform() < share ? `m${random.int(5000)}` : w));
}

/** Jaccard of word shingles without hashing. */
function bruteJaccard(a: string, b: string, size: number): number {
  const set = (text: string) => {
    const list = text.match(/\w+/g) ?? [];
    return new Set(
      Array.from({ length: list.length - size + 1 }, (_, i) => list.slice(i, i + size).join(" ")),
    );
  };
  const x = set(a);
  const y = set(b);
  const common = [...x].filter((s) => y.has(s)).length;
  return common / (x.size + y.size - common);
}

describe("deduplication", () => {
  it("hashed shingles give the exact Jaccard similarity, and signatures estimate it", () => {
    const random = new Random(1);
    const deduplicator = new Deduplicator({ hashes: 256 });
    let worst = 0;
    for (const share of [0, 0.005, 0.02, 0.05, 0.2, 1]) {
      const base = words(random, 600);
      const a = base.join(" ");
      const b = mutate(random, base, share).join(", ");
      const truth = bruteJaccard(a, b, 5);
      expect(jaccard(shingleHashes(a, "word", 5), shingleHashes(b, "word", 5))).toBeCloseTo(truth, 10);
      worst = Math.max(
        worst,
        Math.abs(agreement(deduplicator.signature(a), deduplicator.signature(b)) - truth),
      );
    }
    expect(worst).toBeLessThan(0.13);
  });

  it("finds planted near duplicates and spares the rest", async () => {
    const random = new Random(2);
    const files: { path: string; text: string }[] = [];
    const expected: string[] = [];
    for (let i = 0; i < 60; i++) {
      const base = words(random, 400);
      files.push({ path: `base${i}`, text: base.join(" ") });
      for (const [kind, share] of [
        ["close", 0.004],
        ["far", 0.08],
      ] as const) {
        const text = mutate(random, base, share).join(" ");
        const similarity = bruteJaccard(files.at(-1)!.path.startsWith("base") ? base.join(" ") : "", text, 5);
        // Pairs near the threshold may go either way; the planted ones stay clear of it.
        if (kind === "close" ? similarity < 0.95 : similarity > 0.7) continue;
        files.push({ path: `${kind}${i}`, text });
        if (kind === "far") expected.push(`far${i}`);
      }
      expected.push(`base${i}`);
    }
    expect(files.filter((f) => f.path.startsWith("close")).length).toBeGreaterThan(20);
    const deduplicator = new Deduplicator();
    const kept = await collect(dedupe(files, deduplicator));
    expect(kept.map((f) => f.path).sort()).toEqual(expected.sort());
    expect(deduplicator.report.near + deduplicator.report.exact).toBe(files.length - kept.length);
  });

  it("is exact about white space at line ends, and names the original", () => {
    const deduplicator = new Deduplicator();
    const text = "first line of text here\nsecond line of text here\n";
    expect(deduplicator.add({ path: "a", text })).toEqual({ kind: "unique" });
    expect(deduplicator.add({ path: "b", text: text.replaceAll("\n", "  \r\n") })).toEqual({
      kind: "exact",
      of: "a",
    });
    expect(deduplicator.add({ path: "c", text: text.replaceAll(" ", "; ") })).toMatchObject({
      kind: "near",
      of: "a",
    });
    expect(deduplicator.add({ path: "d", text: text.replaceAll(" ", "; ") })).toEqual({
      kind: "exact",
      of: "a",
    });
    expect(deduplicator.report).toEqual({ seen: 4, kept: 1, exact: 2, near: 1 });
    expect(normalizeText(" a \n\n")).toBe("a");
  });

  it("handles short and wordless texts, other units, and near: false", () => {
    const deduplicator = new Deduplicator();
    const kinds = ["", "a", "b", "+++", "---", "中文字", "中文学"].map(
      (text, i) => deduplicator.add({ path: `${i}`, text }).kind,
    );
    expect(kinds).toEqual(Array(7).fill("unique"));
    const chars = new Deduplicator({ unit: "char", threshold: 0.5 });
    chars.add({ path: "a", text: "the quick brown fox jumps over the lazy dog and runs away" });
    expect(
      chars.add({ path: "b", text: "the quick brown fox jumps over the lazy dog and runs off" }).kind,
    ).toBe("near");
    const exact = new Deduplicator({ near: false });
    exact.add({ path: "a", text: "one two" });
    expect(exact.add({ path: "b", text: "one; two" }).kind).toBe("unique");
    expect(exact.add({ path: "c", text: "one two" }).kind).toBe("exact");
  });

  it("chooses bands with 99% recall and refuses bad options", () => {
    for (const t of [0.5, 0.7, 0.85, 0.95]) {
      const { bands, rows } = chooseBands(128, t);
      expect(bands * rows).toBeLessThanOrEqual(128);
      expect(1 - (1 - t ** rows) ** bands).toBeGreaterThanOrEqual(0.99);
    }
    expect(() => new Deduplicator({ threshold: 0 })).toThrow(/threshold/);
    expect(() => new Deduplicator({ hashes: 0 })).toThrow(/positive/);
  });
});
