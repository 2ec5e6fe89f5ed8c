/** The directory of ZIP archives: both sizes of records, and what must not be taken for an archive of torch's. */
import { describe, expect, it } from "vitest";
import { FormatError } from "../../tensor/errors.ts";
import { bytesSource } from "../byte-source.ts";
import { storedZip } from "./testing.ts";
import { entryData, readZipDirectory } from "./zip.ts";

const utf8 = new TextEncoder();
const entries: [string, Uint8Array][] = [
  ["a/data.pkl", utf8.encode("pickle")],
  ["a/data/0", new Uint8Array(100).fill(7)],
  ["a/data/1", new Uint8Array(0)],
];
const open = (bytes: Uint8Array) => readZipDirectory(bytesSource(bytes, "x.bin"));

/** Index of the `n`th occurrence of a record's signature. */
function record(bytes: Uint8Array, kind: number, n = 0): number {
  for (let at = 0; at < bytes.length - 3; at++) {
    const found = bytes[at] === 0x50 && bytes[at + 1] === 0x4b && bytes[at + 2] === kind;
    if (found && bytes[at + 3] === kind + 1 && n-- === 0) return at;
  }
  throw new Error("no such record");
}

describe("readZipDirectory", () => {
  it.each([
    ["as torch writes it", {}],
    ["without 64-bit records", { zip64: false }],
    ["without padding", { align: 1 }],
    ["with sizes before the data", { streamed: false, zip64: false, align: 1 }],
  ])("reads an archive %s", async (_, options) => {
    const bytes = storedZip(entries, options);
    const source = bytesSource(bytes, "x.bin");
    const { folder, entries: found } = await readZipDirectory(source);
    expect(folder).toBe("a");
    for (const [name, data] of entries) {
      const entry = found.get(name.slice(2))!;
      const begin = await entryData(source, entry);
      expect([...bytes.subarray(begin, begin + entry.size)]).toEqual([...data]);
    }
  });

  it("refuses names that leave the archive, repeat, or lie in several folders", async () => {
    const named = (name: string) => open(storedZip([...entries, [name, new Uint8Array(1)]]));
    await expect(named("a/../b")).rejects.toThrow(/leaves the archive/);
    await expect(named("/a")).rejects.toThrow(/leaves the archive/);
    await expect(named("a\\b")).rejects.toThrow(/leaves the archive/);
    await expect(named("a/")).rejects.toThrow(/leaves the archive/);
    await expect(named("a/data.pkl")).rejects.toThrow(/duplicate ZIP entry; name: a\/data.pkl/);
    await expect(named("b/data.pkl")).rejects.toThrow(/several folders/);
  });

  it.each<[string, (bytes: Uint8Array, view: DataView) => void, RegExp]>([
    [
      "a compressed entry",
      (b, v) => v.setUint16(record(b, 1) + 10, 8, true),
      /compressed ZIP entry.*method 8/,
    ],
    ["an encrypted entry", (b, v) => v.setUint16(record(b, 1) + 8, 1, true), /encrypted/],
    ["two sizes", (b, v) => v.setUint32(record(b, 1) + 20, 5, true), /sizes of the stored ZIP entry/],
    [
      "a size beyond the next entry",
      (b, v) => {
        v.setUint32(record(b, 1) + 20, 300, true);
        v.setUint32(record(b, 1) + 24, 300, true);
      },
      /overlaps the next/,
    ],
    ["two entries in one place", (b, v) => v.setUint32(record(b, 1, 1) + 42, 0, true), /overlaps the next/],
    [
      "an offset beyond the file",
      (b, v) => v.setUint32(record(b, 1, 2) + 42, 2 ** 31, true),
      /overlaps the next/,
    ],
    [
      "more entries than the directory holds",
      (b, v) => {
        v.setUint16(b.length - 22 + 8, 9, true);
        v.setUint16(b.length - 22 + 10, 9, true);
      },
      /count of ZIP entries|directory is damaged/,
    ],
    ["a directory elsewhere", (b, v) => v.setUint32(b.length - 22 + 16, 3, true), /does not lie where/],
    ["a comment", (b, v) => v.setUint16(b.length - 2, 1, true), /comment/],
    ["parts on several disks", (b, v) => v.setUint16(b.length - 22 + 4, 1, true), /several parts/],
  ])("refuses %s", async (_, change, message) => {
    const bytes = storedZip(entries, { zip64: false });
    change(bytes, new DataView(bytes.buffer));
    await expect(open(bytes)).rejects.toThrow(message);
    await expect(open(bytes)).rejects.toBeInstanceOf(FormatError);
  });

  it("refuses 64-bit records that differ from the others", async () => {
    const bytes = storedZip(entries);
    const view = new DataView(bytes.buffer);
    view.setUint16(bytes.length - 22 + 10, 2, true);
    await expect(open(bytes)).rejects.toThrow(/closing records differ/);
    view.setUint16(bytes.length - 22 + 10, 3, true);
    view.setBigUint64(bytes.length - 22 - 20 + 8, 1n, true);
    await expect(open(bytes)).rejects.toThrow(/do not lie together/);
  });

  it.each<[string, number, number]>([
    ["another signature", 0, 0x11],
    ["another method", 8, 8],
    ["another name", 30, 0x62],
    ["another size", 18, 9],
    ["a field of padding that ends in the next entry", 29, 1],
  ])("finds in an entry's own header %s", async (_, at, value) => {
    const bytes = storedZip(entries, { zip64: false, streamed: false });
    const source = bytesSource(bytes, "x.bin");
    bytes[at] = value;
    const { entries: found } = await readZipDirectory(source);
    await expect(entryData(source, found.get("data.pkl")!)).rejects.toThrow(/differs from|overlaps/);
  });
});
