/** Drawing in the studio's page: pictures grow, are kept with their settings, survive a reload, and are asked about. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JobEvent } from "../../../src/studio/backend/wire.ts";
import { textsOf } from "../../../src/studio/draw/png-settings.ts";
import { encodePng } from "../../../src/vision/image/png-writer.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { modelEntry, type StubServer } from "./stub-server.ts";
import { buildPage, expectAccessible, NARROW, openStudio, startStub, WIDE } from "./studio-page.ts";

const executablePath = findChromium();

/** A picture whose upper rows are drawn. */
async function partly(rows: number, color: readonly number[]): Promise<string> {
  const rgb = new Uint8Array(64 * 64 * 3).fill(128);
  for (let i = 0; i < rows * 64; i++) rgb.set(color, 3 * i);
  return Buffer.from(await encodePng({ width: 64, height: 64, rgb })).toString("base64");
}

describe.skipIf(executablePath === null)("drawing in the studio (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;
  let events: JobEvent["event"][];
  let stays = false;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    const news = async (index: number, rows: number | null): Promise<JobEvent["event"]> => ({
      type: "picture",
      picture: {
        type: rows === null ? "image_generation.completed" : "image_generation.partial_image",
        b64_json: await partly(rows ?? 64, index === 0 ? [200, 40, 40] : [40, 60, 200]),
        index,
        seed: 7,
      },
    });
    const progress = { done: 1, total: 2, unit: "pictures", text: "draws rows" } as const;
    events = [
      await news(0, 20),
      await news(0, null),
      await news(1, 32),
      { type: "progress", progress },
      await news(1, null),
    ];
    stub = await startStub({
      models: [modelEntry("ada/tiny-janus", { state: "open", system: "Janus" })],
      script: () => (stays ? { events: events.slice(0, 4), stays } : { events }),
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await stub?.kill();
  });

  it("shows what grows, goes on after a reload, stops, and keeps what is finished", async () => {
    stays = true;
    const { page, complaints, close } = await openStudio(browser, stub, WIDE, "#/draw");
    await page.fill("textarea", "a red cube");
    await page.fill("label:has-text('Pictures') input", "2");
    await page.click("form >> text=Draw >> nth=-1");
    await page.waitForSelector("img[alt='Number 2, not finished']");
    await page.waitForSelector(".gallery img");
    await expectAccessible(page, "drawing");
    await page.reload();
    await page.waitForSelector("img[alt='Number 2, not finished']");
    await page.keyboard.press("Escape");
    await page.waitForSelector("text=Stopped. Pictures that were finished are in the gallery.");
    expect(await page.locator(".gallery img").count()).toBe(1);
    expect(stub.requests[0].body).toEqual({
      model: "ada/tiny-janus",
      prompt: "a red cube",
      n: 2,
      stream: true,
      partial_images: 3,
    });
    expect(complaints).toEqual([]);
    await close();
  });

  it("saves settings in the file, reads them back by dropping it, and asks about a picture", async () => {
    stays = false;
    const { page, complaints, close } = await openStudio(
      browser,
      stub,
      { ...NARROW, colorScheme: "dark" },
      "#/draw",
    );
    await page.fill("textarea", "ein Würfel — blau");
    await page.fill("label:has-text('Pictures') input", "2");
    await page.fill("label:has-text('Seed') input", "7");
    await page.click("form >> text=Draw >> nth=-1");
    await page.waitForSelector("text=Done.");
    await page.click(".gallery a");
    await page.waitForSelector(".full-picture img");
    await expectAccessible(page, "picture");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("text=Save")]);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
    const file = Buffer.concat(chunks);
    expect(download.suggestedFilename()).toBe("ein-würfel-blau-seed7-1.png");
    expect(textsOf(file)).toMatchObject({
      prompt: "ein Würfel — blau",
      seed: "7",
      model: "ada/tiny-janus",
      image: "1",
    });
    await page.goto(`${stub.url}/#/draw`);
    await page.fill("textarea", "something else");
    const data = await page.evaluateHandle(
      (bytes) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(bytes)], "cube.png", { type: "image/png" }));
        return transfer;
      },
      [...file],
    );
    await page.dispatchEvent(".page", "drop", { dataTransfer: data });
    await page.click("text=Use these settings");
    expect(await page.inputValue("textarea")).toBe("ein Würfel — blau");
    await page.click(".notice >> text=Undo");
    expect(await page.inputValue("textarea")).toBe("something else");
    await page.click(".gallery a");
    await page.click("text=Ask about it");
    await page.waitForSelector(".thumb img");
    expect(complaints).toEqual([]);
    await close();
  });
});
