/**
 * Pictures in Chromium: from the bytes of a file to the tokens and boxes that Node gives, in a worker and from a host in one,
 * with decoders that are loaded with the first picture of their format.
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { questionsOf, taughtCheckpoint } from "../../src/runs/staged/testing-taught.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { encodePng } from "../../src/vision/image/png-writer.ts";
import { buildSite, findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";
import type { OnPage } from "./page.ts";
import {
  drawnHash,
  hostedReport,
  type PictureCase,
  type PicturePackages,
  pictureAnswers,
} from "./picture-job.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

const executablePath = findChromium();
const files = join(import.meta.dirname, "../fixtures/preprocess");

/** The id of the world's end token. */
const END = 2;

const jpeg = ({ width, height, rgb }: RgbImage) =>
  sharp(rgb, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 95 })
    .toBuffer();

describe.skipIf(executablePath === null)("pictures in Chromium (skipped where none is installed)", () => {
  let site: string;
  let server: Site;
  let browser: Browser;
  let page: Page;
  let packages: PicturePackages;
  const complaints: string[] = [];
  const read = async (path: string) => new Uint8Array(readFileSync(join(site, path)));
  const found = questionsOf("find", 2);
  const colors = questionsOf("color", 2);

  beforeAll(async () => {
    site = buildSite("pictures");
    const load = (part: string) => import(/* @vite-ignore */ pathToFileURL(join(site, "dist", part)).href);
    packages = {
      deepseek: await load("index.js"),
      engine: await load("engine/index.js"),
      chat: await load("chat/index.js"),
      vision: await load("vision/index.js"),
    };
    await using device = await createCpuDevice({ threads: 1 });
    for (const [kind, samples] of [
      ["vl", colors],
      ["vl2", [...found, ...colors]],
    ] as const) {
      mkdirSync(join(site, kind));
      for (const [name, bytes] of await taughtCheckpoint(kind, samples, device))
        writeFileSync(join(site, kind, name), bytes);
    }
    mkdirSync(join(site, "pictures"));
    const write = (name: string, bytes: Uint8Array) => writeFileSync(join(site, "pictures", name), bytes);
    for (const [i, { image }] of [...found, ...colors].entries()) {
      write(`${i}.png`, await encodePng(image!));
      write(`${i}.jpg`, await jpeg(image!));
    }
    const rgb = Uint8Array.from({ length: 3600 * 2400 * 3 }, (_, i) => (i >> 14) % 251);
    write("large.png", await encodePng({ width: 3600, height: 2400, rgb }));
    for (const name of [
      "bad-truncated.jpg",
      "bad-pixels-20000x20000.png",
      "bad-text.jpg",
      "jpg-cmyk-444.jpg",
      "jpg-exif6.jpg",
    ])
      cpSync(join(files, "files", name), join(site, "pictures", name));
    cpSync(join(files, "images/wide-800x333.png"), join(site, "pictures/wide.png"));
    server = await serveSite(site);
    browser = await startChromium(executablePath!);
    page = await openPage(browser, server.url, complaints);
  }, 240_000);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const phrase = (i: number) => found[i].question.replaceAll(/<[^>]*>/g, "");
  const cases = (kind: "vl" | "vl2", ending: string): PictureCase[] => [
    ...(kind === "vl2" ? [0, 1].map((i) => ({ file: `pictures/${i}.${ending}`, find: phrase(i) })) : []),
    ...[2, 3].map((i) => ({ file: `pictures/${i}.${ending}`, question: colors[i - 2].question })),
  ];
  const others: PictureCase[] = [
    { file: "pictures/wide.png", question: "what is in the image ?" },
    { file: "pictures/jpg-exif6.jpg", question: "what is in the image ?" },
  ];

  for (const kind of ["vl2", "vl"] as const) {
    it(`a model of ${kind} in a worker gives Node's tokens for the same bytes`, async () => {
      const asked = [...cases(kind, "png"), ...cases(kind, "jpg"), ...others];
      const expected = await pictureAnswers(packages, kind, asked, read);
      const learned = kind === "vl2" ? [...found, ...colors] : colors;
      expect(expected.slice(0, learned.length).map(({ content }) => content)).toEqual(
        learned.map(({ answer }) => answer),
      );
      expect(
        expected.every(({ ids, stats: [, tokens], views }) => ids.length > 0 && tokens > 0 && views > 0),
      ).toBe(true);
      expect(await page.evaluate((sent) => onPage.pictures(...sent), [kind, asked] as const)).toEqual(
        expected,
      );
    });
  }

  it("draws the boxes of an answer on the picture in the page", async () => {
    const [asked] = cases("vl2", "png");
    const [{ boxes }] = await pictureAnswers(packages, "vl2", [asked], read);
    expect(boxes).toHaveLength(1);
    const expected = await drawnHash(packages, asked.file, boxes, read);
    expect(expected).not.toBe(await drawnHash(packages, asked.file, [], read));
    expect(await page.evaluate((sent) => onPage.show(...sent), [asked.file, boxes] as const)).toBe(expected);
  });

  it("loads a decoder with the first picture of its format", async () => {
    const loaded = async (asked: readonly PictureCase[]) => {
      const from = server.asked.length;
      await page.evaluate((sent) => onPage.pictures(...sent), ["vl2", asked] as const);
      const names = server.asked.slice(from).map((path) => /^\/modules\/@jsquash\/(\w+)/.exec(path)?.[1]);
      return [...new Set(names.filter(Boolean))].sort();
    };
    expect(await loaded([])).toEqual([]);
    expect(await loaded(cases("vl2", "png"))).toEqual(["png"]);
    expect(await loaded(cases("vl2", "jpg"))).toEqual(["jpeg"]);
  });

  it("a host in a worker gives the same, refuses what is no picture, and stops at once", async () => {
    const asked = [...cases("vl2", "png"), ...cases("vl2", "jpg"), ...others];
    const bad = ["bad-truncated.jpg", "bad-pixels-20000x20000.png", "bad-text.jpg"].map(
      (name) => `pictures/${name}`,
    );
    const { engine, deepseek } = packages;
    const folder = new Map<string, Uint8Array>();
    const open = async () => {
      for (const name of [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
      ])
        folder.set(name, await read(`vl2/${name}`));
      return deepseek.loadFolder(deepseek.memoryFolder(folder, "vl2"));
    };
    const rest = [asked, bad, "pictures/large.png"] as const;
    const expected = await hostedReport(engine, engine.localChannel({}, open), ...rest, read);
    const directly = await pictureAnswers(packages, "vl2", asked, read);
    // A host does not tell the token that ends an answer.
    const told = directly.map(({ ids }) => (ids.at(-1) === END ? ids.slice(0, -1) : ids));
    expect(expected.answers.map(({ ids }) => ids)).toEqual(told);
    expect(expected.answers[0].phrases).toMatchObject([
      { label: phrase(0), image: 0, boxes: [{ flags: [] }] },
    ]);
    expect(expected.refusals.map(([, code]) => code)).toEqual([
      "invalid_image",
      "invalid_image",
      "invalid_image",
    ]);
    expect(expected.refusals.map(([file, , message]) => message.startsWith(file))).toEqual([
      true,
      true,
      true,
    ]);
    expect(expected).toMatchObject({
      ...{ canceled: ["JobCanceledError", "JobCanceledError"], counts: [0, 0, 0, 0], same: [true, true] },
    });
    // Within one thread nothing is given away.
    expect(expected.left).toBe((await read(asked[0].file)).length);
    expect(await page.evaluate((sent) => onPage.hostedPictures(...sent), ["vl2", ...rest] as const)).toEqual({
      ...expected,
      left: 0,
    });
    const cmyk = await page.evaluate((sent) => onPage.hostedPictures(...sent), [
      "vl2",
      cases("vl2", "png").slice(0, 1),
      ["pictures/jpg-cmyk-444.jpg"],
      "pictures/large.png",
    ] as const);
    expect(cmyk.refusals).toEqual([
      ["pictures/jpg-cmyk-444.jpg", "invalid_image", expect.stringContaining("(CMYK)")],
    ]);
  });

  it("asks for no file that the package lacks and logs no error", () => {
    expect(server.missing).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
