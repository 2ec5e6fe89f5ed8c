/** Answers about the pictures of a folder: whole lines, faulty pictures, runs that were cut short, files of others. */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { modelTemplate } from "../chat/model-template.ts";
import { worldFolder } from "../data/world/testing-checkpoints.ts";
import { Conversation } from "../engine/conversation.ts";
import { ImageEncoder } from "../engine/image-encoder.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import { type LoadedModel, loadFolder } from "../pretrained/load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import {
  type FolderEvent,
  type FolderResult,
  type FolderTask,
  folderHandler,
  picturesIn,
} from "./ask-folder.ts";
import { readImageFile } from "./image-files.ts";

let device: Device;
let loaded: LoadedModel;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  loaded = await loadFolder(await worldFolder("vl2", device), { device });
});
afterAll(async () => {
  await loaded.dispose();
  await device[Symbol.asyncDispose]();
});

const work = () => {
  const path = mkdtempSync(join(tmpdir(), "deepseek-ts-folder-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
};

const names = ["a.png", "b.png", "c.png", "d.png"];

/** A folder whose `b.png` is no picture. */
async function folderOf(path: string) {
  for (const [i, name] of names.entries()) {
    const rgb = Uint8Array.from({ length: 40 * 40 * 3 }, (_, j) => (j * (i + 3) * 37) % 256);
    const png = await encodePng({ width: 40, height: 40, rgb });
    writeFileSync(join(path, name), name === "b.png" ? "no picture" : png);
  }
  return path;
}

const asked = { question: "what is in the image ?", seed: 0 };

/** Asks about the folder; `stopAt` cancels when this picture's turn has come. */
async function ask(folder: string, out: string, options: { asked?: object; stopAt?: string } = {}) {
  using images = new ImageEncoder(loaded.vision!.model, () => loaded.vision!.imageProcessor());
  const template = modelTemplate(loaded, loaded.tokenizer!);
  using conversation = new Conversation(loaded.model, loaded.tokenizer!, template, { images });
  await using queue = new MemoryQueue();
  queue.process(
    "folder",
    folderHandler(conversation, { temperature: 0, maxTokens: 4 }, (path) => readImageFile(path)),
  );
  const task = { folder, names, question: asked.question, out, asked: { ...asked, ...options.asked } };
  const job = await queue.add<FolderTask, FolderEvent, FolderResult>("folder", task);
  const begun: string[] = [];
  for await (const { event } of job.events()) {
    if (event.kind !== "begin") continue;
    begun.push(event.name);
    if (event.name === options.stopAt) void job.cancel();
  }
  return { begun, result: await job.result().catch((error: Error) => error) };
}

/** Lines without times. */
const lines = (out: string) =>
  readFileSync(out, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => ({ ...JSON.parse(line), seconds: 0 }));

it("gives each picture a line, faulty ones too, and goes on where a run was stopped or cut off", async () => {
  const folder = await folderOf(work());
  const whole = join(work(), "whole.jsonl");
  const first = await ask(folder, whole);
  expect(first.result).toEqual({ answered: 3, faulty: 1, earlier: 0 });
  const expected = lines(whole);
  expect(expected.map(({ image }) => image)).toEqual(names);
  expect(expected[1]).toMatchObject({ error: expect.stringContaining("b.png: unknown format") });
  expect(expected[2]).toMatchObject({ stopReason: "length", usage: { generatedTokens: 4 }, asked });
  expect(existsSync(`${whole}.lock`)).toBe(false);

  const cut = join(work(), "cut.jsonl");
  const stopped = await ask(folder, cut, { stopAt: "c.png" });
  expect(stopped.result).toBeInstanceOf(Error);
  expect(lines(cut)).toEqual(expected.slice(0, 2));
  appendFileSync(cut, '{"image":"c.png","ans');
  const second = await ask(folder, cut);
  expect(second.begun).toEqual(["c.png", "d.png"]);
  expect(second.result).toEqual({ answered: 3, faulty: 1, earlier: 2 });
  expect(lines(cut)).toEqual(expected);
  const third = await ask(folder, cut);
  expect(third.begun).toEqual([]);
  expect(lines(cut)).toEqual(expected);
});

it("adds nothing to a file that it did not write, or that holds answers to something else", async () => {
  const folder = await folderOf(work());
  const out = join(work(), "out.jsonl");
  for (const text of ["x", "x\n", '{"image": "a.png"}\n', '{"image":"a.png","as']) {
    writeFileSync(out, text);
    expect(String((await ask(folder, out)).result), text).toMatch(
      /not written by this program|something else than answers/,
    );
    expect(readFileSync(out, "utf8")).toBe(text);
  }
  rmSync(out);
  await ask(folder, out);
  const before = readFileSync(out);
  const other = await ask(folder, out, { asked: { seed: 3 } });
  expect(String(other.result)).toMatch(/out\.jsonl: line 1: .*name: seed; expected: 3; found: 0/);
  expect(readFileSync(out).equals(before)).toBe(true);
  writeFileSync(`${out}.lock`, JSON.stringify({ pid: process.pid, id: "other" }));
  expect(String((await ask(folder, out)).result)).toMatch(/writes the answers/);
});

it("finds pictures by their names' endings, in order", async () => {
  const list = async () => ["b.PNG", "a.jpeg", ".c.png", "notes.txt", "B.webp", "z.gif", "10.jpg", "9.jpg"];
  expect(await picturesIn(".", list)).toEqual(["10.jpg", "9.jpg", "B.webp", "a.jpeg", "b.PNG", "z.gif"]);
});
