/** One writer per training run: a lock file in its folder, with the process that holds it. */
import { hostname } from "node:os";
import { join } from "node:path";
import { type HeldLock, tryLock } from "../files/process-lock.ts";
import { ConfigError } from "../tensor/errors.ts";

/** Name of the lock in the run's folder. */
export const RUN_LOCK = "run.lock";

/**
 * Milliseconds of silence after which a writer that this machine cannot ask about counts as gone: one on another
 * machine that shares the folder. Longer than any step, which keeps a writer silent.
 */
const DEAD = 900_000;

/**
 * Takes the run in `folder` for this process until released. @throws ConfigError if another process, or this one
 * already, prepares or trains it
 */
export async function lockRun(folder: string): Promise<HeldLock> {
  const path = join(folder, RUN_LOCK);
  const taken = await tryLock(path, { dead: DEAD });
  if ("held" in taken) return taken.held;
  const { pid, host } = taken.owner;
  const here = host === undefined || host === hostname();
  if (here && pid === process.pid) {
    throw new ConfigError("this process already trains the run", {
      where: folder,
      hint: "Dispose of the other Run first.",
    });
  }
  throw new ConfigError(
    `the run is being trained by process ${pid ?? "unknown"}${here ? "" : ` on ${host}`}`,
    {
      where: folder,
      hint: `Let it finish, or stop it with Ctrl-C: it saves first. If it no longer runs, delete ${path}.`,
    },
  );
}
