/**
 * A thread in which the wasm build of Lean runs, and whose event loop stops while it does. Requests come through a
 * mailbox, what Lean prints leaves as messages `{ stream, line }`. Lean sees three folders: `/lib` (the library) and `/srv`
 * (the server's sources), and an empty `/` in memory, where this profiling build leaves a file.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { MailboxReceiver } from "./mailbox.ts";

export interface LeanThreadData {
  /** The prepared folders: see prepare.ts. */
  readonly base: string;
  readonly server: string;
  /** Arguments of the command line program `lean`. */
  readonly args: readonly string[];
  /** Where its standard input comes from; empty without. */
  readonly mailbox?: SharedArrayBuffer;
  /** Name of the channel on which a thread says that its memory is full. */
  readonly channel?: string;
  /** Whether Lean may write below `/srv`. */
  readonly writable?: boolean;
}

export interface LeanLine {
  readonly stream: 1 | 2;
  readonly line: string;
}

interface EmscriptenFolders {
  mkdir(path: string): void;
  mount(type: unknown, options: { root: string }, path: string): void;
  chdir(path: string): void;
  readonly ErrnoError: new (code: number) => Error;
}
interface EmscriptenModule {
  stdin: () => number | null;
  stdout: (byte: number | null) => void;
  stderr: (byte: number | null) => void;
  preRun: (() => void)[];
  readonly FS: EmscriptenFolders;
  readonly NODEFS: {
    node_ops: Record<string, () => never>;
    stream_ops: { open(stream: { flags: number }): void };
  };
  readonly ENV: Record<string, string>;
}

const READ_ONLY = 69;
const NEWLINE = 10;
/** Longest line that is passed on; Lean's answers stay far below it. */
const LONGEST = 64 * 1024 * 1024;

/**
 * Bytes of standard input one by one, with a null after each newline, which ends a read: the reader that Emscripten brings
 * decodes pieces of 256 bytes, breaks characters at their borders, and waits until a buffer is full.
 */
function byteInput(mailbox: SharedArrayBuffer): () => number | null {
  const receiver = new MailboxReceiver(mailbox);
  const buffer = new Uint8Array(1 << 16);
  let [count, at, ended] = [0, 0, false];
  return () => {
    if (ended) {
      ended = false;
      return null;
    }
    if (at === count) {
      count = receiver.receive(buffer);
      at = 0;
    }
    ended = buffer[at] === NEWLINE;
    return buffer[at++];
  };
}

/** Bytes of an output put together to lines. */
function lineOutput(stream: 1 | 2): (byte: number | null) => void {
  let bytes = new Uint8Array(1 << 12);
  let length = 0;
  return (byte) => {
    if (byte === null) return;
    if (byte !== NEWLINE) {
      if (length === LONGEST) return;
      if (length === bytes.length) {
        const larger = new Uint8Array(2 * length);
        larger.set(bytes);
        bytes = larger;
      }
      bytes[length++] = byte & 255;
      return;
    }
    const line = Buffer.from(bytes.buffer, 0, length).toString("utf8");
    length = 0;
    parentPort?.postMessage({ stream, line } satisfies LeanLine);
  };
}

const { base, server, args, mailbox, channel, writable = false } = workerData as LeanThreadData;
process.env.LEAN_LIBRARY = join(base, "lib");
process.env.LEAN_WASM = join(base, "lean.wasm");
if (channel !== undefined) process.env.LEAN_CHANNEL = channel;
process.argv = [process.argv[0], "lean", ...args];
// The module starts by itself once it is compiled, which is after this turn of the event loop.
const lean = createRequire(import.meta.url)(join(base, "lean.cjs")) as EmscriptenModule;
lean.stdin = mailbox === undefined ? () => null : byteInput(mailbox);
lean.stdout = lineOutput(1);
lean.stderr = lineOutput(2);
lean.preRun = [
  () => {
    const { FS, NODEFS, ENV } = lean;
    if (!writable) {
      const refuse = () => {
        throw new FS.ErrnoError(READ_ONLY);
      };
      for (const call of ["mknod", "rename", "unlink", "rmdir", "symlink"]) NODEFS.node_ops[call] = refuse;
      const { open } = NODEFS.stream_ops;
      NODEFS.stream_ops.open = (stream) => ((stream.flags & 3) === 0 ? open(stream) : refuse());
    }
    FS.mkdir("/bin");
    for (const [path, root] of [
      ["/lib", join(base, "lib")],
      ["/srv", server],
    ]) {
      FS.mkdir(path);
      FS.mount(NODEFS, { root }, path);
    }
    ENV.LEAN_PATH = "/lib:/srv";
    ENV.LEAN_SYSROOT = "/";
    FS.chdir("/");
  },
];
