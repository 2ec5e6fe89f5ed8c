/** The package as users get it: packs it, and runs programs as in a project of theirs. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const onWindows = process.platform === "win32";

/** Folders of PATH without those of npm's own binaries, where the pinned Node lies. */
export const systemPath = (process.env.PATH ?? "")
  .split(delimiter)
  .filter((at) => !at.includes("node_modules"))
  .join(delimiter);

/** The environment without what npm tells its scripts, so that commands act as a user's. */
function environment(path: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_|^INIT_CWD$|^NODE_OPTIONS$/i.test(name));
  return { ...Object.fromEntries(own), PATH: path };
}

/** Runs a program to its end and returns what it wrote. @throws Error if it fails */
export function call(command: string, args: readonly string[], cwd: string, path: string): string {
  return execFileSync(command, args, {
    cwd,
    env: environment(path),
    encoding: "utf8",
    shell: onWindows,
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 180_000,
  });
}

export interface Packed {
  /** Path of the archive. */
  readonly file: string;
  /** Bytes, and of what it unpacks to. */
  readonly size: number;
  readonly unpackedSize: number;
  readonly entryCount: number;
}

/**
 * Packs the package as built into `folder`. What only its developers need is left out of package.json: npm would warn
 * users of `prepare`, an install script that does nothing for them.
 */
export function packPackage(folder: string): Packed {
  const stage = mkdtempSync(join(tmpdir(), "deepseek-ts-stage-"));
  try {
    const description = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      scripts?: unknown;
      devDependencies?: unknown;
      workspaces?: unknown;
      files: string[];
    };
    // Of a pattern the folder: npm then takes what the pattern names.
    const places = new Set(description.files.map((name) => (name.includes("*") ? dirname(name) : name)));
    for (const name of places) {
      cpSync(join(root, name), join(stage, name), { recursive: true });
    }
    const { scripts: _scripts, devDependencies: _dev, workspaces: _workspaces, ...published } = description;
    writeFileSync(join(stage, "package.json"), `${JSON.stringify(published, null, 2)}\n`);
    const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
    const packed = call("npm", args, stage, process.env.PATH!);
    const [{ filename, ...figures }] = Object.values(JSON.parse(packed)) as (Packed & { filename: string })[];
    return { ...figures, file: join(folder, filename) };
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}
