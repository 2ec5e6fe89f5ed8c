/** The page in Chromium: every report of the policy, every error, and every request that leaves its origin fails a test. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { build } from "vite";
import { expect } from "vitest";
import { pageFolder, StubServer, type StubSettings } from "./stub-server.ts";

const config = join(import.meta.dirname, "../../../src/studio/vite.config.ts");

/** Builds the page beside the tests. */
export async function buildPage(): Promise<string> {
  await build({ configFile: config, build: { outDir: pageFolder, emptyOutDir: true } });
  return pageFolder;
}

export async function startStub(
  settings: Omit<StubSettings, "folder"> & { folder?: string },
): Promise<StubServer> {
  const stub = new StubServer({ folder: pageFolder, ...settings });
  await stub.start();
  return stub;
}

export const WIDE = { viewport: { width: 1440, height: 900 } };
export const NARROW = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

export interface OpenStudio {
  readonly page: Page;
  /** What must not happen and did. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** Errors of loading that a test brings about itself, by ending the server or refusing. */
const NETWORK = /Failed to load resource|net::ERR/;

export async function openStudio(
  browser: Browser,
  stub: Pick<StubServer, "url">,
  options: BrowserContextOptions = WIDE,
  hash = "",
): Promise<OpenStudio> {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const complaints: string[] = [];
  const page = await watchedPage(context, stub, complaints);
  await page.goto(`${stub.url}/${hash}`);
  return { page, complaints, close: () => context.close() };
}

/** Another page of the same browser: it shares what the first one keeps. */
export async function watchedPage(
  context: import("playwright-core").BrowserContext,
  stub: Pick<StubServer, "url">,
  complaints: string[],
): Promise<Page> {
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !NETWORK.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${stub.url}/`) && !/^(blob|data):/.test(url))
      complaints.push(`foreign request: ${url}`);
  });
  await page.exposeFunction("reportViolation", (text: string) => {
    complaints.push(`policy: ${text}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) =>
      (globalThis as unknown as { reportViolation(text: string): void }).reportViolation(
        `${violatedDirective} ${blockedURI} ${sample}`,
      ),
    );
  });
  return page;
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Expects no violation of WCAG 2.2 AA that axe can see. Its script comes by evaluation: the policy refuses script tags. */
export async function expectAccessible(page: Page, where: string): Promise<void> {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await axe.run(document, { runOnly: tags });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)}: ${failureSummary}`),
    );
  });
  expect(found, where).toEqual([]);
}
