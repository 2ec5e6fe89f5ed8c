/**
 * A repository on the hub as a folder to read without downloading it: bytes come by Range requests. For headers and
 * small files; to compute with a model, download it. Files in the cache are read there.
 */
import { join } from "node:path";
import {
  type ByteSource,
  checkRange,
  checkTextSize,
  decodeUtf8,
  type FileTree,
} from "../checkpoint/byte-source.ts";
import { nodeFileSource } from "../checkpoint/node-files.ts";
import { FormatError } from "../tensor/errors.ts";
import { type DownloadOptions, openHub } from "./hub.ts";
import { RepoCache } from "./hub-cache.ts";
import type { HubFile } from "./hub-client.ts";

/** What is fetched of a file when it is opened: most headers of weight files fit. */
const HEAD_BYTES = 1 << 17;
/** Most bytes fetched beyond what was asked for. */
const MOST_AHEAD = 1 << 22;
/** Heads of weight files fetched at a time. */
const PARALLEL = 8;

/** A weight file of several. */
const SHARD = /-of-\d+\.(safetensors|bin)$/;

export interface HubTree extends FileTree {
  readonly repo: string;
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** Opens a repository. @throws HubError */
export async function hubTree(name: string, options: DownloadOptions = {}): Promise<HubTree> {
  const { settings, client, repo, revision } = await openHub(name, options);
  const { commit, files } = await client.repo(repo, revision);
  const cache = new RepoCache(settings.cacheDir, repo);
  const byPath = new Map(files.map((file) => [file.path, file]));
  const find = (path: string): HubFile => {
    const file = byPath.get(path);
    if (!file) throw new FormatError("file not found", { where: repo, name: path });
    return file;
  };
  const read = (file: HubFile, offset: number, length: number) =>
    client.readRange(repo, commit, file.path, offset, length);

  const heads = new Map<string, Promise<Uint8Array>>();
  let running: Promise<unknown>[] = [];
  const head = (file: HubFile): Promise<Uint8Array> => {
    let found = heads.get(file.path);
    if (!found) {
      // Each waits for the one `PARALLEL` places before it.
      const before = running.length >= PARALLEL ? running[running.length - PARALLEL] : Promise.resolve();
      found = before.then(() => read(file, 0, Math.min(HEAD_BYTES, file.size)));
      heads.set(file.path, found);
      running.push(found.catch(() => {}));
      running = running.slice(-PARALLEL);
      found.catch(() => {});
    }
    return found;
  };
  /** Shards are opened one after the other; their heads need not come so. */
  const prefetch = (path: string) => {
    const kind = SHARD.exec(path)?.[1];
    if (kind === undefined) return;
    for (const file of files) {
      if (SHARD.exec(file.path)?.[1] === kind && !file.path.includes("/")) head(file);
    }
  };

  const remote = (file: HubFile): ByteSource => {
    const shown = `${repo}/${file.path}`;
    /** What was fetched last. Reading on from there fetches more at a time: long headers come in small pieces. */
    let window = { begin: 0, bytes: new Uint8Array(0) };
    return {
      name: shown,
      size: file.size,
      async read(offset, length) {
        checkRange(shown, file.size, offset, length);
        if (offset + length <= HEAD_BYTES) return (await head(file)).slice(offset, offset + length);
        const { begin, bytes } = window;
        const end = Math.max(HEAD_BYTES, begin + bytes.length);
        if (offset < begin || offset + length > begin + bytes.length) {
          const goesOn = offset <= end && offset + length > end;
          const ahead = goesOn ? Math.min(MOST_AHEAD, 2 * Math.max(HEAD_BYTES, bytes.length)) : 0;
          const size = Math.min(file.size - offset, Math.max(length, ahead));
          window = { begin: offset, bytes: (await read(file, offset, size)) as Uint8Array<ArrayBuffer> };
        }
        return window.bytes.slice(offset - window.begin, offset - window.begin + length);
      },
    };
  };
  const open = async (path: string): Promise<ByteSource> => {
    const file = find(path);
    if (await cache.holds(commit, file)) return nodeFileSource(join(cache.snapshot(commit), path));
    prefetch(path);
    return remote(file);
  };
  return {
    name: `${repo}@${commit.slice(0, 12)}`,
    ...{ repo, commit, files, open },
    has: async (path) => byPath.has(path),
    async readText(path) {
      checkTextSize(repo, path, find(path).size);
      const source = await open(path);
      try {
        return decodeUtf8(source.name, await source.read(0, source.size));
      } finally {
        await source.close?.();
      }
    },
    list: async () => [...byPath.keys()].filter((path) => !path.includes("/")).sort(),
  };
}
