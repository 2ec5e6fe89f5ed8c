import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collect } from "../data/corpus.ts";
import { openDataset } from "../data/node-dataset.ts";
import { folderCorpus } from "../data/node-files.ts";
import { prepareCorpus } from "../data/prepare.ts";
import { utf8Length } from "../text/utf8-length.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe } from "../tokenizer/train-bpe.ts";
import { mergeConfig, preset } from "./config.ts";
import { dataTokenizer, prepareRun, selectTexts } from "./preparation.ts";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "prepare-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const config = mergeConfig(preset("llm-small"), {
  seed: 5,
  vocabSize: 360,
  data: { extensions: "typescript", heldOut: 0.2, fimRate: 0, nearDuplicates: 0.9 },
});

async function fill(): Promise<string> {
  const folder = join(root, "corpus");
  const put = async (path: string, text: string) => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  for (const project of ["a", "b", "c"]) {
    await put(`${project}/package.json`, "{}");
    for (let i = 0; i < 12; i++) {
      const words = Array.from({ length: 30 }, (_, k) => `value${project}${(i * 37 + k * k) % 101}`).join(
        " +\n  ",
      );
      const text = `import { x } from "./f${(i + 5) % 12}";\nexport const sum${i} =\n  ${words};\n`;
      await put(`${project}/src/f${i}.ts`, text);
      if (i === 0) await put(`${project}/copy.ts`, text);
    }
  }
  return folder;
}

/** What the same settings give with all texts in memory. */
async function inMemory(folder: string) {
  const { data, seed } = config;
  const corpus = await folderCorpus(folder, { extensions: data.extensions, sampleSeed: seed });
  return prepareCorpus(corpus, {
    dedupe: { threshold: data.nearDuplicates! },
    split: { fraction: data.heldOut, seed },
    repository: { manifests: corpus.manifests, pathComment: true },
  });
}

describe("the preparation of a run", () => {
  it("selects the files and writes the tokens that the pipeline in memory gives", async () => {
    const folder = await fill();
    const expected = await inMemory(folder);
    const lines: string[] = [];
    const texts = await selectTexts(folder, config, (stage, message) => lines.push(`${stage} ${message}`));
    expect(await collect(texts.train)).toEqual(expected.train);
    expect(await collect(texts.heldOut)).toEqual(expected.heldOut);
    expect(texts.trainBytes).toBe(expected.train.reduce((sum, { text }) => sum + utf8Length(text), 0));
    expect(texts.duplicates).toBe(3);
    expect(texts.selection.kept).toBe(39);
    expect(lines.at(-1)).toMatch(/39 of 42 files kept, 3 duplicates removed, \d+ files for training/);

    const out = join(root, "run");
    const prepared = await prepareRun(texts, out, config, (stage) => lines.push(stage));
    const json = await trainBpe(
      expected.train.map((f) => f.text),
      { vocabSize: 360 },
    );
    expect(JSON.parse(await readFile(join(out, "tokenizer/tokenizer.json"), "utf8"))).toEqual(json);
    const { encode, eosId } = dataTokenizer(loadTokenizer(json));
    for (const [name, files] of [
      ["train", expected.train],
      ["held-out", expected.heldOut],
    ] as const) {
      const ids = files.flatMap(({ text }) => [...Array.from(encode(text)), eosId]);
      const dataset = await openDataset(join(out, "data", name));
      const stored = new Int32Array(dataset.tokenCount);
      await dataset.readInto(0, stored.length - 1, stored, 0);
      await dataset.close();
      expect([...stored]).toEqual(ids);
    }
    expect(prepared).toMatchObject({ vocabSize: 360, skipped: 0 });
    expect(lines).toContain("tokenizer");
    expect(lines).toContain("tokens");
  });

  it("skips files that change after the selection, and says how many", async () => {
    const folder = await fill();
    const texts = await selectTexts(folder, config);
    const [first, second] = await collect(texts.train);
    await rm(join(folder, first.path));
    await writeFile(join(folder, second.path), "export const changed = 1;\n");
    const lines: string[] = [];
    const prepared = await prepareRun(texts, join(root, "run"), config, (_, message) => lines.push(message));
    expect(prepared.skipped).toBe(2);
    expect(lines.at(-1)).toMatch(/held-out: .*, 2 changed files skipped/);
    const rest = (await collect(texts.train)).map((f) => f.path);
    expect(rest).toHaveLength(texts.train.files - 2);
    expect(rest).not.toContain(first.path);

    await rm(folder, { recursive: true });
    await expect(prepareRun(texts, join(root, "other"), config)).rejects.toThrow(/changed or vanished/);
    await expect(readFile(join(root, "other", "run.json"))).rejects.toThrow(/ENOENT/);
  });

  it("refuses a batch of more sequences than the text makes, and writes nothing", async () => {
    const texts = await selectTexts(await fill(), config);
    const prepared = await prepareRun(texts, join(root, "run"), config);
    const sequenceLength = 100;
    const sequences = Math.floor((prepared.trainTokens - 1) / sequenceLength);
    const sized = (size: number) => mergeConfig(config, { training: { sequenceLength, batch: { size } } });
    await expect(prepareRun(texts, join(root, "large"), sized(sequences + 1))).rejects.toThrow(
      `at most ${sequences}: so many sequences of 100 tokens are in ${prepared.trainTokens} tokens; found: ${sequences + 1}`,
    );
    expect(await readdir(root)).not.toContain("large");
    await prepareRun(texts, join(root, "fits"), sized(sequences));
  });

  it("trains the tokenizer on a sample where the training part is larger than its limit", async () => {
    const folder = await fill();
    const limited = mergeConfig(config, { data: { tokenizerBytes: 2000 } });
    const texts = await selectTexts(folder, limited);
    const lines: string[] = [];
    const prepared = await prepareRun(texts, join(root, "run"), limited, (_, message) => lines.push(message));
    expect(lines.find((line) => line.includes("count"))).toMatch(/a sample of [\d.]+ kB, .* of [1-9] files/);
    // The tokens come from all files.
    expect(lines.at(-1)).toContain(`${texts.heldOut.files} of ${texts.heldOut.files} documents`);
    expect(prepared.trainTokens).toBeGreaterThan(2000);
    expect(() => mergeConfig(config, { data: { tokenizerBytes: 0 } })).toThrow(/tokenizerBytes/);
  });

  it("takes the same files, held-out text and tokenizer's sample for two seeds with one splitSeed", async () => {
    const folder = await fill();
    const limits = { maxBytes: 9000, heldOut: 0.3, tokenizerBytes: 3000 };
    const of = async (seed: number, splitSeed: number | null) => {
      const own = mergeConfig(config, { seed, data: { ...limits, splitSeed } });
      const texts = await selectTexts(folder, own);
      const out = join(root, `run-${seed}-${splitSeed}`);
      await prepareRun(texts, out, own);
      const tokenizer = await readFile(join(out, "tokenizer", "tokenizer.json"), "utf8");
      return { train: await collect(texts.train), heldOut: await collect(texts.heldOut), tokenizer };
    };
    const fixed = await of(2, 9);
    expect(await of(3, 9)).toEqual(fixed);
    expect((await of(2, null)).heldOut).not.toEqual(fixed.heldOut);
    expect(() => mergeConfig(config, { data: { splitSeed: 0.5 } })).toThrow(/data.splitSeed/);
  });

  it("learns from one short text, and leaves no run where it is too short", async () => {
    const lines = Array.from(
      { length: 300 },
      (_, i) => `line ${i} of a text, and ${(i * 7919) % 1013} more\n`,
    );
    await writeFile(join(root, "input.txt"), lines.join(""));
    const one = mergeConfig(config, { data: { heldOut: 0.1 }, training: { sequenceLength: 64 } });
    const said: string[] = [];
    const texts = await selectTexts(join(root, "input.txt"), one, (_, message) => said.push(message));
    expect(said.at(-1)).toMatch(
      /^1 of 1 file kept, 0 duplicates removed, 1 file for training \(.* kB\), .* held out \(from the end of 1 long file\)$/,
    );
    const prepared = await prepareRun(texts, join(root, "run"), one);
    expect(prepared.trainTokens / prepared.heldOutTokens).toBeGreaterThan(7);
    const [train] = await collect(texts.train);
    const [heldOut] = await collect(texts.heldOut);
    expect(train.text + heldOut.text).toBe(lines.join(""));

    await writeFile(join(root, "short.txt"), lines.slice(0, 40).join(""));
    const short = await selectTexts(join(root, "short.txt"), one);
    const long = mergeConfig(one, { training: { sequenceLength: 2048 } });
    await expect(prepareRun(short, join(root, "other"), long)).rejects.toThrow(
      /too little text.*sequenceLength/,
    );
    expect((await readdir(root)).sort()).toEqual(["input.txt", "run", "short.txt"]);
    await expect(prepareRun(texts, join(root, "run"), one)).rejects.toThrow(/not replaced|that this program/);
  });

  it("keeps duplicates where told, and refuses a folder with too little text", async () => {
    const folder = await fill();
    const all = await selectTexts(folder, mergeConfig(config, { data: { nearDuplicates: null } }));
    expect(all.duplicates).toBe(0);
    expect(all.train.files + all.heldOut.files).toBe(39);
    await expect(
      selectTexts(join(folder, "a"), mergeConfig(config, { data: { extensions: ["md"] } })),
    ).rejects.toThrow(/a: no text to train on/);
  });
});
