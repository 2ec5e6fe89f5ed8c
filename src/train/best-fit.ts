/**
 * Best-fit decreasing packing of documents into rows of one length (Ding et al., arXiv 2404.10830): longest first, each into
 * the fullest row that has room. It needs the lengths of all documents at once; `packDocuments` of `deepseek-ts/data` packs
 * a stream.
 */
import { checkNumber } from "../tensor/check-value.ts";
import { ShapeError } from "../tensor/errors.ts";

/** A part of a document, all of it if it fits. */
export interface Piece {
  readonly document: number;
  /** Its first token in the document. */
  readonly offset: number;
  readonly length: number;
}

/** Documents as pieces of at most `most` tokens, in their order. */
export function splitDocuments(lengths: readonly number[], most: number): Piece[] {
  checkNumber({ where: "splitDocuments" }, "most", most, { integer: true, min: 1 });
  return lengths.flatMap((length, document) =>
    Array.from({ length: Math.ceil(length / most) }, (_, i) => ({
      ...{ document, offset: i * most },
      length: Math.min(most, length - i * most),
    })),
  );
}

/** The smallest free room of at least some tokens that a row has: a tree of the rooms that occur. */
class Rooms {
  readonly #leaves: number;
  /** Rows below each node of a binary tree whose leaves are rooms. */
  readonly #counts: Uint32Array;
  /** Of each room its rows, oldest first. */
  readonly #rows = new Map<number, number[]>();

  constructor(most: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(most + 1));
    this.#counts = new Uint32Array(2 * this.#leaves);
  }

  add(room: number, row: number): void {
    const rows = this.#rows.get(room) ?? [];
    this.#rows.set(room, rows);
    let at = rows.length;
    while (at > 0 && rows[at - 1] > row) at--;
    rows.splice(at, 0, row);
    for (let node = this.#leaves + room; node > 0; node >>= 1) this.#counts[node]++;
  }

  /** Takes out the oldest row of the smallest room of at least `least`; null if there is none. */
  take(least: number): { readonly room: number; readonly row: number } | null {
    let node = this.#leaves + least;
    while (this.#counts[node] === 0) {
      // Up to the next neighbor on the right.
      while ((node & 1) === 1) node >>= 1;
      if (node === 0) return null;
      node++;
    }
    while (node < this.#leaves) node = this.#counts[2 * node] > 0 ? 2 * node : 2 * node + 1;
    const room = node - this.#leaves;
    for (; node > 0; node >>= 1) this.#counts[node]--;
    return { room, row: this.#rows.get(room)!.shift()! };
  }
}

/**
 * Rows of indices of `lengths`, each row of at most `rowLength` tokens: longest first (equal ones in their order), into the
 * fullest row with room (of equal ones the older), else into a new row. @throws ShapeError for a length that no row holds
 */
export function bestFitRows(lengths: readonly number[], rowLength: number): number[][] {
  const where = "bestFitRows";
  checkNumber({ where }, "rowLength", rowLength, { integer: true, min: 1, max: 2 ** 24 });
  const misfit = lengths.findIndex(
    (length) => !(Number.isInteger(length) && length >= 1 && length <= rowLength),
  );
  if (misfit >= 0) {
    throw new ShapeError("a document does not fit into a row", {
      ...{ where, name: `document ${misfit}`, expected: `1 to ${rowLength} tokens`, found: lengths[misfit] },
    });
  }
  const rows: number[][] = [];
  const rooms = new Rooms(rowLength);
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b);
  for (const index of order) {
    const found = rooms.take(lengths[index]) ?? { room: rowLength, row: rows.push([]) - 1 };
    rows[found.row].push(index);
    const left = found.room - lengths[index];
    if (left > 0) rooms.add(left, found.row);
  }
  return rows;
}
