import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { blobSource, bytesSource } from "../../checkpoint/byte-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import { linesOf } from "./json-lines.ts";
import { imagesOf } from "./messages.ts";
import { openConversations } from "./node-conversations.ts";
import { readConversations } from "./store.ts";

const utf8 = new TextEncoder();
const source = (text: string | Uint8Array, name = "a.jsonl") =>
  bytesSource(typeof text === "string" ? utf8.encode(text) : text, name);

const plain = (words: string) =>
  JSON.stringify({
    messages: [
      { role: "user", content: words },
      { role: "assistant", content: "yes" },
    ],
  });
const seen = (image: string) =>
  JSON.stringify({
    image,
    conversations: [
      { from: "human", value: "<image>\nwhat?" },
      { from: "gpt", value: "a ring" },
    ],
  });

describe("linesOf", () => {
  async function lines(bytes: Uint8Array, maxBytes = 1 << 24) {
    const found: { number: number; text: string; slice: string }[] = [];
    for await (const { number, offset, length, bytes: line } of linesOf(bytesSource(bytes), maxBytes)) {
      const slice = new TextDecoder().decode(bytes.subarray(offset, offset + length));
      found.push({ number, text: new TextDecoder().decode(line), slice });
    }
    return found;
  }

  it("finds the lines and places of any text, whatever pieces it is read in", async () => {
    const word = fc.constantFrom("", "a", "é🚀", " ", "\r", "bb\tcc");
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 12 }), fc.boolean(), async (parts, long) => {
        // Long lines reach over the pieces of a megabyte.
        const all = long ? parts.map((part) => (part === "a" ? "a".repeat(700_000) : part)) : parts;
        const expected = all
          .map((text, i) => ({ number: i + 1, text, slice: text }))
          .filter(({ text }) => text.trim() !== "");
        expect(await lines(utf8.encode(all.join("\n")))).toEqual(expected);
        expect(await lines(utf8.encode(`${all.join("\n")}\n`))).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });

  it("refuses a line that is too long before it is read whole", async () => {
    await expect(lines(utf8.encode("abc\nabcd\n"), 3)).rejects.toThrow(
      /line 2: the line is too long.*at most 3/,
    );
    await expect(lines(utf8.encode("abc\nabcd"), 3)).rejects.toThrow(/line 2/);
    expect(await lines(utf8.encode("abc\nabc"), 3)).toHaveLength(2);
    let read = 0;
    const endless = {
      name: "endless",
      size: 1 << 23,
      read: async (_: number, length: number) => {
        read += length;
        return new Uint8Array(length).fill(0x61);
      },
    };
    const first = linesOf(endless, 1000).next();
    await expect(first).rejects.toThrow(/endless line 1/);
    expect(read).toBeLessThan(1 << 21);
  });
});

describe("readConversations", () => {
  it("reads lines of both forms in any order, with blank lines, a mark at the beginning and CRLF", async () => {
    const text = `\uFEFF${plain("one")}\r\n\r\n${seen("x/a.png")}\r\n${plain("二")}`;
    for (const opened of [source(text), blobSource(new Blob([text]), "a.jsonl")]) {
      await using store = await readConversations(opened);
      expect(store.size).toBe(3);
      expect([...store.imageCounts]).toEqual([0, 1, 0]);
      expect([0, 1, 2].map((i) => store.lineOf(i))).toEqual([1, 3, 4]);
      expect((await store.read(2)).messages[0].content).toBe("二");
      expect(imagesOf(await store.read(1))).toEqual([{ path: "x/a.png" }]);
      expect((await store.read(0)).messages[0].content).toBe("one");
      await expect(store.read(3)).rejects.toThrow(
        /a\.jsonl: no such conversation; expected: 0 to 2; found: 3/,
      );
    }
  });

  it("has a fingerprint of the contents and their order", async () => {
    const of = async (...lines: string[]) => (await readConversations(source(lines.join("\n")))).fingerprint;
    const [a, b] = [plain("a"), plain("b")];
    expect(await of(a, b)).toBe(await of(a, "", b, ""));
    expect(await of(a, b)).not.toBe(await of(b, a));
    expect(await of(a)).not.toBe(await of(a, a));
  });

  it.each<[string, string | Uint8Array, RegExp]>([
    ["no JSON", `${plain("a")}\n{"messages": [}`, /a\.jsonl line 2: not valid JSON: .* at column 15/],
    ["two values", `${plain("a")} ${plain("b")}`, /line 1: not valid JSON: .*after the end/],
    ["a list", `[\n${plain("a")}\n]`, /line 1: not valid JSON.*jq -c/],
    ["a whole list", `[${plain("a")}]`, /line 1: must be an object.*jq -c/],
    ["depth", `${"[".repeat(100)}`, /line 1: not valid JSON/],
    ["a field", `${plain("a")}\n\n${seen("../x.png")}`, /line 3: path leaves the data folder; name: image/],
    [
      "other bytes",
      new Uint8Array([...utf8.encode(`${plain("a")}\n{"x": "`), 0xe9, 0x22]),
      /line 2: not UTF-8 text; found: byte 8 of the line/,
    ],
    ["nothing", "", /a\.jsonl: no conversations/],
    ["blank lines", "\n \n", /a\.jsonl: no conversations/],
  ])("refuses %s by line", async (_, text, message) => {
    await expect(readConversations(source(text))).rejects.toThrow(FormatError);
    await expect(readConversations(source(text))).rejects.toThrow(message);
  });

  it("says which image of which line was refused", async () => {
    const checked: unknown[] = [];
    const checkImage = async (image: object) => {
      checked.push(image);
      if ("path" in image && image.path === "b.png")
        throw new FormatError("image not found", { where: "b.png" });
    };
    const text = `${seen("a.png")}\n${plain("x")}\n${seen("b.png")}`;
    await expect(readConversations(source(text), { checkImage })).rejects.toThrow(
      /a\.jsonl line 3: b\.png: image not found; name: image 1 of 1/,
    );
    expect(checked).toEqual([{ path: "a.png" }, { path: "b.png" }]);
  });

  it("notices a file that changed", async () => {
    const bytes = utf8.encode(`${plain("abc")}\n${seen("a.png")}`);
    const store = await readConversations({
      ...bytesSource(bytes, "b.jsonl"),
      read: async (offset, length) => bytes.slice(offset, offset + length),
    });
    bytes[0] = 0x20;
    await expect(store.read(0)).rejects.toThrow(/b\.jsonl line 1: the line changed/);
    expect(imagesOf(await store.read(1))).toHaveLength(1);
    // Still a conversation, but another one.
    const line = utf8.encode(seen("a.png"));
    bytes.set(utf8.encode(plain("x").padEnd(line.length)), bytes.length - line.length);
    await expect(store.read(1)).rejects.toThrow(/line 2: the line changed/);
  });

  it("reports progress and stops when told", async () => {
    const text = `${plain("a")}\n`.repeat(2500);
    const calls: [number, number][] = [];
    await readConversations(source(text), { onProgress: (...call) => calls.push(call) });
    expect(calls).toHaveLength(3);
    expect(calls.at(-1)).toEqual([text.length, text.length]);
    expect(calls[0][0]).toBeLessThan(calls[1][0]);
    const aborted = AbortSignal.abort(new Error("stop now"));
    await expect(readConversations(source(text), { signal: aborted })).rejects.toThrow("stop now");
  });
});

describe("openConversations", () => {
  let folder: string;
  let outside: string;
  const list = (name: string, ...lines: string[]) => {
    writeFileSync(join(folder, name), lines.join("\n"));
    return join(folder, name);
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "conversations-"));
    outside = mkdtempSync(join(tmpdir(), "outside-"));
    mkdirSync(join(folder, "images"));
    writeFileSync(join(folder, "images/a.png"), "PIXELS");
    writeFileSync(join(outside, "secret.png"), "SECRET");
    symlinkSync(join(outside, "secret.png"), join(folder, "images/link.png"));
    symlinkSync(join(folder, "images/a.png"), join(folder, "images/inner.png"));
    symlinkSync(outside, join(folder, "linked"));
    // A folder whose name begins like the data folder's.
    mkdirSync(`${folder}-2`);
    writeFileSync(`${folder}-2/b.png`, "SECRET");
    symlinkSync(`${folder}-2/b.png`, join(folder, "images/sibling.png"));
  });
  afterAll(() => {
    for (const path of [folder, outside, `${folder}-2`]) rmSync(path, { recursive: true, force: true });
  });

  it("reads images as bytes, of its own folder or another, and data URLs as they are", async () => {
    const path = list("good.jsonl", seen("images/a.png"), plain("x"), seen("data:image/png;base64,AAAA"));
    const { conversations, images } = await openConversations(path);
    await using store = conversations;
    const [file] = imagesOf(await store.read(0));
    expect(new TextDecoder().decode((await images.read(file)) as Uint8Array)).toBe("PIXELS");
    expect(await images.read(imagesOf(await store.read(2))[0])).toBe("data:image/png;base64,AAAA");
    const moved = list("moved.jsonl", seen("a.png"), seen("inner.png"));
    const other = await openConversations(moved, { folder: join(folder, "images") });
    expect([...other.conversations.imageCounts]).toEqual([1, 1]);
    await other.conversations.close();
  });

  it.each([
    ["images/none.png", /bad\.jsonl line 2: .*images\/none\.png: image not found; name: image 1 of 1/],
    ["images", /bad\.jsonl line 2: .*not a file/],
    ["images/a.png/b.png", /image not found/],
    ["images/link.png", /line 2: .*a link leads out of the data folder.*allowAbsolute/],
    ["images/sibling.png", /a link leads out of the data folder/],
    ["linked/secret.png", /a link leads out of the data folder/],
  ])("refuses %s when it opens", async (image, message) => {
    const path = list("bad.jsonl", seen("images/a.png"), seen(image));
    await expect(openConversations(path)).rejects.toThrow(FormatError);
    await expect(openConversations(path)).rejects.toThrow(message);
    // Without the look ahead it is refused when it is read.
    const { conversations, images } = await openConversations(path, { checkImages: false });
    await using store = conversations;
    await expect(images.read(imagesOf(await store.read(1))[0])).rejects.toThrow(FormatError);
  });

  it("follows links and absolute paths if that is allowed", async () => {
    const absolute = join(outside, "secret.png");
    const path = list("open.jsonl", seen("images/link.png"), seen(absolute));
    await expect(openConversations(path)).rejects.toThrow(FormatError);
    const { conversations, images } = await openConversations(path, { allowAbsolute: true });
    await using store = conversations;
    for (const i of [0, 1]) {
      const [image] = imagesOf(await store.read(i));
      expect(new TextDecoder().decode((await images.read(image)) as Uint8Array)).toBe("SECRET");
    }
  });

  it("bounds image files", async () => {
    const path = list("large.jsonl", seen("images/a.png"));
    await expect(openConversations(path, { maxImageBytes: 5 })).rejects.toThrow(
      /line 1: .*too large; expected: at most 5 bytes; found: 6/,
    );
    await (await openConversations(path, { maxImageBytes: 6 })).conversations.close();
  });

  it("says that there is no file", async () => {
    await expect(openConversations(join(folder, "none.jsonl"))).rejects.toThrow(
      /none\.jsonl: file not found/,
    );
  });
});
