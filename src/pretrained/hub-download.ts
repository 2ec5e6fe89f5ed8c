/**
 * One file from the hub into the cache's blobs. What an interrupted download left is continued with a Range request;
 * the whole is compared with the size and the hash that the hub lists (SHA-256 of large files, Git's blob id of small
 * ones) before it gets its name. A damaged file is deleted. Node only.
 *
 * The unfinished file is `ETAG.deepseek-ts.incomplete` and not the Python library's `ETAG.incomplete`: that library
 * locks with flock, which Node lacks, and two programs appending to one file would spoil it.
 */
import { createHash, type Hash } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { withLock } from "../files/process-lock.ts";
import { FormatError } from "../tensor/errors.ts";
import { type RepoCache, sizeOnDisk } from "./hub-cache.ts";
import { asHubError, type HubClient, HubError, type HubFile } from "./hub-client.ts";

export interface BlobOptions {
  readonly signal?: AbortSignal;
  /** Bytes of the file that are on disk; the first call tells what an earlier download left. */
  readonly onBytes?: (done: number) => void;
  /** Another process is downloading the same file: it is waited for. */
  readonly onWait?: () => void;
}

const READ_CHUNK = 1 << 22;
/** Written at once: fewer and larger writes than the network's pieces. */
const WRITE_CHUNK = 1 << 20;

/** The hash that the etag is of; null if the etag is neither SHA-256 nor a Git blob id. */
function hashFor(file: HubFile): Hash | null {
  if (/^[0-9a-f]{64}$/.test(file.etag)) return createHash("sha256");
  if (/^[0-9a-f]{40}$/.test(file.etag)) return createHash("sha1").update(`blob ${file.size}\0`);
  return null;
}

/** Hashes what the file holds. */
async function hashStored(handle: FileHandle, size: number, hash: Hash | null): Promise<void> {
  if (hash === null) return;
  const buffer = new Uint8Array(Math.min(READ_CHUNK, Math.max(1, size)));
  for (let at = 0; at < size; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** An unfinished file with the hash of what it holds. */
class Partial {
  readonly #handle: FileHandle;
  readonly #file: HubFile;
  #hash: Hash | null;
  size: number;

  private constructor(handle: FileHandle, file: HubFile, hash: Hash | null, size: number) {
    this.#handle = handle;
    this.#file = file;
    this.#hash = hash;
    this.size = size;
  }

  static async open(path: string, file: HubFile): Promise<Partial> {
    await mkdir(dirname(path), { recursive: true });
    const found = await sizeOnDisk(path);
    const handle = await open(path, found === null ? "wx+" : "r+");
    try {
      const partial = new Partial(handle, file, hashFor(file), found ?? 0);
      if (partial.size > file.size) await partial.restart();
      await hashStored(handle, partial.size, partial.#hash);
      return partial;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.size = 0;
    this.#hash = hashFor(this.#file);
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += (await this.#handle.write(bytes, at, bytes.length - at, this.size + at)).bytesWritten;
    }
    this.#hash?.update(bytes);
    this.size += bytes.length;
  }

  /** What differs from the hub's listing, or null. */
  difference(): { expected: string; found: string } | null {
    const { size, etag } = this.#file;
    if (this.size !== size) return { expected: `${size} bytes`, found: `${this.size} bytes` };
    if (this.#hash === null) return null;
    const kind = etag.length === 64 ? "SHA-256" : "Git blob id";
    const found = this.#hash.copy().digest("hex");
    return found === etag ? null : { expected: `${kind} ${etag}`, found };
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** One request for what is missing. @throws HubError if the connection ended early */
async function fetchRest(
  client: HubClient,
  url: string,
  what: string,
  file: HubFile,
  partial: Partial,
  options: BlobOptions,
): Promise<void> {
  const headers = partial.size > 0 ? { range: `bytes=${partial.size}-` } : undefined;
  const open = await client.open(url, what, headers, options.signal);
  const { response } = open;
  try {
    const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.status === 416 || (response.status === 206 && Number(start) !== partial.size)) {
      await response.body?.cancel();
      await partial.restart();
      throw new HubError(
        "the server sent another range than requested",
        { where: what, found: response.headers.get("content-range") ?? response.status },
        response.status,
        true,
      );
    }
    // A server that ignores ranges sends the file from its start.
    if (response.status !== 206 && partial.size > 0) await partial.restart();
    let waiting: Uint8Array[] = [];
    let waitingBytes = 0;
    const flush = async () => {
      if (waitingBytes === 0) return;
      const joined = waiting.length === 1 ? waiting[0] : Buffer.concat(waiting, waitingBytes);
      [waiting, waitingBytes] = [[], 0];
      await partial.append(joined);
      options.onBytes?.(partial.size);
    };
    try {
      for await (const chunk of response.body ?? []) {
        open.alive();
        waiting.push(chunk);
        waitingBytes += chunk.length;
        if (partial.size + waitingBytes > file.size) break;
        if (waitingBytes >= WRITE_CHUNK) await flush();
      }
    } catch (error) {
      throw asHubError(error, what, new URL(url).host, options.signal);
    } finally {
      // Also what came before the connection broke.
      await flush();
    }
    if (partial.size < file.size) {
      throw new HubError(
        "the connection ended early",
        { where: what, expected: `${file.size} bytes`, found: partial.size },
        response.status,
        true,
      );
    }
  } finally {
    open.done();
  }
}

/** Requests until the file is whole; attempts are counted from the last one that brought bytes. */
async function complete(
  client: HubClient,
  url: string,
  what: string,
  file: HubFile,
  partial: Partial,
  options: BlobOptions,
): Promise<void> {
  for (let attempt = 1; partial.size < file.size; attempt++) {
    const before = partial.size;
    try {
      await fetchRest(client, url, what, file, partial, options);
    } catch (error) {
      if (!(error instanceof HubError && error.passing)) throw error;
      if (partial.size > before) attempt = 1;
      if (attempt >= client.attempts) {
        throw new HubError(
          "the download stopped",
          {
            where: what,
            found: `${partial.size} of ${file.size} bytes`,
            hint: `The partial file is kept; run the same command again to resume. Last error: ${error.message}`,
            cause: error,
          },
          error.status,
          true,
        );
      }
      await client.waitBefore(attempt + 1, error.retryAfter, options.signal);
    }
  }
}

/**
 * Makes sure that a file's blob is in the cache; a whole one is not fetched again.
 * @throws HubError, FormatError naming a file that came damaged (it is deleted)
 */
export async function downloadBlob(
  client: HubClient,
  cache: RepoCache,
  commit: string,
  file: HubFile,
  options: BlobOptions = {},
): Promise<void> {
  const blob = cache.blob(file);
  const isWhole = async () => (await sizeOnDisk(blob)) === file.size;
  if (await isWhole()) return options.onBytes?.(file.size);
  await mkdir(dirname(blob), { recursive: true });
  const what = `${cache.name}: ${file.path}`;
  const work = async () => {
    // Another process may have finished it meanwhile.
    if (await isWhole()) return options.onBytes?.(file.size);
    const path = `${blob}.deepseek-ts.incomplete`;
    const partial = await Partial.open(path, file);
    try {
      options.onBytes?.(partial.size);
      await complete(client, client.fileUrl(cache.name, commit, file.path), what, file, partial, options);
      const difference = partial.difference();
      if (difference !== null) {
        await partial.close();
        await rm(path, { force: true });
        throw new FormatError("the downloaded file is damaged and was deleted", {
          where: what,
          ...difference,
          hint: "Run the command again. If it happens again, a proxy or the disk corrupts the data.",
        });
      }
      await partial.sync();
    } finally {
      await partial.close();
    }
    await rename(path, blob);
  };
  await withLock(`${blob}.deepseek-ts.lock`, work, { signal: options.signal, onWait: options.onWait });
}
