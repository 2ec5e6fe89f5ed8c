/** Rows from files, folders, Parquet and a hub on this machine. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestingHub } from "../../pretrained/testing-hub.ts";
import { heldOutBelow } from "./held-out.ts";
import { type OpenRowsOptions, openRows } from "./node-rows.ts";
import type { CompletionRow } from "./row.ts";
import { chooseRowFiles } from "./row-files.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rows-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const line = (n: number) => JSON.stringify({ prompt: `p${n}`, completion: `c${n}` });
const put = (path: string, content: string | Uint8Array) => {
  const full = join(folder, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, content);
  return full;
};

async function prompts(names: string | string[], options?: OpenRowsOptions): Promise<unknown[]> {
  const source = await openRows([names].flat(), options);
  const found: unknown[] = [];
  for await (const { row } of source.read("supervised")) found.push((row as CompletionRow).prompt);
  return found;
}

describe("files and folders", () => {
  it("are read in the order of their names, and errors name file and line", async () => {
    put("some/b.jsonl", `${line(3)}\n\n${line(4)}\n`);
    put("some/a/x.jsonl", `${line(1)}\n${line(2)}`);
    put("some/notes.txt", "no rows");
    put("some/.hidden/y.jsonl", line(9));
    expect(await prompts(join(folder, "some"))).toEqual(["p1", "p2", "p3", "p4"]);
    expect(await prompts([join(folder, "some/b.jsonl"), join(folder, "some/a/x.jsonl")])).toEqual([
      ..."3412".split("").map((n) => `p${n}`),
    ]);
    const bad = put("bad.jsonl", `${line(1)}\n\n{"prompt": "a"}\n`);
    await expect(prompts(bad)).rejects.toThrow(/bad\.jsonl line 3: not a row of this kind/);
    const torn = put("torn.jsonl", `${line(1)}\n{"prompt": `);
    await expect(prompts(torn)).rejects.toThrow(/torn\.jsonl line 2: not valid JSON/);
    await expect(prompts(put("none.jsonl", "\n \n"))).rejects.toThrow(/none\.jsonl: no rows/);
    await expect(prompts(put("list.json", `[${line(1)}]`))).rejects.toThrow(/jq -c/);
    await expect(prompts(put("a.csv", "a,b"))).rejects.toThrow(/a\.csv: not a file of rows/);
    await expect(prompts(put("long.jsonl", line(1)), { maxRowBytes: 10 })).rejects.toThrow(/too long/);
  });

  it("have the hash of their prompt, wherever they stand", async () => {
    const other = (n: number) => JSON.stringify({ id: n, prompt: `p${n}`, completion: "another" });
    const paths = [
      put("hash-a.jsonl", `${line(1)}\n${line(2)}`),
      put("hash-b.jsonl", `${other(2)}\n${other(1)}`),
    ];
    const hashes: number[] = [];
    for await (const { hash } of (await openRows(paths)).read("supervised")) hashes.push(hash);
    expect(hashes).toEqual([hashes[0], hashes[1], hashes[1], hashes[0]]);
    expect(hashes[0]).not.toBe(hashes[1]);
  });

  it("are stopped by a signal", async () => {
    const source = await openRows([put("stop.jsonl", `${line(1)}\n${line(2)}`)]);
    const controller = new AbortController();
    const read = source.read("supervised", { signal: controller.signal });
    await read.next();
    controller.abort(new Error("enough"));
    await expect(read.next()).rejects.toThrow("enough");
  });
});

describe("Parquet", () => {
  const columns = [
    { name: "prompt", data: ["p1", "p2", "p3"], type: "STRING" as const },
    { name: "completion", data: ["c1", "c2", "c3"], type: "STRING" as const },
    { name: "n", data: [1n, 2n, null], type: "INT64" as const },
  ];
  const written = (options: object = {}) =>
    new Uint8Array(parquetWriteBuffer({ columnData: columns, ...options }));

  it.each([
    ["snappy", {}],
    ["none", { codec: "UNCOMPRESSED" }],
    ["gzip", { codec: "GZIP", compressors: { GZIP: (bytes: Uint8Array) => gzipSync(bytes) } }],
    ["zstd", { codec: "ZSTD", compressors: { ZSTD: (bytes: Uint8Array) => zstdCompressSync(bytes) } }],
    ["row groups of one", { rowGroupSize: 1 }],
  ])("with %s", async (_, options) => {
    const path = put("one.parquet", written(options));
    expect(await prompts(path)).toEqual(["p1", "p2", "p3"]);
    const source = await openRows([path]);
    const fields: unknown[] = [];
    for await (const { row } of source.read("prompt")) fields.push(row.fields);
    expect(fields).toEqual([
      { completion: "c1", n: 1 },
      { completion: "c2", n: 2 },
      { completion: "c3", n: null },
    ]);
  });

  it("with lists of messages", async () => {
    const schema = [
      { name: "root", num_children: 1 },
      { name: "messages", repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", repetition_type: "OPTIONAL", num_children: 3 },
      { name: "role", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "content", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "name", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ] as const;
    const messages = [
      { role: "user", content: "hi", name: "eva" },
      { role: "assistant", content: "hello", name: null },
    ];
    const bytes = parquetWriteBuffer({
      columnData: [{ name: "messages", data: [messages, messages.map((m) => ({ ...m, name: null }))] }],
      schema: schema as never,
    });
    const source = await openRows([put("chat.parquet", new Uint8Array(bytes))]);
    const rows: unknown[] = [];
    for await (const { row } of source.read("supervised")) rows.push(row);
    const read = (name?: string) => ({
      form: "conversation",
      messages: [
        { role: "user", content: "hi", ...(name && { name }) },
        { role: "assistant", content: "hello" },
      ],
    });
    expect(rows).toEqual([read("eva"), read()]);
  });

  it("names the row of a fault, and refuses what is no Parquet file", async () => {
    const wrong = parquetWriteBuffer({ columnData: [{ ...columns[0], data: ["p1", "", "p3"] }, columns[1]] });
    await expect(prompts(put("wrong.parquet", new Uint8Array(wrong)))).rejects.toThrow(
      /wrong\.parquet row 2: an empty prompt/,
    );
    await expect(prompts(put("no.parquet", "hello, this is text"))).rejects.toThrow(
      /no\.parquet: the Parquet file cannot be read: .*PAR1/,
    );
    await expect(prompts(put("short.parquet", "PAR1"))).rejects.toThrow(/not a Parquet file/);
    const long = parquetWriteBuffer({
      columnData: [columns[0], { ...columns[1], data: ["c", "d".repeat(999), "e"] }],
    });
    await expect(prompts(put("long.parquet", new Uint8Array(long)), { maxRowBytes: 200 })).rejects.toThrow(
      /row 2 is too long; expected: at most 200 characters/,
    );
    // Truncated at every place and damaged at every byte, it is refused or gives rows: nothing hangs or ends the program.
    const whole = written();
    for (let at = 8; at < whole.length; at += 61) {
      const damaged = whole.slice();
      damaged[at] ^= 0x5a;
      for (const bytes of [damaged, whole.slice(0, at)]) {
        const outcome = await prompts(put("damaged.parquet", bytes)).then(
          (found) => found.length <= 3,
          (error: Error) => error.name === "FormatError",
        );
        expect(outcome).toBe(true);
      }
    }
  }, 60_000);
});

describe("a data set on the hub", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const text = (value: string) => new TextEncoder().encode(value);
  let hub: TestingHub;
  beforeAll(async () => {
    hub = await TestingHub.start();
    const part = (n: number) =>
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: "prompt", data: [`p${n}`], type: "STRING" },
            { name: "completion", data: [`c${n}`], type: "STRING" },
          ],
        }),
      );
    const files = new Map([
      ["README.md", text("# data")],
      ["dataset_infos.json", text("{}")],
      ["data/train-00000-of-00002.parquet", part(1)],
      ["data/train-00001-of-00002.parquet", part(2)],
      ["data/test-00000-of-00001.parquet", part(3)],
    ]);
    hub.repos.set("datasets/org/data", { commit, files });
    const subsets = new Map([
      ["main/train.jsonl", text(line(5))],
      ["socratic/train.jsonl", text(line(6))],
    ]);
    hub.repos.set("datasets/org/subsets", { commit: commit.replace("0", "f"), files: subsets });
  });
  afterAll(() => hub[Symbol.asyncDispose]());
  const options = (more: OpenRowsOptions = {}) => ({
    ...{ endpoint: hub.endpoint, cacheDir: join(folder, "hub"), token: null, offline: false, retryDelay: 5 },
    ...more,
  });

  it("is downloaded by its split, kept, and read again offline", async () => {
    expect(await prompts("org/data", options())).toEqual(["p1", "p2"]);
    expect(hub.contentRequests("data/test-00000-of-00001.parquet")).toHaveLength(0);
    expect(await prompts("datasets/org/data@main", options({ offline: true }))).toEqual(["p1", "p2"]);
    await expect(prompts("org/data", options({ offline: true, split: "test" }))).rejects.toThrow(
      /no files with rows.*split test/,
    );
    expect(await prompts("org/data", options({ split: "test" }))).toEqual(["p3"]);
  });

  it("is refused where a choice is left or it is not there", async () => {
    await expect(prompts("org/subsets", options())).rejects.toThrow(
      /several subsets.*--subset; found: \[main, socratic\]/,
    );
    expect(await prompts("org/subsets", options({ subset: "socratic" }))).toEqual(["p6"]);
    await expect(prompts("org/none", options())).rejects.toThrow(
      /nor a data set on the hub|data set on the hub that can be seen/,
    );
    await expect(prompts("no such thing", options())).rejects.toThrow(/neither a file or folder here nor/);
  });
});

describe("chooseRowFiles", () => {
  const ultrachat = ["test_sft", "test_gen", "train_sft", "train_gen"].map(
    (n) => `data/${n}-00000-of-00001.parquet`,
  );
  it("reads splits from names", () => {
    expect(chooseRowFiles("d", ["a/train/1.jsonl", "a/val/1.jsonl", "x.md"])).toEqual(["a/train/1.jsonl"]);
    expect(chooseRowFiles("d", ["a/train/1.jsonl", "a/dev.jsonl"], { split: "validation" })).toEqual([
      "a/dev.jsonl",
    ]);
    // "constraints" has no word of a split.
    expect(chooseRowFiles("d", ["constraints.jsonl", "more.parquet"])).toEqual([
      "constraints.jsonl",
      "more.parquet",
    ]);
    expect(() => chooseRowFiles("d", ultrachat, {}, true)).toThrow(
      /several splits.*found: \[data\S* |train_gen, train_sft/,
    );
    expect(chooseRowFiles("d", ultrachat, { split: "train_sft" }, true)).toEqual([ultrachat[2]]);
    expect(() => chooseRowFiles("d", ["test.jsonl"])).toThrow(/no files with rows.*split train/);
  });
});

describe("heldOutBelow", () => {
  const below = (hashes: number[], options = {}) => {
    const limit = heldOutBelow(Float64Array.from(hashes), options);
    return hashes.filter((hash) => hash < limit);
  };
  it("holds out a share, at least one prompt, at most so many, never all", () => {
    const many = Array.from({ length: 1000 }, (_, i) => i / 1000);
    expect(below(many)).toHaveLength(50);
    expect(below(many, { share: 0.5, most: 7 })).toHaveLength(7);
    expect(below(many, { share: 0 })).toEqual([]);
    expect(below([0.9, 0.8, 0.8])).toEqual([0.8, 0.8]);
    expect(below([0.001, 0.002, 0.001])).toEqual([0.001, 0.001]);
    expect(below([0.3])).toEqual([]);
    expect(below([0.3, 0.3])).toEqual([]);
    expect(below([0.01, 0.01, 0.01, 0.5], { most: 2 })).toEqual([]);
  });
});
