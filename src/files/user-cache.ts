/**
 * The folder for what this program made and can make again, by the conventions of the system: `$XDG_CACHE_HOME` or
 * `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. Node only.
 */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { ConfigError } from "../tensor/errors.ts";

type Env = Readonly<Record<string, string | undefined>>;

const NAME = "deepseek-ts";

/** The environment variable that names another folder. */
export const CACHE_VARIABLE = "DEEPSEEK_TS_CACHE";

/** Absolute path of the user's cache folder, which may not exist yet. @throws ConfigError for a relative `DEEPSEEK_TS_CACHE` */
export function userCacheFolder(env: Env = process.env, platform: string = process.platform): string {
  const named = env[CACHE_VARIABLE];
  if (named) {
    if (isAbsolute(named)) return named;
    throw new ConfigError("the cache folder must be an absolute path", {
      where: CACHE_VARIABLE,
      found: named,
    });
  }
  if (platform === "win32") {
    return join(env.LOCALAPPDATA || join(homedir(), "AppData", "Local"), NAME, "Cache");
  }
  if (platform === "darwin") return join(homedir(), "Library", "Caches", NAME);
  // The convention ignores relative paths.
  const base =
    env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : join(homedir(), ".cache");
  return join(base, NAME);
}
