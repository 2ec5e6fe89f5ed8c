/** Files written whole or not at all, text read strictly, and errors of the system in words. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FormatError } from "../tensor/errors.ts";
import { explained, FileError, fileError } from "./file-error.ts";
import { nodeFileSink, writeTextFile } from "./file-sink.ts";
import { appendToOwnFile, replaceOwnFile, truncateOwnFile } from "./owned.ts";
import { temporaryName, withTemporaryFolder } from "./temporary.ts";
import { readJsonFile, readTextFile, readTextIfThere } from "./text-file.ts";
import { firstInvalid, strictText } from "./utf8.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "file-sink-"));
  path = join(dir, "f");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const read = () => readFileSync(path, "utf8");
const ours = { force: true, isOurs: async (there: string) => readFileSync(there, "utf8").startsWith("ours") };

describe("a file", () => {
  it("shows only at commit, and nothing is left of one that is dropped", async () => {
    const sink = await nodeFileSink(path);
    await sink.write(new TextEncoder().encode("ours "));
    await sink.write(new TextEncoder().encode("1"));
    expect(() => read()).toThrow(/ENOENT/);
    await sink.commit();
    expect(read()).toBe("ours 1");
    const dropped = await nodeFileSink(join(dir, "g"));
    await dropped.write(Uint8Array.of(1));
    await dropped.abort();
    expect(readdirSync(dir)).toEqual(["f"]);
    if (process.platform !== "win32") expect(statSync(path).mode & 0o777).toBe(0o666 & ~process.umask());
  });

  it("is replaced only with force, only where it is ours, and keeps its rights", async () => {
    await writeTextFile(path, "ours 1");
    await expect(writeTextFile(path, "ours 2")).rejects.toThrow(/already exists/);
    await expect(writeTextFile(path, "ours 2", { force: true })).rejects.toThrow(
      /not written by this program/,
    );
    if (process.platform !== "win32") chmodSync(path, 0o600);
    await writeTextFile(path, "ours 2", ours);
    expect(read()).toBe("ours 2");
    if (process.platform !== "win32") expect(statSync(path).mode & 0o777).toBe(0o600);
    writeFileSync(path, "thesis");
    await expect(writeTextFile(path, "ours 3", ours)).rejects.toThrow(/not written by this program/);
    expect(read()).toBe("thesis");
    await expect(writeTextFile(path, "ours 3", { ...ours, sources: [path] })).rejects.toThrow(/what is read/);
    expect(readdirSync(dir)).toEqual(["f"]);
  });

  it("goes where a link leads, and neither into folders nor devices nor folders that are not there", async () => {
    writeFileSync(join(dir, "target"), "ours 1");
    symlinkSync("target", path);
    await writeTextFile(path, "ours 2", ours);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(dir, "target"), "utf8")).toBe("ours 2");
    mkdirSync(join(dir, "d"));
    await expect(writeTextFile(join(dir, "d"), "x", ours)).rejects.toThrow(/a folder of this name/);
    await expect(writeTextFile(join(dir, "a", "b", "c"), "x")).rejects.toThrow(
      `its folder does not exist. Create it first: mkdir -p ${join(dir, "a", "b")}`,
    );
    await expect(writeTextFile(join(dir, "target", "c"), "x")).rejects.toThrow(/part of the path is a file/);
    if (process.platform === "linux")
      await expect(writeTextFile("/dev/null", "x", ours)).rejects.toThrow(/no ordinary/);
  });

  it("that appears meanwhile stays, and so does what was written", async () => {
    for (const force of [false, true]) {
      const sink = await nodeFileSink(path, { ...ours, force });
      await sink.write(new TextEncoder().encode("ours"));
      writeFileSync(path, "thesis");
      const error = await sink.commit().catch((e: Error) => e);
      await sink.abort();
      expect(String(error)).toMatch(/could not be renamed into place; found: it is whole/);
      expect(read()).toBe("thesis");
      const kept = readdirSync(dir).find((name) => name.startsWith("f.tmp-"))!;
      expect(String(error)).toContain(kept);
      expect(readFileSync(join(dir, kept), "utf8")).toBe("ours");
      rmSync(path);
      rmSync(join(dir, kept));
    }
  });

  it("half written by a process that died is cleared by the next", async () => {
    writeFileSync(temporaryName(path, "tmp").replace(`-${process.pid}-`, `-${2 ** 30}-`), "half");
    await writeTextFile(path, "ours");
    expect(readdirSync(dir)).toEqual(["f"]);
  });

  it.skipIf(!process.features.typescript)("half written goes when the process ends by itself", () => {
    const module = JSON.stringify(new URL("./file-sink.ts", import.meta.url).href);
    const script = `
      const { nodeFileSink } = await import(${module});
      const sink = await nodeFileSink(${JSON.stringify(path)});
      await sink.write(new Uint8Array(10));
      process.exit(3);`;
    const { status } = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
    expect(status).toBe(3);
    expect(readdirSync(dir)).toEqual([]);
  });

  it("of ours is replaced, lengthened and cut in place", async () => {
    await replaceOwnFile(path, "one\n");
    await replaceOwnFile(path, "two\n");
    await appendToOwnFile(path, "three\n");
    expect(read()).toBe("two\nthree\n");
    await truncateOwnFile(path, 4);
    expect(read()).toBe("two\n");
    expect(readdirSync(dir)).toEqual(["f"]);
    await expect(appendToOwnFile(join(dir, "no", "f"), "x")).rejects.toThrow(/its folder does not exist/);
  });

  it("among the temporary ones goes, also when the work fails", async () => {
    let folder = "";
    const work = withTemporaryFolder("deepseek-ts-test-", async (made) => {
      folder = made;
      writeFileSync(join(made, "x"), "x");
      throw new Error("no");
    });
    await expect(work).rejects.toThrow("no");
    expect(() => statSync(folder)).toThrow(/ENOENT/);
  });
});

describe("errors of the system", () => {
  const codes = [
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "EACCES",
    "ENOENT",
    "ENOTDIR",
    "EISDIR",
    "EFBIG",
    "EIO",
    "EBUSY",
  ];
  it.each(codes)("%s names the file and the next step", (code) => {
    const error = fileError(Object.assign(new Error(`${code}: write`), { code }), "/x/y", "write");
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).code).toBe(code);
    expect((error as FileError).message).toMatch(/^\/x\/y: [a-z][a-z, -]+[a-z]\. [A-Z].*[^;]$/);
    expect((error as FileError).message).not.toContain(code);
  });

  it("leave other errors, and those explained already, as they are", async () => {
    const other = new RangeError("no");
    expect(fileError(other, "/x", "read")).toBe(other);
    const inner = explained("/inner", "read", () => readTextFile("/nowhere/at/all"));
    await expect(explained("/outer", "write", () => inner)).rejects.toThrow(
      /^\/nowhere\/at\/all: no such file/,
    );
  });
});

describe("text", () => {
  it("is read with its byte-order mark and line ends, or refused with the place", async () => {
    writeFileSync(path, "\ufeffa\r\nb");
    expect(await readTextFile(path)).toBe("\ufeffa\r\nb");
    expect(await readTextIfThere(join(dir, "none"))).toBe(null);
    const refused: [number[], RegExp][] = [
      [
        [0x61, 0x0a, 0xc3, 0xa9, 0xe9, 0x0a],
        /not UTF-8 text; found: 0xE9 at byte 4 \(line 2, column 2\).*LATIN1/,
      ],
      [[0xff, 0xfe, 0x61, 0], /not UTF-8 text; found: 0xFF at byte 0 \(line 1, column 1\).*UTF-16/],
      [[0x61, 0xe2, 0x82], /ends inside a character; found: 0xE2 at byte 1/],
      [[0xed, 0xa0, 0x80], /not UTF-8 text; found: 0xED at byte 0/],
      [[0xc0, 0x80], /not UTF-8 text; found: 0xC0/],
    ];
    for (const [bytes, message] of refused) {
      writeFileSync(path, Uint8Array.from(bytes));
      await expect(readTextFile(path)).rejects.toThrow(message);
      await expect(readTextFile(path)).rejects.toThrow(FormatError);
    }
    await expect(readTextFile(join(dir, "none"))).rejects.toThrow(
      /none: no such file or folder. Check the path/,
    );
    await expect(readTextFile(dir)).rejects.toThrow(/a folder, not a file/);
  });

  it("is the decoder's, and an invalid byte is found where the decoder finds one", () => {
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80),
    );
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 12 }), (list) => {
        const bytes = Uint8Array.from(list);
        const wrong = firstInvalid(bytes);
        const decodes = (part: Uint8Array) => {
          try {
            strictText("x", part);
            return true;
          } catch {
            return false;
          }
        };
        expect(wrong === null).toBe(decodes(bytes));
        if (wrong === null) return;
        expect(decodes(bytes.subarray(0, wrong.at))).toBe(true);
        for (let more = 1; more <= 4; more++) expect(decodes(bytes.subarray(0, wrong.at + more))).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it("of JSON names what is wrong", async () => {
    writeFileSync(path, '\ufeff{"a": 1}');
    expect(await readJsonFile(path)).toEqual({ a: 1 });
    writeFileSync(path, '{"a": }');
    await expect(readJsonFile(path)).rejects.toThrow(/f: not valid JSON; found: .* at line 1, column 7/);
  });
});
