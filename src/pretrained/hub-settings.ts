/**
 * Where the hub is, where its cache lies and who asks, from options and the environment variables that the Python
 * library reads (huggingface_hub/constants.py): HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, XDG_CACHE_HOME, HF_TOKEN,
 * HF_TOKEN_PATH, HF_HUB_OFFLINE and their older names. Node only.
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../tensor/errors.ts";

export interface HubOptions {
  /** Base address of the hub; default HF_ENDPOINT, then https://huggingface.co. */
  readonly endpoint?: string;
  /** Folder of the shared cache; default HF_HUB_CACHE, then HF_HOME/hub, then ~/.cache/huggingface/hub. */
  readonly cacheDir?: string;
  /** Access token; null sends none. Default HF_TOKEN, then the file that `hf auth login` writes. */
  readonly token?: string | null;
  /** Use the cache alone; default HF_HUB_OFFLINE. */
  readonly offline?: boolean;
}

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly cacheDir: string;
  readonly token: string | null;
  readonly offline: boolean;
}

type Env = Readonly<Record<string, string | undefined>>;

const isTrue = (value: string | undefined) => /^(1|on|yes|true)$/i.test(value ?? "");

/** `~` and `$NAME` in a path, as the Python library expands them. */
function expanded(path: string, env: Env): string {
  const home = path === "~" || /^~[/\\]/.test(path) ? homedir() + path.slice(1) : path;
  return home.replace(
    /\$(?:(\w+)|\{(\w+)\})/g,
    (whole, a?: string, b?: string) => env[a ?? b ?? ""] ?? whole,
  );
}

function homeOf(env: Env): string {
  const base = env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  return expanded(env.HF_HOME ?? join(base, "huggingface"), env);
}

/** The folder of the shared cache. */
export function hubCacheFolder(env: Env = process.env): string {
  return expanded(env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(homeOf(env), "hub"), env);
}

async function tokenOf(env: Env): Promise<string | null> {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return null;
  const given = (env.HF_TOKEN ?? env.HUGGING_FACE_HUB_TOKEN ?? "").trim();
  if (given !== "") return given;
  const path = expanded(env.HF_TOKEN_PATH ?? join(homeOf(env), "token"), env);
  try {
    return (await readFile(path, "utf8")).trim() || null;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

/** Options, completed from the environment. @throws ConfigError on an endpoint that is not an address */
export async function hubSettings(options: HubOptions = {}, env: Env = process.env): Promise<HubSettings> {
  const endpoint = (options.endpoint ?? (env.HF_ENDPOINT || "https://huggingface.co")).replace(/\/+$/, "");
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint)) {
    throw new ConfigError("the address of the hub is not a URL", {
      where: options.endpoint === undefined ? "HF_ENDPOINT" : "endpoint",
      expected: "http(s)://host",
      found: endpoint,
    });
  }
  return {
    endpoint,
    cacheDir: options.cacheDir ?? hubCacheFolder(env),
    token: options.token === undefined ? await tokenOf(env) : options.token,
    offline: options.offline ?? isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
  };
}
