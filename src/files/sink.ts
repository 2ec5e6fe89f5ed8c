/** What files and folders are written through, without Node: the sinks' interfaces and the rule for paths inside a folder. */
import { FormatError } from "../tensor/errors.ts";

/** A file being written front to back; nothing is visible under its name before `commit`. */
export interface ByteSink {
  readonly name: string;
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the file durable and visible. */
  commit(): Promise<void>;
  /** Drops what was written. */
  abort(): Promise<void>;
}

/** A folder being written; nothing is visible under its name before `commit`. */
export interface FolderSink {
  readonly name: string;
  file(path: string): Promise<ByteSink>;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** True for a relative path that stays inside its folder on every system. */
export function isInnerPath(path: string): boolean {
  const leaves = path.split("/").some((part) => part === "" || part === "." || part === "..");
  return !leaves && !/[\\:\0]/.test(path);
}

/** @throws FormatError unless `path` is relative and stays inside its folder. */
export function checkInnerPath(where: string, path: string): void {
  if (isInnerPath(path)) return;
  throw new FormatError("file path leaves the checkpoint folder", {
    where,
    name: path,
    expected: "a relative path without '..'",
    found: JSON.stringify(path),
  });
}

/** Writes one whole file through a sink and commits it; on any error aborts it. */
export async function writeWhole(sink: ByteSink, content: string | Uint8Array): Promise<void> {
  try {
    await sink.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
