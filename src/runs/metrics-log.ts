/**
 * `metrics.jsonl` of a run: a JSON object a line, in the order of the steps. A line that a power cut, a full disk or an
 * editor damaged is dropped when the run is opened again, with a word about it; the others stay byte for byte.
 */
import { stat } from "node:fs/promises";
import { appendToOwnFile, rewriteOwnFile, truncateOwnFile } from "../files/owned.ts";
import { openForReading } from "../files/text-file.ts";
import { FormatError } from "../tensor/errors.ts";

/** Longer than any line of ours: what goes on without a line's end for so long is damage. */
const LONGEST_LINE = 1 << 20;

interface Line {
  readonly number: number;
  /** With its line end; null if the line is longer than any of ours. */
  readonly bytes: Buffer | null;
  readonly length: number;
  readonly whole: boolean;
}

/** The lines of a file as bytes, a few at a time. */
async function* linesOf(path: string): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let length = 0;
  let number = 1;
  const line = (whole: boolean): Line => ({
    number: number++,
    bytes: length > LONGEST_LINE ? null : Buffer.concat(parts),
    length,
    whole,
  });
  const add = (part: Buffer) => {
    length += part.length;
    // What is too long is counted, not held.
    if (length <= LONGEST_LINE) parts.push(part);
    else parts = [];
  };
  const file = await openForReading(path);
  for await (const chunk of file.createReadStream() as AsyncIterable<Buffer>) {
    let at = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, at)) {
      add(chunk.subarray(at, end + 1));
      yield line(true);
      parts = [];
      length = 0;
      at = end + 1;
    }
    if (at < chunk.length) add(chunk.subarray(at));
  }
  if (length > 0) yield line(false);
}

/** Kind and step of a line; null if it is damaged. */
function recordOf({ bytes, whole }: Line): { kind: string; step: number } | null {
  if (bytes === null || !whole) return null;
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value !== "object" || value === null) return null;
    const { kind, step } = value as Record<string, unknown>;
    return typeof kind === "string" && Number.isSafeInteger(step) ? { kind, step: step as number } : null;
  } catch {
    return null;
  }
}

/**
 * The lines up to step `last` that are whole and in order, with the place of their first byte; the numbers of the
 * others go to `damaged`. What comes after step `last` counts as neither: it will be written again.
 */
async function* goodLines(
  path: string,
  last: number,
  damaged: number[] = [],
): AsyncGenerator<Line & { readonly at: number }> {
  const reached = new Map<string, number>();
  let at = 0;
  for await (const line of linesOf(path)) {
    const record = recordOf(line);
    // A step comes again if two programs wrote at once.
    if (record === null || record.step <= (reached.get(record.kind) ?? -1)) damaged.push(line.number);
    else if (record.step <= last) {
      reached.set(record.kind, record.step);
      yield { ...line, at };
    }
    at += line.length;
  }
}

export class MetricsLog {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async append(record: object): Promise<void> {
    await appendToOwnFile(this.path, `${JSON.stringify(record)}\n`);
  }

  /** The last step that a line of this kind tells of; -1 if there is none. */
  async lastStep(kind: string): Promise<number> {
    if (!(await stat(this.path).catch(() => null))?.isFile()) return -1;
    let last = -1;
    for await (const line of goodLines(this.path, Number.MAX_SAFE_INTEGER)) {
      const record = recordOf(line)!;
      if (record.kind === kind) last = record.step;
    }
    return last;
  }

  /**
   * Drops what comes after step `last`, which will be written again, and lines that are damaged or repeat an earlier
   * step. Returns a sentence about the damage, or null. @throws FormatError if the log is not a file
   */
  async trim(last: number): Promise<string | null> {
    const info = await stat(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (info === null) return null;
    if (!info.isFile()) throw new FormatError("not a file", { where: this.path });
    const damaged: number[] = [];
    /** End of the beginning that stays as it is, and of what stays in total. */
    let kept = 0;
    let end = 0;
    for await (const { at, length } of goodLines(this.path, last, damaged)) {
      if (at === kept) kept += length;
      end = at + length;
    }
    if (end > kept) await this.#rewrite(last);
    else if (kept < info.size) await truncateOwnFile(this.path, kept);
    if (damaged.length === 0) return null;
    const places = damaged.slice(0, 5).join(", ") + (damaged.length > 5 ? ", .." : "");
    return damaged.length === 1
      ? `${this.path}: line ${places} was damaged and is dropped`
      : `${this.path}: ${damaged.length} damaged or repeated lines are dropped (lines ${places})`;
  }

  /** Writes the good lines up to step `last` to another file, which takes this one's place. */
  async #rewrite(last: number): Promise<void> {
    await rewriteOwnFile(this.path, async (write) => {
      for await (const { bytes } of goodLines(this.path, last)) await write(bytes!);
    });
  }
}
