/** Shares, grouping and warm-up of mixtures, and that they go on where they stood. */
import { describe, expect, it } from "vitest";
import { type MixedSource, Mixture } from "./mixture.ts";

const sources: readonly MixedSource[] = [
  { key: "a", modality: "images", size: null },
  { key: "b", modality: "images", size: 5 },
  { key: "c", modality: "text", size: null },
];
const options = { seed: 3, weights: [2, 1, 1] };
const modalityOf = (source: number) => sources[source].modality;

describe("a mixture", () => {
  it("takes sources by weight, and every sample once before any comes again", () => {
    const mixture = new Mixture(sources, options);
    const drawn = Array.from({ length: 400 }, () => mixture.next(10, 400)).flat();
    const counts = [0, 1, 2].map((source) => drawn.filter((each) => each.source === source).length);
    for (const [i, share] of [0.5, 0.25, 0.25].entries()) expect(counts[i] / 4000).toBeCloseTo(share, 1);
    expect(drawn.filter(({ source }) => source === 0).map(({ index }) => index)).toEqual([
      ...Array(counts[0]).keys(),
    ]);
    const finite = drawn.filter(({ source }) => source === 1).map(({ index }) => index);
    const rounds = [finite.slice(0, 5), finite.slice(5, 10), finite.slice(10, 15)];
    for (const round of rounds) expect([...round].sort()).toEqual([0, 1, 2, 3, 4]);
    expect(new Set(rounds.map(String)).size).toBeGreaterThan(1);
  });

  it("takes one modality in each step if it groups, and both if it does not", () => {
    const kinds = (grouped: boolean) => {
      const mixture = new Mixture(sources, { ...options, grouped, textShare: 0.5 });
      return Array.from(
        { length: 30 },
        () => new Set(mixture.next(16, 30).map((each) => modalityOf(each.source))),
      );
    };
    expect(kinds(true).every(({ size }) => size === 1)).toBe(true);
    expect(new Set(kinds(true).map((each) => [...each][0])).size).toBe(2);
    expect(kinds(false).every(({ size }) => size === 2)).toBe(true);
  });

  it("draws as often as its weight says, and leaves mixtures without drawing as they were", () => {
    const drawing: MixedSource = { key: "d", modality: "drawing", size: null };
    const kinds = (all: readonly MixedSource[], weights: readonly number[], textShare?: number) => {
      const mixture = new Mixture(all, { seed: 3, weights, ...(textShare !== undefined && { textShare }) });
      return Array.from({ length: 600 }, () => all[mixture.next(1, 600)[0].source].modality);
    };
    const share = (drawn: readonly string[], kind: string) =>
      drawn.filter((each) => each === kind).length / 600;
    const all = kinds([...sources, drawing], [2, 1, 1, 4]);
    for (const [kind, expected] of [
      ["images", 0.375],
      ["text", 0.125],
      ["drawing", 0.5],
    ] as const) {
      expect(Math.abs(share(all, kind) - expected)).toBeLessThan(0.06);
    }
    const half = kinds([...sources, drawing], [2, 1, 1, 1], 0.5);
    expect(Math.abs(share(half, "drawing") - 0.125)).toBeLessThan(0.05);
    expect(kinds([sources[2], drawing], [1, 0])).not.toContain("drawing");
    expect(kinds([...sources, drawing], [2, 1, 1, 0])).toEqual(kinds(sources, [2, 1, 1]));
  });

  it("begins with text alone and comes to its share", () => {
    const mixture = new Mixture(sources, { ...options, textShare: 0.2, textWarmup: 0.5 });
    expect([0, 50, 100, 150].map((step) => mixture.textShare(step, 200))).toEqual([1, 0.6, 0.2, 0.2]);
    expect(mixture.textShare(150, null)).toBe(1);
    const steps = Array.from({ length: 200 }, () => modalityOf(mixture.next(1, 200)[0].source));
    const text = (from: number, to: number) => steps.slice(from, to).filter((each) => each === "text").length;
    expect(text(0, 20)).toBeGreaterThan(15);
    expect(text(100, 200)).toBeLessThan(35);
  });

  it("goes on exactly where it stood", () => {
    const whole = new Mixture(sources, { ...options, stage: 1 });
    for (let i = 0; i < 7; i++) whole.next(4, 20);
    const { step, counts } = JSON.parse(JSON.stringify(whole.state));
    const expected = Array.from({ length: 5 }, () => whole.next(4, 20));
    const resumed = new Mixture(sources, { ...options, stage: 1 }, counts, step);
    expect(Array.from({ length: 5 }, () => resumed.next(4, 20))).toEqual(expected);
    const other = new Mixture(sources, { ...options, stage: 2 }, counts, step);
    expect(Array.from({ length: 5 }, () => other.next(4, 20))).not.toEqual(expected);
  });

  it("refuses shares of what it does not have", () => {
    const pictures = sources.slice(0, 2);
    const make = (more: object) => () => new Mixture(pictures, { seed: 1, weights: [1, 1], ...more });
    expect(make({ textShare: 0.5 })).toThrow(/no source of text/);
    expect(make({ textWarmup: 0.5 })).toThrow(/warm up/);
    expect(make({ weights: [0, 0] })).toThrow(/no source has a weight/);
    expect(() => new Mixture(sources.slice(2), { seed: 1, weights: [1], textShare: 0.5 })).toThrow(
      /no source of images/,
    );
  });
});
