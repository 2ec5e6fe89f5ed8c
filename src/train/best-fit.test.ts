import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { bestFitRows, splitDocuments } from "./best-fit.ts";

const folder = join(import.meta.dirname, "../../test/fixtures/align/packing");
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));

/** The rule, word for word: the oracle. */
function plainRows(lengths: readonly number[], rowLength: number): number[][] {
  const rows: number[][] = [];
  const free = (row: number[]) => rowLength - row.reduce((sum, i) => sum + lengths[i], 0);
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b);
  for (const index of order) {
    const fitting = rows.filter((row) => free(row) >= lengths[index]);
    const best = fitting.reduce<number[] | null>((a, b) => (a === null || free(b) < free(a) ? b : a), null);
    if (best === null) rows.push([index]);
    else best.push(index);
  }
  return rows;
}

describe("bestFitRows", () => {
  it("packs as the reference does, long documents split first or cut at the end", () => {
    const { cases } = read("inputs.json");
    const expected = read("expected.json").cases;
    expect(cases.length).toBe(4);
    cases.forEach(
      ({ lengths, sequence_length: most }: { lengths: number[]; sequence_length: number }, i: number) => {
        const pieces = splitDocuments(lengths, most);
        const { split_first: split, truncate_first: truncated } = expected[i];
        expect(pieces.map(({ document, offset, length }) => [document, offset, length])).toEqual(
          split.pieces,
        );
        expect(
          bestFitRows(
            pieces.map(({ length }) => length),
            most,
          ),
        ).toEqual(split.rows);
        expect(
          bestFitRows(
            lengths.map((length) => Math.min(length, most)),
            most,
          ),
        ).toEqual(truncated.rows);
      },
    );
  });

  it("follows the rule for any lengths", () => {
    const random = new Random(11);
    for (const most of [1, 2, 3, 16, 31, 32, 33, 100]) {
      for (let i = 0; i < 20; i++) {
        const lengths = Array.from({ length: random.int(60) }, () => 1 + random.int(most));
        expect(bestFitRows(lengths, most)).toEqual(plainRows(lengths, most));
      }
    }
  });

  it("packs many documents in no time to speak of", () => {
    const random = new Random(2);
    const lengths = Array.from({ length: 100_000 }, () => 1 + random.int(4096));
    const rows = bestFitRows(lengths, 4096);
    const tokens = lengths.reduce((a, b) => a + b, 0);
    expect(rows.flat().length).toBe(lengths.length);
    expect(rows.length).toBeLessThan((1.02 * tokens) / 4096);
  });

  it("refuses what no row holds", () => {
    expect(() => bestFitRows([3, 9], 8)).toThrow(/document 1.*1 to 8.*9/);
    expect(() => bestFitRows([0], 8)).toThrow(/document 0/);
    expect(() => bestFitRows([1], 0)).toThrow(/rowLength/);
    expect(bestFitRows([], 4)).toEqual([]);
  });
});
