import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { utf8Length } from "../text/utf8-length.ts";
import { collect, type TextFile } from "./corpus.ts";
import { type PrepareOptions, prepareCorpus } from "./prepare.ts";
import { prepareStream, type RereadableCorpus, type StreamOptions } from "./prepare-stream.ts";

/** A corpus in memory whose later reads can differ from the first pass. */
function corpusOf(files: readonly TextFile[]): RereadableCorpus & { readonly texts: Map<string, string> } {
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  return {
    texts,
    async *[Symbol.asyncIterator]() {
      yield* files;
    },
    read: async (path) => texts.get(path) ?? null,
  };
}

const bytesOf = (files: readonly TextFile[]) => files.reduce((sum, { text }) => sum + utf8Length(text), 0);

async function expectSame(
  files: readonly TextFile[],
  options: PrepareOptions & StreamOptions,
): Promise<{ train: number; heldOut: number }> {
  const held = await prepareCorpus(files, options);
  const streamed = await prepareStream(corpusOf(files), options);
  expect(await collect(streamed.train)).toEqual(held.train);
  expect(await collect(streamed.heldOut)).toEqual(held.heldOut);
  expect(streamed.dedupe).toEqual(held.dedupe);
  expect(streamed.skipped).toBe(0);
  for (const part of ["train", "heldOut"] as const) {
    expect(streamed[part]).toMatchObject({ files: held[part].length, bytes: bytesOf(held[part]) });
  }
  // A second reading gives the same.
  expect(await collect(streamed.train)).toEqual(held.train);
  return { train: held.train.length, heldOut: held.heldOut.length };
}

const names = ["a", "b", "c", "d"];

describe("prepareStream", () => {
  it("gives what prepareCorpus gives", async () => {
    const file = fc.record({
      project: fc.constantFrom("", "x/", "x/y/", "x/y/node_modules/p/", "z/"),
      name: fc.constantFrom(...names),
      extension: fc.constantFrom(".ts", ".py", ".json", ".css"),
      imports: fc.array(fc.constantFrom(...names), { maxLength: 3 }),
      body: fc.constantFrom(
        ...["α = 1", "α = 1  ", "b = 2\n", "c = 3;", "#!/bin/sh\n", ""],
        ...["long α 😀\n", "😀"].map((text) => text.repeat(900)),
      ),
    });
    const unique = fc.uniqueArray(file, { selector: (f) => f.project + f.name + f.extension, maxLength: 30 });
    const settings = fc.record({
      dedupe: fc.constantFrom<PrepareOptions["dedupe"]>(false, { near: false }, { threshold: 0.8 }),
      split: fc.record({ fraction: fc.constantFrom(0, 0.3), seed: fc.nat(9) }),
      repository: fc.constantFrom<StreamOptions["repository"]>(
        false,
        { pathComment: true, manifests: ["x/package.json", "x/y/package.json"] },
        { pathComment: false },
      ),
    });
    await fc.assert(
      fc.asyncProperty(unique, settings, async (list, options) => {
        const files = list.map(({ project, name, extension, imports, body }) => ({
          path: `${project}${name}${extension}`,
          text: `${imports.map((i) => `import "./${i}";\n`).join("")}${body}`,
        }));
        await expectSame(files, options);
      }),
    );
  });

  it("divides a long file by position, and leaves both parts out where it changed", async () => {
    const line = (i: number) => `a line with the number ${i}\n`;
    const text = Array.from({ length: 2000 }, (_, i) => line(i)).join("");
    const corpus = corpusOf([{ path: "input.txt", text }]);
    const options: StreamOptions = { split: { fraction: 0.02 }, repository: { pathComment: true } };
    const { train, heldOut, dividedFiles } = await prepareStream(corpus, options);
    expect(dividedFiles).toBe(1);
    const [head, tail] = [await collect(train), await collect(heldOut)];
    expect(head[0].text + tail[0].text).toBe(text);
    expect(tail[0].text.startsWith("a line")).toBe(true);
    expect([train.bytes, heldOut.bytes]).toEqual([bytesOf(head), bytesOf(tail)]);
    expect(tail[0].text.length / text.length).toBeCloseTo(0.02, 2);
    corpus.texts.set("input.txt", `x${text}`);
    expect([await collect(train), await collect(heldOut)]).toEqual([[], []]);
  });

  it("orders imports first and comments paths as prepareCorpus does", async () => {
    const files = Array.from({ length: 60 }, (_, i) => ({
      path: `p${i % 3}/src/f${i}.ts`,
      text: `import { x } from "./f${(i + 3) % 60}";\nexport const n${i} = ${"x + ".repeat(i)}${i};\n`,
    }));
    const repository = { pathComment: true, manifests: ["p0/package.json", "p1/package.json"] };
    const counts = await expectSame(files, { split: { fraction: 0.2, seed: 3 }, repository });
    expect(counts.train).toBeGreaterThan(30);
    expect(counts.heldOut).toBeGreaterThan(3);
  });

  it("leaves out and counts files that changed or vanished since the first pass", async () => {
    const files = Array.from({ length: 40 }, (_, i) => ({
      path: `s/f${i}.ts`,
      text: `const v${i} = ${i};\n`,
    }));
    const corpus = corpusOf(files);
    const options = { dedupe: { near: false }, split: { fraction: 0.3, seed: 1 } };
    const { train, heldOut } = await prepareCorpus(files, options);
    const stream = await prepareStream(corpus, options);
    // The training file now has the text of a held-out one, the worst that can happen.
    corpus.texts.set(train[2].path, heldOut[0].text);
    corpus.texts.delete(train[5].path);
    corpus.texts.set(heldOut[1].path, `${heldOut[1].text} `);
    expect(await collect(stream.train)).toEqual(train.filter((_, i) => i !== 2 && i !== 5));
    expect(stream.skipped).toBe(2);
    expect(await collect(stream.heldOut)).toEqual(heldOut.filter((_, i) => i !== 1));
    await collect(stream.train);
    expect(stream.skipped).toBe(3);
  });

  it("samples evenly by file, within the limit and by seed", async () => {
    const files = Array.from({ length: 400 }, (_, i) => ({
      path: `p${i % 4}/f${i}.ts`,
      text: `export const v${i} = "${"ab".repeat(i % 50)}";\n`,
    }));
    const { train } = await prepareStream(corpusOf(files), {
      dedupe: { near: false },
      repository: { pathComment: true },
    });
    const all = await collect(train);
    expect(await collect(train.sample(train.bytes, 1))).toEqual(all);
    const limit = Math.floor(train.bytes / 4);
    const sample = train.sample(limit, 1);
    const drawn = await collect(sample);
    expect(sample).toMatchObject({ files: drawn.length, bytes: bytesOf(drawn) });
    expect(sample.bytes).toBeLessThanOrEqual(limit);
    expect(sample.bytes).toBeGreaterThan(limit * 0.9);
    const paths = new Set(drawn.map((f) => f.path));
    expect(drawn).toEqual(all.filter((f) => paths.has(f.path)));
    for (const project of ["p0", "p1", "p2", "p3"]) {
      expect(drawn.filter((f) => f.path.startsWith(project)).length).toBeGreaterThan(10);
    }
    expect(await collect(train.sample(limit, 1))).toEqual(drawn);
    expect(await collect(train.sample(limit, 2))).not.toEqual(drawn);
    expect(() => train.sample(3, 1)).toThrow(/data.tokenizerBytes: .*small enough/);
  });

  it("reads a project above the limit in parts, each in order", async () => {
    const files = ["a", "b", "c", "d"].map((name, i) => ({
      path: `big/${name}.ts`,
      text: `import "./${"bcda"[i]}";\n`.padEnd(100, `// ${name}`),
    }));
    files.push({ path: "small/a.ts", text: "const small = 1;\n" });
    const options: StreamOptions = { split: { fraction: 0, atLeast: 0 }, dedupe: { near: false } };
    const order = async (projectBytes: number) => {
      const { train, dividedProjects } = await prepareStream(corpusOf(files), { ...options, projectBytes });
      return { paths: (await collect(train)).map((f) => f.path), dividedProjects };
    };
    const small = "small/a.ts";
    const whole = await prepareCorpus(files, options as PrepareOptions);
    expect(await order(400)).toEqual({ paths: whole.train.map((f) => f.path), dividedProjects: [] });
    expect(await order(200)).toEqual({
      paths: ["big/b.ts", "big/a.ts", "big/d.ts", "big/c.ts", small],
      dividedProjects: ["big"],
    });
    expect(await order(1)).toEqual({
      paths: ["big/a.ts", "big/b.ts", "big/c.ts", "big/d.ts", small],
      dividedProjects: ["big"],
    });
    await expect(order(0)).rejects.toThrow(/projectBytes/);
  });

  it("holds the texts of one project at a time, however large the corpus", { timeout: 60_000 }, async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    // 100 projects of 3 files of 200 KB, 60 MB in total, made on demand.
    const line = "export const value = compute(first, second, third); // the same for every file of them\n";
    const body = line.repeat(Math.ceil(200_000 / line.length));
    const make = (path: string) => Buffer.from(`${path}\n${body}`).toString("latin1");
    let reads = 0;
    const corpus: RereadableCorpus = {
      async *[Symbol.asyncIterator]() {
        for (let i = 0; i < 300; i++) {
          const path = `p${i % 100}/f${i}.ts`;
          yield { path, text: make(path) };
        }
      },
      read: async (path) => {
        reads++;
        return make(path);
      },
    };
    const held = () => {
      gc();
      // Buffers found dead are freed beside the program; a second collection waits for that.
      gc();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = held();
    // What is measured here does see texts that are held; in a function, whose locals are gone afterwards.
    const heldWith = (count: number) => {
      const texts = Array.from({ length: count }, (_, i) => make(`${i}`));
      return held() - before + 0 * texts.length;
    };
    expect(heldWith(100)).toBeGreaterThan(19e6);
    let peak = 0;
    const stream = await prepareStream(corpus, {
      dedupe: { near: false },
      onProgress: () => {
        peak = Math.max(peak, held() - before);
      },
    });
    expect(stream.train.bytes + stream.heldOut.bytes).toBeGreaterThan(60e6);
    expect(stream.dedupe.kept).toBe(300);
    let [documents, bytes] = [0, 0];
    for await (const { text } of stream.train) {
      documents++;
      bytes += text.length;
      if (documents % 20 === 0) peak = Math.max(peak, held() - before);
    }
    expect(documents).toBe(stream.train.files);
    expect(reads).toBe(documents);
    expect(bytes).toBe(stream.train.bytes);
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(12e6);
  });
});
