/** The studio's page over its real server: Lean reads along, the small prover of the package searches, the proof goes into the text. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStudio, type TestStudio } from "../../src/serve/studio/testing.ts";
import { cache, LIMIT, missing } from "../lean/embedded-lean.ts";
import { findChromium, startChromium } from "./chromium.ts";
import { pageFolder } from "./studio/stub-server.ts";
import { buildPage } from "./studio/studio-page.ts";

const executablePath = findChromium();
const absent = executablePath === null ? "no Chromium is installed" : missing;
const OPEN = "theorem swap (a b : Nat) (h : a = b) : b = a := by\n  sorry\n";

describe.skipIf(absent !== null)(`the studio's page with real Lean ${absent ?? ""}`, () => {
  let studio: TestStudio;
  let browser: Browser;

  beforeAll(async () => {
    process.env.DEEPSEEK_TS_CACHE = cache;
    await buildPage();
    studio = await startTestStudio({ model: null, page: pageFolder, version: "0.1.0" });
    browser = await startChromium(executablePath!);
  }, LIMIT);
  afterAll(async () => {
    await browser?.close();
    await studio?.[Symbol.asyncDispose]();
  });

  it("checks a text, proves it, and checks the proof", { timeout: 12 * LIMIT }, async () => {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(5 * LIMIT);
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    const { url, token } = studio.studio;
    await page.goto(`${new URL(url).origin}/#token=${token}`);
    await page.click("nav >> text=Prove");
    const write = async (text: string) => {
      await page.click(".cm-content");
      await page.keyboard.press("Control+a");
      await page.keyboard.press("Delete");
      await page.keyboard.insertText(text);
    };
    await write(OPEN.replace("sorry", "exact h"));
    await page.waitForSelector(".lean-message.error >> text=mismatch");
    await page.waitForSelector(".goal-line >> text=b = a");
    await write(OPEN.replace("sorry", "subst h\n  rfl"));
    await page.waitForSelector(".lean-status.good");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("End");
    await page.waitForSelector(".goal-line.removed >> text=h");

    await write(OPEN);
    await page.click("text=Open world-prover");
    await page.fill("label:has-text('Samples') input", "200");
    await page.fill("label:has-text('Seed') input", "1");
    await page.click(".prove-form button.solid");
    await page.waitForSelector("text=accepted by Lean");
    await page.waitForSelector('[role="treeitem"].proved >> nth=1');
    expect(await page.textContent(".budget-figures")).toMatch(/Checks by Lean\s*[1-9]/);
    await page.click("text=Insert into the editor");
    await page.waitForSelector(".lean-status.good >> text=complete");
    const { body: jobs } = await studio.ask("/studio/api/jobs");
    const kept = jobs.find(({ kind }: { kind: string }) => kind === "prove");
    const { body: job } = await studio.ask(`/studio/api/jobs/${kept.id}`);
    const written = await page.$$eval(".cm-line", (lines) =>
      lines.map(({ textContent }) => textContent).join("\n"),
    );
    expect(written).toBe(job.result.text);
    expect(written).not.toContain("sorry");
    expect(complaints).toEqual([]);
    await page.close();
  });
});
