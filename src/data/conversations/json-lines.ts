/**
 * Lines of a JSON Lines file of any size, and the JSON of each: read in pieces, with a bound for a line. Blank lines are
 * passed over and keep their number.
 */
import { type ByteSource, readExactly } from "../../checkpoint/byte-source.ts";
import { firstInvalid } from "../../files/utf8.ts";
import { JsonSyntaxError, parseJson, toPlain } from "../../json/index.ts";
import { FormatError } from "../../tensor/errors.ts";

export interface LinePlace {
  /** From 1. */
  readonly number: number;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  /** Without the line feed. */
  readonly length: number;
}

export interface Line extends LinePlace {
  /** Valid until the next line is asked for. */
  readonly bytes: Uint8Array;
}

const PIECE = 1 << 20;
const LINE_FEED = 0x0a;
const MOST_DEPTH = 32;

export const lineName = (file: string, number: number) => `${file} line ${number}`;

const isBlank = (bytes: Uint8Array) => bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

function refuseLong(source: ByteSource, number: number, maxBytes: number, hint: string): never {
  throw new FormatError("the line is too long", {
    where: lineName(source.name, number),
    expected: `at most ${maxBytes} bytes`,
    hint,
  });
}

/**
 * The lines that are not blank.
 * @param tooLong what to do about a line that is longer than `maxBytes`
 * @throws FormatError for such a line
 */
export async function* linesOf(
  source: ByteSource,
  maxBytes: number,
  tooLong = "Each line is one JSON value. A file that is one JSON array has to be written as lines.",
): AsyncGenerator<Line> {
  // What is left of the pieces read so far, put together once when its line ends, and where it begins in the file.
  let held: Uint8Array[] = [];
  let length = 0;
  let [start, number, end] = [0, 1, 0];
  const line = (bytes: Uint8Array, offset: number): Line | null => {
    if (bytes.length > maxBytes) refuseLong(source, number, maxBytes, tooLong);
    const place = { number, offset, length: bytes.length };
    number++;
    return isBlank(bytes) ? null : { ...place, bytes };
  };
  while (end < source.size) {
    const piece = await readExactly(source, end, Math.min(PIECE, source.size - end));
    end += piece.length;
    let from = 0;
    for (let at = piece.indexOf(LINE_FEED); at >= 0; at = piece.indexOf(LINE_FEED, from)) {
      const rest = piece.subarray(from, at);
      const found = line(length > 0 ? joined([...held, rest]) : rest, start);
      start += length + rest.length + 1;
      [held, length] = [[], 0];
      from = at + 1;
      if (found !== null) yield found;
    }
    length += piece.length - from;
    if (length > maxBytes) refuseLong(source, number, maxBytes, tooLong);
    held.push(piece.subarray(from));
  }
  const last = length > 0 ? line(joined(held), start) : null;
  if (last !== null) yield last;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The text of a line. @throws FormatError naming the first byte that is no UTF-8 */
export function lineText(file: string, { number, bytes }: Pick<Line, "number" | "bytes">): string {
  try {
    // Only the file's first line may begin with a byte-order mark, which the decoder drops.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: number > 1 }).decode(bytes);
  } catch (cause) {
    const wrong = firstInvalid(bytes);
    throw new FormatError("not UTF-8 text", {
      where: lineName(file, number),
      found: wrong === null ? "other bytes" : `byte ${wrong.at + 1} of the line`,
      cause,
    });
  }
}

const LIST_HINT =
  "A list of conversations must be split into lines, one each: jq -c '.[]' LIST.json > LINES.jsonl";

/** The JSON of a line. @throws FormatError naming the column */
export function lineJson(file: string, number: number, text: string): unknown {
  const isList = number === 1 && text.trimStart().startsWith("[");
  try {
    const json = toPlain(parseJson(text, { maxDepth: MOST_DEPTH }));
    if (!isList) return json;
  } catch (cause) {
    if (!(cause instanceof JsonSyntaxError)) throw cause;
    throw new FormatError(`not valid JSON: ${cause.message.replace("at line 1, column", "at column")}`, {
      where: lineName(file, number),
      hint: isList ? LIST_HINT : "Every line must be one JSON object.",
      cause,
    });
  }
  throw new FormatError("must be an object", {
    where: lineName(file, number),
    found: "a list",
    hint: LIST_HINT,
  });
}
