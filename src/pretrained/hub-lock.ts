/**
 * A lock between processes: a file that one of them creates and keeps fresh. A lock whose owner has died counts no
 * more: at once where no process of its number is left on this machine, else after a while without a sign of life
 * (caches on network disks, numbers given out again). Should an owner that only slept lose its lock so, both write the
 * same bytes to the same places, which does no harm. Node offers no `flock`, so the Python library's own locks are not seen; names of files
 * being written therefore differ from its. Node only.
 */
import { randomUUID } from "node:crypto";
import { open, readFile, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { pause } from "./hub-client.ts";

/** Milliseconds between signs of life, and after how many without one an owner counts as dead. */
const BEAT = 5_000;
const DEAD = 60_000;

interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly id: string;
}

async function create(path: string, owner: Owner): Promise<boolean> {
  try {
    const handle = await open(path, "wx");
    await handle.writeFile(JSON.stringify(owner));
    await handle.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

const ignoreMissing = (error: NodeJS.ErrnoException) => {
  if (error.code !== "ENOENT") throw error;
  return null;
};

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Whether the lock's owner is gone; false where there is no lock. */
async function isAbandoned(path: string): Promise<boolean> {
  const text = await readFile(path, "utf8").catch(ignoreMissing);
  const info = await stat(path).catch(ignoreMissing);
  if (text === null || info === null) return false;
  const silent = Date.now() - info.mtimeMs;
  let owner: Partial<Owner> = {};
  try {
    owner = JSON.parse(text) as Partial<Owner>;
  } catch {
    // Created a moment ago and not written yet, or its owner died between the two.
  }
  if (owner.host === hostname() && typeof owner.pid === "number" && !lives(owner.pid)) return true;
  // Also on this machine: the number may belong to another process by now.
  return silent > DEAD;
}

/** Removes an abandoned lock. A second lock makes sure that only one process looks and removes at a time. */
async function removeAbandoned(path: string, owner: Owner): Promise<void> {
  const guard = `${path}.removal`;
  if (!(await create(guard, owner))) {
    const info = await stat(guard).catch(ignoreMissing);
    if (info !== null && Date.now() - info.mtimeMs > DEAD) await rm(guard, { force: true });
    return;
  }
  try {
    if (await isAbandoned(path)) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

/** Runs `work` while holding the lock file `path`, whose folder must exist. `onWait` is called once if it is taken. */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: { readonly signal?: AbortSignal; readonly onWait?: () => void; readonly poll?: number } = {},
): Promise<T> {
  const owner: Owner = { pid: process.pid, host: hostname(), id: randomUUID() };
  for (let n = 0; !(await create(path, owner)); n++) {
    if (n === 0) options.onWait?.();
    if (await isAbandoned(path)) {
      await removeAbandoned(path, owner);
      continue;
    }
    await pause(options.poll ?? 200, options.signal);
  }
  const beat = setInterval(() => {
    const now = new Date();
    // A lock deleted by hand shows when it is released.
    utimes(path, now, now).catch(() => {});
  }, BEAT);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    const text = await readFile(path, "utf8").catch(ignoreMissing);
    if (text?.includes(owner.id)) await rm(path, { force: true });
  }
}
