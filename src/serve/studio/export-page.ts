/**
 * Writes the studio's page as files that any web server can hand out: it runs models itself then. What tells it so, and the policy
 * that a server would send, stand in its head. Node only.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { readManifest } from "../../files/manifest.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { PAGE_MARK } from "./protocol.ts";

/** Where the hub sends those who ask it for large files. */
const STORAGE = ["https://*.huggingface.co", "https://*.hf.co"];

/** Headers without which browsers give a page no shared memory. */
export const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
} as const;

/** The same headers as static hosts read them: `_headers` of Netlify and Cloudflare Pages, `serve.json` of `npx serve`. */
export function headerFiles(): Readonly<Record<string, string>> {
  const headers = Object.entries(ISOLATION);
  const listed = headers.map(([key, value]) => ({ key, value }));
  return {
    _headers: `/*\n${headers.map(([name, value]) => `  ${name}: ${value}\n`).join("")}`,
    "serve.json": `${JSON.stringify({ headers: [{ source: "**", headers: listed }] }, null, 2)}\n`,
  };
}

/** The policy of the page; what `frame-ancestors` says can only come as a header. @param hub address of the hub */
export function pagePolicy(hub: string): string {
  const { origin } = new URL(hub);
  const hubs = origin === "https://huggingface.co" ? [origin, ...STORAGE] : [origin];
  return (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; " +
    `connect-src 'self' ${hubs.join(" ")}; worker-src 'self'; base-uri 'none'; form-action 'none'; ` +
    "require-trusted-types-for 'script'; trusted-types studio"
  );
}

/** The page's text with its policy and its mark. @throws ConfigError for a text that is not the page's */
export function exportedHtml(html: string, hub: string): string {
  const first = '<meta charset="utf-8" />';
  if (!html.includes(first)) {
    throw new ConfigError("the built page has no place for its policy", {
      where: "index.html",
      expected: first,
      hint: "Build it again: npm run build:studio",
    });
  }
  // Before everything that it is about.
  const policy = `<meta http-equiv="Content-Security-Policy" content="${pagePolicy(hub)}" />`;
  return html.replace(first, `${first}\n    ${policy}\n    <meta name="${PAGE_MARK}" content="${hub}" />`);
}

export interface ExportedPage {
  readonly files: number;
  readonly bytes: number;
}

/**
 * Writes the page to `folder`; an earlier page there is replaced.
 * @param page folder of the built page @param hub address of the hub, http or https
 * @throws ConfigError if something else is at `folder`, or the page is not built; FileError
 */
export async function exportPage(page: string, folder: string, hub: string): Promise<ExportedPage> {
  if (!/^https?:\/\/[\w.:[\]-]+(\/[\w./~-]*)?$/.test(hub)) {
    throw new ConfigError("the hub's address is none that a page can ask", {
      where: "HF_ENDPOINT",
      expected: "https://HOST",
      found: hub,
    });
  }
  const html = await readFile(join(page, "index.html"), "utf8").catch(() => {
    throw new ConfigError("the page is not built in this installation", {
      where: page,
      hint: "Build it with: npm run build:studio",
    });
  });
  const before = await readManifest(folder);
  if (before !== null && before.kind !== "page") {
    throw new ConfigError("the folder holds something else that this program made", {
      where: folder,
      expected: "a new folder, or an earlier export",
      found: before.kind,
      hint: "Name another folder.",
    });
  }
  const sink = await nodeFolderSink(folder, { kind: "page", force: true, durable: false });
  let [files, bytes] = [0, 0];
  try {
    const put = async (path: string, content: Uint8Array) => {
      const file = await sink.file(path);
      await file.write(content);
      await file.commit();
      files++;
      bytes += content.length;
    };
    await put("index.html", new TextEncoder().encode(exportedHtml(html, hub)));
    for (const [name, text] of Object.entries(headerFiles())) await put(name, new TextEncoder().encode(text));
    for (const name of (await readdir(join(page, "assets"))).sort())
      await put(`assets/${name}`, await readFile(join(page, "assets", name)));
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
  return { files, bytes };
}
