/** The page of examples/prove-page as a bundler builds it, used in Chromium as by hand: a theorem, its proof, one that is false. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writePageFolder } from "../../src/prove/lean/wasm/page-folder.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { cache, LIMIT, missing } from "../lean/embedded-lean.ts";
import { findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";
import { buildExample } from "./example-site.ts";

const executablePath = findChromium();
const absent = executablePath === null ? "no Chromium is installed" : missing;

describe.skipIf(absent !== null)(`the example's page that proves ${absent ?? ""}`, () => {
  let server: Site;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    const { folder, page: html } = await buildExample("prove-page", "prove-page");
    cpSync(join(import.meta.dirname, "../../models/world-prover"), join(folder, "model"), {
      recursive: true,
    });
    await writePageFolder(join(folder, "lean"), await prepareLean({ cache }));
    server = await serveSite(folder, html);
    browser = await startChromium(executablePath!);
    page = await openPage(browser, server.url, complaints);
  }, 10 * LIMIT);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const state = (wanted: RegExp) =>
    page.waitForFunction(
      ([source]) => new RegExp(source).test(document.getElementById("state")!.textContent!),
      [wanted.source],
      { timeout: 4 * LIMIT },
    );

  it("shows a proof that Lean accepts, and what Lean says of the others", {
    timeout: 10 * LIMIT,
  }, async () => {
    await state(/^Ready/);
    await page.click("#prove");
    await state(/^Proved/);
    expect(await page.textContent("#proof")).toMatch(/^theorem add_swap .*:= by/);
    await page.fill("#statement", "theorem wrong (n : Nat) : n = n + 1 := by");
    await page.click("#prove");
    await page.waitForSelector("#tried li", { timeout: 4 * LIMIT });
    await page.click("#stop");
    await state(/^Stopped/);
    expect(await page.textContent("#proof")).toBe("");
    expect(await page.textContent("#tried li:last-child")).not.toMatch(/^proved/);
    await page.fill("#statement", "theorem odd (n : Nope) : n = n := by");
    await page.click("#prove");
    await state(/does not accept the statement/);
    expect(complaints).toEqual([]);
  });
});
