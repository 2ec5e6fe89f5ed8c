/** Chat in the studio's page: streams, branches, loss of connection and server, input methods, hostile answers, two tabs. */
import { gzipSync } from "node:zlib";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { JobRequest } from "../../../src/studio/backend/wire.ts";
import { encodePng } from "../../../src/vision/image/png-writer.ts";
import { findChromium, startChromium } from "../chromium.ts";
import { answerEvents, modelEntry, type Script, type StubServer } from "./stub-server.ts";
import {
  buildPage,
  expectAccessible,
  NARROW,
  type OpenStudio,
  openStudio,
  startStub,
  WIDE,
  watchedPage,
} from "./studio-page.ts";

const executablePath = findChromium();

const HOSTILE = [
  "<script>document.title = 'bad'</script><img src=x onerror=\"document.title='bad'\"><svg onload=alert(1)></svg>",
  "[run](javascript:alert(1)) ![](http://evil.test/a.png) <iframe src=http://evil.test></iframe>",
  "$x^2$ $\\href{http://evil.test}{x}$ \\(\\htmlStyle{color:red}{x}\\) \\( unbalanced",
  `${">".repeat(10_000)} deep`,
  "\u202Ereversed \u202E",
  "```\nunclosed <b>",
].join("\n\n");

describe.skipIf(executablePath === null)("chat in the studio (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;
  let studio: OpenStudio;
  let script: (request: JobRequest) => Script;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
    stub = await startStub({
      models: [modelEntry("ada/tiny-vl", { state: "open" })],
      script: (request) => script(request),
    });
  }, 120_000);
  beforeEach(() => {
    stub.requests.length = 0;
  });
  afterAll(async () => {
    await browser?.close();
    await stub?.kill();
  });

  const ask = async (text: string) => {
    await studio.page.waitForSelector(".model-button >> text=ready");
    await studio.page.fill("[aria-label=Message]", text);
    await studio.page.press("[aria-label=Message]", "Control+Enter");
  };
  const answers = () =>
    studio.page.$$eval(".turn.assistant > .markdown", (all) => all.map((each) => each.textContent.trim()));
  const finished = (count: number) =>
    studio.page.waitForFunction(
      (wanted) =>
        document.querySelectorAll(".turn.assistant[aria-busy=false]").length === wanted &&
        document.querySelectorAll(".turn[aria-busy=true]").length === 0,
      count,
    );

  it("streams, branches by edit and retry, goes on after stop, and keeps all of it over a reload", async () => {
    script = () => ({
      events: answerEvents("**One** answer.", { reasoning: "Thinking of one." }),
      rate: 200,
    });
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await ask("First question");
    await finished(1);
    expect(await answers()).toEqual(["One answer."]);
    expect(await page.textContent(".reasoning summary")).toMatch(/^Thought for/);
    expect(await page.textContent(".figures")).toMatch(/tok\/s.*to first.*8 tokens/);
    script = () => ({ events: answerEvents("Two").slice(0, 2), stays: true });
    await page.click('[aria-label="Answer again"]');
    await page.waitForSelector(".turn.assistant >> text=Two");
    await page.keyboard.press("Escape");
    await page.waitForSelector("text=Stopped.");
    expect([...stub.jobs.values()].at(-1)!.view.state).toBe("canceled");
    script = () => ({ events: answerEvents(" and more") });
    await page.click("text=Continue");
    await finished(1);
    expect(await answers()).toEqual(["Two and more"]);
    expect(stub.requests.at(-1)!.body).toMatchObject({ continue_final_message: true });
    await page.reload();
    await finished(1);
    expect(await page.textContent(".versions")).toContain("2/2");
    await page.click('[aria-label="Version before"]');
    expect(await answers()).toEqual(["One answer."]);
    await page.focus(".turn.user");
    await page.keyboard.press("e");
    await page.fill(".turn-editor textarea", "Other question");
    await page.click("text=Send as a branch");
    await finished(1);
    expect(await page.textContent(".turn.user .versions")).toContain("2/2");
    const sent = stub.requests.at(-1)!.body as { messages: readonly object[] };
    expect(sent.messages).toEqual([{ role: "user", content: "Other question" }]);
    await expectAccessible(page, "chat");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("reads on after a lost connection and a reload, and keeps what came when the server ends", async () => {
    const text = Array.from({ length: 300 }, (_, i) => `w${i}`).join(" ");
    script = () => ({ events: answerEvents(text), rate: 150 });
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await ask("Long one");
    await page.waitForSelector(".turn.assistant >> text=w20");
    stub.cut();
    await page.waitForTimeout(400);
    await page.reload();
    await page.waitForSelector(".turn.assistant[aria-busy=true]");
    await finished(1);
    expect(await answers()).toEqual([text]);
    script = () => ({ events: answerEvents("Half of").slice(0, 3), stays: true });
    await ask("Another");
    await page.waitForSelector(".turn.assistant >> text=Half of");
    await stub.kill();
    await page.waitForSelector(".strip >> text=does not answer");
    await page.fill("[aria-label=Message]", "typed while it is away");
    await stub.start();
    await page.waitForSelector("text=The server ended before the answer did");
    expect((await answers()).at(-1)).toBe("Half of");
    expect(await page.inputValue("[aria-label=Message]")).toBe("typed while it is away");
    await page.reload();
    await finished(2);
    expect(await page.inputValue("[aria-label=Message]")).toBe("typed while it is away");
    script = () => ({
      events: answerEvents("A part", { usage: false }).slice(0, 3),
      fails: "The cache is full.",
    });
    await ask("Fail");
    await page.waitForSelector(".fault >> text=The cache is full.");
    expect((await answers()).at(-1)).toBe("A part");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("makes nothing of a hostile answer but text", async () => {
    script = () => ({ events: answerEvents(HOSTILE, { size: 400 }) });
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await ask("Cheat");
    await finished(1);
    await page.waitForSelector("math");
    const found = await page.$$eval(".turn.assistant .markdown *", (all) => [
      ...new Set(all.map(({ tagName }) => tagName)),
    ]);
    expect(found.filter((name) => /SCRIPT|IMG|IFRAME|SVG|STYLE|FORM/i.test(name))).toEqual([]);
    expect(
      await page.$$eval(".turn.assistant [href]", (all) => all.map((each) => each.getAttribute("href"))),
    ).toEqual(["http://evil.test/a.png"]);
    expect(await page.title()).toBe("Chat · deepseek.ts studio");
    await page.click(".turn.assistant a");
    await page.waitForSelector("dialog >> text=http://evil.test/a.png");
    await page.click("dialog >> text=Cancel");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("sends by Enter, but not by the Enter of an input method", async () => {
    script = () => ({ events: answerEvents("Hai.") });
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await page.waitForSelector(".model-button >> text=ready");
    await page.focus("[aria-label=Message]");
    const client = await page.context().newCDPSession(page);
    await client.send("Input.imeSetComposition", { text: "にほん", selectionStart: 3, selectionEnd: 3 });
    await page.keyboard.press("Enter");
    expect(stub.requests).toEqual([]);
    await client.send("Input.insertText", { text: "日本" });
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("!");
    await page.keyboard.press("Enter");
    await finished(1);
    expect(await page.textContent(".turn.user .said")).toBe("日本\n!");
    await studio.close();
  });

  it("draws boxes on the pixels of the picture, at any width", async () => {
    const rgb = new Uint8Array(200 * 100 * 3).fill(255);
    const png = Buffer.from(await encodePng({ width: 200, height: 100, rgb }));
    const box = { x1: 20, y1: 30, x2: 120, y2: 80 };
    script = () => ({
      events: answerEvents("Here.", { extra: [{ grounding: [{ label: "thing", image: 0, boxes: [box] }] }] }),
    });
    for (const size of [WIDE, NARROW]) {
      studio = await openStudio(browser, stub, { ...size, colorScheme: "dark" });
      const { page } = studio;
      await page.waitForSelector(".model-button >> text=ready");
      await page.setInputFiles("input[type=file][multiple]", {
        name: "a.png",
        mimeType: "image/png",
        buffer: png,
      });
      await page.waitForSelector(".thumb img");
      await ask("Where?");
      await page.waitForSelector(".boxed rect");
      const [image, mark] = await page.$$eval(".boxed img, .boxed rect", (both) =>
        both.map((each) => {
          const { left, top, width, height } = each.getBoundingClientRect();
          return [left, top, width, height];
        }),
      );
      const scale = image[2] / 200;
      const wanted = [image[0] + 20 * scale, image[1] + 30 * scale, 100 * scale, 50 * scale];
      for (const [i, value] of mark.entries()) expect(Math.abs(value - wanted[i])).toBeLessThan(0.5);
      const { messages } = stub.requests.at(-1)!.body as {
        messages: readonly { content: readonly object[] }[];
      };
      expect(messages[0].content[0]).toEqual({
        type: "image_url",
        image_url: { url: `data:image/png;base64,${png.toString("base64")}` },
      });
      await expectAccessible(page, "boxes");
      expect(studio.complaints).toEqual([]);
      await studio.close();
    }
  });

  it("makes a branch of what a second tab says, and takes deletions back", async () => {
    script = () => ({ events: answerEvents("Yes.") });
    studio = await openStudio(browser, stub);
    const { page } = studio;
    await ask("Shared");
    await finished(1);
    const other = await watchedPage(page.context(), stub, studio.complaints);
    await other.goto(page.url());
    await other.waitForSelector(".turn.assistant");
    await other.click('[aria-label="Answer again"]');
    await other.waitForSelector("text=2/2");
    await page.waitForSelector(".versions >> text=1/2");
    await page.click('.conversation [aria-label="Delete Shared"]');
    await page.waitForSelector(".conversation", { state: "detached" });
    await page.click(".notice >> text=Undo");
    await page.waitForSelector(".conversation >> text=Shared");
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });

  it("follows the end until somebody looks elsewhere, in at most 80 KiB and 4 files", async () => {
    const text = `${"A paragraph of **some** words, `code` and more. ".repeat(4)}\n\n`.repeat(40);
    script = () => ({ events: answerEvents(text, { size: 16 }), rate: 500 });
    const transferred = new Map<string, number>();
    studio = await openStudio(browser, stub);
    const { page } = studio;
    page.on("response", async (response) => {
      if (!response.url().includes("/studio/api"))
        transferred.set(response.url(), gzipSync(await response.body(), { level: 9 }).length);
    });
    await page.reload();
    // By the processor's time: on a busy machine the clock measures others.
    const client = await page.context().newCDPSession(page);
    await client.send("Performance.enable", { timeDomain: "threadTicks" });
    const spent = async () => {
      const { metrics } = await client.send("Performance.getMetrics");
      return new Map(metrics.map(({ name, value }) => [name, value]));
    };
    const before = await spent();
    await ask("Stream");
    await page.waitForFunction(() => document.querySelectorAll(".markdown p").length > 10);
    const distance = () =>
      page.$eval(".thread", (view) => view.scrollHeight - view.scrollTop - view.clientHeight);
    expect(await distance()).toBeLessThan(60);
    await page.hover(".thread");
    await page.mouse.wheel(0, -400);
    await page.waitForSelector("text=Newest");
    await finished(1);
    expect(await distance()).toBeGreaterThan(300);
    await page.click("text=Newest");
    expect(await distance()).toBeLessThan(5);
    const after = await spent();
    const since = (name: string) => after.get(name)! - before.get(name)!;
    const updates = since("LayoutCount");
    const each = (name: string) => `${((1000 * since(name)) / updates).toFixed(1)} ms`;
    console.log(
      `500 chunks a second: ${each("ScriptDuration")} of script, ${each("TaskDuration")} in all for each update`,
    );
    const sizes = [...transferred.values()];
    console.log(
      `chat: ${sizes.length} files, ${(sizes.reduce((a, b) => a + b, 0) / 1024).toFixed(1)} KiB compressed`,
    );
    expect(sizes.length).toBeLessThanOrEqual(4);
    expect(sizes.reduce((a, b) => a + b, 0)).toBeLessThan(80 * 1024);
    expect(studio.complaints).toEqual([]);
    await studio.close();
  });
});
