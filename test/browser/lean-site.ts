/** A site in Chromium with the package, the small prover and the embedded Lean in pages' files. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { writePageFolder } from "../../src/prove/lean/wasm/page-folder.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { cache, missing } from "../lean/embedded-lean.ts";
import { buildSite, findChromium, openPage, type Site, serveSite, startChromium } from "./chromium.ts";

const executablePath = findChromium();

/** Why there can be no such site, or null. */
export const absent = executablePath === null ? "no Chromium is installed" : missing;

export interface LeanSite extends AsyncDisposable {
  readonly folder: string;
  readonly server: Site;
  readonly browser: Browser;
  readonly page: Page;
  /** What the page's console complained about. */
  readonly complaints: string[];
  /** Large files that were asked for, from the request `from` on. */
  large(from: number): string[];
}

export async function openLeanSite(): Promise<LeanSite> {
  const folder = buildSite("lean");
  cpSync(join(import.meta.dirname, "../../models/world-prover"), join(folder, "world-prover"), {
    recursive: true,
  });
  await writePageFolder(join(folder, "lean"), await prepareLean({ cache }));
  const complaints: string[] = [];
  const server = await serveSite(folder);
  const browser = await startChromium(executablePath!);
  const page = await openPage(browser, server.url, complaints);
  return {
    ...{ folder, server, browser, page, complaints },
    large: (from) => server.asked.slice(from).filter((path) => path.endsWith(".gz")),
    async [Symbol.asyncDispose]() {
      await browser.close();
      await server[Symbol.asyncDispose]();
    },
  };
}
