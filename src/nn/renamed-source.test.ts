/** Sources under other names: tensors joined and cut, read in chunks of any size, both ways. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RenamedSource, type Renaming, reversed } from "./renamed-source.ts";
import type { WeightSource } from "./weight-source.ts";

/** Tensors of consecutive numbers, read `chunk` at a time. */
function sourceOf(tensors: ReadonlyMap<string, readonly number[]>, chunk: number): WeightSource {
  return {
    where: "files",
    names: () => tensors.keys(),
    has: (name) => tensors.has(name),
    shape: (name) => [tensors.get(name)!.length],
    async *readF32(name) {
      const values = tensors.get(name)!;
      for (let offset = 0; offset < values.length; offset += chunk) {
        yield { offset, values: Float32Array.from(values.slice(offset, offset + chunk)) };
      }
    },
  };
}

async function read(source: WeightSource, name: string): Promise<number[]> {
  const values: number[] = [];
  for await (const chunk of source.readF32(name)) {
    expect(chunk.offset).toBe(values.length);
    values.push(...chunk.values);
  }
  return values;
}

/** Names of tensors that hold the same 0, 1, 2.. cut at other places. */
const cut = (prefix: string, sizes: readonly number[]) =>
  sizes.map((size, i) => ({ name: `${prefix}${i}`, shape: [size] }));

describe("RenamedSource", () => {
  it("joins and cuts tensors, whatever their chunks (property)", async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 5 }),
        async (from, at, chunk) => {
          const total = from.reduce((sum, size) => sum + size, 0);
          const first = 1 + (at % total);
          const to = first < total ? [first, total - first] : [total];
          const renaming: Renaming = { from: cut("a", from), to: cut("b", to) };
          let next = 0;
          const stored = new Map<string, readonly number[]>(
            renaming.from.map(({ name, shape }) => [name, Array.from({ length: shape[0] }, () => next++)]),
          );
          stored.set("other", [7]);
          const source = new RenamedSource(sourceOf(stored, chunk), [renaming]);
          source.check();
          expect([...source.names()]).toEqual([...renaming.to.map(({ name }) => name), "other"]);
          const all: number[] = [];
          for (const { name, shape } of renaming.to) {
            expect([source.has(name), source.shape(name)]).toEqual([true, shape]);
            all.push(...(await read(source, name)));
          }
          expect(all).toEqual(Array.from({ length: total }, (_, i) => i));
          expect(await read(source, "other")).toEqual([7]);
          // And back.
          const back = new RenamedSource(source, reversed([renaming]));
          for (const [name, values] of stored) expect(await read(back, name)).toEqual(values);
        },
      ),
    );
  });

  it("names what is missing and misshapen as the file does", () => {
    const renaming = { from: cut("a", [2, 3]), to: cut("b", [5]) };
    const of = (sizes: readonly number[]) =>
      new RenamedSource(
        sourceOf(new Map(sizes.map((size, i) => [`a${i}`, new Array<number>(size).fill(0)])), 2),
        [renaming],
      );
    expect(() => of([2]).check()).toThrow(/^files: .*lacks a tensor; name: a1/);
    expect(of([2]).has("b0")).toBe(false);
    expect(() => of([2, 4]).check()).toThrow(/^files: .*shape.*name: a1; expected: \[3\]; found: \[4\]/);
    expect(of([2, 3]).has("a0")).toBe(false);
  });
});
