/**
 * Models from the Hugging Face hub in the cache that the Python library shares. Only what a model needs is fetched:
 * configuration, tokenizer and safetensors (torch's files if there are none), or one GGUF file. Node only.
 *
 * `@huggingface/hub` tells commit and files; its own download neither continues, verifies, reports nor stops, so
 * that part is hub-download.ts (docs/decisions/0007).
 */
import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../tensor/errors.ts";
import { RepoCache, sizeOnDisk } from "./hub-cache.ts";
import { HubClient, HubError, type HubFile, type HubRepo, type RepoKind } from "./hub-client.ts";
import { downloadBlob } from "./hub-download.ts";
import { filesToFetch, indexedShards, type NeededFiles, neededFiles } from "./hub-files.ts";
import { parseHubName } from "./hub-name.ts";
import { type HubOptions, type HubSettings, hubSettings } from "./hub-settings.ts";

export interface DownloadProgress {
  readonly stage: "download";
  /** The file that bytes came for last. */
  readonly file: string;
  readonly fileDone: number;
  readonly fileTotal: number;
  /** Bytes of all files, those already in the cache included. */
  readonly done: number;
  readonly total: number;
  readonly filesDone: number;
  readonly files: number;
  /** Over the last seconds; what was there before does not count. */
  readonly bytesPerSecond: number;
}

export interface DownloadOptions extends HubOptions {
  /** Branch, tag or commit; wins over the one in the name. */
  readonly revision?: string;
  /** One GGUF file of the repository: its path, or a part of it that only one has, such as `Q4_0`. */
  readonly file?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Told in one sentence what goes another way than asked: the cache used because the hub cannot be reached. */
  readonly onNotice?: (text: string) => void;
  /** Files fetched at a time; default 3. */
  readonly parallel?: number;
  /** Attempts of a request before its failure is final; default 5. */
  readonly attempts?: number;
  /** Milliseconds before the second attempt; default 500, doubled for each further one. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as lost; default 30,000. */
  readonly stallTimeout?: number;
}

export interface DownloadedModel {
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  readonly kind: NeededFiles["kind"];
  /** The snapshot's folder, or the GGUF file in it. */
  readonly path: string;
  /** Files of the snapshot that belong to the model. */
  readonly files: readonly string[];
  /** Whether the cache alone was used. */
  readonly fromCache: boolean;
}

/** A hub to ask, and the name asked for. @throws ConfigError on an invalid name */
export async function openHub(
  name: string,
  options: DownloadOptions,
  kind: RepoKind = "model",
): Promise<{ settings: HubSettings; client: HubClient; repo: string; revision: string }> {
  const parsed = parseHubName(name);
  if (parsed === null) {
    throw new ConfigError(`not the name of a ${kind === "dataset" ? "data set" : "model"} on the hub`, {
      where: name,
      expected: "org/name or org/name@revision",
    });
  }
  const settings = await hubSettings(options);
  const { signal, attempts, retryDelay, stallTimeout } = options;
  const client = new HubClient({ ...settings, kind, signal, attempts, retryDelay, stallTimeout });
  return { settings, client, repo: parsed.repo, revision: options.revision ?? parsed.revision };
}

/**
 * Downloads a model into the cache, as far as it is not there; offline it is found there. An interrupted download is
 * continued by the next call. @throws HubError, ConfigError, FormatError, the signal's reason
 */
export async function downloadModel(name: string, options: DownloadOptions = {}): Promise<DownloadedModel> {
  const { settings, client, repo, revision } = await openHub(name, options);
  const cache = new RepoCache(settings.cacheDir, repo);
  if (settings.offline) return fromCache(cache, revision, options.file, "offline mode is on");
  let listing: HubRepo;
  try {
    listing = await client.repo(repo, revision);
  } catch (error) {
    if (!(error instanceof HubError && error.unreachable)) throw error;
    const cached = await fromCache(cache, revision, options.file, "").catch(() => null);
    if (cached === null) throw error;
    options.onNotice?.(`${error.message.split(";")[0]}; using what is in the cache`);
    return cached;
  }
  const files = await download(client, cache, listing, options);
  await cache.writeRef(revision, listing.commit);
  return described(cache, revision, listing.commit, files, false);
}

function described(
  cache: RepoCache,
  revision: string,
  commit: string,
  { kind, paths, main }: ChosenFiles,
  fromCache: boolean,
): DownloadedModel {
  const folder = cache.snapshot(commit);
  const path = kind === "gguf" ? join(folder, main) : folder;
  return { repo: cache.name, revision, commit, kind, path, files: paths, fromCache };
}

interface ChosenFiles {
  readonly kind: NeededFiles["kind"];
  readonly paths: readonly string[];
  /** First weight file. */
  readonly main: string;
}

const chosen = ({ kind, small }: NeededFiles, weights: readonly string[]): ChosenFiles => ({
  kind,
  paths: [...small, ...weights],
  main: weights[0],
});

async function download(
  client: HubClient,
  cache: RepoCache,
  { name, commit, files }: HubRepo,
  options: DownloadOptions,
): Promise<ChosenFiles> {
  const { needed, weights, all } = await filesToFetch(name, files, options.file, async (first, index) => {
    await fetchAll(client, cache, commit, first, { ...options, onProgress: undefined });
    return await readFile(join(cache.snapshot(commit), index), "utf8");
  });
  await fetchAll(client, cache, commit, all, options);
  return chosen(needed, weights);
}

/** Refuses a download that the disk has no room for; what is there already counts as there. */
async function checkRoom(cache: RepoCache, files: readonly HubFile[]): Promise<void> {
  let missing = 0;
  for (const file of files) {
    const blob = cache.blob(file);
    if ((await sizeOnDisk(blob)) === file.size) continue;
    missing += file.size - ((await sizeOnDisk(`${blob}.deepseek-ts.incomplete`)) ?? 0);
  }
  await cache.make();
  const { bavail, bsize } = await statfs(cache.folder);
  if (missing <= bavail * bsize) return;
  throw new ConfigError("not enough disk space for the download", {
    where: cache.folder,
    expected: `${missing} bytes free`,
    found: bavail * bsize,
    hint: "Free some space, or set HF_HUB_CACHE to a folder on another disk.",
  });
}

/** @internal Fetches files a few at a time and places them in the snapshot. The first failure stops the others. */
export async function fetchAll(
  client: HubClient,
  cache: RepoCache,
  commit: string,
  files: readonly HubFile[],
  options: DownloadOptions,
): Promise<void> {
  await checkRoom(cache, files);
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const meter = new Meter(files, options.onProgress);
  const queue = [...files];
  let failure: { error: unknown } | null = null;
  const worker = async () => {
    for (let file = queue.shift(); file && !signal.aborted; file = queue.shift()) {
      const current = file;
      try {
        if (!(await cache.holds(commit, current))) {
          await downloadBlob(client, cache, commit, current, {
            signal,
            onBytes: (done) => meter.at(current, done),
            onWait: () =>
              options.onNotice?.(`another process is downloading ${current.path}; waiting for it`),
          });
          await cache.place(commit, current);
        }
        meter.finished(current);
      } catch (error) {
        failure ??= { error };
        failed.abort(error);
      }
    }
  };
  const count = Math.max(1, Math.min(options.parallel ?? 3, files.length));
  await Promise.all(Array.from({ length: count }, worker));
  options.signal?.throwIfAborted();
  if (failure !== null) throw (failure as { error: unknown }).error;
}

/** Turns bytes on disk into progress: at most ten reports a second. */
class Meter {
  readonly #files: readonly HubFile[];
  readonly #report: ((progress: DownloadProgress) => void) | undefined;
  readonly #done = new Map<string, number>();
  readonly #total: number;
  /** Times and bytes fetched by then. */
  #trail: [number, number][] = [[performance.now(), 0]];
  #sum = 0;
  #fetched = 0;
  #filesDone = 0;
  #last = Number.NEGATIVE_INFINITY;

  constructor(files: readonly HubFile[], report?: (progress: DownloadProgress) => void) {
    this.#files = files;
    this.#report = report;
    this.#total = files.reduce((sum, { size }) => sum + size, 0);
  }

  at(file: HubFile, done: number): void {
    const before = this.#done.get(file.path);
    this.#sum += done - (before ?? 0);
    if (before !== undefined) this.#fetched += Math.max(0, done - before);
    this.#done.set(file.path, done);
    this.#tell(file, false);
  }

  finished(file: HubFile): void {
    if (this.#done.get(file.path) !== file.size) this.at(file, file.size);
    this.#filesDone++;
    this.#tell(file, this.#filesDone === this.#files.length);
  }

  #tell(file: HubFile, last: boolean): void {
    const now = performance.now();
    if (!this.#report || (!last && now - this.#last < 100)) return;
    this.#last = now;
    this.#trail.push([now, this.#fetched]);
    while (this.#trail.length > 2 && now - this.#trail[1][0] > 5000) this.#trail.shift();
    const [since, from] = this.#trail[0];
    this.#report({
      stage: "download",
      file: file.path,
      fileDone: this.#done.get(file.path) ?? 0,
      fileTotal: file.size,
      done: this.#sum,
      total: this.#total,
      filesDone: this.#filesDone,
      files: this.#files.length,
      bytesPerSecond: now > since ? (1000 * (this.#fetched - from)) / (now - since) : 0,
    });
  }
}

async function fromCache(
  cache: RepoCache,
  revision: string,
  file: string | undefined,
  why: string,
): Promise<DownloadedModel> {
  const again = `Run \`deepseek-ts download ${cache.name}${revision === "main" ? "" : ` --revision ${revision}`}\` once with a connection${why ? " and without HF_HUB_OFFLINE" : ""}.`;
  const missing = (message: string, found: unknown): never => {
    const where = `${cache.name}@${revision}`;
    throw new ConfigError(`${message}${why ? `, and ${why}` : ""}`, { where, found, hint: again });
  };
  const commit = await cache.commitOf(revision);
  if (commit === null) return missing("the model is not in the cache", `nothing in ${cache.folder}`);
  const paths = await cache.filesOf(commit);
  if (paths.length === 0) return missing("the model is not in the cache", `no files of ${commit}`);
  let needed: NeededFiles;
  try {
    needed = neededFiles(cache.name, paths, file);
  } catch (error) {
    if (error instanceof ConfigError && file === undefined) throw error;
    return missing(
      file === undefined ? "the cache holds no weights of the model" : `no ${file} in the cache`,
      paths,
    );
  }
  let { weights } = needed;
  if (needed.index !== null) {
    const text = await readFile(join(cache.snapshot(commit), needed.index), "utf8");
    const shards = indexedShards(cache.name, needed.index, text);
    const lacking = shards.filter((shard) => !paths.includes(shard));
    if (lacking.length > 0)
      missing(`the cache lacks ${lacking.length} of ${shards.length} weight files`, lacking.slice(0, 4));
    weights = [needed.index, ...shards];
  }
  if (needed.kind !== "gguf" && !paths.includes("config.json"))
    missing("the cache lacks a file", "no config.json");
  return described(cache, revision, commit, chosen(needed, weights), true);
}
