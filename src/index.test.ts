/** Browsers import src/index.ts: nothing that it reaches may import a module of Node statically. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const source = dirname(fileURLToPath(import.meta.url));

function reached(entry: string): Map<string, string> {
  const texts = new Map<string, string>();
  const visit = (path: string) => {
    if (texts.has(path)) return;
    const text = readFileSync(path, "utf8");
    texts.set(path, text);
    for (const [, target] of text.matchAll(/^(?:import|export)\s(?!type\b)[^;]*?from "(\.[^"]+)"/gm)) {
      visit(join(dirname(path), target));
    }
  };
  visit(join(source, entry));
  return texts;
}

describe("entries", () => {
  const folders = "json tensor models checkpoint tokenizer pretrained jobs chat engine data train".split(" ");
  it.each(["index.ts", ...folders.map((folder) => `${folder}/index.ts`)])(
    "%s can be imported by a browser",
    (entry) => {
      const texts = reached(entry);
      expect(texts.size).toBeGreaterThan(2);
      for (const [path, text] of texts) {
        expect(/^import\s(?!type\b)[^;]*?from "(?!\.)[^"]+"/m.exec(text)?.[0], path).toBeUndefined();
      }
    },
  );

  it("node.ts includes everything of index.ts and adds files", async () => {
    const [index, node] = [await import("./index.ts"), await import("./node.ts")];
    expect(Object.keys(node)).toEqual(expect.arrayContaining(Object.keys(index)));
    expect(Object.keys(node)).toEqual(
      expect.arrayContaining(["nodeFolder", "prepareRun", "Run", "checkParity"]),
    );
  });

  it("the package's exports and the files of src agree", () => {
    const { exports } = JSON.parse(readFileSync(join(source, "../package.json"), "utf8"));
    for (const target of Object.values(exports)) {
      if (typeof target === "string") continue;
      const { types, default: code } = target as { types: string; default: string };
      expect(types.replace(/\.d\.ts$/, "")).toBe(code.replace(/\.js$/, ""));
      expect(() =>
        readFileSync(join(source, code.replace("./dist/", "").replace(/\.js$/, ".ts"))),
      ).not.toThrow();
    }
  });
});
