/**
 * Texts that recipes learn from: sources of packages of the npm registry, whose versions are fixed here. They are never committed:
 *
 *     node recipes/corpora.ts effect
 *
 * copies the chosen files of its packages into `runs/corpora` with a manifest, in which each file has its SHA-256 and all of them together
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

interface PackageSource {
  readonly package: string;
  /** Null: whichever version `npm ci` brought. Such a corpus changes with the lock file and is for small forms alone. */
  readonly version: string | null;
  /** Folder inside the package. */
  readonly folder: string;
  readonly files: RegExp;
  readonly without: RegExp;
}

interface CorpusSource {
  /** Of several, each has a folder of its name. */
  readonly packages: readonly PackageSource[];
  /** Of all files together; null where the version is not fixed. */
  readonly hash: string | null;
}

/** Modules without lists of all others, which import everything, and without what is generated. */
const MODULES =
  /\.d\.ts$|\.min\.js$|(^|\/)(index|lodash|lodash\.default|types|version|cdn)\.[jt]s$|(^|\/)(locale|fp|docs)\//;

const SMALL_MODULES: readonly PackageSource[] = [
  { package: "date-fns", version: "4.4.0", folder: ".", files: /\.js$/, without: MODULES },
  { package: "lodash-es", version: "4.18.1", folder: ".", files: /\.js$/, without: MODULES },
  { package: "ramda", version: "0.32.0", folder: "es", files: /\.js$/, without: MODULES },
  { package: "rxjs", version: "7.8.2", folder: "src/internal", files: /\.ts$/, without: MODULES },
];

export const CORPORA = {
  /** TypeScript with comments, MIT. */
  effect: {
    packages: [{ package: "effect", version: "3.19.0", folder: "src", files: /\.ts$/, without: /\.d\.ts$/ }],
    hash: "b30b999c0240ca10324306ab9d3136e033dc05bb23862bb79bfbb8fd3449f46a",
  },
  /** Compiled JavaScript modules of a 3D engine, Apache-2.0: the long forms need its size. */
  babylon: {
    packages: [
      { package: "@babylonjs/core", version: "9.35.0", folder: ".", files: /\.js$/, without: /\.min\.js$/ },
    ],
    hash: "662dc0597436c2ef40ce86833e978df4f8b8e01415768087c33fd9e992dd3e13",
  },
  zod: {
    packages: [
      {
        ...{ package: "zod", version: null, folder: "src" },
        ...{ files: /\.ts$/, without: /\.test\.ts$|\/locales\// },
      },
    ],
    hash: null,
  },
  /** Small modules that import each other, MIT and Apache-2.0 (rxjs): a file and what it needs fit into one sequence. */
  modules: {
    packages: SMALL_MODULES,
    hash: "f72db9fc432ff42c9c744348075f414d9a26dbe53bcb6ae262a2f1d0e8636682",
  },
  /** The same with a library of 3D, MIT. */
  "more-modules": {
    packages: [
      ...SMALL_MODULES,
      { package: "three", version: "0.187.0", folder: "src", files: /\.js$/, without: MODULES },
    ],
    hash: "03ffff80c2281e9a603266b5e8468d0cd3b8519f3e08350658bf3c7b11800245",
  },
  /** Of what `npm ci` brought. */
  "small-modules": {
    packages: ["vega-functions", "vega-scale", "vega-statistics", "vega-transforms", "vega-util"].map(
      (name) => ({
        ...{ package: name, version: null, folder: "src" },
        ...{ files: /\.js$/, without: MODULES },
      }),
    ),
    hash: null,
  },
} as const satisfies Record<string, CorpusSource>;

export type CorpusName = keyof typeof CORPORA;

const MANIFEST = "manifest.json";

/** Longest file that is taken. */
const MOST_BYTES = 200_000;

export interface CorpusManifest {
  readonly name: string;
  readonly packages: readonly {
    readonly package: string;
    readonly version: string;
    readonly license: string;
  }[];
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
async function packageFolder(source: PackageSource): Promise<string> {
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
  const from: { source: PackageSource; folder: string; version: string; license: string }[] = [];
  for (const each of source.packages) {
    const found = await packageFolder(each);
    from.push({ source: each, folder: found, ...(await packageAt(found))! });
  }
  const versions = from.map(({ version }) => version).join("-");
  const root = join(RUNS, "corpora", `${name}-${versions}`);
  const folder = join(root, "files");
  const checked = (manifest: CorpusManifest): Corpus => {
    if (source.hash === null || source.hash === manifest.hash) return { folder, manifest };
    throw new Error(`${root}: the files have hash ${manifest.hash}, expected ${source.hash}`);
  };
  const path = join(root, MANIFEST);
  if (existsSync(path)) return checked(JSON.parse(await readFile(path, "utf8")));
  const staged = await stageFolder(root, { kind: "dataset" });
  try {
    const files: CorpusManifest["files"][number][] = [];
    for (const { source: each, folder: at } of from) {
      const own = from.length > 1 ? each.package : ".";
      files.push(...(await copyFiles(each, join(at, each.folder), join(staged.path, "files"), own)));
    }
    const hash = sha256(files.map((each) => `${each.sha256} ${each.path}\n`).join(""));
    const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
    const packages = from.map(({ source: each, version, license }) => ({
      ...{ package: each.package, version, license },
    }));
    const manifest: CorpusManifest = { name, packages, files, bytes, hash };
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

/** @param own folder of the package's files in `to` */
async function copyFiles({ files, without }: PackageSource, from: string, to: string, own: string) {
  const paths = (await readdir(from, { recursive: true }))
    .map((each) => each.replaceAll("\\", "/"))
    .filter((each) => files.test(each) && !without.test(each))
    .sort();
  const copied: { path: string; bytes: number; sha256: string }[] = [];
  for (const path of paths) {
    const data = await readFile(join(from, path));
    if (data.length > MOST_BYTES) continue;
    const named = join(own, path).replaceAll("\\", "/");
    await mkdir(dirname(join(to, named)), { recursive: true });
    await writeFile(join(to, named), data);
    copied.push({ path: named, bytes: data.length, sha256: sha256(data) });
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
  const { files, bytes, hash } = manifest;
  console.log(`${folder}: ${plural(files.length, "file")}, ${formatBytes(bytes)}, hash ${hash}`);
}
