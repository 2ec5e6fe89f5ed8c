/** The frame of the studio's page: token, models, palette, what it shows when the server is gone or is another. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
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
const TOKEN = "t".repeat(43);

describe.skipIf(executablePath === null)(
  "the frame of the studio (skipped where Chromium is missing)",
  () => {
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

    it("takes the token out of the address, and asks for it where the server has another", async () => {
      stub = await startStub({ token: TOKEN, models: [modelEntry("ada/tiny", { state: "open" })] });
      studio = await openStudio(browser, stub, WIDE, `#token=${TOKEN}`);
      const { page } = studio;
      await page.waitForSelector(".model-button >> text=tiny");
      expect(page.url()).not.toContain(TOKEN);
      stub.token = "u".repeat(43);
      await page.waitForSelector(".strip >> text=without its token");
      await page.fill(".strip input", `${stub.url}/#token=${stub.token}`);
      await page.click(".strip >> text=Connect");
      await page.waitForSelector(".strip", { state: "detached" });
    });

    it("opens, closes and deletes models, and says why one did not open", async () => {
      const models = [modelEntry("ada/good"), modelEntry("ada/bad"), modelEntry("ada/old", { size: 2e9 })];
      const failure = "model.safetensors: truncated: 20 bytes, 4,000 expected";
      stub = await startStub({
        models,
        script: ({ body }) => ({
          events: [],
          fails: "model" in body && body.model === "ada/bad" ? failure : undefined,
        }),
      });
      studio = await openStudio(browser, stub, WIDE, "#/models");
      const { page } = studio;
      await page.click('[aria-label="Open ada/good"]');
      await page.click('[aria-label="Close ada/good"]');
      await page.waitForSelector('[aria-label="Open ada/good"]');
      await page.click('[aria-label="Open ada/bad"]');
      await page.waitForSelector(`[role=alert] >> text=${failure}`);
      await page.click('[aria-label="Delete ada/old"]');
      await expectAccessible(page, "question");
      await page.click("dialog >> text=Delete, free 2.00 GB");
      await page.waitForSelector('[aria-label="Open ada/old"]', { state: "detached" });
      expect(stub.models.map(({ model }) => model)).toEqual(["ada/good", "ada/bad"]);
    });

    it("says that the server is lost, and goes on when it is back", async () => {
      stub = await startStub({ models: [modelEntry("ada/tiny")] });
      studio = await openStudio(browser, stub, NARROW, "#/models");
      const { page } = studio;
      await page.waitForSelector('[aria-label="Open ada/tiny"]');
      await stub.kill();
      await page.waitForSelector(".strip >> text=does not answer");
      await expectAccessible(page, "server lost, narrow");
      await stub.start();
      await page.waitForSelector(".strip", { state: "detached" });
    });

    it("finds actions by name, by keys alone", async () => {
      stub = await startStub({ models: [], hello: { version: "9.9.9" } });
      studio = await openStudio(browser, stub, { ...WIDE, colorScheme: "dark" }, "#/models");
      const { page } = studio;
      await page.waitForSelector(".strip >> text=version 9.9.9");
      await page.keyboard.press("Control+k");
      await page.keyboard.type("colors light");
      await page.keyboard.press("Enter");
      await page.waitForSelector(":root[data-theme=light]");
      await page.keyboard.press("?");
      await page.waitForSelector("dialog .keys-table");
      await expectAccessible(page, "keys");
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    });
  },
);
