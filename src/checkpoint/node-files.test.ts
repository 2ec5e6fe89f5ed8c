/** Files and folders on disk: reading, atomic replacement, recovery, refusals. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { temporaryName } from "../files/temporary.ts";
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { openCheckpoint, readAllF32 } from "./folder.ts";
import { nodeFileSource, nodeFolder, nodeFolderSink, recoverFolder } from "./node-files.ts";
import { f32Entry } from "./safetensors-writer.ts";
import { saveCheckpoint } from "./save.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "checkpoint-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const tensor = (value: number) => f32Entry("w", [1], async () => Float32Array.of(value));

async function stored(path: string): Promise<number> {
  const checkpoint = await openCheckpoint(nodeFolder(path));
  try {
    return (await readAllF32(checkpoint, "w"))[0];
  } finally {
    await checkpoint.close();
  }
}

describe("files", () => {
  it("reads ranges, and refuses missing files, folders and bytes outside", async () => {
    const path = join(dir, "f");
    writeFileSync(path, "0123456789");
    const source = await nodeFileSource(path);
    expect(source.size).toBe(10);
    expect(new TextDecoder().decode(await source.read(3, 4))).toBe("3456");
    await expect(source.read(8, 3)).rejects.toThrow(ShapeError);
    await source.close!();
    await expect(nodeFileSource(join(dir, "none"))).rejects.toThrow(FormatError);
    await expect(nodeFileSource(dir)).rejects.toThrow(/not a regular file/);
  });
});

describe("folders", () => {
  // The child runs the sources as they are, which needs a Node that strips types.
  it.skipIf(!process.features.typescript)("survives SIGKILL in the middle of a save", async () => {
    const path = join(dir, "model");
    await saveCheckpoint(await nodeFolderSink(path), [tensor(1)], { config: {} });
    const module = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const script = `
      const { nodeFolderSink } = await import(${module("./node-files.ts")});
      const { saveCheckpoint } = await import(${module("./save.ts")});
      const data = async function* () {
        for (let i = 0; ; i++) {
          yield new Uint8Array(1 << 16);
          if (i === 4) process.stdout.write("writing");
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      };
      const entry = { name: "w", dtype: "F32", shape: [1 << 28], data };
      await saveCheckpoint(await nodeFolderSink(${JSON.stringify(path)}, { force: true }), [entry], { config: { next: true } });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exit = once(child, "exit");
    await Promise.race([once(child.stdout, "data"), exit]);
    child.kill("SIGKILL");
    expect((await exit)[1]).toBe("SIGKILL");
    expect(readdirSync(dir).some((name) => name.startsWith("model.tmp-"))).toBe(true);
    expect(await stored(path)).toBe(1);
    await saveCheckpoint(await nodeFolderSink(path, { force: true }), [tensor(2)], { config: {} });
    expect(await stored(path)).toBe(2);
  });

  it("refuses to read a text of hundreds of megabytes", async () => {
    writeFileSync(join(dir, "config.json"), "");
    truncateSync(join(dir, "config.json"), 2 ** 28 + 1);
    await expect(nodeFolder(dir).readText("config.json")).rejects.toThrow(/too long; name: config.json/);
  });

  it("lists files, refuses paths outside and a missing folder", async () => {
    writeFileSync(join(dir, "b"), "\ufefftext");
    mkdirSync(join(dir, "sub"));
    const tree = nodeFolder(dir);
    expect(await tree.list()).toEqual(["b"]);
    expect(await tree.has("b")).toBe(true);
    expect(await tree.has("c")).toBe(false);
    await expect(tree.open("../b")).rejects.toThrow(/leaves the checkpoint folder/);
    await expect(tree.readText("c")).rejects.toThrow(FormatError);
    await expect(openCheckpoint(nodeFolder(join(dir, "none")))).rejects.toThrow(/folder not found/);
  });

  it("saves a new checkpoint and replaces it whole", async () => {
    const path = join(dir, "model");
    await saveCheckpoint(await nodeFolderSink(path), [tensor(1)], {
      config: {},
      files: { "extra.txt": "x" },
    });
    expect(await stored(path)).toBe(1);
    await saveCheckpoint(await nodeFolderSink(path, { force: true }), [tensor(2)], { config: {} });
    expect(await stored(path)).toBe(2);
    expect(readdirSync(path).sort()).toEqual([".deepseek-ts.json", "config.json", "model.safetensors"]);
    expect(readdirSync(dir)).toEqual(["model"]);
  });

  it("keeps the old checkpoint when a save fails or the process dies while writing", async () => {
    const path = join(dir, "model");
    await saveCheckpoint(await nodeFolderSink(path), [tensor(1)], { config: {} });
    const failing = { ...tensor(2), data: () => Promise.reject(new Error("killed")) };
    const sink = await nodeFolderSink(path, { force: true });
    await expect(saveCheckpoint(sink, [failing], { config: {} })).rejects.toThrow("killed");
    expect(await stored(path)).toBe(1);
    expect(readdirSync(dir)).toEqual(["model"]);
    // A sink that is never finished stands for a killed process.
    const abandoned = await nodeFolderSink(path, { force: true });
    await (await abandoned.file("config.json")).commit();
    expect(await stored(path)).toBe(1);
  });

  it("restores the old checkpoint after a death between the two renames", async () => {
    const path = join(dir, "model");
    await saveCheckpoint(await nodeFolderSink(path), [tensor(1)], { config: {} });
    renameSync(path, temporaryName(path, "old").replace(`-${process.pid}-`, `-${2 ** 30}-`));
    await expect(openCheckpoint(nodeFolder(path))).rejects.toThrow(/call recoverFolder/);
    expect(await recoverFolder(path)).toBe(true);
    expect(await recoverFolder(path)).toBe(false);
    expect(await stored(path)).toBe(1);
  });
});
