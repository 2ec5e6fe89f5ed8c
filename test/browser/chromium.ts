/** Finds an installed Chromium and starts it; builds the package beside this file and serves it as a static site. */
import { execFileSync } from "node:child_process";
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, extname, join, resolve, sep } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import ts from "typescript";

const root = join(import.meta.dirname, "../..");

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Packages that the built code imports by name in a browser, as bundlers resolve them. */
const decoders = ["@jsquash/jpeg", "@jsquash/png", "@jsquash/webp"];

const withAddresses = (code: string) =>
  decoders.reduce((text, name) => text.replaceAll(`import("${name}/`, `import("/modules/${name}/`), code);

/** Path of a Chromium: CHROMIUM_PATH, or a usual name on the PATH; null if there is none. */
export function findChromium(): string | null {
  const given = process.env.CHROMIUM_PATH;
  if (given !== undefined) {
    if (!executable(given)) throw new Error(`CHROMIUM_PATH is no executable file: ${given}`);
    return given;
  }
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/bin"];
  for (const name of names) {
    for (const folder of folders) if (executable(join(folder, name))) return join(folder, name);
  }
  return null;
}

/** Starts it with a fresh profile. */
export function startChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    headless: false,
    // In the C locale it names no download beyond ASCII.
    env: { ...process.env, LC_ALL: "C.UTF-8" },
    // biome-ignore format: one line per kind
    args: [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A page at an address, whose errors join `complaints`. */
export async function openPage(browser: Browser, url: string, complaints: string[]): Promise<Page> {
  const page = await browser.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(url);
  return page;
}

/**
 * Compiles src/ (types are checked elsewhere), copies the kernels, and strips the types of this folder's programs.
 * @returns the folder of the site: dist/ and kernels/build/ lie in it as they lie in the package
 */
export function buildSite(name: string): string {
  const site = join(import.meta.dirname, ".build", name);
  rmSync(site, { recursive: true, force: true });
  mkdirSync(site, { recursive: true });
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const options = [
    "--outDir",
    join(site, "dist"),
    "--noCheck",
    "--declaration",
    "false",
    "--sourceMap",
    "false",
  ];
  execFileSync(
    process.execPath,
    [compiler, "-p", join(root, "tsconfig.build.json"), ...options, "--inlineSources", "false"],
    { cwd: root, stdio: "pipe" },
  );
  const kernels = join(root, "kernels/build");
  if (!existsSync(join(kernels, "kernels.json"))) {
    throw new Error("kernels/build is empty: run `npm run build:kernels`");
  }
  cpSync(kernels, join(site, "kernels/build"), { recursive: true });
  for (const name of decoders) {
    cpSync(join(root, "node_modules", name), join(site, "modules", name), { recursive: true });
  }
  const programs = readdirSync(import.meta.dirname).filter((file) => /^[-a-z]+\.ts$/.test(file));
  for (const file of programs.filter((each) => each !== "chromium.ts")) {
    const { outputText } = ts.transpileModule(readFileSync(join(import.meta.dirname, file), "utf8"), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(site, file.replace(/\.ts$/, ".js")), outputText);
  }
  return site;
}

const types: Record<string, string> = {
  ".html": "text/html",
  ".css": "text/css",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

const html = `<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>deepseek.ts</title>
<script type="module" src="/page.js"></script>
`;

export interface Site extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for, in their order. */
  readonly asked: readonly string[];
  /** Paths that were asked for and are not there. */
  readonly missing: readonly string[];
}

/**
 * Serves a folder on a free port of this machine, with `page` as what `/` shows. The page `/plain` is the only one without
 * isolation.
 */
export async function serveSite(folder: string, page: string = html): Promise<Site> {
  const asked: string[] = [];
  const missing: string[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    asked.push(pathname);
    if (pathname !== "/plain") {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    response.setHeader("Cache-Control", "no-store");
    if (pathname === "/" || pathname === "/plain") {
      response.setHeader("Content-Type", "text/html");
      response.end(page);
      return;
    }
    const path = resolve(folder, `.${decodeURIComponent(pathname)}`);
    if (!path.startsWith(folder + sep) || !existsSync(path)) {
      missing.push(pathname);
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", types[extname(path)] ?? "application/octet-stream");
    const bytes = readFileSync(path);
    // As a bundler does; workers have no import map.
    response.end(path.endsWith("wasm-decoder.js") ? withAddresses(bytes.toString()) : bytes);
  });
  await new Promise<void>((done) => {
    server.listen(0, "127.0.0.1", done);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    missing,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}
