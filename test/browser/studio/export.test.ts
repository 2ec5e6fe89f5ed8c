/**
 * The exported page in Chromium, served by a plain file server: it downloads a model from a hub, opens it, answers with the text that
 * Node's server gives, keeps both over a reload, opens a folder of the disk, draws, and says what it cannot do.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../../../src/engine/testing-folder.ts";
import { TestingHub } from "../../../src/pretrained/testing-hub.ts";
import { startServer } from "../../../src/serve/server.ts";
import { exportPage } from "../../../src/serve/studio/export-page.ts";
import { findChromium, type Site, serveSite, startChromium } from "../chromium.ts";
import { buildPage, expectAccessible, WIDE } from "./studio-page.ts";

const executablePath = findChromium();
const MODEL = "ada/tiny-v3";
const QUESTION = "the of and to in 你好";

/** Bodies that the page gave its worker, as its backend wrote them. */
interface Recorded {
  readonly bodies: readonly Record<string, unknown>[];
}

describe.skipIf(executablePath === null)("the exported page (skipped where Chromium is missing)", () => {
  const folder = mkdtempSync(join(tmpdir(), "studio-export-"));
  let hub: TestingHub;
  let site: Site;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  const complaints: string[] = [];
  const foreign: string[] = [];

  beforeAll(async () => {
    await writeModelFolder(join(folder, "tiny-v3"), { maxPositions: 4096 });
    hub = await TestingHub.start();
    const files = new Map(
      readdirSync(join(folder, "tiny-v3"))
        .filter((name) => !name.startsWith("."))
        .map((name) => [name, new Uint8Array(readFileSync(join(folder, "tiny-v3", name)))] as const),
    );
    hub.repos.set(MODEL, { commit: "c".repeat(40), files });
    await exportPage(await buildPage(), join(folder, "site"), hub.endpoint);
    site = await serveSite(join(folder, "site"), readFileSync(join(folder, "site/index.html"), "utf8"));
    browser = await startChromium(executablePath!);
    context = await browser.newContext({ reducedMotion: "reduce", ...WIDE });
    context.on("request", (request) => {
      const url = request.url();
      const known = [site.url, hub.endpoint, hub.storage].some((each) => url.startsWith(`${each}/`));
      if (!known && !/^(blob|data):/.test(url)) foreign.push(url);
    });
    page = await newPage();
    await page.goto(`${site.url}/#/models`);
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await site?.[Symbol.asyncDispose]();
    await hub?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function newPage(): Promise<Page> {
    const fresh = await context.newPage();
    fresh.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    fresh.on("pageerror", (error) => complaints.push(String(error)));
    await fresh.addInitScript(() => {
      // Chromium's own picker of folders cannot be driven.
      Reflect.deleteProperty(globalThis, "showDirectoryPicker");
      const bodies: unknown[] = [];
      Object.assign(globalThis, { recorded: { bodies } });
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (this: Worker, message: { name?: string; args?: unknown[] }) {
        if (message.name === "start") bodies.push(JSON.parse(String(message.args?.[0])).body);
        post.call(this, message);
      };
    });
    return fresh;
  }

  const lastBody = () =>
    page.evaluate(() => (globalThis as unknown as { recorded: Recorded }).recorded.bodies.at(-1)!);
  const lastAnswer = () =>
    page.$$eval(".turn.assistant > .markdown", (all) => all.at(-1)?.textContent?.trim() ?? "");

  async function ask(text: string): Promise<void> {
    await page.fill("[aria-label=Message]", text);
    await page.press("[aria-label=Message]", "Control+Enter");
  }

  /** What Node's server answers to a body. */
  async function answerInNode(body: Record<string, unknown>): Promise<string> {
    const server = await startServer({
      port: 0,
      servedName: String(body.model),
      engine: { model: join(folder, "tiny-v3") },
    });
    try {
      const { stream_options: _, ...rest } = body;
      const response = await fetch(`${server.url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...rest, stream: false }),
      });
      const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
      return choices[0].message.content;
    } finally {
      await server.close(0);
    }
  }

  it("needs no more than the page itself before there is something to run", async () => {
    await page.waitForSelector("text=open a folder of this disk");
    expect(site.asked.filter((path) => /worker-(?!backend)|engine|wasm/.test(path))).toEqual([]);
    expect(site.missing).toEqual([]);
    await expectAccessible(page, "no model");
  });

  it("downloads a model, going on where it was cut off, and compares it with what the hub says", async () => {
    // Piece by piece: what came together with the end of a connection is lost to pages.
    hub.pieceDelay = 10;
    hub.faults.push({ path: "model.safetensors", times: 1, kind: "cut", after: 100_000 });
    await page.fill("#download-name", MODEL);
    await page.click("form >> text=Download");
    await page.waitForSelector(`[aria-label="Open ${MODEL}"]`, { timeout: 60_000 });
    hub.pieceDelay = 0;
    const asked = hub.contentRequests("model.safetensors").filter(({ host }) => host === "storage");
    expect(asked.map(({ range }) => range)).toEqual([null, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  });

  it("answers with the text of Node's server for the same seed", async () => {
    await page.click(`[aria-label="Open ${MODEL}"]`);
    await page.waitForSelector(".model-button >> text=ready", { timeout: 60_000 });
    expect(site.asked.some((path) => /relaxed.*\.wasm$/.test(path))).toBe(true);
    await page.click("nav >> text=Chat");
    await page.click("text=Settings");
    await page.fill("label:has-text('Seed') input", "5");
    await page.fill("label:has-text('Most tokens') input", "40");
    await page.keyboard.press("Escape");
    await ask(QUESTION);
    await page.waitForSelector(".turn.assistant:not([aria-busy=true]) >> text=40 tokens", {
      timeout: 60_000,
    });
    const body = await lastBody();
    expect(body).toMatchObject({ model: MODEL, seed: 5, max_tokens: 40 });
    const expected = await answerInNode(body);
    expect(expected.length).toBeGreaterThan(40);
    expect((await lastAnswer()).replace(/\s+/g, " ")).toBe(expected.replace(/\s+/g, " ").trim());
  });

  it("stops an answer when it is told to", async () => {
    await page.click("text=Settings");
    await page.fill("label:has-text('Most tokens') input", "3000");
    await page.keyboard.press("Escape");
    await ask("go on and on");
    await page.click("button.send >> text=Stop");
    await page.waitForSelector(".turn.assistant >> text=Stopped.", { timeout: 20_000 });
    await page.waitForSelector("text=Nothing runs");
    await expectAccessible(page, "after an answer");
  });

  it("has model and conversation still after a reload", async () => {
    await page.goto(`${site.url}/#/chat`);
    await page.reload();
    await page.click(`text=${QUESTION}`);
    await page.waitForSelector(`.turn.user >> text=${QUESTION}`);
    await page.click("nav >> text=Models");
    await page.waitForSelector(`[aria-label="Open ${MODEL}"]`);
    expect(hub.contentRequests("model.safetensors").length).toBeLessThanOrEqual(4);
  });

  it("opens a folder of the disk, keeps a copy of it, and deletes that", async () => {
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click("text=Open a folder")]);
    await chooser.setFiles(join(folder, "tiny-v3"));
    await page.click('[aria-label="Close disk/tiny-v3"]', { timeout: 60_000 });
    await page.click("text=Keep a copy");
    await page.waitForSelector("text=disk/tiny-v3 is there until", { state: "detached", timeout: 30_000 });
    await page.reload();
    await page.click('[aria-label="Delete disk/tiny-v3"]');
    await page.click("dialog >> text=Delete, free");
    await page.waitForSelector('[aria-label="Delete disk/tiny-v3"]', { state: "detached" });
    expect(readdirSync(join(folder, "tiny-v3"))).toContain("model.safetensors");
  });

  it("draws, with a model that lies on the disk", async () => {
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click("text=Open a folder")]);
    await chooser.setFiles(join(import.meta.dirname, "../../../models/world-janus"));
    await page.waitForSelector('[aria-label="Close disk/world-janus"]', { timeout: 60_000 });
    await page.click("nav >> text=Draw");
    await page.fill("textarea", "a yellow circle");
    await page.click("form >> button:has-text('Draw')");
    await page.waitForSelector("text=Done.", { timeout: 60_000 });
    const sizes = await page.$$eval("main img", (all) =>
      all.map((each) => (each as HTMLImageElement).naturalWidth),
    );
    expect(sizes.length).toBeGreaterThan(0);
    expect(new Set(sizes)).toEqual(new Set([64]));
  });

  it("says of training that it needs the server", async () => {
    await page.click("nav >> text=Train");
    await page.waitForSelector("text=npx deepseek-ts studio");
    await expectAccessible(page, "train");
  });

  it("asks nobody but its own server and the hub, and breaks its policy nowhere", () => {
    expect(foreign).toEqual([]);
    expect(complaints.filter((text) => !/status of 404|ERR_/.test(text))).toEqual([]);
  });

  it("says what its server must send where the page is not isolated", async () => {
    const plain = await newPage();
    await plain.goto(`${site.url}/plain`);
    await plain.waitForSelector("[role=alert] >> text=Cross-Origin-Opener-Policy");
    await expectAccessible(plain, "not isolated");
    await plain.close();
  });
});
