/** The page of examples/browser as a bundler builds it, used in Chromium as by hand: open a model, drop a picture, ask, stop. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { questionsOf, taughtCheckpoint } from "../../src/runs/staged/testing-taught.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { parseGrounding } from "../../src/vision/grounding.ts";
import { encodePng } from "../../src/vision/image/png-writer.ts";
import { findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";
import { buildExample } from "./example-site.ts";

const executablePath = findChromium();
/** Code of @jsquash in the built page. */
const DECODER = /squoosh|mozjpeg|webp|decode/;

describe.skipIf(executablePath === null)("the example's page (skipped where Chromium is missing)", () => {
  let server: Site;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];
  const [found] = questionsOf("find", 1);
  const [colored] = questionsOf("color", 1);
  const phrase = found.question.replaceAll(/<[^>]*>/g, "");
  const pictures = new Map<string, Uint8Array>();

  beforeAll(async () => {
    const { folder: built, page: html } = await buildExample("example");
    await using device = await createCpuDevice({ threads: 1 });
    for (const [kind, samples] of [
      ["vl2", [found, colored]],
      ["vl", [colored]],
    ] as const) {
      mkdirSync(join(built, kind));
      for (const [name, bytes] of await taughtCheckpoint(kind, samples, device))
        writeFileSync(join(built, kind, name), bytes);
    }
    pictures.set("found.png", await encodePng(found.image!));
    pictures.set("colored.png", await encodePng(colored.image!));
    server = await serveSite(built, html);
    browser = await startChromium(executablePath!);
    page = await openPage(browser, `${server.url}/?model=vl2`, complaints);
  }, 240_000);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const text = (id: string) => page.locator(`#${id}`).textContent();
  const state = async (wanted: RegExp) => {
    await page.waitForFunction(
      ([source]) => new RegExp(source).test(document.getElementById("state")!.textContent!),
      [wanted.source],
      { timeout: 60_000 },
    );
    return text("state");
  };
  const choose = (name: string) =>
    page.setInputFiles("#file", { name, mimeType: "image/png", buffer: Buffer.from(pictures.get(name)!) });
  const ask = async (question: string, find: boolean) => {
    await page.fill("#question", question);
    await page.setChecked("#find", find);
    await page.click("#ask button[type=submit]");
  };

  it("opens the model of its address and finds a thing in a picture that is dropped on it", async () => {
    expect(await state(/is open/)).toBe("vl2 is open.");
    expect(await page.isDisabled("#ask button[type=submit]")).toBe(true);
    expect(server.asked.filter((path) => DECODER.test(path))).toEqual([]);
    const data = await page.evaluateHandle(
      (bytes) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(bytes)], "found.png", { type: "image/png" }));
        return transfer;
      },
      [...pictures.get("found.png")!],
    );
    await page.dispatchEvent("#drop", "drop", { dataTransfer: data });
    await ask(phrase, true);
    expect(await state(/written$/)).toMatch(/^27 tokens of the picture, seen in \d+ ms; \d+ written$/);
    expect(await text("answer")).toBe(phrase);
    const decoders = server.asked.filter((path) => DECODER.test(path) && path.endsWith(".wasm"));
    expect(decoders).toEqual([expect.stringContaining("png")]);
    const [{ box }] = parseGrounding(found.answer, found.image!).items;
    const shown = await page.evaluate(() => {
      const picture = document.getElementById("picture")!.getBoundingClientRect();
      return [...document.querySelectorAll<HTMLElement>(".box")].map((each) => {
        const { left, top, right, bottom } = each.getBoundingClientRect();
        const at = [left - picture.left, top - picture.top, right - picture.left, bottom - picture.top];
        return { label: each.textContent, at: at.map((value) => (64 * value) / picture.width) };
      });
    });
    expect(shown.map(({ label }) => label)).toEqual([phrase]);
    for (const [i, value] of shown[0].at.entries()) expect(Math.abs(value - box[i])).toBeLessThan(0.2);
  });

  it("answers about the next picture, without the boxes of the last", async () => {
    await choose("colored.png");
    expect(await page.locator(".box").count()).toBe(0);
    await ask(colored.question, false);
    await state(/written$/);
    expect(await text("answer")).toBe(colored.answer);
  });

  it("says what is wrong with a picture, and stops when it is told to", async () => {
    pictures.set("cut.png", pictures.get("found.png")!.slice(0, 200));
    await choose("cut.png");
    await ask("describe", false);
    expect(await state(/cut\.png/)).toMatch(/^cut\.png: (truncated|checksum|damaged)/);
    await choose("found.png");
    await page.fill("#question", colored.question);
    await page.evaluate(() => {
      document.querySelector<HTMLElement>("#ask button[type=submit]")!.click();
      document.getElementById("stop")!.click();
    });
    expect(await state(/written$/)).toMatch(/; 0 written$/);
    expect(await text("answer")).toBe("");
    expect(await page.isEnabled("#ask button[type=submit]")).toBe(true);
  });

  it("opens another model, and offers no boxes where it has none", async () => {
    await page.fill("#model", `${server.url}/nothing`);
    await page.click("#open button");
    expect(await state(/no checkpoint/)).toContain(`${server.url}/nothing`);
    expect(await page.isDisabled("#ask button[type=submit]")).toBe(true);
    await page.fill("#model", `${server.url}/vl/`);
    await page.click("#open button");
    await state(/^vl is open/);
    expect(await page.isDisabled("#find")).toBe(true);
    await choose("colored.png");
    await page.fill("#question", colored.question);
    await page.click("#ask button[type=submit]");
    await state(/written$/);
    expect(await text("answer")).toBe(colored.answer);
    expect(complaints).toEqual([]);
  });
});
