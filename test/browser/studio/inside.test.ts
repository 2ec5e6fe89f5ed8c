/** The inside of an answer in the studio's page: asked for while the drawer is open, read again, gone on from, told in words. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Inspection, JobRequest } from "../../../src/studio/backend/wire.ts";
import { encodePng } from "../../../src/vision/image/png-writer.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { type InsideScript, insideEvents, pieces, scriptedTokens } from "./inside-script.ts";
import { modelEntry, type Script, type StubServer } from "./stub-server.ts";
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

const TEXT =
  "The sky is blue because air scatters short waves more than long ones.\n\nAt dusk the light comes a long way, and what is left of it is red.";
const REASONING = "They ask about the color of the sky.";
const INSPECTION = {
  report: {
    ...{
      cacheBytesPerToken: 31_104,
      multiHeadCacheBytesPerToken: 442_368,
      groupedQueryCacheBytesPerToken: 110_592,
    },
    experts: { layers: [1, 2, 3, 4, 5, 6], routed: 16, perToken: 4 },
  },
  fits: { yes: true, needed: 1, available: 2 },
} as unknown as Inspection;

describe.skipIf(executablePath === null)("Inside (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;
  let studio: OpenStudio;
  let script: InsideScript;
  let rate: number | undefined;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    stub = await startStub({
      models: [modelEntry("ada/tiny-vl", { state: "open" })],
      inspection: INSPECTION,
      script: ({ inside, body }: JobRequest): Script => {
        const begun = "continue_final_message" in body ? { text: " and so on." } : script;
        return { events: insideEvents({ ...script, ...begun }, inside === true), rate };
      },
    });
  }, 120_000);
  beforeEach(() => {
    stub.requests.length = 0;
    script = { text: TEXT, reasoning: REASONING };
    rate = undefined;
  });
  afterAll(async () => {
    await browser?.close();
    await stub?.kill();
  });

  const ask = async ({ page }: OpenStudio, text = "Why is the sky blue?") => {
    await page.waitForSelector(".model-button >> text=ready");
    if (await page.isVisible("[aria-label='Close the list']"))
      await page.click("[aria-label='Close the list']");
    await page.fill("[aria-label=Message]", text);
    await page.press("[aria-label=Message]", "Control+Enter");
  };
  const finished = (page: Page, count = 1) =>
    page.waitForFunction(
      (wanted) =>
        document.querySelectorAll(".turn.assistant[aria-busy=false]").length === wanted &&
        document.querySelectorAll(".turn[aria-busy=true]").length === 0,
      count,
    );
  const shoot = async (page: Page, name: string) => {
    if (shots === undefined) return;
    mkdirSync(shots, { recursive: true });
    await page.screenshot({ path: join(shots, `${name}.png`), animations: "disabled" });
  };
  const bodyOf = (request: JobRequest) => request.body as { messages: readonly object[] };
  const tab = (page: Page, name: string) => page.click(`[role=tab] >> text=${name}`);
  const tokens = () => scriptedTokens([...pieces(REASONING), ...pieces(TEXT)], {});

  it("is off until it is opened, says what it costs, and is offered for answers that have none", async () => {
    studio = await openStudio(browser, stub);
    const { page } = studio;
    const files: string[] = [];
    page.on("response", (response) => files.push(new URL(response.url()).pathname));
    await ask(studio);
    await finished(page);
    expect(stub.requests[0]).not.toHaveProperty("inside");
    expect(files.filter((file) => /drawer/.test(file))).toEqual([]);
    const plain = await page.textContent(".turn.assistant > .markdown");
    await page.keyboard.press("Control+i");
    await page.waitForSelector(".inside >> text=made while the drawer was shut");
    expect(await page.textContent(".inside-cost")).toContain("a millisecond more");
    await page.click(".inside >> text=Answer again");
    await page.waitForSelector(".token-text");
    await finished(page);
    expect(stub.requests[1].inside).toBe(true);
    expect(await page.textContent(".turn.assistant > .markdown")).toBe(plain);
    expect(await page.locator(".token").count()).toBeGreaterThan(tokens().length);
    await page.keyboard.press("Escape");
    await page.waitForSelector(".inside", { state: "detached" });
    await page.keyboard.press("Control+k");
    await page.keyboard.type("inside of the");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".inside .token-text");
    await page.reload();
    await page.waitForSelector(".inside .token-text");
    expect(await page.locator(".token-text .token").count()).toBe(tokens().length);
    await page.focus(".token-text");
    await page.keyboard.press("?");
    await page.waitForSelector("dialog >> text=Inside of the answer");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("tells of each token, and goes on from another one as a version of the answer", async () => {
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await page.waitForSelector("[aria-label=Message]");
    await page.keyboard.press("Control+i");
    rate = 300;
    await ask(studio);
    await page.waitForSelector(".token-text .token");
    await finished(page);
    const all = tokens();
    await page.waitForFunction(
      (wanted) => document.querySelectorAll(".token-text .token").length === wanted,
      all.length,
    );
    expect(await page.locator(".token-text .drafted").count()).toBe(
      all.filter(({ from }) => from === "drafted").length,
    );
    expect(await page.$$eval(".token-text s", (drafts) => drafts.map((each) => each.textContent))).toEqual(
      all.flatMap(({ refused }) => (refused === null ? [] : [refused.text.replace(/^ /, "␣")])),
    );
    await page.focus(".token-text");
    await page.keyboard.press("Home");
    for (let i = 0; i < 12; i++) await page.keyboard.press("ArrowRight");
    const twelfth = all[12];
    const shown = `${(100 * Math.exp(twelfth.logprob)).toFixed(1)}%`;
    expect(await page.textContent(".token-detail p")).toContain(shown);
    expect(await page.getAttribute(".token[aria-selected=true]", "aria-label")).toContain(shown);
    const rows = await page.$$eval(".alternatives tbody tr", (list) =>
      list.map((row) => [...row.querySelectorAll("th, td")].slice(0, 3).map((cell) => cell.textContent)),
    );
    expect(rows.map(([, , logarithm]) => logarithm)).toEqual(
      twelfth.alternatives.map(({ logprob }) => logprob.toFixed(3)),
    );
    expect(rows.find(([name]) => name?.includes("taken"))?.[0]).toBe(
      `${twelfth.text.replace(/^ /, "␣")} (taken)`,
    );
    await page.keyboard.press("Enter");
    const focused = await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? "");
    expect(focused).toMatch(/^Go on from here with/);
    const other = twelfth.alternatives.find(({ id }) => id !== twelfth.id)!;
    await expectAccessible(page, "tokens");
    await page.click(`[aria-label="Go on from here with ${other.text.replace(/^ /, "␣")}"]`);
    await page.waitForSelector(".versions >> text=2/2");
    await finished(page);
    const count = pieces(REASONING).length;
    const before = all
      .slice(count, 12)
      .map(({ text }) => text)
      .join("");
    expect(bodyOf(stub.requests[1]).messages.at(-1)).toEqual({
      role: "assistant",
      content: before + other.text,
      reasoning_content: REASONING,
    });
    expect(stub.requests[1]).toMatchObject({ inside: true, body: { continue_final_message: true } });
    expect((await page.textContent(".turn.assistant > .markdown"))!.trim()).toBe(
      `${before}${other.text} and so on.`,
    );
    // From the version's own tokens, behind what it began with.
    await page.focus(".token-text");
    await page.keyboard.press("End");
    await page.click(".alternatives button >> nth=0");
    await page.waitForSelector(".versions >> text=3/3");
    await finished(page);
    expect(bodyOf(stub.requests[2]).messages.at(-1)).toMatchObject({
      content: expect.stringMatching(new RegExp(`^${before}${other.text} and so on`)),
    });
    await page.click('.turn.assistant [aria-label="Version before"]');
    await page.click('.turn.assistant [aria-label="Version before"]');
    await page.waitForFunction(
      (wanted) => document.querySelectorAll(".token-text .token").length === wanted,
      all.length,
    );
    await page.click("text=All tokens as a table");
    expect(await page.locator(".inside-numbers tbody tr").count()).toBe(Math.min(50, all.length));
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("maps experts by layer, by number with their load, and by token, all by keys", async () => {
    studio = await openStudio(browser, stub, { ...WIDE, colorScheme: "dark" });
    const { page } = studio;
    await page.waitForSelector("[aria-label=Message]");
    await page.keyboard.press("Control+i");
    await ask(studio);
    await finished(page);
    await tab(page, "Experts");
    const all = tokens();
    const map = page.locator(".heat-map-box");
    await map.focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowDown");
    const { ids, weights } = all[1].experts[1];
    const told = `layer 2: ${ids.map((id, k) => `${id} (${weights[k].toFixed(3)})`).join(", ")}`;
    await page.waitForSelector(`[role=status] >> text=${told}`);
    expect(await map.getAttribute("aria-label")).toContain(told);
    await expectAccessible(page, "experts");
    const painted = await page.$eval(".heat-map-box canvas", (canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, i) => i % 4 === 3 && value === 255).length;
    });
    const columns = await page.$eval(".heat-map-box canvas", (canvas: HTMLCanvasElement) => canvas.width);
    expect(painted).toBe(Math.min(columns, all.length) * 6 * 4);
    await page.keyboard.press("Enter");
    await page.click("text=Load of the experts as a table");
    const load = Array.from(
      { length: 16 },
      (_, e) => all.filter(({ experts }) => experts[1].ids.includes(e)).length,
    );
    expect(
      await page.$$eval(".inside-numbers tbody tr", (rows) =>
        rows.map((row) => [...row.querySelectorAll("td")].slice(0, 2).map((cell) => cell.textContent)),
      ),
    ).toEqual(load.map((times) => [String(times), ((16 * times) / (4 * all.length)).toFixed(2)]));
    await expectAccessible(page, "experts of a layer");
    await map.focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".segments [aria-pressed=true] >> text=Of token 2");
    await tab(page, "Speed");
    const speed = (await page.textContent(".inside-panel"))!;
    for (const figure of ["50.0 tokens/s", "41.8 tokens/s", "812 ms", "4.70 MB", "14.2 times", "3.6 times"])
      expect(speed, figure).toContain(figure);
    await expectAccessible(page, "speed");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("shows how a picture was cut, as a sheet where it is narrow", async () => {
    const rgb = Uint8Array.from({ length: 300 * 200 * 3 }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % 300, Math.floor(i / 900)];
      return [x / 2 + y / 3, 230 - y, 90 + 60 * Math.sin(x / 17) * Math.cos(y / 23)][i % 3];
    });
    const buffer = Buffer.from(await encodePng({ width: 300, height: 200, rgb }));
    const areas = [0, 1].flatMap((y) =>
      [0, 1, 2].map((x) => [100 * x, 100 * y, 100 * x + 100, 100 * y + 100]),
    );
    const cut = { width: 300, height: 200, tokens: 1421, view: 384, tiles: [3, 2], areas };
    script = { text: "A pattern.", pictures: [cut], layers: 0 };
    for (const size of [WIDE, { ...NARROW, colorScheme: "dark" as const }]) {
      studio = await openStudio(browser, stub, size);
      const { page } = studio;
      await page.waitForSelector(".model-button >> text=ready");
      await page.setInputFiles("input[type=file][multiple]", {
        name: "a.png",
        mimeType: "image/png",
        buffer,
      });
      await page.waitForSelector(".thumb img");
      await page.keyboard.press("Control+i");
      if (size !== WIDE) await page.click("[aria-label='Close Inside']");
      else await page.click("[aria-label='Wider drawer']");
      if (size !== WIDE) {
        // The message is under the sheet: it is asked for, then looked into.
        await ask(studio, "What is it?");
        await finished(page);
        await page.click("[aria-label='Inside of this answer']");
        await page.click(".inside >> text=Answer again");
      } else await ask(studio, "What is it?");
      await page.waitForSelector(".token-text");
      await tab(page, "Experts");
      await page.waitForSelector("text=This model has no experts");
      await tab(page, "Picture");
      await page.waitForSelector(".tile svg image");
      expect(await page.locator(".cut-picture rect").count()).toBe(6);
      expect(await page.textContent(".inside-panel")).toContain("1,421 tokens");
      const [image, fifth] = await page.$$eval(".cut-picture img, .cut-picture rect:nth-of-type(5)", (both) =>
        both.map((each) => {
          const { left, top, width, height } = each.getBoundingClientRect();
          return [left, top, width, height];
        }),
      );
      const scale = image[2] / 300;
      for (const [i, value] of [
        image[0] + 100 * scale,
        image[1] + 100 * scale,
        100 * scale,
        100 * scale,
      ].entries())
        expect(Math.abs(fifth[i] - value)).toBeLessThan(0.5);
      await page.click(".tiles button >> nth=4");
      expect(await page.locator(".cut-picture rect.marked").count()).toBe(1);
      await expectAccessible(page, "tiles");
      await shoot(page, `inside-tiles-${size === WIDE ? "1440-light" : "390-dark"}`);
      if (size !== WIDE) {
        await page.click("[aria-label='Close Inside']");
        await page.waitForSelector(".inside", { state: "detached" });
      }
      expect(studio.complaints).toEqual([]);
      await studio.close();
    }
  });

  it.runIf(shots !== undefined)("draws its pictures", async () => {
    for (const [suffix, size] of [
      ["1440-light", { ...WIDE, colorScheme: "light" as const }],
      ["1440-dark", { ...WIDE, colorScheme: "dark" as const }],
      ["390-light", { ...NARROW, colorScheme: "light" as const }],
      ["390-dark", { ...NARROW, colorScheme: "dark" as const }],
    ] as const) {
      const { page, close } = (studio = await openStudio(browser, stub, size));
      script = { text: `${TEXT}\n\n${TEXT} ${TEXT}`, layers: 26, experts: 64, topK: 6 };
      await ask(studio);
      await finished(page);
      await page.click("[aria-label='Inside of this answer']");
      await page.click(".inside >> text=Answer again");
      await page.waitForSelector(".token-text");
      await finished(page);
      await page.focus(".token-text");
      await page.keyboard.press("Home");
      for (let i = 0; i < 11; i++) await page.keyboard.press("ArrowRight");
      await shoot(page, `inside-tokens-${suffix}`);
      await tab(page, "Experts");
      await page.focus(".heat-map-box");
      await page.keyboard.press("ArrowDown");
      await shoot(page, `inside-experts-${suffix}`);
      await page.keyboard.press("Enter");
      await shoot(page, `inside-layer-${suffix}`);
      await tab(page, "Speed");
      await shoot(page, `inside-speed-${suffix}`);
      await close();
    }
  });
});
