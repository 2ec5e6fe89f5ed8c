/**
 * The curves of a run, read from its `metrics.jsonl` as far as its lines are whole, and thinned while they are read: least, most and
 * last value of each bin of steps, so that spikes stay. However long a run is, what is kept of it is bounded.
 */
import type { FileHandle } from "node:fs/promises";
import type { RunSeries } from "./protocol.ts";

/** Bins that are kept; twice as many steps make each of them hold twice as many. */
const KEPT = 4096;
/** Of the load of experts, which has a number for each expert of each layer. */
const KEPT_LOADS = 256;
const MOST_LOADS = 1 << 14;
/** Loads of one answer: bins times experts. */
const MOST_SHOWN = 1 << 21;
const MOST_CURVES = 64;
const MOST_NAME = 100;
/** A line that is longer is damage. */
const LONGEST_LINE = 1 << 20;
const CHUNK = 1 << 20;
/** Bytes of a bin of a curve: an object of three numbers, and its place. */
const SPAN_BYTES = 64;
/** What is no curve: where a row stands, and counts that only rise. */
const LEFT_OUT = new Set([
  "step",
  "kind",
  "stage",
  "modality",
  "experts",
  "terms",
  "samples",
  "bytes",
  "unit",
]);

/** Values by bins of steps, of which there are at most `kept`. */
class Bins<T> {
  readonly slots: (T | undefined)[] = [];
  readonly #kept: number;
  readonly #merge: (a: T, b: T) => T;
  /** Steps of a bin. */
  width = 1;

  constructor(kept: number, merge: (a: T, b: T) => T) {
    this.#kept = kept;
    this.#merge = merge;
  }

  add(step: number, value: T): void {
    while (Math.floor(step / this.width) >= this.#kept) this.#halve();
    const at = Math.floor(step / this.width);
    const before = this.slots[at];
    this.slots[at] = before === undefined ? value : this.#merge(before, value);
  }

  #halve(): void {
    this.width *= 2;
    const { length } = this.slots;
    for (let i = 0; 2 * i < length; i++) this.slots[i] = this.joined(2 * i, 2 * i + 2);
    this.slots.length = Math.ceil(length / 2);
  }

  /** What the bins from `from` to before `to` hold together. */
  joined(from: number, to: number): T | undefined {
    let all: T | undefined;
    for (let i = from; i < Math.min(to, this.slots.length); i++) {
      const slot = this.slots[i];
      if (slot !== undefined) all = all === undefined ? slot : this.#merge(all, slot);
    }
    return all;
  }
}

interface Span {
  readonly least: number;
  readonly most: number;
  readonly last: number;
}

const mergeSpans = (a: Span, b: Span): Span => ({
  least: Math.min(a.least, b.least),
  most: Math.max(a.most, b.most),
  last: b.last,
});

/** Tokens of each expert, layer by layer. */
type Loads = readonly (readonly number[])[];

const sumLoads = (a: Loads, b: Loads): Loads =>
  a.length === b.length && a.every((layer, i) => layer.length === b[i].length)
    ? a.map((layer, i) => layer.map((count, j) => count + b[i][j]))
    : b;

const countsIn = (loads: Loads) => loads.reduce((sum, layer) => sum + layer.length, 0);

/** The tokens of experts in a row; null where there are none, or more than can be shown. */
function loadsOf(experts: unknown): Loads | null {
  if (!Array.isArray(experts) || experts.length === 0) return null;
  const layers = experts.map((each) => (each as { counts?: unknown } | null)?.counts);
  if (!layers.every((counts): counts is number[] => Array.isArray(counts))) return null;
  const total = layers.reduce((sum, counts) => sum + counts.length, 0);
  const whole = layers.every((counts) => counts.every((count) => Number.isFinite(count) && count >= 0));
  return total <= MOST_LOADS && whole ? layers : null;
}

export class MetricsSeries {
  readonly #curves = new Map<string, Bins<Span>>();
  readonly #loads = new Bins<Loads>(KEPT_LOADS, sumLoads);
  /** Bytes of whole lines, and lines that were read. */
  #bytes = 0;
  #lines = 0;
  #last = -1;
  /** The file that was read, by its number. */
  #file: number | null = null;

  /**
   * Reads on from where it stopped, up to `most` bytes, as far as lines are whole. A file that is another one by now, or shorter, is
   * read from its beginning.
   */
  async read(handle: FileHandle, most: number): Promise<MetricsSeries> {
    const { ino, size } = await handle.stat();
    if (this.#file !== null && (this.#file !== ino || size < this.#bytes)) {
      return await new MetricsSeries().read(handle, most);
    }
    this.#file = ino;
    const buffer = Buffer.alloc(Math.min(CHUNK, Math.max(1, size - this.#bytes)));
    let rest: Buffer[] = [];
    let held = 0;
    let at = this.#bytes;
    const end = Math.min(size, this.#bytes + most);
    // A line that began before the limit is read to its end.
    while (at < size && (at < end || held > 0)) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      let from = 0;
      for (let to = chunk.indexOf(10); to >= 0; to = chunk.indexOf(10, from)) {
        held += to + 1 - from;
        if (held <= LONGEST_LINE)
          this.#take(Buffer.concat([...rest, chunk.subarray(from, to)]).toString("utf8"));
        this.#bytes += held;
        this.#lines++;
        [rest, held, from] = [[], 0, to + 1];
      }
      held += chunk.length - from;
      // What is too long is counted, not held.
      rest = held <= LONGEST_LINE ? [...rest, Buffer.from(chunk.subarray(from))] : [];
      at += bytesRead;
    }
    return this;
  }

  /** What it takes of memory, about. */
  get bytes(): number {
    const spans = [...this.#curves.values()].reduce((sum, { slots }) => sum + slots.length, 0);
    const loads = this.#loads.slots.reduce((sum, each) => sum + (each === undefined ? 0 : countsIn(each)), 0);
    return SPAN_BYTES * spans + Float64Array.BYTES_PER_ELEMENT * loads;
  }

  #take(text: string): void {
    let row: Record<string, unknown>;
    try {
      row = JSON.parse(text);
    } catch {
      return;
    }
    const { step, kind, terms } = row ?? {};
    if (!Number.isSafeInteger(step) || (step as number) < 0) return;
    this.#last = Math.max(this.#last, step as number);
    const prefix = kind === "evaluation" ? "heldOut." : "";
    for (const [name, value] of Object.entries(row)) {
      if (!LEFT_OUT.has(name)) this.#add(step as number, prefix + name, value);
    }
    if (typeof terms === "object" && terms !== null) {
      for (const [name, value] of Object.entries(terms)) this.#add(step as number, prefix + name, value);
    }
    const loads = loadsOf(row.experts);
    if (loads !== null) this.#loads.add(step as number, loads);
  }

  #add(step: number, name: string, value: unknown): void {
    if (typeof value !== "number" || !Number.isFinite(value) || name.length > MOST_NAME) return;
    let bins = this.#curves.get(name);
    if (bins === undefined) {
      if (this.#curves.size >= MOST_CURVES) return;
      bins = new Bins(KEPT, mergeSpans);
      this.#curves.set(name, bins);
    }
    bins.add(step, { least: value, most: value, last: value });
  }

  /** The curves in at most `bins` bins, fewer where each has the load of very many experts. @param of bytes of the file */
  series(bins: number, of: number): RunSeries {
    const widths = [...this.#curves.values()].map(({ width }) => width);
    const finest = Math.max(1, ...widths);
    const widest = this.#loads.slots.reduce((size, loads) => Math.max(size, countsIn(loads ?? [])), 1);
    const most = Math.min(bins, Math.floor(MOST_SHOWN / widest));
    // Whole bins of every curve, whose widths are powers of two.
    let width = finest;
    while (Math.ceil((this.#last + 1) / width) > most) width *= 2;
    const count = Math.ceil((this.#last + 1) / width);
    const range = <T>(each: Bins<T>, i: number) =>
      each.joined(Math.floor((i * width) / each.width), Math.ceil(((i + 1) * width) / each.width));
    const shown = Array.from({ length: count }, (_, i) => i).filter((i) =>
      [...this.#curves.values()].some((curve) => range(curve, i) !== undefined),
    );
    const curves: Record<string, RunSeries["curves"][string]> = {};
    for (const [name, curve] of this.#curves) {
      const spans = shown.map((i) => range(curve, i));
      curves[name] = {
        least: spans.map((span) => span?.least ?? null),
        most: spans.map((span) => span?.most ?? null),
        last: spans.map((span) => span?.last ?? null),
      };
    }
    const hasLoads = this.#loads.slots.some((slot) => slot !== undefined);
    return {
      read: { lines: this.#lines, bytes: this.#bytes, of },
      steps: shown.map((i) => Math.min(this.#last, (i + 1) * width - 1)),
      curves,
      experts: hasLoads ? shown.map((i) => sharesOf(range(this.#loads, i) ?? [])) : null,
    };
  }
}

/** Shares of the even load of each layer, to three digits. */
const sharesOf = (loads: Loads): number[][] =>
  loads.map((counts) => {
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    return counts.map((count) => (mean > 0 ? Math.round((count / mean) * 1000) / 1000 : 0));
  });
