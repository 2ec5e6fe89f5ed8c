import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BatchIterator, memoryDataset, type TokenDataset, tokenArray } from "./dataset.ts";
import type { TokenDocument } from "./fim.ts";
import { buildDataset, openDataset, readIndex } from "./node-dataset.ts";
import { Permutation } from "./permutation.ts";

const EOS = 0;

function* docs(count: number, scale = 1): Generator<TokenDocument> {
  for (let d = 0; d < count; d++) {
    const ids = Array.from({ length: 3 + ((d * 7) % 11) }, (_, i) => 1 + ((d * 31 + i * 17) % 900) * scale);
    yield { path: `d${d}`, ids: [...ids, EOS], bytes: ids.length * 2 };
  }
}

describe("Permutation", () => {
  it("is a permutation of any size", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer(), fc.nat(50), (n, seed, stream) => {
        const p = new Permutation(n, seed, stream);
        const seen = new Set(Array.from({ length: n }, (_, i) => p.at(i)));
        expect(seen.size).toBe(n);
        expect(Math.max(...seen)).toBe(n - 1);
      }),
      { numRuns: 60 },
    );
  });

  it("mixes: seeds and streams differ, places are spread, large sizes stay in range", () => {
    const list = (seed: number, stream: number) => {
      const p = new Permutation(200, seed, stream);
      return Array.from({ length: 200 }, (_, i) => p.at(i)).join();
    };
    expect(new Set([list(1, 0), list(1, 1), list(2, 0), list(2, 1), list(2 ** 40 + 1, 0)]).size).toBe(5);
    let first = 0;
    for (let seed = 0; seed < 2000; seed++) first += new Permutation(101, seed).at(0);
    expect(Math.abs(first / 2000 - 50)).toBeLessThan(3);
    const large = new Permutation(2 ** 45 + 12345, 9);
    const values = new Set(Array.from({ length: 100 }, (_, i) => large.at(i)));
    expect(values.size).toBe(100);
    for (const v of values) expect(v).toBeLessThan(2 ** 45 + 12345);
    expect(() => new Permutation(0, 1)).toThrow(/size/);
    expect(() => new Permutation(3, 1).at(3)).toThrow(/out of range/);
  });
});

describe("memory datasets and batches", () => {
  const data = Uint16Array.from({ length: 101 }, (_, i) => i);

  it("cuts sequences that overlap by one", async () => {
    const dataset = memoryDataset(data);
    expect(dataset.sequenceCount(10)).toBe(10);
    expect([...(await dataset.sequence(9, 10)).tokens]).toEqual([
      90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100,
    ]);
    await expect(dataset.sequence(10, 10)).rejects.toThrow(/no such sequence/);
    expect(() => new BatchIterator(dataset, { batch: 1, length: 101 })).toThrow(/too few tokens/);
    expect(() => new BatchIterator(dataset, { batch: 0, length: 10 })).toThrow(/batch/);
  });

  it("sees every sequence once per epoch, in another order each time", async () => {
    const batches = new BatchIterator(memoryDataset(data), { batch: 3, length: 10, seed: 4 });
    const firsts: number[] = [];
    for (let i = 0; i < 10; i++) {
      const { tokens, targets, batch, length } = await batches.next();
      expect([tokens.length, targets.length, batch, length]).toEqual([33, 30, 3, 10]);
      for (let r = 0; r < 3; r++) {
        firsts.push(tokens[r * 11] / 10);
        for (let t = 0; t < 10; t++) expect(targets[r * 10 + t]).toBe(tokens[r * 11 + t + 1]);
      }
    }
    const epochs = [0, 1, 2].map((e) => firsts.slice(e * 10, e * 10 + 10));
    for (const epoch of epochs)
      expect([...epoch].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(new Set(epochs.map(String)).size).toBe(3);
    const plain = new BatchIterator(memoryDataset(data), { batch: 2, length: 10, shuffle: false });
    expect((await plain.next()).tokens[11]).toBe(10);
  });

  it("resumes exactly from a state that went through JSON", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(30), fc.integer({ min: 1, max: 13 }), fc.nat(), async (steps, batch, seed) => {
        const options = { batch, length: 10, seed };
        const one = new BatchIterator(memoryDataset(data), options);
        for (let i = 0; i < steps; i++) await one.next();
        const two = new BatchIterator(memoryDataset(data), options);
        await two.next();
        two.restore(JSON.parse(JSON.stringify(one.state())));
        for (let i = 0; i < 4; i++) expect((await two.next()).tokens).toEqual((await one.next()).tokens);
        expect(two.state()).toEqual(one.state());
      }),
      { numRuns: 25 },
    );
  });

  it("refuses a state of another run or a damaged one", () => {
    const batches = new BatchIterator(memoryDataset(data), { batch: 2, length: 10 });
    const state = batches.state();
    expect(() => batches.restore({ ...state, seed: 5 })).toThrow(/another run/);
    expect(() => batches.restore({ ...state, sequences: 11 })).toThrow(/another run/);
    expect(() => batches.restore({ ...state, position: 11 })).toThrow(/out of range/);
    expect(() => batches.restore({ ...state, epoch: -1 })).toThrow(/damaged/);
  });

  it("collects documents into the narrowest array", async () => {
    const narrow = await tokenArray(docs(3), 1000);
    expect(narrow).toBeInstanceOf(Uint16Array);
    expect([...narrow]).toEqual([...docs(3)].flatMap((d) => [...(d.ids as number[])]));
    expect(await tokenArray(docs(3), 70000)).toBeInstanceOf(Uint32Array);
    await expect(tokenArray([{ ids: [5] }], 5)).rejects.toThrow(/outside the vocabulary/);
    await expect(tokenArray([{ ids: [-1] }], 5)).rejects.toThrow(/outside the vocabulary/);
  });
});

describe("datasets on disk", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dataset-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function all(dataset: TokenDataset, length: number): Promise<number[][]> {
    const rows: number[][] = [];
    for (let i = 0; i < dataset.sequenceCount(length); i++)
      rows.push([...(await dataset.sequence(i, length)).tokens]);
    return rows;
  }

  it.each([
    [1000, 1, 2, 7],
    [1000, 1, 2, 1 << 26],
    [100000, 100, 4, 50],
  ])("round trip: vocabulary %d, shards", async (vocabSize, scale, width, shardTokens) => {
    const flat = [...docs(40, scale)].flatMap((d) => [...(d.ids as number[])]);
    const progress: number[] = [];
    const index = await buildDataset(folder, docs(40, scale), {
      vocabSize,
      eosId: EOS,
      shardTokens,
      note: { tokenizer: "t" },
      progressEvery: 15,
      onProgress: (p) => progress.push(p.documents),
    });
    expect(index).toMatchObject({
      tokens: flat.length,
      documents: 40,
      rowLength: null,
      dtype: `uint${8 * width}`,
    });
    expect(index.shards).toHaveLength(Math.ceil(flat.length / shardTokens));
    expect(progress).toEqual([15, 30, 40]);
    const dataset = await openDataset(folder);
    const memory = memoryDataset(vocabSize > 65535 ? Uint32Array.from(flat) : Uint16Array.from(flat), {
      eosId: EOS,
    });
    for (const length of [1, 13, 64]) expect(await all(dataset, length)).toEqual(await all(memory, length));
    const { documentStarts, tokens } = await dataset.sequence(1, 20);
    expect(documentStarts).toEqual([...tokens.keys()].filter((i) => i === 0 || tokens[i - 1] === EOS));
    const options = { batch: 4, length: 13, seed: 1 };
    const [a, b] = [new BatchIterator(dataset, options), new BatchIterator(memory, options)];
    for (let i = 0; i < 12; i++) expect(await a.next()).toEqual(await b.next());
    expect(dataset.layout.sourceBytes).toBe((flat.length - 40) * 2);
    await dataset.close();
    expect((await readdir(folder)).filter((f) => f.endsWith(".tmp"))).toEqual([]);
    expect((await readIndex(folder)).note).toEqual({ tokenizer: "t" });
  });

  it("stores best-fit rows with ignored targets on padding", async () => {
    await buildDataset(folder, docs(30), { vocabSize: 1000, eosId: EOS, bestFitLength: 19, shardTokens: 33 });
    const dataset = await openDataset(folder);
    expect(() => dataset.sequenceCount(18)).toThrow(/another sequence length/);
    const { targets, tokens } = await new BatchIterator(dataset, {
      batch: dataset.sequenceCount(19),
      length: 19,
      shuffle: false,
    }).next();
    expect(Math.min(...tokens)).toBe(0);
    let padded = 0;
    for (let r = 0; r < dataset.sequenceCount(19); r++) {
      const { length, targets: rowTargets } = await dataset.sequence(r, 19);
      expect([...targets.subarray(r * 19, r * 19 + 19)]).toEqual([...rowTargets]);
      expect([...rowTargets].filter((t) => t === -1)).toHaveLength(20 - length);
      padded += 20 - length;
    }
    const real = [...docs(30)].reduce((n, d) => n + d.ids.length, 0);
    expect(dataset.tokenCount - padded).toBe(real);
    await dataset.close();
  });

  it("an interrupted build leaves what was there, a damaged one is not taken for a dataset", async () => {
    const options = { vocabSize: 1000, eosId: EOS, shardTokens: 50, force: true };
    const broken = function* () {
      yield* docs(20);
      throw new Error("power cut");
    };
    await expect(buildDataset(folder, broken(), options)).rejects.toThrow("power cut");
    await expect(openDataset(folder)).rejects.toThrow(/incomplete/);
    expect(await readdir(folder)).toEqual([]);
    await buildDataset(folder, docs(40), options);
    await expect(buildDataset(folder, broken(), options)).rejects.toThrow("power cut");
    expect((await readIndex(folder)).documents).toBe(40);
    await expect(buildDataset(folder, docs(1), { ...options, force: false })).rejects.toThrow(
      /already exists/,
    );
    const controller = new AbortController();
    controller.abort(new Error("stopped"));
    await expect(buildDataset(folder, docs(1), { ...options, signal: controller.signal })).rejects.toThrow(
      "stopped",
    );
    await expect(buildDataset(folder, [{ path: "x", ids: [1000] }], options)).rejects.toThrow(/vocabulary/);
    await buildDataset(folder, docs(40), options);
    await truncate(join(folder, "tokens-00001.bin"), 10);
    await expect(openDataset(folder)).rejects.toThrow(/wrong size/);
    await writeFile(join(folder, "index.json"), '{"format":"other"}');
    await expect(openDataset(folder)).rejects.toThrow(/not a token dataset/);
    // Somebody's own index.json by now.
    await expect(buildDataset(folder, docs(1), options)).rejects.toThrow(/changed since; found: index.json/);
    expect(await readFile(join(folder, "index.json"), "utf8")).toBe('{"format":"other"}');
  });
});
