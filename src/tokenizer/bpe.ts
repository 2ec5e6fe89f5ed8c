/**
 * Byte-level byte-pair encoding of one piece: repeatedly merges the adjacent pair of lowest rank, leftmost first, as
 * the Rust `tokenizers` library does. Short pieces rescan an array, long ones use a heap over a linked list, and a
 * bounded cache remembers the pieces seen.
 * Left out: dropout, unknown tokens, byte fallback (a byte-level vocabulary needs none).
 */
import { FormatError } from "../tensor/errors.ts";
import { BYTE_TO_CHAR, textToByteChars } from "./byte-alphabet.ts";

const NO_MERGE = 0x7fffffff;
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

/** Ranks of pairs of token ids: an open-addressing table in flat arrays. */
class MergeTable {
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #rank: Int32Array;
  readonly #shift: number;
  readonly #mask: number;

  constructor(pairs: number) {
    const bits = Math.max(4, Math.ceil(Math.log2(pairs * 2 + 1)));
    this.#shift = 32 - bits;
    this.#mask = (1 << bits) - 1;
    this.#left = new Int32Array(1 << bits).fill(-1);
    this.#right = new Int32Array(1 << bits);
    this.#rank = new Int32Array(1 << bits);
  }

  #slot(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> this.#shift;
    while (this.#left[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  set(left: number, right: number, rank: number): void {
    const slot = this.#slot(left, right);
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#rank[slot] = rank;
  }

  get(left: number, right: number): number {
    const slot = this.#slot(left, right);
    return this.#left[slot] === -1 ? NO_MERGE : this.#rank[slot];
  }
}

/** A binary heap of numbers, smallest first. */
class MinHeap {
  readonly #items: number[] = [];

  push(value: number): void {
    const items = this.#items;
    let i = items.length;
    items.push(value);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (items[parent] <= value) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = value;
  }

  /** Removes and returns the smallest, or undefined when empty. */
  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = last;
    return top;
  }
}

/** Appends the ids of one pre-tokenized, well-formed piece to `out`. */
export type PieceEncoder = (piece: string, out: number[]) => void;

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

  /** Writes the byte symbols of `piece` to `symbols` and returns their number. */
  function spell(piece: string): number {
    if (piece.length * 3 > symbols.length) {
      symbols = new Int32Array(piece.length * 4);
      ranks = new Int32Array(piece.length * 4);
    }
    let n = 0;
    for (let i = 0; i < piece.length; i++) {
      let code = piece.charCodeAt(i);
      if (code < 0x80) {
        symbols[n++] = symbolOf(code);
        continue;
      }
      if (code < 0x800) {
        symbols[n++] = symbolOf(0xc0 | (code >> 6));
      } else {
        if (code >= 0xd800 && code <= 0xdbff) {
          code = 0x10000 + ((code & 0x3ff) << 10) + (piece.charCodeAt(++i) & 0x3ff);
          symbols[n++] = symbolOf(0xf0 | (code >> 18));
          symbols[n++] = symbolOf(0x80 | ((code >> 12) & 0x3f));
        } else {
          symbols[n++] = symbolOf(0xe0 | (code >> 12));
        }
        symbols[n++] = symbolOf(0x80 | ((code >> 6) & 0x3f));
      }
      symbols[n++] = symbolOf(0x80 | (code & 0x3f));
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

  /** The same by a heap of (rank, position); stale entries are recognised by looking the pair up again. */
  function mergeByHeap(n: number): number {
    const next = Int32Array.from({ length: n }, (_, i) => (i + 1 < n ? i + 1 : -1));
    const previous = Int32Array.from({ length: n }, (_, i) => i - 1);
    const heap = new MinHeap();
    const offer = (at: number) => {
      if (at < 0 || next[at] < 0) return;
      const rank = table.get(symbols[at], symbols[next[at]]);
      if (rank !== NO_MERGE) heap.push(rank * 0x80000000 + at);
    };
    for (let i = 0; i < n; i++) offer(i);
    for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
      const rank = Math.floor(entry / 0x80000000);
      const at = entry - rank * 0x80000000;
      const right = next[at];
      if (symbols[at] < 0 || right < 0 || table.get(symbols[at], symbols[right]) !== rank) continue;
      symbols[at] = mergedId[rank];
      symbols[right] = -1;
      next[at] = next[right];
      if (next[at] >= 0) previous[next[at]] = at;
      offer(previous[at]);
      offer(at);
    }
    let length = 0;
    for (let i = 0; i >= 0; i = next[i]) symbols[length++] = symbols[i];
    return length;
  }

  function encodeFresh(piece: string): number | number[] {
    if (ignoreMerges) {
      const whole = vocab.get(textToByteChars(piece));
      if (whole !== undefined) return whole;
    }
    const n = spell(piece);
    const length = n <= SCAN_LIMIT ? mergeByScan(n) : mergeByHeap(n);
    return length === 1 ? symbols[0] : Array.from(symbols.subarray(0, length));
  }

  return (piece, out) => {
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
  };
}
