/**
 * Writes Lean for pages: a folder that any static server hands out.
 *
 *   manifest.json          what there is; pages ask for it each time
 *   worker.HASH.js         lean/page-worker.js
 *   lean.HASH.js           the JavaScript around Lean, for threads that start before Lean does
 *   lean.HASH.wasm.gz      Lean
 *   library.HASH.bin.gz    the server and those files of the library that it reads, of 240 MB
 *
 * Names change with their contents, so that a browser may keep them for ever.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { nodeFolderSink } from "../../../files/folder-sink.ts";
import { MANIFEST } from "../../../files/manifest.ts";
import { writeWhole } from "../../../files/sink.ts";
import { withTemporaryFolder } from "../../../files/temporary.ts";
import { FormatError } from "../../../tensor/errors.ts";
import { LeanError } from "../lean-error.ts";
import { PAGE_FORMAT, type PageFile, type PageManifest } from "../page/manifest.ts";
import { leanHost } from "./node-hosts.ts";
import type { PreparedLean } from "./prepare.ts";
import { LeanServer } from "./server.ts";

export interface PageFolderOptions {
  /** Whether pages may import `Std`, for a quarter more to fetch (false). */
  readonly std?: boolean;
  readonly signal?: AbortSignal;
}

const WORKER = new URL("../../../../lean/page-worker.js", import.meta.url);
/** Threads that start before Lean does: its own, the server's, the watcher of limits, and some to spare. */
const THREADS = 6;
const NO_THREADS = "var pthreadPoolSize=0;";
/** A proof whose tactics read what is read late. */
const PROOF = [
  "theorem warm (xs : List Nat) (h : xs.length < 2) : (xs ++ []).length ≤ 1 := ",
  "by simp; omega",
];

const packed = promisify<Uint8Array, Buffer>((bytes, done) => gzip(bytes, { level: 6 }, done));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The files of the library that a server reads, as it does. */
async function filesRead(lean: PreparedLean, { std, signal }: PageFolderOptions): Promise<string[]> {
  return await withTemporaryFolder("deepseek-ts-lean-reads-", async (folder) => {
    const log = join(folder, "reads");
    const server = new LeanServer(leanHost(lean, "process", { LEAN_READS: log }));
    const stop = () => server.kill();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await server.ready;
      const [statement, proof] = PROOF;
      const questions = [{ op: "verify", statement: `${statement}sorry`, code: statement + proof }];
      const imports = std ? [{ op: "import", modules: ["Init", "Std"] }] : [];
      for (const question of [...questions, ...imports]) {
        const reply = await server.ask(question);
        signal?.throwIfAborted();
        const well = "answer" in reply && (reply.answer.verdict === "ok" || reply.answer.env !== undefined);
        if (!well) throw new LeanError("Lean does not answer", { found: JSON.stringify(reply) });
      }
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    } finally {
      signal?.removeEventListener("abort", stop);
      server.kill();
      await server.ended;
    }
    const root = join(lean.base, "lib");
    const read = (await readFile(log, "utf8")).split("\n").filter((path) => path.startsWith(root));
    return [...new Set(read)].map((path) => path.slice(root.length)).sort();
  });
}

/**
 * Writes the folder; one that this wrote is replaced.
 * @throws LeanError if Lean does not run, ConfigError if the folder holds other things, FileError, the signal's reason
 */
export async function writePageFolder(
  folder: string,
  lean: PreparedLean,
  options: PageFolderOptions = {},
): Promise<PageManifest> {
  const { signal } = options;
  const sources: [path: string, file: string][] = (await filesRead(lean, options)).map((path) => [
    `/lib${path}`,
    join(lean.base, "lib", path),
  ]);
  for (const name of (await readdir(lean.server)).sort()) {
    if (name !== MANIFEST && name !== "ReplServer.lean")
      sources.push([`/srv/${name}`, join(lean.server, name)]);
  }
  const parts: Uint8Array[] = [];
  for (const [, file] of sources) parts.push(await readFile(file));
  signal?.throwIfAborted();
  const glueText = await readFile(join(lean.base, "lean.cjs"), "utf8");
  if (!glueText.includes(NO_THREADS)) {
    throw new FormatError("this lean.cjs is not the one that this version prepares", {
      ...{ where: lean.base, expected: NO_THREADS, hint: "Delete the folder, which is then made anew." },
    });
  }
  const glue = new TextEncoder().encode(glueText.replace(NO_THREADS, `var pthreadPoolSize=${THREADS};`));
  const worker = await readFile(WORKER);
  const [wasmPart, library] = [await readFile(join(lean.base, "lean.wasm")), Buffer.concat(parts)];
  const hash = sha256(Buffer.from([wasmPart, library, glue, worker].map(sha256).join(" "))).slice(0, 12);
  const sink = await nodeFolderSink(folder, { kind: "lean", durable: false });
  try {
    const add = async (name: string, bytes: Uint8Array): Promise<PageFile> => {
      signal?.throwIfAborted();
      await writeWhole(await sink.file(name), bytes);
      return { name, bytes: bytes.length };
    };
    const addPacked = async (name: string, bytes: Uint8Array): Promise<Required<PageFile>> => {
      const small = await packed(bytes);
      return { ...(await add(name, small)), unpacked: bytes.length, sha256: sha256(small) };
    };
    const manifest: PageManifest = {
      ...{ format: PAGE_FORMAT, version: lean.version },
      worker: await add(`worker.${hash}.js`, worker),
      glue: await add(`lean.${hash}.js`, glue),
      wasm: await addPacked(`lean.${hash}.wasm.gz`, wasmPart),
      library: await addPacked(`library.${hash}.bin.gz`, library),
      places: sources.map(([path], i) => [path, parts[i].length]),
    };
    await add("manifest.json", new TextEncoder().encode(JSON.stringify(manifest)));
    await sink.commit();
    return manifest;
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
