/**
 * Fetches what Lean needs in a page, once: packed files are checked against their hashes and kept in Cache Storage, and those of
 * another version are dropped. What cannot be kept there is fetched again next time.
 */
import { LeanError } from "../lean-error.ts";
import { PAGE_FORMAT, type PageFile, type PageManifest } from "./manifest.ts";

export interface PageProgress {
  readonly stage: "download" | "unpack" | "start";
  /** Part of the stage that is done, 0 to 1. */
  readonly fraction: number;
}

export interface FetchOptions {
  readonly onProgress?: (progress: PageProgress) => void;
  readonly signal?: AbortSignal;
}

/** What a Lean in a page starts from. All of it can be shared by several. */
export interface PageFiles {
  readonly version: string;
  /** Address of the worker's script. */
  readonly worker: string;
  /** A `WebAssembly.Module`; programs that have no such type, as those for Node alone, can still name this one. */
  readonly module: object;
  /** All files that Lean reads, in a shared buffer, and where each lies. */
  readonly files: {
    readonly bytes: Uint8Array;
    readonly places: ReadonlyMap<string, { readonly offset: number; readonly length: number }>;
  };
}

const CACHE = "deepseek-ts-lean";
/** More than there is of Lean, so that a wrong manifest asks for no more. */
const MOST_UNPACKED = 1e9;

function wrong(where: URL, found: string, expected: string): LeanError {
  return new LeanError("this is not what deepseek-ts prover page wrote", {
    ...{ where: where.href, expected, found, hint: "Write the folder anew, and serve it as it is." },
  });
}

async function fetched(url: URL, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    if (init.signal?.aborted) throw init.signal.reason;
    throw new LeanError("Lean's files cannot be fetched", {
      ...{ where: url.href, found: String(cause), cause, hint: "Is the server there?" },
    });
  }
  if (response.ok) return response;
  throw new LeanError("Lean's files cannot be fetched", {
    ...{ where: url.href, found: `status ${response.status}` },
    hint: "Write them where the page's server finds them: deepseek-ts prover page DIR",
  });
}

async function readManifest(folder: URL, signal?: AbortSignal): Promise<PageManifest> {
  const url = new URL("manifest.json", folder);
  // Always asked for: it says which of the others are current.
  const response = await fetched(url, { cache: "no-cache", signal });
  const manifest = (await response.json().catch(() => null)) as PageManifest | null;
  if (manifest?.format !== PAGE_FORMAT) {
    throw wrong(url, `format ${manifest?.format ?? "unknown"}`, `format ${PAGE_FORMAT}`);
  }
  for (const { unpacked } of [manifest.wasm, manifest.library]) {
    if (!(unpacked > 0 && unpacked <= MOST_UNPACKED)) throw wrong(url, `${unpacked} bytes`, "a size");
  }
  const total = manifest.places.reduce((sum, [, bytes]) => sum + bytes, 0);
  if (total !== manifest.library.unpacked) {
    throw wrong(url, `files of ${total} bytes`, `${manifest.library.unpacked} bytes`);
  }
  return manifest;
}

/** The bytes of a response, told as they come. */
async function bytesOf(
  response: Response,
  { bytes: expected }: PageFile,
  onBytes: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const whole = new Uint8Array(expected);
  let length = 0;
  for await (const part of response.body!) {
    if (length + part.length > expected) return null;
    whole.set(part, length);
    length += part.length;
    onBytes(part.length);
  }
  return length === expected ? whole : null;
}

const hexOf = (bytes: ArrayBuffer) =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** A packed file, from the cache if it is there. */
async function packed(
  folder: URL,
  file: Required<PageFile>,
  cache: Cache | null,
  onBytes: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(file.name, folder);
  const kept = await cache?.match(url);
  if (kept !== undefined) {
    const bytes = await bytesOf(kept, file, onBytes);
    if (bytes !== null) return bytes;
  }
  const bytes = await bytesOf(await fetched(url, { cache: "no-store", signal }), file, onBytes);
  if (bytes === null) throw wrong(url, "another number of bytes", `${file.bytes} bytes, packed`);
  const found = hexOf(await crypto.subtle.digest("SHA-256", bytes));
  if (found !== file.sha256) throw wrong(url, `SHA-256 ${found}`, file.sha256);
  // A full disk costs a download next time.
  await cache?.put(url, new Response(bytes)).catch(() => {});
  return bytes;
}

const unpackedStream = (bytes: Uint8Array<ArrayBuffer>) =>
  new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));

/** Unpacks into memory that workers share. */
async function unpackedShared(
  bytes: Uint8Array<ArrayBuffer>,
  { unpacked, name }: Required<PageFile>,
  folder: URL,
  onBytes: (bytes: number) => void,
): Promise<Uint8Array> {
  const whole = new Uint8Array(new SharedArrayBuffer(unpacked));
  let length = 0;
  for await (const part of unpackedStream(bytes)) {
    if (length + part.length > unpacked) break;
    whole.set(part, length);
    length += part.length;
    onBytes(part.length);
  }
  if (length === unpacked) return whole;
  throw wrong(new URL(name, folder), "another number of bytes", `${unpacked} bytes, unpacked`);
}

/** @throws LeanError if they cannot be had, the signal's reason */
export async function fetchPageFiles(folder: URL, options: FetchOptions = {}): Promise<PageFiles> {
  const { onProgress, signal } = options;
  const manifest = await readManifest(folder, signal);
  const cache = (await globalThis.caches?.open(CACHE).catch(() => null)) ?? null;
  const { wasm, library } = manifest;
  const told = (stage: PageProgress["stage"], total: number) => {
    let done = 0;
    return (bytes: number) => {
      done += bytes;
      onProgress?.({ stage, fraction: Math.min(1, done / total) });
    };
  };
  const got = told("download", wasm.bytes + library.bytes);
  const wasmBytes = await packed(folder, wasm, cache, got, signal);
  const libraryBytes = await packed(folder, library, cache, got, signal);
  const current = new Set([wasm.name, library.name].map((name) => new URL(name, folder).href));
  for (const { url } of (await cache?.keys()) ?? []) {
    if (!current.has(url) && url.startsWith(folder.href)) await cache?.delete(url);
  }
  signal?.throwIfAborted();
  const response = new Response(unpackedStream(wasmBytes), {
    headers: { "content-type": "application/wasm" },
  });
  const [module, bytes] = await Promise.all([
    WebAssembly.compileStreaming(response),
    unpackedShared(libraryBytes, library, folder, told("unpack", library.unpacked)),
  ]);
  const places = new Map<string, { offset: number; length: number }>();
  let offset = 0;
  for (const [path, length] of manifest.places) {
    places.set(path, { offset, length });
    offset += length;
  }
  signal?.throwIfAborted();
  return {
    ...{ version: manifest.version, worker: new URL(manifest.worker.name, folder).href, module },
    files: { bytes, places },
  };
}
