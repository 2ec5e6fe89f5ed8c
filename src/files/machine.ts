/** The memory of the machine that this program runs on. Node only. */
import { freemem, totalmem } from "node:os";

/** Bytes of this machine's memory, or of what a container leaves of it, and how many of them are free. */
export function thisMachine(): { readonly total: number; readonly free: number } {
  const limit = process.constrainedMemory?.() ?? 0;
  const total = limit > 0 ? Math.min(totalmem(), limit) : totalmem();
  const free = process.availableMemory?.() ?? freemem();
  return { total, free: Math.min(free, total) };
}
