import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IGNORE, type PackedSequence, type PackOptions, packDocuments } from "./pack.ts";

async function pack(documents: number[][], options: PackOptions): Promise<PackedSequence[]> {
  const rows: PackedSequence[] = [];
  for await (const row of packDocuments(documents, options)) rows.push(row);
  return rows;
}

/** Documents of distinct ids, so that positions can be traced. */
const documents = fc.array(fc.integer({ min: 0, max: 14 }), { maxLength: 20 }).map((lengths) => {
  let id = 0;
  return lengths.map((n) => Array.from({ length: n }, () => ++id));
});

function checkTargets(row: PackedSequence): void {
  row.targets.forEach((target, i) => {
    expect(target).toBe(i + 1 < row.length ? row.tokens[i + 1] : IGNORE);
  });
}

describe("stream packing", () => {
  it("cuts the concatenation with an overlap of one and marks every document start", async () => {
    await fc.assert(
      fc.asyncProperty(documents, fc.integer({ min: 1, max: 7 }), async (list, length) => {
        const flat = list.flat();
        const firsts = new Set(list.filter((d) => d.length > 0).map((d) => d[0]));
        const rows = await pack(list, { length });
        expect(rows.length).toBe(Math.max(0, Math.floor((flat.length - 1) / length)));
        rows.forEach((row, r) => {
          expect([...row.tokens]).toEqual(flat.slice(r * length, (r + 1) * length + 1));
          checkTargets(row);
          expect(row.documentStarts).toEqual([...row.tokens.keys()].filter((i) => firsts.has(row.tokens[i])));
        });
        const padded = await pack(list, { length, tail: "pad", padId: 99 });
        expect(padded.length).toBe(Math.ceil(Math.max(0, flat.length - 1) / length));
        const targets = padded.flatMap((row) => [...row.targets].filter((t) => t !== IGNORE));
        expect(targets).toEqual(flat.slice(1));
        padded.forEach(checkTargets);
      }),
    );
  });
});

describe("best-fit packing", () => {
  it("loses no token, keeps documents whole where they fit and bounds the open rows", async () => {
    await fc.assert(
      fc.asyncProperty(
        documents,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 4 }),
        async (list, length, openRows) => {
          const rows = await pack(list, { length, mode: "best-fit", openRows, padId: 0 });
          const seen = new Map<number, number>();
          for (const row of rows) {
            checkTargets(row);
            for (let i = 0; i < row.length; i++) seen.set(row.tokens[i], (seen.get(row.tokens[i]) ?? 0) + 1);
            for (let i = row.length; i <= length; i++) expect(row.tokens[i]).toBe(0);
          }
          expect([...seen.keys()].sort((a, b) => a - b)).toEqual(list.flat());
          const contained = (d: number[]) =>
            rows.some((row) => {
              const at = row.tokens.indexOf(d[0]);
              return (
                at >= 0 && row.documentStarts.includes(at) && d.every((id, k) => row.tokens[at + k] === id)
              );
            });
          for (const d of list) if (d.length > 0 && d.length <= length + 1) expect(contained(d)).toBe(true);
          // Within a long document, every token but the first is a target once.
          const targets = rows.flatMap((row) => [...row.targets]);
          for (const d of list)
            for (const id of d.slice(1)) expect(targets.filter((t) => t === id)).toEqual([id]);
        },
      ),
    );
  });

  it("chooses the tightest row", async () => {
    const rows = await pack([[1, 1, 1, 1], [2, 2, 2], [3, 3], [4]], { length: 4, mode: "best-fit" });
    expect(rows.map((r) => [...r.tokens])).toEqual([
      [2, 2, 2, 3, 3],
      [1, 1, 1, 1, 4],
    ]);
  });

  it("refuses bad options", async () => {
    await expect(pack([], { length: 0 })).rejects.toThrow(/length/);
    await expect(pack([], { length: 1, openRows: 0 })).rejects.toThrow(/openRows/);
    await expect(pack([], { length: 1, mode: "greedy" as "stream" })).rejects.toThrow(/unknown mode/);
  });
});
