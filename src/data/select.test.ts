import { describe, expect, it } from "vitest";
import { utf8Length } from "../text/utf8-length.ts";
import { collect } from "./corpus.ts";
import { ALL_FILTERS, letterFraction, lineStatistics, rejectedBy, visibleHtmlText } from "./filters.ts";
import { isIgnored, parseIgnoreFile } from "./gitignore.ts";
import { hash128, hashUnit } from "./hash.ts";
import { hasExtension, newReport, presetExtensions, selectCorpus } from "./select.ts";

const code = "export const value = compute(first, second);\n".repeat(5);

describe("content filters", () => {
  it.each([
    ["a.ts", code, null],
    ["a.ts", `const a = "${"x".repeat(1001)}";\n${code}`, "lineLength"],
    ["a.ts", `const word = "${"word ".repeat(22)}";\n`.repeat(3), "lineLength"],
    ["a.txt", `${"A paragraph of prose is one line. ".repeat(40)}\n`.repeat(3), null],
    ["a.ts", "0x12, 0x13, 0x14, 1234, 5678, 9012\n".repeat(10), "alphabetic"],
    ["a.svg.ts", `<?xml version="1.0"?>\n${code}`, "xml"],
    ["a.xslt", `<?xml version="1.0"?>\n${code}`, null],
    ["a.html", `<html><script>${code}</script><p>short</p></html>`, "html"],
    ["a.html", `<p>${"plain words to read here\n".repeat(10)}</p>`, null],
    ["a.json", '{ "name": 1 }', "dataSize"],
    ["a.yaml", `${"key: some value\n".repeat(10)}`, null],
    ["a.yml", `${"key: some value\n".repeat(400)}`, "dataSize"],
    ["a.min.js", code, "minified"],
    ["a.js", "var a=function(b){return b}".repeat(300), "minified"],
  ])("%s", (path, text, rule) => {
    expect(rejectedBy(path, text)).toBe(rule);
    if (rule) expect(rejectedBy(path, text, { ...ALL_FILTERS, [rule]: false })).not.toBe(rule);
  });

  it("counts lines, letters and visible text", () => {
    expect(lineStatistics("ab\r\ncdef\n")).toEqual({ count: 2, mean: 3, longest: 4 });
    expect(lineStatistics("")).toEqual({ count: 0, mean: 0, longest: 0 });
    expect(letterFraction("ab12")).toBe(0.5);
    expect(letterFraction("中文é1")).toBe(0.75);
    expect(letterFraction("𝐀1")).toBeCloseTo(2 / 3);
    expect(letterFraction("")).toBe(0);
    expect(visibleHtmlText("<style>x{}</style><b>a</b> <!-- c -->b")).toBe("a b");
  });
});

describe("gitignore patterns", () => {
  const ignored = (patterns: string, path: string, directory = false, base = "") =>
    isIgnored([parseIgnoreFile(patterns, base)], path, directory);

  it.each([
    ["*.log", "a/b.log", true],
    ["/a.log", "b/a.log", false],
    ["/a.log", "a.log", true],
    ["doc/*.txt", "doc/a.txt", true],
    ["doc/*.txt", "x/doc/a.txt", false],
    ["doc/*.txt", "doc/x/a.txt", false],
    ["**/foo", "a/b/foo", true],
    ["**/foo", "foo", true],
    ["a/**/b", "a/b", true],
    ["a/**/b", "a/x/y/b", true],
    ["a/**", "a/x/y", true],
    ["a/**", "a", false],
    ["foo**bar", "fooxbar", true],
    ["?.ts", "a.ts", true],
    ["?.ts", "ab.ts", false],
    ["[a-c].ts", "b.ts", true],
    ["[!a-c].ts", "b.ts", false],
    ["[]-].ts", "].ts", true],
    ["# comment", "# comment", false],
    ["\\#x", "#x", true],
    ["\\!x", "!x", true],
    ["x  ", "x", true],
    ["x\\ ", "x ", true],
    ["*.ts\n!keep.ts", "keep.ts", false],
    ["!keep.ts\n*.ts", "keep.ts", true],
    ["a+b(c)", "a+b(c)", true],
    ["[z-a].ts", "b.ts", false],
  ])("%j on %s: %s", (patterns, path, expected) => expect(ignored(patterns, path)).toBe(expected));

  it("tells directories from files and nested files override outer ones", () => {
    expect(ignored("build/", "x/build", true)).toBe(true);
    expect(ignored("build/", "x/build", false)).toBe(false);
    const files = [parseIgnoreFile("*.gen"), parseIgnoreFile("!*.gen\n/only", "src")];
    expect(isIgnored(files, "a.gen", false)).toBe(true);
    expect(isIgnored(files, "src/a.gen", false)).toBe(false);
    expect(isIgnored(files, "src/only", false)).toBe(true);
    expect(isIgnored(files, "src/x/only", false)).toBe(false);
    expect(isIgnored(files, "srcs/only", false)).toBe(false);
  });
});

describe("selectCorpus", () => {
  const files = [
    { path: "src/a.ts", text: code },
    { path: "src/data.bin", text: code },
    { path: ".git/x.ts", text: code },
    { path: "dist/x.ts", text: code },
    { path: "node_modules/p/dist/x.d.ts", text: code },
    { path: "src/zero.ts", text: "a\0b" },
    { path: "src/empty.ts", text: " \n" },
    { path: "src/b.ts", text: code },
  ];

  it("applies path rules and counts each drop", async () => {
    const report = newReport();
    const kept = await collect(selectCorpus(files, { extensions: "typescript" }, report));
    expect(kept.map((f) => f.path)).toEqual(["src/a.ts", "src/b.ts"]);
    expect(report).toEqual({
      seen: 8,
      kept: 2,
      keptBytes: 2 * code.length,
      dropped: { extension: 1, ignoredFolder: 2, nodeModules: 1, binary: 1, empty: 1 },
    });
  });

  it("enters packages on request, build folders there included, and honors caps", async () => {
    const report = newReport();
    const options = { includeNodeModules: true, maxBytes: 2 * code.length + 3, extensions: ["ts"] };
    const kept = await collect(selectCorpus(files, options, report));
    expect(kept.map((f) => f.path)).toEqual(["src/a.ts", "node_modules/p/dist/x.d.ts"]);
    expect(report.dropped.cap).toBe(1);
    expect(await collect(selectCorpus(files, { maxFileBytes: 10 }))).toEqual([]);
  });

  it("refuses bad options", async () => {
    expect(() => presetExtensions([])).toThrow(/selects nothing/);
    expect(() => presetExtensions("prose" as "text")).toThrow(/preset/);
    await expect(collect(selectCorpus([], { maxBytes: 0 }))).rejects.toThrow(/positive/);
    expect(hasExtension("a.d.ts", ["d.ts"])).toBe(true);
    expect(hasExtension("b.ts", ["d.ts"])).toBe(false);
  });
});

describe("hashes and lengths", () => {
  it("counts UTF-8 bytes", () => {
    for (const text of ["", "a", "é", "中", "😀x", "\ud800", "\udc00\ud800"]) {
      expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length);
    }
  });

  it("separates similar texts and seeds, and is uniform", () => {
    const keys = new Set<string>();
    for (let i = 0; i < 2000; i++) keys.add(hash128(`file-${i}`).join());
    for (let i = 0; i < 20; i++) keys.add(hash128("\0".repeat(i)).join());
    expect(keys.size).toBe(2020);
    expect(hash128("a", 1)).not.toEqual(hash128("a", 2));
    let sum = 0;
    for (let i = 0; i < 4000; i++) sum += hashUnit(`p${i}`, 7);
    expect(Math.abs(sum / 4000 - 0.5)).toBeLessThan(0.02);
  });
});
