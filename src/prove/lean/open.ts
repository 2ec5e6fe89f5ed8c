/** Opens a Lean verifier of any kind. */
import { ConfigError } from "../../tensor/errors.ts";
import type { KiminaLeanOptions } from "./kimina.ts";
import type { NativeLeanOptions } from "./native.ts";
import type { LeanSession } from "./session.ts";
import type { WasmLeanOptions } from "./wasm/open.ts";

/** The embedded Lean, that of a project of the user's, or one behind a Kimina server. */
export type OpenLeanOptions =
  | ({ readonly kind: "wasm" } & WasmLeanOptions)
  | ({ readonly kind: "native" } & NativeLeanOptions)
  | ({ readonly kind: "kimina" } & KiminaLeanOptions);

/**
 * Close what it opens (`await using`), or the process does not end.
 * @throws LeanError if that Lean cannot be had, the signal's reason
 */
export async function openLean(options: OpenLeanOptions = { kind: "wasm" }): Promise<LeanSession> {
  switch (options.kind) {
    case "wasm":
      return (await import("./wasm/open.ts")).openWasmLean(options);
    case "native":
      return (await import("./native.ts")).openNative(options);
    case "kimina":
      return (await import("./kimina.ts")).openKimina(options);
  }
}

/** The environment variable with the key of a Kimina server, as the server itself calls it. */
export const KIMINA_KEY = "LEAN_SERVER_API_KEY";

/**
 * What `--lean` and `--project` choose: `wasm`, `native` (in the current folder unless a project is named) or `kimina=URL`; a
 * project alone means its own Lean.
 * @throws ConfigError for anything else
 */
export function leanChoice(
  named: string | undefined,
  project: string | undefined,
  key: string | undefined = process.env[KIMINA_KEY],
): OpenLeanOptions {
  const kind = named ?? (project === undefined ? "wasm" : "native");
  if (kind === "native") return { kind, project: project ?? "." };
  const url = kind.startsWith("kimina=") ? kind.slice("kimina=".length) : undefined;
  if (kind !== "wasm" && url === undefined) {
    throw new ConfigError("no such Lean", {
      where: "--lean",
      expected: ["wasm", "native", "kimina=URL"],
      found: kind,
    });
  }
  if (project !== undefined) {
    throw new ConfigError("a project has a Lean of its own", {
      where: "--project",
      found: `--lean ${kind}`,
      hint: "Name the project with --lean native, or leave it out.",
    });
  }
  return url === undefined ? { kind: "wasm" } : { kind: "kimina", url, ...(key ? { key } : {}) };
}
