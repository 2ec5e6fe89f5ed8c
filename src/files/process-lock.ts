/**
 * A lock between processes: a file that one of them creates and keeps fresh. A lock whose owner has died counts no
 * more: at once if this machine can tell, else after a while without a sign of life (network disks, containers that
 * share a folder). Should an owner on another machine that only slept lose its lock so, both write: users of a lock
 * make sure that this does no harm, or ask for a long silence. Node offers no `flock`, so the Python library's own
 * locks are not seen; names of files being written therefore differ from its. Node only.
 */
import { randomUUID } from "node:crypto";
import { open, readFile, rm, stat, utimes } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { fateOf, type ProcessIdentity, thisProcess } from "./process-identity.ts";

/** Milliseconds between signs of life, and after how many without one an owner counts as dead. */
const BEAT = 5_000;
const DEAD = 60_000;

interface Owner extends ProcessIdentity {
  readonly id: string;
}

/** A lock that this process holds. */
export interface HeldLock {
  release(): Promise<void>;
}

/** Who holds a lock, as far as its file says. */
export type LockOwner = Partial<ProcessIdentity>;

async function create(path: string, owner: Owner): Promise<boolean> {
  try {
    const handle = await open(path, "wx");
    try {
      await handle.writeFile(JSON.stringify(owner));
    } finally {
      await handle.close();
    }
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

/** The owner of a lock and whether it is gone; null if there is no lock. */
async function lookAt(path: string, dead: number): Promise<{ owner: LockOwner; abandoned: boolean } | null> {
  const text = await readFile(path, "utf8").catch(ignoreMissing);
  const info = await stat(path).catch(ignoreMissing);
  if (text === null || info === null) return null;
  let owner: LockOwner = {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) owner = value;
  } catch {
    // Created a moment ago and not written yet, or its owner died between the two.
  }
  const fate = await fateOf(owner);
  const silent = Date.now() - info.mtimeMs;
  return { owner, abandoned: fate === "gone" || (fate === "unknown" && silent > dead) };
}

/** Removes an abandoned lock. A second lock makes sure that only one process looks and removes at a time. */
async function removeAbandoned(path: string, owner: Owner, dead: number): Promise<void> {
  const guard = `${path}.removal`;
  if (!(await create(guard, owner))) {
    const info = await stat(guard).catch(ignoreMissing);
    if (info !== null && Date.now() - info.mtimeMs > DEAD) await rm(guard, { force: true });
    return;
  }
  try {
    if ((await lookAt(path, dead))?.abandoned) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

/** Keeps a lock fresh until it is released. */
function hold(path: string, owner: Owner): HeldLock {
  const beat = setInterval(() => {
    const now = new Date();
    // A lock deleted by hand shows when it is released.
    utimes(path, now, now).catch(() => {});
  }, BEAT);
  beat.unref();
  return {
    async release() {
      clearInterval(beat);
      const text = await readFile(path, "utf8").catch(ignoreMissing);
      if (text?.includes(owner.id)) await rm(path, { force: true });
    },
  };
}

/** Resolves after `ms`, rejects with the signal's reason. */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch((error: unknown) => {
    throw signal?.aborted ? signal.reason : error;
  });
}

const newOwner = async (): Promise<Owner> => ({ ...(await thisProcess()), id: randomUUID() });

/**
 * Takes the lock file `path`, whose folder must exist, or says who holds it.
 * @param dead milliseconds without a sign of life after which an owner of unknown fate counts as gone
 */
export async function tryLock(
  path: string,
  { dead = DEAD }: { readonly dead?: number } = {},
): Promise<{ readonly held: HeldLock } | { readonly owner: LockOwner }> {
  const owner = await newOwner();
  for (;;) {
    if (await create(path, owner)) return { held: hold(path, owner) };
    const found = await lookAt(path, dead);
    if (found === null) continue;
    if (!found.abandoned) return { owner: found.owner };
    await removeAbandoned(path, owner, dead);
    await pause(20);
  }
}

/** Who holds the lock file `path`; null if nobody that lives does. */
export async function lockOwner(path: string, dead = DEAD): Promise<LockOwner | null> {
  const found = await lookAt(path, dead);
  return found === null || found.abandoned ? null : found.owner;
}

/** Runs `work` while holding the lock file `path`, whose folder must exist. `onWait` is called once if it is taken. */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: { readonly signal?: AbortSignal; readonly onWait?: () => void; readonly poll?: number } = {},
): Promise<T> {
  const owner = await newOwner();
  for (let n = 0; !(await create(path, owner)); n++) {
    if (n === 0) options.onWait?.();
    if ((await lookAt(path, DEAD))?.abandoned) {
      await removeAbandoned(path, owner, DEAD);
      continue;
    }
    await pause(options.poll ?? 200, options.signal);
  }
  const held = hold(path, owner);
  try {
    return await work();
  } finally {
    await held.release();
  }
}
