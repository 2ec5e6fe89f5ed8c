/**
 * One step of several sequences, each over its own cache: the attention of their new tokens in one call, so that all
 * threads share the work regardless of the lengths. A cache is a list of runs of keys in up to eight tensors of a call,
 * which lie in one memory; several sequences may have runs in common. No gradients.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";
import { dot, type KeyParts, keyParts, MAX_WIDTH, MOST_PARTIAL, PART_KEYS, partRow } from "./attention.ts";
import { byMemory, SLOTS, slotKinds, slotNames, slots } from "./slots.ts";

/** All runs of a cache but the last have a multiple of so many keys, so that results do not depend on where keys lie. */
export const RUN_KEYS = PART_KEYS;

/** Integers of a sequence in the table, and of a run, as in kernels/attention-sequences.ts. */
const FIELDS = 8;
const RUN_FIELDS = 3;
const NO_RUN = 2 ** 31 - 1;

const namesAt = slotNames(["k", "v"]);

const kernel = defineKernel({
  name: "attention_runs",
  operands: {
    q: "in f32",
    ...slotKinds("k", "in float?"),
    ...slotKinds("v", "in float?"),
    table: "in i32",
    partial: "out f32?",
    y: "out f32",
  },
  ints: ["sequences", "heads", "kvHeads", "width", "valueWidth", "dtype", "pairs"],
  floats: ["scale"],
  work: ({ pairs, heads, width, valueWidth }) => (pairs * heads * (width + valueWidth)) / 16,
  reference: (operands, s, { scale }) => {
    const { q, y, table } = operands;
    const { heads, kvHeads, width, valueWidth } = s;
    const keyTensors = namesAt.map(({ k }) => operands[k]);
    const valueTensors = namesAt.map(({ v }) => operands[v]);
    for (let i = 0; i < s.sequences; i++) {
      const [rows, length, , , , start, , runs] = table.subarray(i * FIELDS, (i + 1) * FIELDS);
      const keyAt = (j: number) => {
        let run = runs;
        while (table[run + RUN_FIELDS] <= j) run += RUN_FIELDS;
        return { slot: table[run + 1], row: table[run + 2] + j - table[run] };
      };
      for (let r = 0; r < rows * heads; r++) {
        const row = start * heads + r;
        const seen = Math.max(0, length - rows + Math.floor(r / heads) + 1);
        const head = Math.floor((r % heads) / (heads / kvHeads));
        const places = Array.from({ length: seen }, (_, j) => keyAt(j));
        const scores = Float64Array.from(places, ({ slot, row: at }) => {
          return scale * dot(q, row * width, keyTensors[slot]!, (at * kvHeads + head) * width, width);
        });
        const largest = scores.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
        const weights = scores.map((x) => Math.exp(x - largest));
        const sum = weights.reduce((a, x) => a + x, 0);
        y.fill(0, row * valueWidth, (row + 1) * valueWidth);
        for (const [j, { slot, row: at }] of places.entries()) {
          const own = valueTensors[slot];
          const values = own ?? keyTensors[slot]!;
          const from = (at * kvHeads + head) * (own ? valueWidth : width);
          for (let c = 0; c < valueWidth; c++) {
            y[row * valueWidth + c] += (weights[j] / sum) * values[from + c];
          }
        }
      }
    }
  },
});

/** Keys of a sequence that lie one after another. */
export interface KeyRun {
  /** `[n, kvHeads width]` (any shape of as many elements), f32, bf16 or f16. */
  readonly keys: Tensor;
  /** `[n, kvHeads valueWidth]` of the same dtype; null if a key's first channels are its value. */
  readonly values: Tensor | null;
  /** Row of the first. */
  readonly row: number;
  /** A multiple of 96 for all but the last of a sequence, which may go on beyond the sequence's length. */
  readonly count: number;
}

/** The cache of a sequence and what the step adds to it. */
export interface SequenceCache {
  /** In order from the first key on; the new tokens are written. At most eight tensors of keys, all in one memory. */
  readonly runs: readonly KeyRun[];
  /** Rows of q that belong to the sequence: its new tokens. */
  readonly rows: number;
  /** Valid keys, those of the new tokens included: new token t is at position length - rows + t. */
  readonly length: number;
}

export interface SequenceOptions {
  /** Factor of the scores before softmax. */
  readonly scale: number;
  readonly keyValueHeads: number;
  /** Where values is null: the first channels of a key that are its value. */
  readonly valueWidth?: number;
}

function refuse(message: string, expected: unknown, found: unknown, name?: string): never {
  throw new ShapeError(message, { where: "attentionSequences", ...(name ? { name } : {}), expected, found });
}

/** Checks the caches against each other and q; returns the width of a value. */
function valueWidthOf(q: Tensor, sequences: readonly SequenceCache[], options: SequenceOptions): number {
  const [count, heads, width] = q.shape;
  const { keyValueHeads: kvHeads } = options;
  if (q.shape.length !== 3) refuse("q must be [rows, heads, width]", "3 axes", q.shape);
  if (!(kvHeads > 0) || heads % kvHeads !== 0) {
    refuse("query heads are not a multiple of key heads", `a divisor of ${heads}`, kvHeads);
  }
  const total = sequences.reduce((sum, { rows }) => sum + rows, 0);
  if (total !== count) refuse("q has a different number of rows than the sequences", count, total);
  const first = sequences.flatMap(({ runs }) => runs)[0];
  let valueWidth = options.valueWidth;
  for (const [i, { runs, rows, length }] of sequences.entries()) {
    const name = `sequence ${i}`;
    if (!Number.isInteger(rows) || rows < 0) refuse("not a number of rows", "at least 0", rows, name);
    let held = 0;
    for (const { keys, values, row, count } of runs) {
      const capacity = keys.size / (kvHeads * width);
      if (held % RUN_KEYS !== 0)
        refuse("a run of keys ends within a block", `a multiple of ${RUN_KEYS}`, held, name);
      if (row < 0 || row + count > capacity) {
        refuse(
          "a run of keys outside its tensor",
          `within ${Math.floor(capacity)}`,
          `${row} to ${row + count}`,
          name,
        );
      }
      if ((values === null) !== (first.values === null) || keys.dtype !== first.keys.dtype) {
        refuse("caches differ in dtype or layout", first.keys.dtype, keys.dtype, name);
      }
      held += count;
      if (values === null) continue;
      // The longest common capacity: both tensors have as many rows.
      const own = values.size / capacity / kvHeads;
      valueWidth ??= own;
      if (own !== valueWidth || values.dtype !== keys.dtype) {
        refuse(
          "values differ from keys in dtype or capacity",
          `${keys.dtype}, width ${valueWidth}`,
          own,
          name,
        );
      }
    }
    if (!Number.isInteger(length) || length < rows || length > held) {
      refuse("length outside the cache", `${rows} to ${held}`, length, name);
    }
    if (runs.length <= SLOTS) continue;
    const tensors = new Set(runs.map(({ keys }) => keys)).size;
    if (tensors > SLOTS) refuse("too many tensors of keys", SLOTS, tensors, name);
  }
  const known = valueWidth ?? width;
  if (first?.values === null && width < known) refuse("keys are narrower than their values", known, width);
  if (Math.max(width, known) > MAX_WIDTH) refuse("head width out of range", `at most ${MAX_WIDTH}`, width);
  return known;
}

interface Member {
  readonly cache: SequenceCache;
  readonly cut: KeyParts;
  /** Rows of q, and rows of parts, before its own. */
  readonly start: number;
  readonly partial: number;
}

/** Tensors of a sequence's keys that are not among `known`. */
function fresh({ runs }: SequenceCache, known: ReadonlyMap<Tensor, unknown>): number {
  return runs.reduce(
    (sum, { keys }, i) => (known.has(keys) || runs.findIndex((run) => run.keys === keys) < i ? sum : sum + 1),
    0,
  );
}

/** The integers of a call's sequences and runs; `tensors` are those of their keys. */
function tableOf(members: readonly Member[], tensors: readonly Tensor[]): Int32Array {
  const runs = members.reduce((sum, { cache }) => sum + cache.runs.length + 1, 0);
  const table = new Int32Array(members.length * FIELDS + runs * RUN_FIELDS);
  let at = members.length * FIELDS;
  for (const [i, { cache, cut, start, partial }] of members.entries()) {
    table.set([cache.rows, cache.length, cut.parts, cut.base, cut.count, start, partial, at], i * FIELDS);
    let key = 0;
    for (const { keys, row, count } of cache.runs) {
      table.set([key, tensors.indexOf(keys), row], at);
      key += count;
      at += RUN_FIELDS;
    }
    table[at] = NO_RUN;
    at += RUN_FIELDS;
  }
  return table;
}

/**
 * Causal attention of the rows of q [N, H, D] f32, sorted by sequence, over the sequences' caches: [N, H, Dv]. Row t of
 * a sequence sees its keys 0 to length - rows + t. On the CPU a row has the same bits whatever other sequences are in the
 * call and wherever its keys lie, and the same bits as with `attention` with `lengths`. No gradients. @throws ShapeError
 */
export function attentionSequences(
  q: Tensor,
  sequences: readonly SequenceCache[],
  options: SequenceOptions,
): Tensor {
  const valueWidth = valueWidthOf(q, sequences, options);
  const { device } = q;
  const [count, heads, width] = q.shape;
  const kvHeads = options.keyValueHeads;
  if (device.tape !== null && q.requiresGrad) {
    refuse("no gradient through a cache", "no tape that records", "a tape");
  }
  const y = device.empty([count, heads, valueWidth]);
  if (y.size === 0) return y;
  let start = 0;
  let members: Member[] = [];
  /** By their keys. */
  let tensors = new Map<Tensor, Tensor | null>();
  let partialRows = 0;
  const flush = () => {
    if (members.length === 0) return;
    const floats = partialRows * heads * partRow(valueWidth);
    const partial = floats > 0 ? device.unscoped(() => device.empty([floats])) : null;
    const keys = [...tensors.keys()];
    const integers = tableOf(members, keys);
    const table = device.unscoped(() => device.tensor(integers, [integers.length], "i32"));
    const operands: Record<string, Tensor | null> = { q, table, partial, y };
    for (const i of slots) {
      const names = namesAt[i];
      operands[names.k] = keys[i] ?? null;
      operands[names.v] = keys[i] ? tensors.get(keys[i])! : null;
    }
    const dtype = dtypeCode(keys[0].dtype);
    const pairs = members.reduce((sum, { cache }) => sum + cache.rows * cache.length, 0);
    const sizes = { sequences: members.length, heads, kvHeads, width, valueWidth, dtype, pairs };
    kernel.run(device, operands as Parameters<typeof kernel.run>[1], sizes, { scale: options.scale });
    partial?.dispose();
    table.dispose();
    members = [];
    tensors = new Map();
    partialRows = 0;
  };
  const placed = sequences.map((cache) => {
    const first = start;
    start += cache.rows;
    return { cache, start: first };
  });
  const waiting = placed.filter(({ cache }) => cache.rows > 0);
  for (const group of byMemory(waiting, ({ cache }) => cache.runs[0].keys)) {
    for (const { cache, start } of group) {
      const cut = keyParts({ tokens: cache.rows, keys: cache.length, heads, kvHeads });
      const rows = cut.parts > 1 ? cut.parts * cache.rows : 0;
      const full = (partialRows + rows) * heads * partRow(valueWidth) > MOST_PARTIAL;
      if ((full && members.length > 0) || tensors.size + fresh(cache, tensors) > SLOTS) flush();
      for (const { keys, values } of cache.runs) tensors.set(keys, values);
      members.push({ cache, cut, start, partial: partialRows });
      partialRows += rows;
    }
    flush();
  }
  return y;
}
