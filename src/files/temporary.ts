/**
 * Names for what is being written and for what is being replaced, next to their target: `NAME.tmp-OWNER` and
 * `NAME.old-OWNER`, where OWNER is process, machine and a random part. So later processes can tell whether the owner
 * still lives, and only what a dead process of this machine left is ever cleared.
 */
import { createHash, randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { lstat, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { hostname, tmpdir, uptime } from "node:os";
import { basename, dirname, join } from "node:path";
import { codeOf, explained, isMissing } from "./file-error.ts";
import { lives } from "./process-identity.ts";

/** What the name is for: a new thing being written, or an old one on its way out. */
export type TemporaryKind = "tmp" | "old";

const OWNED = /\.(tmp|old)-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}$/;

/** How exactly the start of the system is known. */
const BOOT_SLACK_MS = 60_000;

const machine = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

/** A new unique name next to `target`. */
export function temporaryName(target: string, kind: TemporaryKind): string {
  return `${target}.${kind}-${process.pid}-${machine}-${randomBytes(4).toString("hex")}`;
}

/** The name of the target for which `temporaryName` gave this name; null for other names. */
export function ownedTarget(name: string): string | null {
  const match = OWNED.exec(name);
  return match && name.slice(0, match.index);
}

/** Whether the process that gave `path` its name is gone; false if that cannot be known, as for another machine. */
export async function isAbandoned(path: string): Promise<boolean> {
  const match = OWNED.exec(path);
  if (match === null || match[3] !== machine) return false;
  if (!lives(Number(match[2]))) return true;
  // Process ids begin anew with the system, so another process may have this one's.
  const started = Date.now() - 1000 * uptime();
  const info = await lstat(path).catch(() => null);
  return info !== null && info.ctimeMs < started - BOOT_SLACK_MS;
}

/** Paths next to `target` that temporaryName made for it. */
export async function temporariesOf(target: string, kind: TemporaryKind): Promise<string[]> {
  const prefix = `${basename(target)}.${kind}-`;
  try {
    const names = await readdir(dirname(target));
    return names
      .filter((name) => name.startsWith(prefix) && OWNED.exec(name)?.index === basename(target).length)
      .map((name) => join(dirname(target), name));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

// What this process is writing now: cleared if it ends in the middle of it.
const active = new Set<string>();
let watching = false;
let tell: (writing: boolean) => void = () => {};

/** `onChange` is called when this process begins to write something that must not outlive it, and when all is done. */
export function watchUnsettled(onChange: (writing: boolean) => void): void {
  tell = onChange;
}

/** Notes something that must not outlive this process; `settled` takes it off the list. */
export function unsettled(path: string): void {
  if (!watching) {
    process.on("exit", () => {
      for (const each of active) rmSync(each, { recursive: true, force: true });
    });
    watching = true;
  }
  if (active.size === 0) tell(true);
  active.add(path);
}

/** The thing has got its name, or is gone. */
export function settled(path: string): void {
  if (active.delete(path) && active.size === 0) tell(false);
}

/** Deletes what this process or a dead one was writing. */
export async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  settled(path);
}

/** Deletes half-written things that dead processes left for `target`. */
export async function clearAbandoned(target: string): Promise<void> {
  for (const path of await temporariesOf(target, "tmp")) if (await isAbandoned(path)) await discard(path);
}

/** Runs `body` with a new folder among the system's temporary files, and deletes it afterwards. */
export async function withTemporaryFolder<T>(
  prefix: string,
  body: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await explained(tmpdir(), "write", () => mkdtemp(join(tmpdir(), prefix)));
  unsettled(folder);
  try {
    return await body(folder);
  } finally {
    await discard(folder);
  }
}

/** Makes `path` a new folder with the rights that the user's umask gives; errors name `shown`. */
export async function makeFolder(path: string, shown = path): Promise<void> {
  await explained(shown, "write", () => mkdir(path));
}

/** Makes a folder and those above it if they are missing; errors name `shown`. */
export async function makeFolders(path: string, shown = path): Promise<void> {
  // Node's own `recursive` never returns if the system refuses as in /proc.
  const missing: string[] = [];
  for (let at = path; !(await explained(shown, "read", () => isTaken(at))); at = dirname(at))
    missing.push(at);
  for (const folder of missing.reverse()) {
    await explained(shown, "write", () => mkdir(folder)).catch((error: unknown) => {
      // Another process was faster.
      if (codeOf(error) !== "EEXIST") throw error;
    });
  }
}

/** Whether anything, also a link that leads nowhere, has this name. */
export async function isTaken(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
