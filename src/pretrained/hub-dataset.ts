/** Data sets from the Hugging Face hub in the cache that the Python library shares: the files that a reader chooses. Node only. */
import { checkInnerPath } from "../checkpoint/byte-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type DownloadOptions, fetchAll, openHub } from "./hub.ts";
import { RepoCache } from "./hub-cache.ts";
import { HubError, type HubRepo } from "./hub-client.ts";

/** What is before the name where addresses name a data set. */
const PREFIX = /^datasets\//;

export interface DownloadedDataset {
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  /** The snapshot's folder. */
  readonly folder: string;
  /** The chosen files, relative to it. */
  readonly files: readonly string[];
  /** Whether the cache alone was used. */
  readonly fromCache: boolean;
}

/** Which files of a repository to fetch; throws if it cannot choose. */
export type FileChoice = (where: string, paths: readonly string[]) => readonly string[];

/**
 * Downloads the files of a data set that `choose` names into the cache, as far as they are not there; offline they are found
 * there. @throws HubError, ConfigError, FormatError, the signal's reason
 */
export async function downloadDataset(
  name: string,
  choose: FileChoice,
  options: Omit<DownloadOptions, "file"> = {},
): Promise<DownloadedDataset> {
  const { settings, client, repo, revision } = await openHub(name.replace(PREFIX, ""), options, "dataset");
  const cache = new RepoCache(settings.cacheDir, repo, "dataset");
  if (settings.offline) return fromCache(cache, revision, choose);
  let listing: HubRepo;
  try {
    listing = await client.repo(repo, revision);
  } catch (error) {
    if (!(error instanceof HubError && error.unreachable)) throw error;
    const cached = await fromCache(cache, revision, choose).catch(() => null);
    if (cached === null) throw error;
    options.onNotice?.(`${error.message.split(";")[0]}; using what is in the cache`);
    return cached;
  }
  const { commit } = listing;
  const paths = listing.files.map(({ path }) => path);
  const files = choose(repo, paths);
  for (const path of files) checkInnerPath(repo, path);
  const wanted = listing.files.filter(({ path }) => files.includes(path));
  await fetchAll(client, cache, commit, wanted, options);
  await cache.writeRef(revision, commit);
  return { repo, revision, commit, folder: cache.snapshot(commit), files, fromCache: false };
}

async function fromCache(cache: RepoCache, revision: string, choose: FileChoice): Promise<DownloadedDataset> {
  const where = `${cache.name}@${revision}`;
  const hint = "Read the data set once with a connection and without HF_HUB_OFFLINE.";
  const commit = await cache.commitOf(revision);
  const paths = commit === null ? [] : await cache.filesOf(commit);
  if (commit === null || paths.length === 0) {
    throw new ConfigError("the data set is not in the cache", {
      ...{ where, found: `nothing in ${cache.folder}`, hint },
    });
  }
  const files = choose(where, paths);
  const lacking = missingParts(files);
  if (lacking.length > 0) {
    throw new ConfigError("the cache lacks parts of the data set", {
      ...{ where, expected: lacking.slice(0, 4), found: `${files.length} files`, hint },
    });
  }
  return { repo: cache.name, revision, commit, folder: cache.snapshot(commit), files, fromCache: true };
}

/** Parts such as `train-00001-of-00003.parquet` that are not among the paths though others of them are. */
function missingParts(paths: readonly string[]): string[] {
  const there = new Set(paths);
  const missing = new Set<string>();
  for (const path of paths) {
    const match = /^(.*)-\d{5}-of-(\d{5})(\.\w+)$/.exec(path);
    if (match === null) continue;
    for (let part = 0; part < Number(match[2]); part++) {
      const other = `${match[1]}-${String(part).padStart(5, "0")}-of-${match[2]}${match[3]}`;
      if (!there.has(other)) missing.add(other);
    }
  }
  return [...missing];
}
