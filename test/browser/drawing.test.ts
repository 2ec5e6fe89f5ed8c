/** Drawing in Chromium: a worker's pictures, previews and reconstructions are those of Node, pixel by pixel, for the same seed. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { worldCheckpoint } from "../../src/data/world/testing-checkpoints.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { buildSite, findChromium, type Site, serveSite, startChromium } from "./chromium.ts";
import { drawingReport } from "./drawing-job.ts";
import type { OnPage } from "./page.ts";

/** In the page only: what page.ts puts there. */
declare const onPage: OnPage;

const executablePath = findChromium();

describe.skipIf(executablePath === null)("drawing in Chromium (skipped where none is installed)", () => {
  let site: string;
  let server: Site;
  let browser: Browser;
  let page: Page;
  const checkpoints = new Map<string, Map<string, Uint8Array>>();

  beforeAll(async () => {
    site = buildSite("drawing");
    await using device = await createCpuDevice({ threads: 1 });
    for (const kind of ["janus", "janusflow"] as const) {
      const files = await worldCheckpoint(kind, device);
      checkpoints.set(kind, files);
      for (const [name, bytes] of files) {
        mkdirSync(dirname(join(site, kind, name)), { recursive: true });
        writeFileSync(join(site, kind, name), bytes);
      }
    }
    server = await serveSite(site);
    browser = await startChromium(executablePath!);
    page = await browser.newPage();
    await page.goto(server.url);
  }, 600_000);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });

  it.each(["janus", "janusflow"])("%s gives in a worker the pixels of Node", async (kind) => {
    const load = (part: string) => import(/* @vite-ignore */ pathToFileURL(join(site, "dist", part)).href);
    const packages = { deepseek: await load("index.js"), engine: await load("engine/index.js") };
    const files = checkpoints.get(kind)!;
    const expected = await drawingReport(packages, files);
    const whole = expected.pictures.slice(-2);
    expect(expected.pictures.length).toBeGreaterThan(2);
    expect(whole.map(({ length }) => length)).toEqual([32 * 32 * 3, 32 * 32 * 3]);
    expect(whole[0]).not.toEqual(whole[1]);
    const found = await page.evaluate((sent) => onPage.drawings(...sent), [kind, [...files.keys()]] as const);
    expect(found).toEqual(expected);
  });
});
