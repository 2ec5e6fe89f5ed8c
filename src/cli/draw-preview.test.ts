import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeImage } from "../vision/image/decode.ts";
import { filledImage } from "../vision/image/image.ts";
import { isPreview, openPreview, previewPath } from "./draw-preview.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "draw-preview-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** What a terminal of so many rows gets, with control characters as their pictures. */
function screenOf(rows: number, isTTY = true) {
  const written: string[] = [];
  const write = (text: string) => void written.push(text.replaceAll("\x1b", "␛"));
  return { written, screen: { rows, isTTY, write } };
}

const kitty = { TERM: "xterm-kitty" };
const image = (level: number) => filledImage(3, 2, [level, 0, 0]);

describe("openPreview", () => {
  it("draws over a picture that grows, and leaves the finished one", async () => {
    const { written, screen } = screenOf(30);
    const preview = openPreview("auto", screen, kitty, () => {});
    expect(preview.grows).toBe(true);
    await preview.show(image(1), "step 1", "a.png");
    await preview.show(image(2), "step 2", "a.png");
    await preview.finish(image(3), "a.png");
    await preview.show(image(4), "step 1", "b.png");
    const room = "\n".repeat(14);
    expect(written.map((text) => text.replace(/␛_G.*␛\\/, "PICTURE"))).toEqual([
      `step 1\n${room}␛[14A␛7PICTURE␛8␛[14B\r`,
      `␛[15A\r␛[0Jstep 2\n${room}␛[14A␛7PICTURE␛8␛[14B\r`,
      `␛[15A\r␛[0Jdrawn:\n${room}␛[14A␛7PICTURE␛8␛[14B\r`,
      `step 1\n${room}␛[14A␛7PICTURE␛8␛[14B\r`,
    ]);
    // kitty replaces a picture by one of the same number.
    const ids = written.map((text) => /,i=(\d+),/.exec(text)![1]);
    expect(ids.slice(0, 3)).toEqual([ids[0], ids[0], ids[0]]);
    expect(ids[3]).not.toBe(ids[0]);
  });

  it("leaves room for what is written below on a small screen", async () => {
    const { written, screen } = screenOf(9);
    await openPreview("sixel", screen, {}, () => {}).show(image(1), "step 1", "a.png");
    expect(written[0]).toMatch(/^step 1\n\n{5}␛\[5A/);
  });

  it("lets a file grow where the terminal shows no pictures, and takes it away", async () => {
    const told: string[] = [];
    const preview = openPreview("auto", screenOf(30).screen, { TERM: "linux" }, (path) => told.push(path));
    const [first, second] = ["a.png", "b.png"].map((name) => join(folder, name));
    for (const level of [50, 60]) await preview.show(image(level), "", first);
    await preview.show(image(70), "", second);
    expect(told).toEqual([join(folder, "a.preview.png")]);
    expect(await isPreview(previewPath(first))).toBe(true);
    const grown = await decodeImage(await readFile(previewPath(first)), { name: "a" });
    expect(grown).toEqual(image(60));
    await preview.finish(image(80), first);
    expect(await readdir(folder)).toEqual(["b.preview.png"]);
    await preview.close();
    expect(await readdir(folder)).toEqual([]);
  });

  it("replaces no file of others", async () => {
    const path = join(folder, "c.png");
    await writeFile(previewPath(path), "mine");
    const preview = openPreview("file", screenOf(30, false).screen, {}, () => {});
    await expect(preview.show(image(1), "", path)).rejects.toThrow(/not written by this program/);
    await preview.close();
    expect(await readFile(previewPath(path), "utf8")).toBe("mine");
  });

  it("shows nothing where nobody watches, or where that was asked for", async () => {
    const away = screenOf(30, false);
    const off = screenOf(30);
    for (const preview of [
      openPreview("auto", away.screen, kitty, () => {}),
      openPreview("off", off.screen, kitty, () => {}),
    ]) {
      expect(preview.grows).toBe(false);
      await preview.show(image(1), "", "a.png");
      await preview.finish(image(1), "a.png");
    }
    expect([...away.written, ...off.written]).toEqual([]);
  });
});
