/** What recipes of drawing models rest on: ids computed once, captions that go on, scores that count captions, sheets. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readScene } from "../../src/data/world/checker.ts";
import { worldIndex } from "../../src/data/world/generator.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { VqTokenizer } from "../../src/vision/vq.ts";
import { chanceScores, pictureScores, readPictures, testCaptions } from "./captions-exam.ts";
import { filledScene, SceneBatches } from "./codec-data.ts";
import { sameObjects } from "./codec-exam.ts";
import { imageTokenizer, tokenizerConfig } from "./codecs.ts";
import { contactSheet, wrapText } from "./contact-sheet.ts";
import { CodeCache, codeBatchesOf, DrawingBatches } from "./drawing-data.ts";
import { drawingRow, PAD } from "./rows.ts";

let folder: string;
const device = await createCpuDevice({ threads: 1 });
let tokenizer: VqTokenizer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "drawing-"));
  tokenizer = imageTokenizer(device, 1, tokenizerConfig());
});
afterAll(async () => {
  tokenizer[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe("batches of captions", () => {
  const source = (cache: CodeCache, dropped = 50) =>
    new DrawingBatches({ seed: 3, dropped, make: codeBatchesOf(cache) });

  it("have the tokenizer's ids, which a second run reads", async () => {
    const cache = await CodeCache.open(tokenizer, 3, folder);
    const batch = await source(cache).next(5);
    expect(batch.codes).toHaveLength(5 * 64);
    expect(batch.codes.every((id) => id >= 0 && id < 512)).toBe(true);
    const [own] = await readdir(folder);
    expect(await readdir(join(folder, own))).toEqual(["3-000000.bin"]);
    const silent = { ...tokenizer, parameters: tokenizer.parameters, config: tokenizer.config };
    const again = await CodeCache.open(silent as unknown as VqTokenizer, 3, folder);
    // This one cannot encode.
    expect((await source(again).next(5)).codes).toEqual(batch.codes);
    await expect(source(again).next(6)).rejects.toThrow();
  });

  it("drop captions as guided drawing does, and go on where they stood", async () => {
    const cache = await CodeCache.open(tokenizer, 3, folder);
    const whole = source(cache);
    const first = await whole.next(12);
    for (const [i, ids] of first.prompts.entries()) {
      const row = drawingRow(worldSample("captions", 3, i).question);
      const dropped = row.map((id, at) => (at === 0 || at === row.length - 1 ? id : PAD));
      expect([row, dropped]).toContainEqual(ids);
    }
    const kept = first.prompts.filter((ids) => !ids.includes(PAD)).length;
    expect(kept).toBeGreaterThan(2);
    expect(kept).toBeLessThan(10);
    const resumed = source(cache);
    resumed.restore(JSON.parse(JSON.stringify(whole.state())));
    expect(await resumed.next(3)).toEqual(await whole.next(3));
  });

  it("take only captions of one thing where they are to be easy", async () => {
    const taken: string[] = [];
    const make = async (samples: Parameters<ReturnType<typeof codeBatchesOf>>[0]) => {
      taken.push(...samples.map(({ sample }) => sample.task));
      return { batch: samples.length, length: 1, prompts: [], codes: new Int32Array(0) };
    };
    await new DrawingBatches({ seed: 1, dropped: 0, make }).next(30, true);
    expect(new Set(taken)).toEqual(new Set(["single", "color"]));
  });
});

describe("scores of pictures", () => {
  it("are whole for the captions' own pictures, and low for those of others", () => {
    const samples = testCaptions(4);
    expect(samples.map(({ task }) => task).filter((task, i, all) => task !== all[i - 1])).toHaveLength(7);
    const images = samples.flatMap(({ image }) => [image!, image!]);
    const pictures = readPictures(samples, images);
    const scores = pictureScores(pictures);
    expect(scores["full strict"]).toEqual({ right: 4, of: 4 });
    expect(scores.loose).toEqual({ right: 28, of: 28 });
    expect(scores.strict.right).toBeLessThanOrEqual(28);
    expect(chanceScores(pictures)["strict chance"].right).toBeLessThan(8);
  });

  it("count each caption once", () => {
    const [ring] = testCaptions(1, ["single"]);
    const empty = filledScene(1, 0).image;
    const blank = { ...empty, rgb: new Uint8Array(empty.rgb.length).fill(200) };
    const { strict } = pictureScores(readPictures([ring], [ring.image!, blank]));
    expect(strict).toEqual({ right: 0.5, of: 1 });
  });

  it("call scenes the same where every object is in its place", () => {
    const { image, objects } = worldSample("questions", 1, worldIndex("test", 4));
    const found = readScene(image!);
    expect(found).toHaveLength(objects!.length);
    const change = (part: object) => found.map((each, i) => (i === 0 ? { ...each, ...part } : each));
    expect(sameObjects(found, found)).toBe(true);
    expect(sameObjects(change({ x: found[0].x + 1.5 }), found)).toBe(true);
    for (const part of [{ x: found[0].x + 3 }, { malformed: true }, { color: "none" }]) {
      expect(sameObjects(change(part) as typeof found, found)).toBe(false);
    }
    expect(sameObjects(found.slice(1), found)).toBe(false);
  });
});

describe("scenes for codecs", () => {
  it("hold up to nine objects, and noise of their own", async () => {
    for (const fewest of [0, 1]) {
      const counts = Array.from({ length: 200 }, (_, i) => filledScene(1, i, fewest).objects.length);
      expect([Math.min(...counts), Math.max(...counts)]).toEqual([fewest, 9]);
    }
    const [one, two] = [new SceneBatches({ seed: 1, noise: 10 }), new SceneBatches({ seed: 1, noise: 10 })];
    const first = await one.next(2);
    expect(first.noise).toHaveLength(20);
    two.restore(one.state());
    const next = await one.next(2);
    expect(next).toEqual(await two.next(2));
    expect(next.noise).not.toEqual(first.noise);
    expect(next.pixels).toHaveLength(2 * 3 * 64 ** 2);
  });
});

describe("contact sheets", () => {
  it("have a cell for each picture, its caption below and its frame around it", () => {
    const image = { width: 4, height: 4, rgb: new Uint8Array(48).fill(9) };
    const red = [200, 0, 0] as const;
    const sheet = contactSheet(
      [
        { image, caption: "a ring", frame: red },
        { image, caption: "b" },
        { image, caption: "c" },
      ],
      { columns: 2, zoom: 8 },
    );
    expect(sheet.width).toBe(6 + 2 * (32 + 6));
    expect(sheet.rgb).toHaveLength(3 * sheet.width * sheet.height);
    const at = (x: number, y: number) => [...sheet.rgb.subarray(3 * (y * sheet.width + x)).subarray(0, 3)];
    expect(at(6, 6)).toEqual([9, 9, 9]);
    expect(at(5, 5)).toEqual([...red]);
    expect(at(43, 5)).toEqual([255, 255, 255]);
    const dark = Array.from({ length: 10 }, (_, i) => at(6 + i, 44)).filter(([value]) => value < 100);
    expect(dark.length).toBeGreaterThan(0);
  });

  it("break captions at spaces, and words that are too long anywhere", () => {
    expect(wrapText("a red ring left of it", 8)).toEqual(["a red", "ring", "left of", "it"]);
    expect(wrapText("abcdefghij k", 4)).toEqual(["abcd", "efgh", "ij k"]);
  });
});
