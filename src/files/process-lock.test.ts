/** The lock between processes: one at a time, and what becomes of locks whose owner is gone. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { thisProcess } from "./process-identity.ts";
import { tryLock, withLock } from "./process-lock.ts";

let root: string;
let lock: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "lock-"));
  lock = join(root, "x.lock");
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A number that no process has. */
const deadPid = 2 ** 22 + 1;
const owner = (pid: number, host = hostname()) => JSON.stringify({ pid, host, id: "other" });
const old = new Date(Date.now() - 120_000);

describe("withLock", () => {
  it("lets one in at a time, and the next after a failure too", async () => {
    let inside = 0;
    let most = 0;
    let waits = 0;
    const work = async (n: number) => {
      most = Math.max(most, ++inside);
      await pause(3);
      inside--;
      if (n === 1) throw new Error("one");
      return n;
    };
    const all = [0, 1, 2, 3, 4].map((n) => withLock(lock, () => work(n), { poll: 2, onWait: () => waits++ }));
    const results = await Promise.allSettled(all);
    expect(results.map(({ status }) => status === "fulfilled")).toEqual([true, false, true, true, true]);
    expect({ most, waits }).toEqual({ most: 1, waits: 4 });
    expect(existsSync(lock)).toBe(false);
  });

  it.each([
    ["of a process that is gone", owner(deadPid), false],
    ["of a process elsewhere that was silent for long", owner(1, "elsewhere"), true],
    ["with a number that was given out again", owner(process.pid), true],
    ["that its owner did not get to write", "", true],
  ])("takes over a lock %s", async (_, content, isOld) => {
    await writeFile(lock, content);
    if (isOld) await utimes(lock, old, old);
    const all = [1, 2, 3].map((n) => withLock(lock, async () => n, { poll: 2 }));
    expect(await Promise.all(all)).toEqual([1, 2, 3]);
    expect(existsSync(lock)).toBe(false);
    expect(existsSync(`${lock}.removal`)).toBe(false);
  });

  it.each([
    ["of a living process", owner(process.pid)],
    ["of another machine", owner(deadPid, "elsewhere")],
    ["that is being written", ""],
  ])("waits for a lock %s until told to stop", async (_, content) => {
    await writeFile(lock, content);
    const controller = new AbortController();
    const reason = new Error("enough");
    const failed = withLock(lock, async () => 1, { poll: 2, signal: controller.signal });
    await pause(30);
    controller.abort(reason);
    await expect(failed).rejects.toBe(reason);
    expect(existsSync(lock)).toBe(true);
  });

  it.runIf(process.platform !== "win32")(
    "tells a living owner from an id given out again by its start",
    async () => {
      const own = await thisProcess();
      expect(own.started).not.toBeNull();
      await writeFile(lock, JSON.stringify({ ...own, started: `${own.started}0`, id: "other" }));
      expect(await withLock(lock, async () => 1, { poll: 2 })).toBe(1);
      await writeFile(lock, JSON.stringify({ ...own, id: "other" }));
      await utimes(lock, old, old);
      const failed = withLock(lock, async () => 1, { poll: 2, signal: AbortSignal.timeout(40) });
      await expect(failed).rejects.toThrow();
    },
  );

  it("leaves a lock that another took over", async () => {
    await withLock(lock, () => writeFile(lock, owner(process.pid)));
    expect(existsSync(lock)).toBe(true);
  });
});

describe("tryLock", () => {
  it("takes a free lock once, says who holds a taken one, and frees it", async () => {
    const first = await tryLock(lock);
    if (!("held" in first)) throw new Error("the lock was free");
    expect(await tryLock(lock)).toMatchObject({ owner: { pid: process.pid, host: hostname() } });
    await first.held.release();
    expect(existsSync(lock)).toBe(false);
    const second = await tryLock(lock);
    expect("held" in second).toBe(true);
    if ("held" in second) await second.held.release();
  });

  it("takes over what a dead process left, and lets one of several have it", async () => {
    await writeFile(lock, owner(deadPid));
    const all = await Promise.all([1, 2, 3].map(() => tryLock(lock)));
    expect(all.filter((taken) => "held" in taken)).toHaveLength(1);
    for (const taken of all) if ("held" in taken) await taken.held.release();
  });

  it("believes in an owner elsewhere for as long as it is told to", async () => {
    await writeFile(lock, owner(deadPid, "elsewhere"));
    await utimes(lock, old, old);
    expect(await tryLock(lock, { dead: 600_000 })).toMatchObject({ owner: { host: "elsewhere" } });
    const taken = await tryLock(lock);
    expect("held" in taken).toBe(true);
    if ("held" in taken) await taken.held.release();
  });
});
