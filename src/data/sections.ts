/**
 * Long files in sections: a file of any size is read a few megabytes at a time, each section its own text that
 * begins and ends with a line if lines are of ordinary length, and never inside a character.
 */
import type { FileHandle } from "node:fs/promises";

/** A part of a file: bytes `[index * size, (index + 1) * size)`, moved to the lines that begin there. */
export interface Section {
  readonly index: number;
  /** Bytes of a section. */
  readonly size: number;
}

/** Sections that a file of `bytes` bytes has. */
export function sectionCount(bytes: number, size: number): number {
  return Math.max(1, Math.ceil(bytes / size));
}

/** How far behind its place a section looks for a line's beginning. */
const slack = (size: number) => Math.max(4, Math.min(65_536, size >> 2));

/** Where the section that should begin at `at` begins, `bytes` being those from `at - 1` on. */
function beginning(bytes: Uint8Array, at: number, size: number): number {
  const feed = bytes.subarray(0, slack(size)).indexOf(0x0a);
  if (feed >= 0) return at + feed;
  let next = 1;
  // Bytes that go on with a character.
  while (next < Math.min(4, bytes.length) && (bytes[next] & 0xc0) === 0x80) next++;
  return at + next - 1;
}

/** The bytes of a section of an open file. */
export async function readSection(
  handle: FileHandle,
  fileBytes: number,
  { index, size }: Section,
): Promise<Uint8Array> {
  const from = index * size;
  // The file has become shorter.
  if (from > fileBytes) return new Uint8Array(0);
  const to = Math.min(fileBytes, from + size);
  // One byte before, which may be the line's end, and what a boundary may lie behind.
  const start = Math.max(0, from - 1);
  const bytes = new Uint8Array(Math.min(fileBytes, to + slack(size)) - start);
  let read = 0;
  while (read < bytes.length) {
    const { bytesRead } = await handle.read(bytes, read, bytes.length - read, start + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  const held = bytes.subarray(0, read);
  const first = from === 0 ? 0 : beginning(held, from, size);
  const last = to === fileBytes ? fileBytes : beginning(held.subarray(to - 1 - start), to, size);
  return held.subarray(first - start, last - start);
}
