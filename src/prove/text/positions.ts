/**
 * Places in a text as Lean and JavaScript count them: lines from 1, columns and offsets in code points there, indices of
 * UTF-16 units here. Both differ after a character beyond U+FFFF, such as 𝔸.
 */
import { utf8Length } from "../../text/utf8-length.ts";
import type { LeanPosition } from "../lean/session.ts";

/** All conversions for one text; each takes logarithmic time after one pass over the text. */
export class TextPositions {
  readonly #text: string;
  /** Indices at which lines begin. */
  readonly #lines: number[] = [0];
  /** Indices of the first units of characters that have two. */
  readonly #pairs: number[] = [];

  constructor(text: string) {
    this.#text = text;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 10) this.#lines.push(i + 1);
      else if ((unit & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00)
        this.#pairs.push(i++);
    }
  }

  /** Number of code points before an index. */
  offsetOf(index: number): number {
    return index - lowerBound(this.#pairs.length, (k) => this.#pairs[k] >= index);
  }

  /** Index of the code point with this number; the length of the text if there are not so many. */
  indexOf(offset: number): number {
    // The k-th pair has the offset pairs[k] - k; every pair before the place adds one unit.
    const before = lowerBound(this.#pairs.length, (k) => this.#pairs[k] - k >= offset);
    return Math.min(offset + before, this.#text.length);
  }

  /** Number of UTF-8 bytes before an index. */
  byteOf(index: number): number {
    return utf8Length(this.#text.slice(0, index));
  }

  /** Index of the character that begins at or before this number of UTF-8 bytes; the length of the text beyond it. */
  indexOfByte(bytes: number): number {
    let index = 0;
    for (let seen = 0; index < this.#text.length; ) {
      const code = this.#text.codePointAt(index)!;
      seen += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      if (seen > bytes) break;
      index += code < 0x10000 ? 1 : 2;
    }
    return index;
  }

  /** Line and column of an index. */
  at(index: number): LeanPosition {
    const line = lowerBound(this.#lines.length, (k) => this.#lines[k] > index);
    const start = this.#lines[line - 1];
    return { line, column: this.offsetOf(index) - this.offsetOf(start), index };
  }

  /** Index of a line (from 1) and a column (from 0, code points); the end of the text for a line beyond it. */
  of(line: number, column: number): number {
    if (line > this.#lines.length) return this.#text.length;
    return this.indexOf(this.offsetOf(this.#lines[Math.max(line, 1) - 1]) + column);
  }
}

/** The smallest k from 0 to `count` for which `holds` is true; it stays true from there on. */
function lowerBound(count: number, holds: (k: number) => boolean): number {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
