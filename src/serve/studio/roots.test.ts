import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MOST_ENTRIES, Roots } from "./roots.ts";
import { startTestStudio, testFolder } from "./testing.ts";

const outside = testFolder();
const folder = testFolder();
let roots: Roots;
const work = (path: string) => ({ root: "work", path });
beforeAll(async () => {
  const at = join(folder.path, "work");
  mkdirSync(join(at, "inner"), { recursive: true });
  mkdirSync(join(folder.path, "work-beside"));
  writeFileSync(join(at, "inner", "a.txt"), "text");
  writeFileSync(join(outside.path, "secret.txt"), "secret");
  writeFileSync(join(folder.path, "work-beside", "b.txt"), "beside");
  symlinkSync(outside.path, join(at, "away"));
  symlinkSync(join(outside.path, "secret.txt"), join(at, "secret.txt"));
  symlinkSync(join(at, "inner"), join(at, "within"));
  symlinkSync("/nowhere/at/all", join(at, "dangling"));
  roots = await Roots.open([at, join(folder.path, "later")]);
});
afterAll(() => {
  outside.remove();
  folder.remove();
});

it.skipIf(process.platform === "win32")("waits for nothing that is no plain file", async () => {
  execFileSync("mkfifo", [join(folder.path, "work", "pipe")]);
  for (const path of ["pipe", "inner"]) {
    await expect(roots.openFile(work(path))).rejects.toThrow(/nothing at/);
  }
  rmSync(join(folder.path, "work", "pipe"));
});

const refused = [
  ...[
    "..",
    "../work-beside/b.txt",
    "inner/../../work-beside",
    "inner/..",
    "./inner",
    "/etc/passwd",
    "inner//a.txt",
  ],
  ...[
    "..\\work-beside",
    "inner\\a.txt",
    "C:/x",
    "inner/a.txt\0",
    "away",
    "away/secret.txt",
    "secret.txt",
    "dangling",
  ],
  ...["within/../../work-beside", "x".repeat(2000)],
];

describe("roots", () => {
  it.each(refused)("do not reach %j", async (path) => {
    await expect(roots.resolve(work(path))).rejects.toThrow(/no path below|nothing at/);
    await expect(roots.openFile(work(path))).rejects.toThrow(/no path below|nothing at/);
    await expect(roots.entries(work(path))).rejects.toThrow(/no path below|nothing at/);
  });

  it.each([
    "..",
    "../new",
    "away/new",
    "away",
    "secret.txt",
    "dangling",
    "a/../../new",
    ".hidden",
    "a/.b/c",
    "",
  ])("have no place for something new at %j", async (path) => {
    await expect(roots.place(work(path))).rejects.toThrow(/no path below|nothing at|hidden|below the root/);
  });

  it("reach what is below them, also by links that stay inside, and what is to come", async () => {
    await using file = await roots.openFile(work("within/a.txt"));
    expect(await file.readFile("utf8")).toBe("text");
    expect(await roots.place(work("within/new/run"))).toMatch(/within\/new\/run$/);
    expect(await roots.place({ root: "later", path: "first" })).toBe(join(folder.path, "later", "first"));
    expect(await roots.entries({ root: "later", path: "" })).toMatchObject({ entries: [], more: false });
    await expect(roots.entries({ root: "other", path: "" })).rejects.toThrow("no root 'other'");
    expect(roots.parse("work/inner/a.txt")).toEqual(work("inner/a.txt"));
    expect(roots.parse("org/name")).toBeNull();
  });

  it("tell nothing of links that lead outside", async () => {
    const { entries } = await roots.entries(work(""));
    expect(entries.map(({ name, folder }) => [name, folder])).toEqual([
      ["inner", true],
      ["within", true],
    ]);
  });

  it("tell so many entries and no more", async () => {
    const many = join(folder.path, "work", "many");
    mkdirSync(many);
    for (let i = 0; i <= MOST_ENTRIES; i++) writeFileSync(join(many, `${i}.txt`), "");
    const { entries, more } = await roots.entries(work("many"));
    expect([entries.length, more]).toEqual([MOST_ENTRIES, true]);
  });
});

it("are not left by way of addresses", async () => {
  await using t = await startTestStudio({ model: null, roots: [join(folder.path, "work")] });
  for (const path of [
    "..",
    "%2e%2e",
    "..%2fwork-beside",
    "inner%2f..%2f..",
    "%2fetc",
    "away",
    "inner%5c..%5c..",
  ]) {
    const { status, body } = await t.ask(`/studio/api/files?root=work&path=${path}`);
    expect([path, status, Object.keys(body)]).toEqual([
      path,
      expect.toSatisfy((s) => s === 400 || s === 404),
      ["error"],
    ]);
  }
  const { body } = await t.ask("/studio/api/files?root=work&path=inner");
  expect(body.entries).toMatchObject([{ name: "a.txt", folder: false, size: 4, holds: null }]);
});
