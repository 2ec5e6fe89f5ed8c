/** A Lean project of the user's: which Lean and which libraries it has, and how the REPL is started in it. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { LeanError } from "../lean-error.ts";
import type { ReplCommand } from "./process.ts";

export interface LeanProject {
  readonly folder: string;
  /** As `lean-toolchain` says, `leanprover/lean4:v4.9.0`. */
  readonly toolchain: string;
  /** Libraries with their revisions, as `lake-manifest.json` pins them. */
  readonly libraries: readonly { readonly name: string; readonly revision: string }[];
}

const manifest = z.object({
  packages: z.array(z.object({ name: z.string(), rev: z.string().nullish() })).default([]),
});

/** A toolchain as elan takes it: a release, or a folder's name. */
const TOOLCHAIN = /^[\w./:@+-]{1,200}$/;

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new LeanError("the file cannot be read", { where: file, found: (cause as Error).message, cause });
  }
}

/** @throws LeanError if the folder is no Lean project */
export function readProject(path: string): LeanProject {
  const folder = resolve(path);
  const toolchainFile = join(folder, "lean-toolchain");
  if (!existsSync(toolchainFile)) {
    throw new LeanError("no Lean project: it has no file lean-toolchain", {
      where: folder,
      hint: "Name the folder with your lakefile; `lake new my-project math` makes one with Mathlib.",
    });
  }
  const toolchain = read(toolchainFile).trim();
  if (!TOOLCHAIN.test(toolchain)) {
    throw new LeanError("this names no Lean", {
      ...{
        where: toolchainFile,
        expected: "such as leanprover/lean4:v4.28.0",
        found: toolchain.slice(0, 100),
      },
      hint: "Write the version of Lean into it that the project is built with.",
    });
  }
  const manifestFile = join(folder, "lake-manifest.json");
  if (!existsSync(manifestFile)) return { folder, toolchain, libraries: [] };
  let text: unknown;
  try {
    text = JSON.parse(read(manifestFile));
  } catch (cause) {
    if (cause instanceof LeanError) throw cause;
    throw new LeanError("this is no JSON", { where: manifestFile, hint: "Run `lake update`.", cause });
  }
  const { data, error } = manifest.safeParse(text);
  if (data === undefined) {
    throw new LeanError("not the manifest of a Lean project", {
      where: manifestFile,
      found: error.issues.map((issue) => [...issue.path, issue.message].join(": ")).join("; "),
      hint: "Run `lake update`.",
    });
  }
  const libraries = data.packages.map(({ name, rev }) => ({ name, revision: rev ?? "local" }));
  return { folder, toolchain, libraries: libraries.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** `leanprover/lean4:v4.9.0 batteries@54bb04c mathlib@f0957a7`: what a verdict depends on. */
export function projectVersion({ toolchain, libraries }: LeanProject): string {
  return [toolchain, ...libraries.map(({ name, revision }) => `${name}@${revision.slice(0, 12)}`)].join(" ");
}

const BINARY = process.platform === "win32" ? "repl.exe" : "repl";

/** Where the REPL of leanprover-community is looked for: as named, then within the project and beside it. */
export function replPlaces(project: string, named?: string): string[] {
  const built = (folder: string) => join(folder, ".lake", "build", "bin", BINARY);
  if (named !== undefined) return [resolve(named), built(resolve(named))];
  const packages = join(project, ".lake", "packages");
  const folders = [project, join(packages, "REPL"), join(packages, "repl"), join(project, "repl")];
  return [...folders, join(dirname(project), "repl")].map(built);
}

/** @throws LeanError if there is no REPL, or one that was built with another Lean */
export function replCommand(project: LeanProject, named = process.env.LEAN_REPL): ReplCommand {
  const places = replPlaces(project.folder, named);
  const binary = places.find((place) => existsSync(place) && statSync(place).isFile());
  if (binary === undefined) {
    throw new LeanError("the Lean REPL is missing", {
      where: project.folder,
      found: `none of ${places.join(", ")}`,
      hint:
        "Build it beside the project with the same Lean: `git clone https://github.com/leanprover-community/repl`, " +
        `\`cp ${join(project.folder, "lean-toolchain")} repl/\`, \`cd repl && lake build\`. ` +
        "The environment variable LEAN_REPL names another place.",
    });
  }
  // .lake/build/bin/repl lies three folders below the project that it was built in.
  const toolchainFile = join(dirname(binary), "..", "..", "..", "lean-toolchain");
  const built = existsSync(toolchainFile) ? readFileSync(toolchainFile, "utf8").trim() : project.toolchain;
  if (built !== project.toolchain) {
    throw new LeanError("the Lean REPL was built with another Lean than the project's", {
      where: binary,
      expected: project.toolchain,
      found: built,
      hint: `Copy ${join(project.folder, "lean-toolchain")} beside its lakefile and run \`lake build\` there.`,
    });
  }
  return { command: "lake", args: ["env", binary], folder: project.folder };
}
