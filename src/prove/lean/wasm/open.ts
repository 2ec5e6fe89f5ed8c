/** The embedded verifier: real Lean 4 in WebAssembly, prepared at first use, behind the interface of all verifiers. */
import { availableParallelism } from "node:os";
import { thisMachine } from "../../../files/machine.ts";
import type { LeanAuditor, LeanSession } from "../session.ts";
import { type LeanHost, leanHost } from "./node-hosts.ts";
import { LeanPool, type PoolOptions } from "./pool.ts";
import { type PreparedLean, type PrepareOptions, prepareLean } from "./prepare.ts";
import { WasmLean } from "./wasm-lean.ts";

export interface WasmLeanOptions extends PrepareOptions, Partial<Omit<PoolOptions, "where" | "hint">> {
  /** What is prepared already. */
  readonly prepared?: PreparedLean;
  readonly host?: LeanHost;
  /**
   * Whether texts are held to the rules that keep code from running while they are read (true). Without them a verdict
   * rests on elaborated terms, axioms and the kernel alone: for tests.
   */
  readonly rules?: boolean;
}

/** Resident bytes of one server, a little more than measured. */
const SERVER_BYTES = 1.1e9;
/** As many servers as there are cores, and as fit into the free memory. */
export function defaultSize(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(thisMachine().free / SERVER_BYTES)));
}

/**
 * Opens the embedded verifier; its first server starts at once. Close it (`await using`), or the process does not end.
 * @throws LeanError if Lean cannot be had, FileError if the cache cannot be written to, the signal's reason
 */
export async function openWasmLean(options: WasmLeanOptions = {}): Promise<LeanSession & LeanAuditor> {
  const prepared = options.prepared ?? (await prepareLean(options));
  const { size = defaultSize(), host = "process", mostChecks, mostMemory, grace, startLimit } = options;
  const pool = new LeanPool(leanHost(prepared, host), {
    ...{ size, mostChecks, mostMemory, grace, startLimit, where: prepared.base },
    hint: "Is there 1 GB of free memory? If so, delete the folder, which is then made anew.",
  });
  return new WasmLean(prepared.version, pool, options.rules);
}
