/**
 * Which process this is, so that a file left by it can later be told from one left by a living process. A process id
 * alone does not say: ids are given out again, and a restart of the machine begins them anew. Node only.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { promisify } from "node:util";

export interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in the system's own notation; null if the system does not tell. */
  readonly started: string | null;
}

/** When process `pid` of this machine started; null if there is none or the system does not tell. */
async function startOf(pid: number): Promise<string | null> {
  if (process.platform === "linux") {
    try {
      const [stat, boot] = await Promise.all([
        readFile(`/proc/${pid}/stat`, "utf8"),
        readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      ]);
      // The command's name stands in parentheses and may hold spaces; the start time is the 20th field after it.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      // One that has ended and whose parent has not asked how counts as none.
      return fields[0] === "Z" ? "ended" : `${boot.trim()} ${fields[19]}`;
    } catch {
      return null;
    }
  }
  if (process.platform === "win32") return null;
  const listed = await promisify(execFile)("ps", ["-o", "lstart=", "-p", String(pid)]).catch(() => null);
  return listed?.stdout.trim() || null;
}

/** The identity of this process. */
export async function thisProcess(): Promise<ProcessIdentity> {
  return { pid: process.pid, host: hostname(), started: await startOf(process.pid) };
}

/** Whether there is a process of this id on this machine. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Whether the process still runs: `unknown` if it ran on another machine, or its id may belong to another now. */
export async function fateOf(identity: Partial<ProcessIdentity>): Promise<"runs" | "gone" | "unknown"> {
  const { pid, host, started } = identity;
  if (host !== hostname() || typeof pid !== "number") return "unknown";
  if (!lives(pid)) return "gone";
  if (typeof started !== "string") return "unknown";
  const now = await startOf(pid);
  return now === null ? "unknown" : now === started ? "runs" : "gone";
}
