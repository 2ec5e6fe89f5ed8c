/**
 * Packs token documents into rows of T + 1 tokens: T inputs and the T targets one position later.
 * `stream` concatenates and cuts (rows overlap by one token, so every token but the first is a target once);
 * `best-fit` keeps documents whole if they fit (Ding et al. 2024, arXiv 2404.10830, as DeepSeek-V3 cites it)
 * with a bounded number of open rows, and pads what remains free. No attention mask is built here; the starts of
 * documents are reported for those who want one.
 */

import { ConfigError } from "../tensor/errors.ts";

/** Marks a position without a target, and padding in stored rows. */
export const IGNORE = -1;

export interface PackedSequence {
  /** [T + 1] ids; positions from `length` on hold `padId`. */
  readonly tokens: Int32Array;
  /** [T] ids, `tokens` one later; -1 if that is padding. */
  readonly targets: Int32Array;
  /**
   * Ascending positions in `tokens` where a document begins or, after another one, the rest of a cut document.
   * A row may begin inside a document; position 0 is then not listed.
   */
  readonly documentStarts: readonly number[];
  /** Tokens before padding. */
  readonly length: number;
}

export interface PackOptions {
  /** T, the number of inputs per row. */
  readonly length: number;
  readonly mode?: "stream" | "best-fit";
  /** Id written into padding (default 0; its loss is ignored). */
  readonly padId?: number;
  /** Open rows that best-fit keeps before it closes the fullest (default 256). */
  readonly openRows?: number;
  /** What to do with the last, incomplete row of `stream` (default "drop"). */
  readonly tail?: "drop" | "pad";
}

export type Documents = AsyncIterable<ArrayLike<number>> | Iterable<ArrayLike<number>>;

/** Packs documents (each already ending in end-of-text) into rows, in a deterministic order. */
export async function* packDocuments(
  documents: Documents,
  options: PackOptions,
): AsyncGenerator<PackedSequence> {
  const { length, mode = "stream", openRows = 256 } = options;
  if (!Number.isInteger(length) || length < 1) {
    throw new ConfigError("must be a positive integer", { where: "pack.length", found: length });
  }
  if (!Number.isInteger(openRows) || openRows < 1) {
    throw new ConfigError("must be a positive integer", { where: "pack.openRows", found: openRows });
  }
  if (mode !== "stream" && mode !== "best-fit") {
    throw new ConfigError("unknown mode", {
      where: "pack.mode",
      expected: ["stream", "best-fit"],
      found: mode,
    });
  }
  yield* mode === "stream" ? packStream(documents, options) : packBestFit(documents, options, openRows);
}

class Row {
  readonly tokens: Int32Array;
  readonly starts: number[] = [];
  filled = 0;

  constructor(width: number, padId: number) {
    this.tokens = new Int32Array(width).fill(padId);
  }

  get free(): number {
    return this.tokens.length - this.filled;
  }

  append(ids: ArrayLike<number>, from: number, to: number, startsDocument: boolean): void {
    if (startsDocument) this.starts.push(this.filled);
    for (let i = from; i < to; i++) this.tokens[this.filled++] = ids[i];
  }

  finish(): PackedSequence {
    return {
      tokens: this.tokens,
      targets: shiftedTargets(this.tokens, this.filled),
      documentStarts: this.starts,
      length: this.filled,
    };
  }
}

/** [T] targets of a row of [T + 1] tokens of which `filled` are real. */
export function shiftedTargets(tokens: Int32Array, filled = tokens.length): Int32Array {
  const targets = tokens.slice(1);
  return filled < tokens.length ? targets.fill(IGNORE, Math.max(0, filled - 1)) : targets;
}

async function* packStream(documents: Documents, options: PackOptions): AsyncGenerator<PackedSequence> {
  const width = options.length + 1;
  const padId = options.padId ?? 0;
  let row = new Row(width, padId);
  // The last token of a row is the first input of the next, with its document start if it is one.
  const next = (): Row => {
    const fresh = new Row(width, padId);
    fresh.append(row.tokens, width - 1, width, row.starts.at(-1) === width - 1);
    return fresh;
  };
  for await (const ids of documents) {
    for (let from = 0; from < ids.length; ) {
      if (row.free === 0) {
        yield row.finish();
        row = next();
      }
      const to = Math.min(ids.length, from + row.free);
      row.append(ids, from, to, from === 0);
      from = to;
    }
  }
  if (row.free === 0 || (options.tail === "pad" && row.filled > 1)) yield row.finish();
}

async function* packBestFit(
  documents: Documents,
  options: PackOptions,
  openRows: number,
): AsyncGenerator<PackedSequence> {
  const width = options.length + 1;
  const padId = options.padId ?? 0;
  const open: Row[] = [];
  for await (const ids of documents) {
    // Documents longer than a row are cut with an overlap of one, so that no target is lost.
    let from = 0;
    for (; ids.length - from > width; from += width - 1) {
      const row = new Row(width, padId);
      row.append(ids, from, from + width, from === 0);
      yield row.finish();
    }
    if (ids.length === 0) continue;
    // The rest of a cut document goes without the overlap behind another one, because its predecessor is not its context.
    const rest = from > 0 ? from + 1 : 0;
    let best = -1;
    for (let r = 0; r < open.length; r++) {
      if (open[r].free >= ids.length - rest && (best < 0 || open[r].free < open[best].free)) best = r;
    }
    if (best >= 0) {
      open[best].append(ids, rest, ids.length, true);
    } else {
      if (open.length === openRows) yield takeFullest(open).finish();
      best = open.push(new Row(width, padId)) - 1;
      open[best].append(ids, from, ids.length, from === 0);
    }
    if (open[best].free === 0) yield open.splice(best, 1)[0].finish();
  }
  for (const row of open) yield row.finish();
}

function takeFullest(open: Row[]): Row {
  let fullest = 0;
  for (let r = 1; r < open.length; r++) if (open[r].free < open[fullest].free) fullest = r;
  return open.splice(fullest, 1)[0];
}
