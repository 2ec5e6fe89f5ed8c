/** Browsers import src/index.ts: nothing that it reaches may import a module of Node statically. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { entries } from "../scripts/support/entries.ts";

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
  visit(entry);
  return texts;
}

describe("entries", () => {
  // `prove` starts Lean in processes and keeps proofs in SQLite; `prove/browser` is its part for pages.
  const forNode = ["node", "serve", "prove"];
  it.each(entries.filter(({ name }) => !forNode.includes(name)))(
    "$specifier can be imported by a browser",
    (entry) => {
      const texts = reached(entry.source);
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

  it("prove includes everything of its part for pages", async () => {
    const [page, node] = [await import("./prove/browser.ts"), await import("./prove/index.ts")];
    expect(Object.keys(node)).toEqual(expect.arrayContaining(Object.keys(page)));
    expect(Object.keys(page)).toEqual(
      expect.arrayContaining(["openPageLean", "search", "ProofTree", "EngineGenerator", "segment"]),
    );
    for (const name of ["openLean", "ProofStore", "writePageFolder"]) expect(page).not.toHaveProperty(name);
  });

  it("the package's exports are files of src", () => {
    expect(entries.length).toBeGreaterThan(10);
    for (const { source } of entries) expect(() => readFileSync(source)).not.toThrow();
  });
});
