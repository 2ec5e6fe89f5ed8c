/**
 * Into the storage of this browser: from the hub, going on where it stopped and compared with what the hub says of each file, or from
 * files that were picked.
 */
import { HubClient, HubError, type HubFile } from "../../pretrained/hub-client.ts";
import { filesToFetch } from "../../pretrained/hub-files.ts";
import { parseHubName } from "../../pretrained/hub-name.ts";
import { Sha256 } from "../../pretrained/sha256.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { KeptModel, KeptModels, KeptWriter } from "./kept-models.ts";
import type { PickedFile } from "./messages.ts";

export interface KeepOptions {
  readonly signal: AbortSignal;
  readonly onBytes: (done: number, total: number) => void;
}

/** Bytes that are written, hashed and copied at once. */
const CHUNK = 1 << 20;
/** Bytes of a file that the hub names by Git's id: it takes none above 10 MB that way, and browsers hash such a file whole. */
const MOST_WHOLE = 64 << 20;

/** What the hub names a file's content by: SHA-256 of large files, Git's blob id of small ones; null for other names. */
async function fault(file: HubFile, stored: KeptWriter, signal: AbortSignal): Promise<string | null> {
  const { etag, size } = file;
  if (stored.size !== size) return `${stored.size} bytes instead of ${size}`;
  const large = /^[0-9a-f]{64}$/.test(etag);
  if (!large && !/^[0-9a-f]{40}$/.test(etag)) return null;
  if (!large && size > MOST_WHOLE) return `the id of a small file for ${size} bytes`;
  const head = new TextEncoder().encode(`blob ${size}\0`);
  const hash = new Sha256();
  const whole = large ? null : new Uint8Array(head.length + size);
  whole?.set(head);
  const buffer = new Uint8Array(CHUNK);
  for (let at = 0; at < size; ) {
    const part = buffer.subarray(0, Math.min(CHUNK, size - at));
    const read = stored.read(at, part);
    if (read === 0) return `${at} bytes instead of ${size}`;
    if (whole === null) hash.update(part.subarray(0, read));
    else whole.set(part.subarray(0, read), head.length + at);
    at += read;
    // Stopping is heard of between two pieces.
    if ((at / CHUNK) % 64 < 1) await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
  }
  const found = whole === null ? hash.digest() : hex(await crypto.subtle.digest("SHA-1", whole));
  return found === etag ? null : `the hash ${found} instead of ${etag}`;
}

const hex = (buffer: ArrayBuffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** One request for what is missing. @throws HubError if the connection ended early */
async function fetchRest(
  client: HubClient,
  url: string,
  what: string,
  file: HubFile,
  stored: KeptWriter,
  { signal, onBytes }: { signal: AbortSignal; onBytes: (done: number) => void },
): Promise<void> {
  const headers = stored.size > 0 ? { range: `bytes=${stored.size}-` } : undefined;
  const open = await client.open(url, what, headers, signal);
  const { response } = open;
  const early = (found: string | number) =>
    new HubError(
      "the connection ended early",
      { where: what, expected: `${file.size} bytes`, found },
      response.status,
      true,
    );
  try {
    if (response.status !== 206 && stored.size > 0) stored.truncate();
    const reader = response.body!.getReader();
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        open.alive();
        if (stored.size + next.value.length > file.size) {
          stored.truncate();
          throw early("more");
        }
        stored.write(next.value);
        onBytes(stored.size);
      }
    } catch (error) {
      signal.throwIfAborted();
      // A browser tells no more of it than that.
      throw error instanceof TypeError ? early(stored.size) : error;
    } finally {
      reader.cancel().catch(() => {});
    }
    if (stored.size < file.size) throw early(stored.size);
  } finally {
    open.done();
  }
}

/** Fetches one file, as far as it is not there. @throws HubError, FormatError for what came damaged: it is dropped */
async function fetchFile(
  client: HubClient,
  kept: KeptModel,
  commit: string,
  file: HubFile,
  { signal, onBytes }: { signal: AbortSignal; onBytes: (done: number) => void },
): Promise<void> {
  const { model } = kept;
  const { repo } = parseHubName(model)!;
  const what = `${model}: ${file.path}`;
  const stored = await kept.writer(file.path);
  try {
    if (stored.size > file.size) stored.truncate();
    onBytes(stored.size);
    for (let attempt = 1; stored.size < file.size; attempt++) {
      const before = stored.size;
      try {
        await fetchRest(client, client.fileUrl(repo, commit, file.path), what, file, stored, {
          signal,
          onBytes,
        });
      } catch (error) {
        if (!(error instanceof HubError && error.passing)) throw error;
        if (stored.size > before) attempt = 1;
        if (attempt >= client.attempts) throw error;
        await client.waitBefore(attempt + 1, error.retryAfter, signal);
      }
    }
    const difference = await fault(file, stored, signal);
    if (difference !== null) {
      stored.truncate();
      throw new FormatError("the downloaded file is damaged and was deleted", {
        where: what,
        found: difference,
        hint: "Download it again. If it happens again, a proxy or the disk corrupts the data.",
      });
    }
  } finally {
    stored.close();
  }
  await kept.finished(file.path);
}

/** Downloads a model. @throws HubError, ConfigError if there is no room, FormatError, the signal's reason */
export async function keepFromHub(
  models: KeptModels,
  hub: string,
  model: string,
  { signal, onBytes }: KeepOptions,
): Promise<{ readonly commit: string; readonly files: number }> {
  const { repo, revision } = parseHubName(model)!;
  const client = new HubClient({ endpoint: hub, token: null, signal });
  const { commit, files } = await client.repo(repo, revision);
  const kept = await models.make(model, "hub");
  return await kept.explaining(async () => {
    const fetchAll = async (list: readonly HubFile[], tell: KeepOptions["onBytes"]) => {
      const total = list.reduce((sum, { size }) => sum + size, 0);
      let before = 0;
      for (const file of list) {
        if (!kept.isWhole(file.path))
          await fetchFile(client, kept, commit, file, {
            signal,
            onBytes: (done) => tell(before + done, total),
          });
        before += file.size;
        tell(before, total);
      }
    };
    const { all } = await filesToFetch(repo, files, undefined, async (first, index) => {
      await kept.expect(first, commit);
      await fetchAll(first, () => {});
      return await (await kept.files()).find(({ path }) => path === index)!.file.text();
    });
    await kept.expect(all, commit);
    await kept.checkRoom();
    await fetchAll(all, onBytes);
    return { commit, files: all.length };
  });
}

/** Copies picked files, so that they are there at the next visit. @throws ConfigError if there is no room, the signal's reason */
export async function keepPicked(
  models: KeptModels,
  model: string,
  files: readonly PickedFile[],
  { signal, onBytes }: KeepOptions,
): Promise<void> {
  const kept = await models.make(model, "disk");
  await kept.explaining(async () => {
    await kept.expect(
      files.map(({ path, file: { size } }) => ({ path, size, etag: null })),
      null,
    );
    await kept.checkRoom();
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    let done = 0;
    for (const { path, file } of files) {
      const stored = await kept.writer(path);
      try {
        // What lies on the disk may have changed since: it is copied from its start.
        stored.truncate();
        for (let at = 0; at < file.size; at += CHUNK) {
          signal.throwIfAborted();
          const part = new Uint8Array(await file.slice(at, at + CHUNK).arrayBuffer());
          stored.write(part);
          onBytes((done += part.length), total);
        }
      } finally {
        stored.close();
      }
      await kept.finished(path);
    }
  });
}
