/** Other forms of models, and models by where they lie, in the studio's page. */
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { FileList, JobView } from "../../../src/studio/backend/wire.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { modelEntry, type StubServer } from "./stub-server.ts";
import {
  buildPage,
  expectAccessible,
  NARROW,
  type OpenStudio,
  openStudio,
  startStub,
  WIDE,
} from "./studio-page.ts";

const executablePath = findChromium();
/** Set by hand, to draw the pictures of docs/studio. */
const shots = process.env.STUDIO_SHOTS;

const entry = (
  name: string,
  fields: Partial<FileList["entries"][number]> = {},
): FileList["entries"][number] => ({
  ...{ name, folder: true, size: null, changed: 1_790_000_000_000, holds: null },
  ...fields,
});

const FILES: Readonly<Record<string, FileList["entries"]>> = {
  models: [entry("deep"), entry("tiny", { holds: "model" }), entry("run-1", { holds: "run" })],
  "models/deep": [
    ...Array.from({ length: 1001 }, (_, i) => entry(`part-${i}.bin`, { folder: false, size: 1000 })),
  ],
  notes: [
    entry("coder.gguf", { folder: false, size: 747e6, holds: "model" }),
    entry("notes.txt", { folder: false, size: 900 }),
  ],
};

describe.skipIf(executablePath === null)("forms of models (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;
  let studio: OpenStudio;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
  }, 120_000);
  afterEach(async () => {
    expect(studio.complaints).toEqual([]);
    await studio.close();
    await stub.kill();
  });
  afterAll(() => browser?.close());

  const hello = {
    kinds: ["open", "quantize", "convert"] as const,
    roots: [
      { name: "models", path: "/home/ada/models" },
      { name: "notes", path: "/home/ada/notes" },
    ],
  };
  const shoot = async (page: Page, name: string) => {
    if (shots !== undefined)
      await page.screenshot({ path: join(shots, `${name}.png`), animations: "disabled" });
  };
  const choose = async (page: Page, form: string) => {
    await page.click('[aria-label="Other forms of ada/tiny"]');
    await page.click(`.popover >> text=${form}`);
  };

  it("writes one with fewer bits: shows a refusal, how far it is, the new model, and why one failed", async () => {
    let ends = false;
    stub = await startStub({
      models: [modelEntry("ada/tiny")],
      hello,
      refusal: ({ body }) =>
        (body as { out?: { path: string } }).out?.path === "taken"
          ? "models/taken: already exists. Choose another name."
          : null,
      script: ({ kind }) =>
        kind === "convert"
          ? { events: [], fails: "models/b.gguf: there is no space left" }
          : {
              events: [
                { type: "progress", progress: { done: 4e9, total: 16e9, unit: "bytes", text: "quantizes" } },
              ],
              stays: !ends,
            },
      ended: ({ kind, state }: JobView) => {
        if (kind === "quantize" && state === "done") stub.models.push(modelEntry("models/tiny-q8"));
      },
    });
    for (const size of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
      studio = await openStudio(browser, stub, size, "#/models");
      const { page } = studio;
      await choose(page, "Write with fewer bits");
      expect(await page.inputValue("dialog label:has-text('New folder') input")).toBe("tiny-q4");
      await page.selectOption("dialog label:has-text('Weights as') select", "q8");
      expect(await page.inputValue("dialog label:has-text('New folder') input")).toBe("tiny-q8");
      await page.fill("dialog label:has-text('New folder') input", "taken");
      await page.click("dialog >> text=Write the folder");
      await page.waitForSelector("dialog [role=alert] >> text=already exists");
      await expectAccessible(page, "fewer bits");
      await shoot(page, `quantize-${size === WIDE ? "1440-light" : "390-dark"}`);
      await page.fill("dialog label:has-text('New folder') input", "tiny-q8");
      ends = size !== WIDE;
      await page.click("dialog >> text=Write the folder");
      await page.waitForSelector("dialog", { state: "detached" });
      if (!ends) {
        await page.waitForSelector(".transfer >> text=/4\\.00? of 16\\.0 GB/");
        await page.click("[aria-label='Stop: quantize: ada/tiny']");
        await page.waitForSelector(".transfer", { state: "detached" });
        await studio.close();
      }
    }
    const { page } = studio;
    await page.waitForSelector('[aria-label="Open models/tiny-q8"]');
    expect(stub.requests.map(({ kind, body }) => ({ kind, body }))).toEqual(
      Array(2).fill({
        kind: "quantize",
        body: { model: "ada/tiny", dtype: "q8", out: { root: "models", path: "tiny-q8" } },
      }),
    );
    await choose(page, "Convert to a GGUF file");
    await page.selectOption("dialog label:has-text('Root') select", "notes");
    await page.click("dialog >> text=Write the file");
    await page.waitForSelector("[role=alert] >> text=there is no space left");
    await page.click("[aria-label='Take away: convert: ada/tiny']");
    await page.waitForSelector("[role=alert]", { state: "detached" });
    expect(stub.requests.at(-1)!.body).toEqual({
      model: "ada/tiny",
      type: "q8_0",
      out: { root: "notes", path: "tiny-q8_0.gguf" },
    });
  });

  it("finds models in the folders of the roots, says what they hold, and opens one", async () => {
    stub = await startStub({ models: [modelEntry("models/tiny")], hello, files: FILES });
    studio = await openStudio(browser, stub, WIDE, "#/models");
    const { page } = studio;
    await page.click("text=Open a folder");
    await page.waitForSelector(".places >> text=run-1/");
    const told = await page.$$eval(".places .choice", (all) =>
      all.map((each) => [...each.querySelectorAll("span")].map((part) => part.textContent)),
    );
    expect(told).toEqual([
      ["deep/", "folder"],
      ["tiny/", "model"],
      ["run-1/", "run"],
    ]);
    await page.click(".places >> text=deep/");
    await page.waitForSelector("text=More than 1,000 are there");
    await page.click("[aria-label='Folder above']");
    await page.selectOption(".places [aria-label=Root]", "notes");
    await page.click(".places >> text=model, 747 MB");
    await page.waitForSelector(".chosen-place >> text=notes/coder.gguf");
    await shoot(page, "folder-1440-light");
    await page.selectOption(".places [aria-label=Root]", "models");
    await page.click(".places >> text=tiny/");
    await page.click("text=Choose this folder");
    await expectAccessible(page, "open a folder");
    await page.click("dialog button >> text=/^Open$/");
    await page.waitForSelector("dialog", { state: "detached" });
    await page.waitForSelector('[aria-label="Close models/tiny"]');
    expect(stub.requests.map(({ kind, body }) => ({ kind, body }))).toEqual([
      { kind: "open", body: { model: "models/tiny" } },
    ]);
    await page.click("text=Open a folder");
    await page.click(".places >> text=tiny/");
    await page.click("text=Choose this folder");
    await page.click("text=Look into it");
    await page.waitForSelector("h1 >> text=models/tiny");
  });
});
