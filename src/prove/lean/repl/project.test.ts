import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { projectVersion, readProject, replCommand } from "./project.ts";

let root = "";
let folder = "";
const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lean-project-"));
  folder = join(root, "mine");
  write("mine/lean-toolchain", "leanprover/lean4:v4.9.0\n");
});
afterEach(() => rmSync(root, { recursive: true }));

test("names Lean and the revision of every library", () => {
  expect(projectVersion(readProject(folder))).toBe("leanprover/lean4:v4.9.0");
  const packages = [
    { name: "mathlib", rev: "f0957a7575317490107578ebaee9efaf8e62a4ab", url: "x", type: "git" },
    { name: "batteries", rev: "54bb04c3119f24fde14b9068c4b2e69db52a1450" },
    { name: "mine", type: "path" },
  ];
  write("mine/lake-manifest.json", JSON.stringify({ version: "1.1.0", packages }));
  expect(projectVersion(readProject(folder))).toBe(
    "leanprover/lean4:v4.9.0 batteries@54bb04c3119f mathlib@f0957a757531 mine@local",
  );
});

test("says what is wrong with a folder", () => {
  expect(() => readProject(root)).toThrow("lean-toolchain");
  write("mine/lake-manifest.json", "{");
  expect(() => readProject(folder)).toThrow("no JSON");
  write("mine/lake-manifest.json", '{"packages": 3}');
  expect(() => readProject(folder)).toThrow("packages");
  write("mine/lake-manifest.json", "[]");
  expect(() => readProject(folder)).toThrow(/found: Invalid input/);
  rmSync(join(folder, "lake-manifest.json"));
  mkdirSync(join(folder, "lake-manifest.json"));
  expect(() => readProject(folder)).toThrow(/lake-manifest\.json: the file cannot be read/);
  for (const wrong of ["", "\u0000\u0001", "two words"]) {
    write("mine/lean-toolchain", wrong);
    expect(() => readProject(folder)).toThrow(/lean-toolchain: this names no Lean/);
  }
});

test("finds the REPL in the project, among its packages and beside it, and as it is named", () => {
  expect(() => replCommand(readProject(folder), undefined)).toThrow(
    "git clone https://github.com/leanprover-community/repl",
  );
  for (const place of ["repl", "mine/.lake/packages/repl", "mine"]) {
    const binary = `${place}/.lake/build/bin/${process.platform === "win32" ? "repl.exe" : "repl"}`;
    write(binary, "");
    write(`${place}/lean-toolchain`, "leanprover/lean4:v4.9.0");
    const { command, args, folder: cwd } = replCommand(readProject(folder), undefined);
    expect([command, args, cwd]).toEqual(["lake", ["env", join(root, binary)], folder]);
  }
  expect(replCommand(readProject(folder), join(root, "repl")).args[1]).toContain(join(root, "repl"));
  expect(() => replCommand(readProject(folder), join(root, "nowhere"))).toThrow("missing");
  write("repl/lean-toolchain", "leanprover/lean4:v4.28.0");
  expect(() => replCommand(readProject(folder), join(root, "repl"))).toThrow(
    "found: leanprover/lean4:v4.28.0",
  );
});
