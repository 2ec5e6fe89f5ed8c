/**
 * The directory of a ZIP archive as `torch.save` writes it (PKWARE's APPNOTE.TXT 6.3, ZIP64 included): stored entries
 * below one folder, no comment, the directory at the very end. Compressed, encrypted, overlapping and repeated
 * entries are refused, and nothing is read that the directory's own size does not cover.
 */
import { FormatError } from "../../tensor/errors.ts";
import { type ByteSource, readExactly } from "../byte-source.ts";

export interface ZipEntry {
  /** Path below the archive's only folder. */
  readonly path: string;
  readonly size: number;
  /** Offset of the entry's own header in the file. */
  readonly header: number;
  /** What follows in the file: the next entry's header, or the directory. */
  readonly limit: number;
  readonly rawName: Uint8Array;
  readonly streamed: boolean;
}

export interface ZipDirectory {
  /** The folder that all entries are in. */
  readonly folder: string;
  /** By their paths below it. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
}

/** Read from the end at once: the closing records, and mostly the whole directory. */
const TAIL = 1 << 16;
/** Released models have thousands of entries, each of some 100 bytes. */
const MAX_DIRECTORY = 1 << 26;
const MAX_ENTRIES = 1 << 18;
const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const FULL16 = 0xffff;
const FULL32 = 0xffffffff;
const STREAMED = 8;
/** Set by encryption, patches and masked headers. */
const REFUSED_FLAGS = 0x2061;

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** An unsigned 64-bit number; FULL if it is larger than any file. */
function u64(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
}

function damaged(where: string, message: string, expected: unknown, found: unknown): never {
  throw new FormatError(message, { where, expected, found });
}

interface End {
  readonly count: number;
  readonly offset: number;
  readonly size: number;
  /** Where the records that close the archive begin: the directory ends here. */
  readonly closing: number;
}

function readEnd(where: string, size: number, tail: Uint8Array): End {
  const base = size - tail.length;
  const view = viewOf(tail);
  const at = tail.length - 22;
  if (at < 0 || view.getUint32(at, true) !== END) {
    throw new FormatError("ZIP archive without its central directory: the file is truncated", {
      where,
      hint: "Download it again.",
    });
  }
  const disks = view.getUint16(at + 4, true) + view.getUint16(at + 6, true);
  const count = view.getUint16(at + 10, true);
  const directorySize = view.getUint32(at + 12, true);
  const offset = view.getUint32(at + 16, true);
  if (view.getUint16(at + 20, true) !== 0) damaged(where, "a ZIP archive with a comment", "none", "one");
  const locator = at - 20;
  const is64 = locator >= 0 && view.getUint32(locator, true) === LOCATOR64;
  if (!is64) {
    if (disks !== 0 || view.getUint16(at + 8, true) !== count) {
      damaged(where, "a ZIP archive in several parts", "one file", `part ${disks}`);
    }
    return { count, offset, size: directorySize, closing: base + at };
  }
  const end64 = u64(view, locator + 8) - base;
  if (end64 !== locator - 56 || end64 < 0 || view.getUint32(end64, true) !== END64) {
    damaged(where, "a ZIP64 archive whose closing records do not lie together", base + locator - 56, end64);
  }
  const wide = { count: u64(view, end64 + 32), size: u64(view, end64 + 40), offset: u64(view, end64 + 48) };
  const agree =
    (count === FULL16 || count === wide.count) &&
    (directorySize === FULL32 || directorySize === wide.size) &&
    (offset === FULL32 || offset === wide.offset) &&
    u64(view, end64 + 24) === wide.count &&
    u64(view, end64 + 4) === 44;
  if (!agree) damaged(where, "a ZIP archive whose two closing records differ", wide.count, count);
  return { ...wide, closing: base + end64 };
}

/** Values of the ZIP64 extra field, in the order of APPNOTE 4.5.3; null if there is none. */
function wideFields(where: string, view: DataView, begin: number, end: number): number | null {
  for (let at = begin; at + 4 <= end; ) {
    const length = view.getUint16(at + 2, true);
    if (at + 4 + length > end) damaged(where, "a ZIP extra field beyond its entry", end - at - 4, length);
    if (view.getUint16(at, true) === 1) return at + 4;
    at += 4 + length;
  }
  return null;
}

interface Central extends Omit<ZipEntry, "limit" | "path"> {
  readonly name: string;
}

/** Decodes the name of an entry and refuses any that could mean another place. */
function entryName(where: string, raw: Uint8Array): string {
  let name: string;
  try {
    name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
  } catch (cause) {
    throw new FormatError("name of a ZIP entry is not UTF-8", { where, cause });
  }
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..") || /[\\\0]/.test(name)) {
    throw new FormatError("path of a ZIP entry leaves the archive", {
      where,
      name: JSON.stringify(name.slice(0, 200)),
    });
  }
  return name;
}

function readCentral(where: string, directory: Uint8Array, count: number): Central[] {
  const view = viewOf(directory);
  const entries: Central[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > directory.length || view.getUint32(at, true) !== CENTRAL) {
      damaged(where, "the ZIP directory is damaged", `${count} entries`, `${i} whole ones`);
    }
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const [nameLength, extraLength] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true)];
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (next > directory.length) {
      damaged(where, "the ZIP directory is damaged", `${count} entries`, `${i} whole ones`);
    }
    const rawName = directory.subarray(at + 46, at + 46 + nameLength);
    const name = entryName(where, rawName);
    if (method !== 0 || (flags & REFUSED_FLAGS) !== 0) {
      throw new FormatError(
        method === 0 ? "an encrypted ZIP entry" : "a compressed ZIP entry; torch.save only stores",
        {
          where,
          name,
          expected: "method 0 (stored)",
          found: method === 0 ? `flags ${flags}` : `method ${method}`,
          hint: "Pack the archive again without compression, or save the weights again.",
        },
      );
    }
    let [packed, size, header] = [20, 24, 42].map((field) => view.getUint32(at + field, true));
    if (packed === FULL32 || size === FULL32 || header === FULL32) {
      const end = at + 46 + nameLength + extraLength;
      let wide = wideFields(where, view, at + 46 + nameLength, end);
      const take = (narrow: number): number => {
        if (narrow !== FULL32 || wide === null) return narrow;
        if (wide + 8 > end) damaged(where, "a ZIP64 field is cut short", wide + 8, end);
        wide += 8;
        return u64(view, wide - 8);
      };
      size = take(size);
      packed = take(packed);
      header = take(header);
    }
    if (packed !== size) damaged(where, `the sizes of the stored ZIP entry ${name} differ`, size, packed);
    entries.push({ name, rawName, size, header, streamed: (flags & STREAMED) !== 0 });
    at = next;
  }
  if (at !== directory.length)
    damaged(where, "bytes after the ZIP directory's entries", at, directory.length);
  return entries;
}

/** Puts every entry between its neighbors, and strips the folder that all are in. */
function arrange(where: string, found: readonly Central[], directory: number): ZipDirectory {
  const ordered = [...found].sort((a, b) => a.header - b.header);
  const folder = ordered[0].name.split("/")[0];
  const entries = new Map<string, ZipEntry>();
  for (const [i, { name, ...entry }] of ordered.entries()) {
    const limit = ordered[i + 1]?.header ?? directory;
    if (entry.header + 30 + entry.rawName.length + entry.size > limit) {
      throw new FormatError("ZIP entry overlaps the next one or reaches beyond the file", {
        where,
        name,
        expected: `at most ${limit} bytes`,
        found: entry.header + 30 + entry.rawName.length + entry.size,
      });
    }
    if (!name.startsWith(`${folder}/`)) {
      throw new FormatError("not a ZIP archive of torch.save: entries in several folders", {
        where,
        name,
        expected: `${folder}/..`,
        found: name,
      });
    }
    const path = name.slice(folder.length + 1);
    if (entries.has(path)) throw new FormatError("duplicate ZIP entry", { where, name });
    entries.set(path, { ...entry, path, limit });
  }
  return { folder, entries };
}

/** Reads the directory of an archive. @throws FormatError naming the file, and the entry if there is one */
export async function readZipDirectory(source: ByteSource): Promise<ZipDirectory> {
  const { name: where, size } = source;
  const tail = await readExactly(source, size - Math.min(TAIL, size), Math.min(TAIL, size));
  const end = readEnd(where, size, tail);
  if (end.offset + end.size !== end.closing) {
    damaged(
      where,
      "the ZIP directory does not lie where the archive says",
      end.closing,
      end.offset + end.size,
    );
  }
  if (end.size > MAX_DIRECTORY) damaged(where, "the ZIP directory is too large", MAX_DIRECTORY, end.size);
  const most = Math.min(MAX_ENTRIES, Math.floor(end.size / 46));
  if (end.count < 1 || end.count > most) {
    damaged(where, "the count of ZIP entries does not fit their directory", `1 to ${most}`, end.count);
  }
  const inTail = end.offset - (size - tail.length);
  const directory =
    inTail >= 0 ? tail.subarray(inTail, inTail + end.size) : await readExactly(source, end.offset, end.size);
  return arrange(where, readCentral(where, directory, end.count), end.offset);
}

/** Checks an entry's own header against the directory; gives the offset of its data. @throws FormatError */
export async function entryData(source: ByteSource, entry: ZipEntry): Promise<number> {
  const { name: where } = source;
  const { path: name, rawName, size, header, limit, streamed } = entry;
  const bytes = await readExactly(source, header, 30 + rawName.length, undefined, name);
  const view = viewOf(bytes);
  const begin = header + 30 + rawName.length + view.getUint16(28, true);
  // Sizes that were not known yet stand behind the data, large ones in an extra field.
  const sizeAgrees = [18, 22].every((at) => {
    const found = view.getUint32(at, true);
    return found === size || found === FULL32 || (streamed && found === 0);
  });
  const agrees =
    view.getUint32(0, true) === LOCAL &&
    (view.getUint16(6, true) & REFUSED_FLAGS) === 0 &&
    view.getUint16(8, true) === 0 &&
    view.getUint16(26, true) === rawName.length &&
    rawName.every((byte, i) => byte === bytes[30 + i]) &&
    sizeAgrees;
  if (!agrees)
    throw new FormatError("header of a ZIP entry differs from the central directory", { where, name });
  if (begin + size > limit) {
    throw new FormatError("ZIP entry overlaps the next one", {
      where,
      name,
      expected: `at most ${limit - begin} bytes`,
      found: size,
    });
  }
  return begin;
}
