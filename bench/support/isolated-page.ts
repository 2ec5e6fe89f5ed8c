/** A page of Chromium with the isolation that shared memory needs, which runs one script of this folder. */
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, resolve, sep } from "node:path";
import { chromium, type Page } from "playwright-core";
import ts from "typescript";

const types: Record<string, string> = {
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/** Serves folders under the first part of the path, isolated; `/` is a page with the script. */
async function serve(folders: Readonly<Record<string, string>>, script: string) {
  const server = createServer((request, response) => {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/" || pathname === "/page.js") {
      response.setHeader("Content-Type", pathname === "/" ? "text/html" : types[".js"]);
      response.end(
        pathname === "/" ? '<!doctype html><script type="module" src="/page.js"></script>' : script,
      );
      return;
    }
    const [, first, ...rest] = pathname.split("/");
    const folder = folders[first] ?? "";
    const path = resolve(folder, rest.join("/"));
    if (folder === "" || !path.startsWith(resolve(folder) + sep) || !existsSync(path)) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", types[extname(path)] ?? "application/octet-stream");
    createReadStream(path).pipe(response);
  });
  await new Promise<void>((done) => {
    server.listen(0, "127.0.0.1", done);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}

/**
 * Opens a page whose only script is `script`, in TypeScript, which sets a global `onPage`. @param folders served under their names
 */
export async function openPage(
  executablePath: string,
  folders: Readonly<Record<string, string>>,
  script: URL,
  log: (line: string) => void,
): Promise<AsyncDisposable & { readonly page: Page; readonly version: string }> {
  const { outputText } = ts.transpileModule(readFileSync(script, "utf8"), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  await using opening = new AsyncDisposableStack();
  const site = opening.use(await serve(folders, outputText));
  const browser = await chromium.launch({
    executablePath,
    headless: false,
    args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"],
  });
  opening.defer(() => browser.close());
  const page = await browser.newPage();
  page.on("pageerror", (error) => log(`page: ${error}`));
  await page.goto(site.url);
  await page.waitForFunction(() => "onPage" in globalThis);
  const open = opening.move();
  return { page, version: browser.version(), [Symbol.asyncDispose]: () => open.disposeAsync() };
}
