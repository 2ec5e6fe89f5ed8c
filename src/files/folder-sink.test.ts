/** The one rule for folders: what this program did not make stays, and a death leaves the old or the new one whole. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { type FolderOptions, nodeFolderSink, recoverFolder, stageFolder } from "./folder-sink.ts";
import { foreignEntries, MANIFEST, readManifest } from "./manifest.ts";
import { clearAbandonedIn, removeOwnFolder } from "./owned.ts";
import { checkName } from "./place.ts";
import { writeWhole } from "./sink.ts";
import { isAbandoned, temporaryName } from "./temporary.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "folder-sink-")));
  path = join(dir, "model");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

type Files = Record<string, string>;

async function save(files: Files, options: FolderOptions = {}, to = path): Promise<void> {
  const sink = await nodeFolderSink(to, options);
  try {
    for (const [name, text] of Object.entries(files)) await writeWhole(await sink.file(name), text);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

/** Files of a folder, without our list of them. */
function filesOf(folder: string): Files {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (name) => name !== MANIFEST && lstatSync(join(folder, name)).isFile(),
  );
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

function put(files: Files, folder = path): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

/** A pid that no process has. */
const DEAD_PID = 2 ** 30;
const deadName = (kind: "tmp" | "old") =>
  temporaryName(path, kind).replace(`-${process.pid}-`, `-${DEAD_PID}-`);

const old: Files = { "config.json": "{}", "weights.bin": "1" };
const next: Files = { "config.json": '{"next": 1}', "a/b.txt": "2" };

describe("a folder of ours", () => {
  it("appears whole at commit, with the rights of the umask, in parents that are made", async () => {
    const deep = join(dir, "x", "y", "model");
    const sink = await nodeFolderSink(deep);
    await writeWhole(await sink.file("a/b.txt"), "1");
    expect(existsSync(deep)).toBe(false);
    await sink.commit();
    expect(filesOf(deep)).toEqual({ "a/b.txt": "1" });
    expect(readdirSync(dirname(deep))).toEqual(["model"]);
    if (process.platform !== "win32") {
      expect(statSync(deep).mode & 0o777).toBe(0o777 & ~process.umask());
      expect(statSync(join(deep, "a/b.txt")).mode & 0o777).toBe(0o666 & ~process.umask());
    }
    expect(await readManifest(deep)).toMatchObject({ kind: "model", files: { "a/b.txt": { size: 1 } } });
  });

  it("is replaced only with force, and whole", async () => {
    await save(old);
    await expect(save(next)).rejects.toThrow(/already exists.*--force/);
    expect(filesOf(path)).toEqual(old);
    if (process.platform !== "win32") chmodSync(path, 0o700);
    await save(next, { force: true });
    expect(filesOf(path)).toEqual(next);
    expect(readdirSync(dir)).toEqual(["model"]);
    if (process.platform !== "win32") expect(statSync(path).mode & 0o777).toBe(0o700);
    await save(old, { force: true });
    expect(filesOf(path)).toEqual(old);
  });

  it("may be moved and copied, and holds what file managers leave", async () => {
    await save(old);
    renameSync(path, join(dir, "moved"));
    put({ ".DS_Store": "x" }, join(dir, "moved"));
    await save(next, { force: true }, join(dir, "moved"));
    expect(filesOf(join(dir, "moved"))).toEqual(next);
    put({ ".DS_Store": "x" });
    await save(old);
    expect(filesOf(path)).toEqual(old);
  });

  it("leaves nothing behind when writing fails or is dropped", async () => {
    await save(old);
    const sink = await nodeFolderSink(path, { force: true });
    const file = await sink.file("f");
    await file.write(Uint8Array.of(1));
    await file.abort();
    await expect(sink.file("../f")).rejects.toThrow(FormatError);
    await sink.abort();
    expect(filesOf(path)).toEqual(old);
    expect(readdirSync(dir)).toEqual(["model"]);
  });
});

describe("what is not ours", () => {
  const cases: Record<string, () => void> = {
    "a project with a config.json": () => put({ "config.json": "{}", "src/a.ts": "keep" }),
    "a checkpoint from elsewhere": () =>
      put({ "config.json": '{"model_type": "llama"}', "model.safetensors": "" }),
    "a forged list": () =>
      put({ "a.txt": "mine", [MANIFEST]: '{"format": "deepseek-ts folder", "kind": "model"}' }),
    "a list of paths outside": () =>
      put({
        [MANIFEST]: JSON.stringify({
          format: "deepseek-ts folder",
          kind: "model",
          files: { "../victim.txt": { size: 6 } },
        }),
      }),
  };
  for (const [name, make] of Object.entries(cases)) {
    it(`${name} is refused, with force too`, async () => {
      make();
      put({ "victim.txt": "victim" }, dir);
      const before = filesOf(dir);
      for (const force of [false, true]) {
        await expect(save(next, { force })).rejects.toThrow(/not made by this program/);
      }
      expect(filesOf(dir)).toEqual(before);
    });
  }

  const changes: Record<string, () => void> = {
    "a note": () => put({ "notes.md": "mine" }),
    "a note in a folder of ours": () => put({ "a/notes.md": "mine" }),
    "an empty folder": () => mkdirSync(join(path, "mine")),
    "a changed file": () => put({ "config.json": '{"next": 2}' }),
    "a longer file": () => put({ "a/b.txt": "22" }),
    "a link": () => symlinkSync(join(dir, "elsewhere"), join(path, "link")),
    "a folder of ours inside": () => renameSync(join(dir, "other"), join(path, "other")),
    "a file where a folder was": () => {
      rmSync(join(path, "a"), { recursive: true });
      put({ a: "mine" });
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    it(`${name} in a folder of ours is named, and nothing is lost`, async () => {
      await save(next);
      await save(old, {}, join(dir, "other"));
      change();
      const before = filesOf(dir);
      const error = await save(old, { force: true }).catch((e: Error) => e);
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as Error).message).toMatch(
        /did not write, or that were changed since; found: (notes\.md|a\/notes\.md|mine|config\.json|a\/b\.txt|link|other|a)\. Move/,
      );
      expect(filesOf(dir)).toEqual(before);
      expect(await removeOwnFolder(path)).toHaveLength(1);
      expect(filesOf(dir)).toEqual(before);
    });
  }

  it("a file, or a folder that is read, is refused", async () => {
    put({ file: "1" }, dir);
    await expect(save(next, { force: true }, join(dir, "file"))).rejects.toThrow(/a file of this name/);
    await expect(save(next, { force: true }, join(dir, "file", "x"))).rejects.toThrow(
      /part of the path is a file/,
    );
    await save(old);
    const inside = join(path, "config.json");
    await expect(save(next, { force: true, sources: [path] })).rejects.toThrow(/this is what is read/);
    await expect(save(next, { force: true, sources: [inside] })).rejects.toThrow(/lies in this folder/);
    symlinkSync(path, join(dir, "link"));
    await expect(save(next, { force: true, sources: [path] }, join(dir, "link"))).rejects.toThrow(/is read/);
    await expect(save(next, { force: true, sources: [join(dir, "link")] })).rejects.toThrow(/is read/);
    expect(filesOf(path)).toEqual(old);
    // A new folder inside what is read takes nothing away.
    await save(next, { sources: [path] }, join(path, "q4"));
    expect(filesOf(join(path, "q4"))).toEqual(next);
  });

  it("is noticed in a long file of the same size", async () => {
    const size = 40 * 1024 * 1024;
    const bytes = new Uint8Array(size).map((_, i) => i % 251);
    const sink = await nodeFolderSink(path);
    const file = await sink.file("model.safetensors");
    // Pieces that straddle the sampled ranges.
    for (let at = 0; at < size; at += 1_234_567) await file.write(bytes.subarray(at, at + 1_234_567));
    await file.commit();
    await sink.commit();
    expect(await foreignEntries(path)).toEqual([]);
    // As another program does that saves other weights of the same shapes.
    writeFileSync(
      join(path, "model.safetensors"),
      bytes.map((byte, i) => (i < 17 << 20 ? byte : byte + 1)),
    );
    await expect(save(old, { force: true })).rejects.toThrow(/changed since; found: model.safetensors/);
  });

  it("that appears meanwhile stays, and so does what was written", async () => {
    const sink = await nodeFolderSink(path);
    await writeWhole(await sink.file("f"), "ours");
    put({ "thesis.txt": "irreplaceable" });
    const error = await sink.commit().catch((e: ConfigError) => e);
    await sink.abort();
    expect((error as ConfigError).message).toMatch(/could not be renamed into place; found: it is whole/);
    expect(filesOf(path)).toEqual({ "thesis.txt": "irreplaceable" });
    const kept = readdirSync(dir).find((name) => name.startsWith("model.tmp-"))!;
    expect((error as ConfigError).message).toContain(kept);
    expect(readFileSync(join(dir, kept, "f"), "utf8")).toBe("ours");
  });
});

describe("links", () => {
  it("are followed and stay", async () => {
    await save(old, {}, join(dir, "model-1"));
    symlinkSync("model-1", path);
    await save(next, { force: true });
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(filesOf(join(dir, "model-1"))).toEqual(next);
  });

  it("that lead nowhere are refused", async () => {
    symlinkSync("gone", path);
    await expect(save(next)).rejects.toThrow(/dangling/);
    symlinkSync("b", join(dir, "a"));
    symlinkSync("a", join(dir, "b"));
    await expect(save(next, {}, join(dir, "a"))).rejects.toThrow(/too many levels/);
  });
});

describe("a death", () => {
  // The child runs the sources as they are, which needs a Node that strips types.
  it.skipIf(!process.features.typescript)(
    "at any moment leaves the old or the new folder whole",
    async () => {
      await save(old);
      const module = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
      // Replaces the folder again and again, each time by one whose two files hold the same number.
      const script = `
      const { nodeFolderSink } = await import(${module("./folder-sink.ts")});
      const { writeWhole } = await import(${module("./sink.ts")});
      for (let i = Number(process.argv[1]); ; i++) {
        const sink = await nodeFolderSink(${JSON.stringify(path)}, { force: true });
        await writeWhole(await sink.file("config.json"), String(i));
        await writeWhole(await sink.file("weights.bin"), String(i));
        await sink.commit();
        process.stdout.write(".");
      }`;
      for (let round = 0; round < 6; round++) {
        const child = spawn(process.execPath, ["--input-type=module", "-e", script, String(round * 1000)], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const exit = once(child, "exit");
        await Promise.race([once(child.stdout, "data"), exit]);
        await new Promise((resolve) => setTimeout(resolve, 3 * round));
        child.kill("SIGKILL");
        expect((await exit)[1]).toBe("SIGKILL");
        await recoverFolder(path);
        const found = filesOf(path);
        expect(Object.keys(found)).toEqual(["config.json", "weights.bin"]);
        expect(found["config.json"]).toBe(found["weights.bin"]);
        expect(await foreignEntries(path)).toEqual([]);
      }
      // What the killed ones left is cleared by the next.
      await save(next, { force: true });
      expect(readdirSync(dir)).toEqual(["model"]);
    },
    120_000,
  );

  it("between the two renames is undone by the next process", async () => {
    await save(old);
    renameSync(path, deadName("old"));
    expect(await recoverFolder(path)).toBe(true);
    expect(await recoverFolder(path)).toBe(false);
    renameSync(path, deadName("old"));
    await expect(save(next)).rejects.toThrow(/already exists/);
    await save(next, { force: true });
    expect(filesOf(path)).toEqual(next);
    rmSync(path, { recursive: true });
    mkdirSync(deadName("old"));
    mkdirSync(deadName("old"));
    await expect(recoverFolder(path)).rejects.toThrow(/Rename the one to keep/);
  });

  it("after the renames leaves an old folder that the next one clears, but no folder of the user's", async () => {
    await save(old);
    const aside = deadName("old");
    renameSync(path, aside);
    await save(next, {}, join(dir, "new"));
    renameSync(join(dir, "new"), path);
    mkdirSync(`${path}.old-backup`);
    const noted = deadName("old");
    put({ note: "mine" }, noted);
    await save(old, { force: true });
    expect(readdirSync(dir).sort()).toEqual(
      ["model", "model.old-backup", noted.slice(dir.length + 1)].sort(),
    );
  });

  it("is known from the name, on this machine only", async () => {
    expect(await isAbandoned(temporaryName(path, "tmp"))).toBe(false);
    expect(await isAbandoned(deadName("tmp"))).toBe(true);
    expect(await isAbandoned(deadName("tmp").replace(/-[0-9a-f]{8}-/, "-00000000-"))).toBe(false);
    expect(await isAbandoned("model.tmp-mine")).toBe(false);
    const [mine, dead, other] = [temporaryName(path, "tmp"), deadName("tmp"), `${path}.tmp-1`];
    for (const folder of [mine, dead, other]) put({ f: "1" }, folder);
    await clearAbandonedIn(dir);
    expect([mine, dead, other].map((folder) => existsSync(folder))).toEqual([true, false, true]);
    const staged = await stageFolder(path);
    expect([mine, other].map((folder) => existsSync(folder))).toEqual([true, true]);
    await staged.abort();
  });
});

it("Windows' own names are refused there", () => {
  for (const name of ["con", "NUL.gguf", "lpt1", "a.", "a "]) {
    expect(() => checkName(join(dir, name), "win32"), name).toThrow(/Windows/);
    expect(() => checkName(join(dir, name), "linux"), name).not.toThrow();
  }
  expect(() => checkName(join(dir, "console.gguf"), "win32")).not.toThrow();
});
