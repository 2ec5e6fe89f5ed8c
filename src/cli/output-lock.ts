/** Keeps two processes from writing the same results: commands that a later run goes on with take this lock. */
import { tryLock } from "../files/process-lock.ts";
import { ConfigError } from "../tensor/errors.ts";

/** Takes `lock` for what is written to `path`. @param what the results, as in "the answers" @throws ConfigError if one has it */
export async function lockOutput(path: string, lock: string, what: string): Promise<AsyncDisposable> {
  const taken = await tryLock(lock);
  if ("held" in taken) return { [Symbol.asyncDispose]: () => taken.held.release() };
  throw new ConfigError(`process ${taken.owner.pid ?? "unknown"} writes ${what}`, {
    where: path,
    hint: `Let it finish, or stop it with Ctrl-C. If it no longer runs, delete ${lock}.`,
  });
}
