/** The memory of the machine that this program runs on. */
import { freemem, totalmem } from "node:os";
import type { Machine } from "../models/memory-needs.ts";

/** This machine's memory, or what a container leaves of it. */
export function thisMachine(): Machine {
  const limit = process.constrainedMemory?.() ?? 0;
  const total = limit > 0 ? Math.min(totalmem(), limit) : totalmem();
  const free = process.availableMemory?.() ?? freemem();
  return { total, free: Math.min(free, total) };
}
