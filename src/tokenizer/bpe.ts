/**
 * Byte-level byte-pair encoding of one piece: repeatedly merges the adjacent pair of lowest rank, leftmost first, as
 * the Rust `tokenizers` library does. Short pieces rescan an array, long ones use a heap (heap-merge.ts), and a bounded
 * cache remembers the pieces seen.
 * Left out: dropout, unknown tokens, byte fallback (a byte-level vocabulary needs none).
 */
import { FormatError } from "../tensor/errors.ts";
import { BYTE_TO_CHAR, textToByteChars } from "./byte-alphabet.ts";
import { HeapMerge } from "./heap-merge.ts";
import { MergeTable, NO_MERGE } from "./merge-table.ts";
import { Pace, SLICE, type Slices, stretchesOf } from "./slices.ts";

/** Up to this many symbols a rescan beats the heap. */
const SCAN_LIMIT = 64;
const CACHE_PIECES = 1 << 16;
const CACHE_LENGTH = 128;
/** V8 keeps the parent of a longer substring alive. */
const SHORT_STRING = 12;

/** A copy of `piece` that does not keep the text it was cut from in memory. */
export function detach(piece: string): string {
  return piece.length <= SHORT_STRING ? piece : ` ${piece}`.slice(1);
}

/** Appends the ids of one pre-tokenized, well-formed piece to `out`. */
export interface PieceEncoder {
  (piece: string, out: number[]): void;
  /** The same for a long piece, with pauses. */
  slices(piece: string, out: number[]): Slices<void>;
}

/**
 * Builds the encoder of a vocabulary (token in the byte-level alphabet -> id) and its merges in rank order. Throws
 * FormatError for a merge whose parts or result are not in the vocabulary and, while encoding, for a byte without a
 * symbol.
 */
export function buildBpe(
  vocab: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
  ignoreMerges: boolean,
): PieceEncoder {
  const table = new MergeTable(merges.length);
  const mergedId = new Int32Array(merges.length);
  merges.forEach(([left, right], rank) => {
    const ids = [left, right, left + right].map((token) => {
      const id = vocab.get(token);
      if (id !== undefined) return id;
      throw new FormatError("merge refers to a token that is not in the vocabulary", {
        where: "tokenizer.json model.merges",
        name: `merges[${rank}]`,
        expected: `${left} + ${right} = ${left + right}`,
        found: `no ${token}`,
      });
    });
    table.set(ids[0], ids[1], rank);
    mergedId[rank] = ids[2];
  });
  // A character of a piece is one or more of a token's.
  let longest = 0;
  if (ignoreMerges) for (const token of vocab.keys()) longest = Math.max(longest, token.length);
  const byteId = Int32Array.from(BYTE_TO_CHAR, (char) => vocab.get(char) ?? -1);
  const cache = new Map<string, number | number[]>();
  let symbols = new Int32Array(256);
  let ranks = new Int32Array(256);

  function symbolOf(byte: number): number {
    const id = byteId[byte];
    if (id >= 0) return id;
    throw new FormatError("the vocabulary has no symbol for a byte of the text", {
      where: "encode",
      name: `byte 0x${byte.toString(16)}`,
      expected: BYTE_TO_CHAR[byte],
    });
  }

  /** Writes the byte symbols of a part of `piece` to `target`, from number `n` on; returns how many are there then. */
  function spell(piece: string, from: number, to: number, target: Int32Array, n: number): number {
    for (let i = from; i < to; i++) {
      let code = piece.charCodeAt(i);
      if (code < 0x80) {
        target[n++] = symbolOf(code);
        continue;
      }
      if (code < 0x800) {
        target[n++] = symbolOf(0xc0 | (code >> 6));
      } else {
        if (code >= 0xd800 && code <= 0xdbff) {
          code = 0x10000 + ((code & 0x3ff) << 10) + (piece.charCodeAt(++i) & 0x3ff);
          target[n++] = symbolOf(0xf0 | (code >> 18));
          target[n++] = symbolOf(0x80 | ((code >> 12) & 0x3f));
        } else {
          target[n++] = symbolOf(0xe0 | (code >> 12));
        }
        target[n++] = symbolOf(0x80 | ((code >> 6) & 0x3f));
      }
      target[n++] = symbolOf(0x80 | (code & 0x3f));
    }
    return n;
  }

  /** Merges the first `n` symbols in place by rescanning; returns how many remain. */
  function mergeByScan(n: number): number {
    for (let i = 0; i + 1 < n; i++) ranks[i] = table.get(symbols[i], symbols[i + 1]);
    for (let length = n; ; length--) {
      let best = NO_MERGE;
      let at = 0;
      for (let i = 0; i + 1 < length; i++) {
        if (ranks[i] < best) {
          best = ranks[i];
          at = i;
        }
      }
      if (best === NO_MERGE) return length;
      symbols[at] = mergedId[best];
      symbols.copyWithin(at + 1, at + 2, length);
      ranks.copyWithin(at + 1, at + 2, length);
      if (at > 0) ranks[at - 1] = table.get(symbols[at - 1], symbols[at]);
      if (at + 2 < length) ranks[at] = table.get(symbols[at], symbols[at + 1]);
      else ranks[at] = NO_MERGE;
    }
  }

  /** The token that the whole of a piece is, if the vocabulary goes before the merges. */
  function wholeToken(piece: string): number | undefined {
    return ignoreMerges && piece.length <= longest ? vocab.get(textToByteChars(piece)) : undefined;
  }

  function encodeFresh(piece: string): number | number[] {
    const whole = wholeToken(piece);
    if (whole !== undefined) return whole;
    if (piece.length * 3 > symbols.length) {
      symbols = new Int32Array(piece.length * 4);
      ranks = new Int32Array(piece.length * 4);
    }
    const n = spell(piece, 0, piece.length, symbols, 0);
    if (n > SCAN_LIMIT) {
      const merge = new HeapMerge(symbols.slice(0, n), table, mergedId);
      merge.advance(Number.POSITIVE_INFINITY);
      return Array.from(merge.result());
    }
    const length = mergeByScan(n);
    return length === 1 ? symbols[0] : Array.from(symbols.subarray(0, length));
  }

  function encode(piece: string, out: number[]): void {
    let ids = cache.get(piece);
    if (ids === undefined) {
      ids = encodeFresh(piece);
      if (piece.length <= CACHE_LENGTH) {
        if (cache.size >= CACHE_PIECES) cache.clear();
        cache.set(detach(piece), ids);
      }
    }
    if (typeof ids === "number") out.push(ids);
    else for (let i = 0; i < ids.length; i++) out.push(ids[i]);
  }

  function* slices(piece: string, out: number[]): Slices<void> {
    const whole = wholeToken(piece);
    if (whole !== undefined) {
      out.push(whole);
      return;
    }
    const pace = new Pace();
    const spelled = new Int32Array(piece.length * 3);
    let n = 0;
    for (const [from, to] of stretchesOf(piece, SLICE)) {
      n = spell(piece, from, to, spelled, n);
      if (pace.due(to - from)) yield;
    }
    const merge = new HeapMerge(spelled.subarray(0, n), table, mergedId);
    while (!merge.advance(SLICE)) yield;
    for (const id of merge.result()) {
      out.push(id);
      if (pace.due(1)) yield;
    }
  }

  return Object.assign(encode, { slices });
}
