import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { exportPage, pagePolicy } from "./export-page.ts";
import { PAGE_MARK } from "./protocol.ts";

describe("the page as files", () => {
  const base = mkdtempSync(join(tmpdir(), "export-page-"));
  const page = join(base, "built");
  const at = (name: string) => join(base, name);
  const html =
    '<!doctype html>\n<head>\n    <meta charset="utf-8" />\n    <script src="./assets/a.js"></script>\n</head>';

  beforeAll(() => {
    mkdirSync(join(page, "assets"), { recursive: true });
    writeFileSync(join(page, "index.html"), html);
    writeFileSync(join(page, "assets/a.js"), "1;");
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  it("has its policy before everything, its mark with the hub, and what hosts read headers from", async () => {
    expect(await exportPage(page, at("site"), "https://hub.test/base")).toEqual({
      files: 4,
      bytes: expect.any(Number),
    });
    expect(readdirSync(at("site")).sort()).toEqual([
      ".deepseek-ts.json",
      "_headers",
      "assets",
      "index.html",
      "serve.json",
    ]);
    const text = readFileSync(join(at("site"), "index.html"), "utf8");
    expect(text.indexOf("Content-Security-Policy")).toBeGreaterThan(text.indexOf("charset"));
    expect(text.indexOf("Content-Security-Policy")).toBeLessThan(text.indexOf("<script"));
    expect(text).toContain(`<meta name="${PAGE_MARK}" content="https://hub.test/base" />`);
    expect(text).toContain("connect-src 'self' https://hub.test;");
    expect(JSON.parse(readFileSync(join(at("site"), "serve.json"), "utf8"))).toEqual({
      headers: [
        {
          source: "**",
          headers: [
            { key: "Cross-Origin-Opener-Policy", value: "same-origin" },
            { key: "Cross-Origin-Embedder-Policy", value: "require-corp" },
          ],
        },
      ],
    });
  });

  it("lets the official hub's storage be asked too", () => {
    expect(pagePolicy("https://huggingface.co")).toContain(
      "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co;",
    );
  });

  it("replaces an earlier export, and nothing else", async () => {
    writeFileSync(join(page, "assets/b.js"), "2;");
    await exportPage(page, at("site"), "https://hub.test");
    expect(existsSync(join(at("site"), "assets/b.js"))).toBe(true);
    writeFileSync(join(at("site"), "note.txt"), "mine");
    await expect(exportPage(page, at("site"), "https://hub.test")).rejects.toThrow("note.txt");
    expect(readFileSync(join(at("site"), "note.txt"), "utf8")).toBe("mine");
    const model = await nodeFolderSink(at("model"));
    const file = await model.file("config.json");
    await file.write(new TextEncoder().encode("{}"));
    await file.commit();
    await model.commit();
    await expect(exportPage(page, at("model"), "https://hub.test")).rejects.toThrow("something else");
    expect(readdirSync(at("model"))).toContain("config.json");
  });

  it("refuses an address of the hub that would end its attribute, and a page that is not built", async () => {
    const bad = 'https://x"><script>';
    await expect(exportPage(page, at("other"), bad)).rejects.toThrow("none that a page can ask");
    await expect(exportPage(at("nothing"), at("other"), "https://x.test")).rejects.toThrow("not built");
    expect(existsSync(at("other"))).toBe(false);
  });
});
