/**
 * The built package in Chromium: it trains and generates with the same bits as in Node, in a worker and on the
 * page's own thread, and says what is missing if the page has no shared memory.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../../src/engine/testing-folder.ts";
import { chatReport, type EnginePackage, FILES, LENGTH } from "./chat-request.ts";
import { buildSite, findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";
import { type EvaluatePackage, evaluationReport } from "./evaluation-job.ts";
import { type ImageCase, imageReport } from "./image-job.ts";
import type { OnPage } from "./page.ts";
import {
  type DeepseekPackage,
  oneForward,
  type TenStepsOptions,
  type TenStepsReport,
  tenSteps,
} from "./ten-steps.ts";
import { type DataPackage, type WorldCase, worldReport } from "./world-job.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

const executablePath = findChromium();

/** A value with room for logarithms and exponentials in doubles, whose last bits differ between engines. */
function near(value: unknown): unknown {
  if (typeof value === "number") return expect.closeTo(value, 8);
  if (Array.isArray(value)) return value.map(near);
  const entries = Object.entries(value as object);
  return Object.fromEntries(entries.map(([key, each]) => [key, near(each)]));
}

/** A module that is valid if the engine has relaxed SIMD: it swizzles. */
// biome-ignore format: one module
const relaxedProbe = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

describe.skipIf(executablePath === null)("in Chromium (skipped where none is installed)", () => {
  let site: string;
  let server: Site;
  let browser: Browser;
  let page: Page;
  let deepseek: DeepseekPackage;
  const complaints: string[] = [];

  beforeAll(async () => {
    site = buildSite("whole");
    server = await serveSite(site);
    deepseek = await import(/* @vite-ignore */ pathToFileURL(join(site, "dist/index.js")).href);
    browser = await startChromium(executablePath!);
    page = await openPage(browser, server.url, complaints);
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });

  async function inWorker(options: TenStepsOptions): Promise<TenStepsReport> {
    const answer = await page.evaluate(
      (sent) =>
        new Promise<{ report?: TenStepsReport; error?: string }>((resolve) => {
          const worker = new Worker("/worker.js", { type: "module" });
          worker.onmessage = (event) => {
            worker.terminate();
            resolve(event.data);
          };
          worker.onerror = (event) => resolve({ error: event.message });
          worker.postMessage(sent);
        }),
      options,
    );
    if (!answer.report) throw new Error(`in the worker: ${answer.error}`);
    return answer.report;
  }

  it("is cross-origin isolated and has no `process`", async () => {
    expect(await page.evaluate(() => [crossOriginIsolated, typeof process])).toEqual([true, "undefined"]);
  });

  for (const relaxed of [false, true]) {
    it(`trains ten steps and generates with Node's bits, ${relaxed ? "relaxed" : "baseline"} kernels`, async (test) => {
      const valid = (bytes: number[]) => WebAssembly.validate(new Uint8Array(bytes));
      if (relaxed && !(valid(relaxedProbe) && (await page.evaluate(valid, relaxedProbe)))) {
        test.skip("relaxed SIMD is missing in Node or in Chromium");
      }
      const expected = await tenSteps(deepseek, { threads: 1, relaxed });
      expect(expected.losses).toHaveLength(10);
      expect(expected.tokens).toHaveLength(12);
      expect(
        [...expected.losses, ...expected.mtpLosses, ...expected.balanceLosses].every(Number.isFinite),
      ).toBe(true);
      // The hash must depend on training, or equal hashes say nothing.
      const fewer = await tenSteps(deepseek, { threads: 1, relaxed, steps: 9 });
      expect(fewer.parameters).not.toBe(expected.parameters);
      expect(await tenSteps(deepseek, { threads: 2, relaxed })).toEqual({ ...expected, threads: 2 });
      for (const threads of [1, 2]) {
        expect(await inWorker({ threads, relaxed }), `${threads} threads`).toEqual({ ...expected, threads });
      }
    });
  }

  it("computes on the page's own thread, which may not sleep", async () => {
    const expected = await oneForward(deepseek, 1);
    expect(expected.logits).toHaveLength(5 * 40);
    expect(expected.buffers).toBe(0);
    for (const threads of [1, 2]) {
      expect(await page.evaluate((n) => onPage.forward(n), threads), `${threads} threads`).toEqual(expected);
    }
  });

  describe("an engine's host in a worker of the page", () => {
    it("answers a chat with Node's tokens and text", async () => {
      const folder = join(site, "model");
      await writeModelFolder(folder, { maxPositions: 256 });
      const engine: EnginePackage = await import(
        /* @vite-ignore */ pathToFileURL(join(site, "dist/engine/index.js")).href
      );
      const files = new Map(FILES.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
      const expected = await chatReport(
        engine,
        engine.localChannel({}, () => deepseek.loadFolder(deepseek.memoryFolder(files, "model"))),
      );
      expect(expected).toMatchObject({ completionTokens: LENGTH, reason: "length" });
      expect(expected.ids).toHaveLength(LENGTH);
      expect(expected.content.length).toBeGreaterThan(LENGTH / 2);
      expect(expected.promptText).toContain("你好");
      expect(expected.refusal[0]).toBe("invalid");
      expect(await page.evaluate(() => onPage.chat("/host-worker.js"))).toEqual(expected);
    });

    it("is told where the model cannot be opened", async () => {
      const told = await page.evaluate(() =>
        onPage.chat("/host-worker.js?without=config.json").then(String, (error: Error) => error.message),
      );
      expect(told).toMatch(/config\.json/);
    });
  });

  it("judges a model by tasks as Node does", async () => {
    const folder = join(site, "judged");
    await writeModelFolder(folder, { maxPositions: 256 });
    const judging: EvaluatePackage = await import(
      /* @vite-ignore */ pathToFileURL(join(site, "dist/evaluate/index.js")).href
    );
    const files = new Map(FILES.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
    const expected = await evaluationReport(deepseek, judging, files);
    expect(expected).toHaveLength(3);
    expect(expected[1]).toMatchObject({
      bits_per_byte: [
        [expect.any(Number), 800],
        [expect.any(Number), 16],
      ],
    });
    expect(await page.evaluate(() => onPage.evaluation("judged"))).toEqual(near(expected));
  });

  it("draws the picture world with the golden hashes and reads it as Node does", async () => {
    const fixture = join(import.meta.dirname, "../fixtures/world/golden.json");
    const golden: { hashes: readonly (WorldCase & { sha256: string })[] } = JSON.parse(
      readFileSync(fixture, "utf8"),
    );
    const cases = golden.hashes.filter(({ n }) => n <= 200);
    expect(cases.length).toBeGreaterThan(25);
    const report = await page.evaluate((sent) => onPage.world(sent), cases);
    expect(report.hashes).toEqual(cases.map(({ sha256 }) => sha256));
    const data: DataPackage = await import(
      /* @vite-ignore */ pathToFileURL(join(site, "dist/data/index.js")).href
    );
    const { found } = await worldReport(data, []);
    expect(found.flat().length).toBeGreaterThan(15);
    expect(report.found).toEqual(found);
  });

  it("decodes images, and makes DeepSeek-VL2's tiles of them, with Node's bytes", async () => {
    const preprocess = join(import.meta.dirname, "../fixtures/preprocess");
    const { files } = JSON.parse(readFileSync(join(preprocess, "files/index.json"), "utf8"));
    const names = (files as { file: string }[]).map(({ file }) => join("files", file));
    const cases = [...names, "images/wide-800x333.png"].map((name): ImageCase => {
      const bytes = readFileSync(join(preprocess, name));
      return { name, url: `data:image/any;base64,${bytes.toString("base64")}` };
    });
    const processor = JSON.parse(readFileSync(join(preprocess, "vl2/config.json"), "utf8"));
    const load = (part: string) =>
      import(/* @vite-ignore */ pathToFileURL(join(site, `dist/${part}/index.js`)).href);
    const packages = [await load("vision"), await load("models"), await load("tensor")] as const;
    const expected = await imageReport(...packages, cases, processor);
    expect(expected.files.filter((line) => line.startsWith("files/bad-"))).toHaveLength(12);
    expect(new Set(expected.files.filter((line) => /^[0-9a-f]{64}$/.test(line))).size).toBeGreaterThan(30);
    const report = await page.evaluate((sent) => onPage.images(...sent), [cases, processor] as const);
    expect(report).toEqual(expected);
  });

  it("names the two headers where the page is not isolated", async () => {
    const plain = await browser.newPage();
    await plain.goto(`${server.url}/plain`);
    const message = await plain.evaluate(() => onPage.refusal());
    await plain.close();
    expect(message).toMatch(/^cpu: SharedArrayBuffer is not available/);
    expect(message).toContain("Cross-Origin-Opener-Policy: same-origin");
    expect(message).toContain("Cross-Origin-Embedder-Policy: require-corp");
  });

  it("asks for no file that the package lacks and logs no error", () => {
    expect(server.missing).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
