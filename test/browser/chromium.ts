/** Finds an installed Chromium, builds the package beside this file and serves it as a static site. */
import { execFileSync } from "node:child_process";
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, extname, join, resolve, sep } from "node:path";
import ts from "typescript";

const root = join(import.meta.dirname, "../..");
/** The site: dist/ and kernels/build/ lie in it as they lie in the package. */
export const site = join(import.meta.dirname, ".build");

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Packages that the built code imports by name in a browser; bundlers resolve them, here the page's import map does. */
const decoders = ["@jsquash/jpeg", "@jsquash/png", "@jsquash/webp"];

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

/** Compiles src/ (types are checked elsewhere), copies the kernels, and strips the types of this folder's files. */
export function buildSite(): void {
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
  const names = ["page", "ten-steps", "worker", "chat-request", "host-worker", "world-job", "image-job"];
  for (const name of names) {
    const { outputText } = ts.transpileModule(readFileSync(join(import.meta.dirname, `${name}.ts`), "utf8"), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(site, `${name}.js`), outputText);
  }
}

const types: Record<string, string> = {
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

const html = `<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>deepseek.ts</title>
<script type="importmap">${JSON.stringify({
  imports: Object.fromEntries(decoders.map((name) => [`${name}/`, `/modules/${name}/`])),
})}</script>
<script type="module" src="/page.js"></script>
`;

export interface Site extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for and are not there. */
  readonly missing: readonly string[];
}

/** Serves the site on a free port of this machine. The page `/plain` is the only one without isolation. */
export async function serveSite(): Promise<Site> {
  const missing: string[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (pathname !== "/plain") {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    response.setHeader("Cache-Control", "no-store");
    if (pathname === "/" || pathname === "/plain") {
      response.setHeader("Content-Type", "text/html");
      response.end(html);
      return;
    }
    const path = resolve(site, `.${decodeURIComponent(pathname)}`);
    if (!path.startsWith(site + sep) || !existsSync(path)) {
      missing.push(pathname);
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", types[extname(path)] ?? "application/octet-stream");
    response.end(readFileSync(path));
  });
  await new Promise<void>((done) => {
    server.listen(0, "127.0.0.1", done);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    missing,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}
