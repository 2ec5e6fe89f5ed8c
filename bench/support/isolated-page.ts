/** A page of Chromium with the isolation that shared memory needs, which runs one script. */
import { readFileSync } from "node:fs";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import ts from "typescript";
import { withTemporaryFolder } from "../../src/files/temporary.ts";
import { openPage, serveSite, startChromium } from "../../test/browser/chromium.ts";

/**
 * Opens a page whose only script is `script`, in TypeScript, which sets a global `onPage`, and closes it after `work`.
 * @param folders served under their names
 */
export async function withPage<T>(
  executablePath: string,
  folders: Readonly<Record<string, string>>,
  script: URL,
  work: (page: Page, version: string) => Promise<T>,
): Promise<T> {
  const { outputText } = ts.transpileModule(readFileSync(script, "utf8"), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  return await withTemporaryFolder("deepseek-ts-page-", async (site) => {
    for (const [name, folder] of Object.entries(folders)) await symlink(folder, join(site, name));
    await writeFile(join(site, "page.js"), outputText);
    await using served = await serveSite(site);
    const browser = await startChromium(executablePath);
    const complaints: string[] = [];
    try {
      const page = await openPage(browser, served.url, complaints);
      await page.waitForFunction(() => "onPage" in globalThis);
      return await work(page, browser.version());
    } catch (error) {
      throw complaints.length === 0 ? error : new Error(complaints.join("\n"), { cause: error });
    } finally {
      await browser.close();
    }
  });
}
