/**
 * One step of several sequences, each over its own cache: the attention of their new tokens in one call for eight
 * of them (whose caches lie in one memory), so that all threads share the work regardless of the lengths. No gradients.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";
import { dot, type KeyParts, keyParts, MAX_WIDTH, MOST_PARTIAL, partRow } from "./attention.ts";
import { byMemory, SLOTS, slotKinds, slotNames, slots } from "./slots.ts";

const fields = ["rows", "length", "parts", "base", "count", "start", "partial"] as const;
const namesAt = slotNames(["k", "v", ...fields]);

const kernel = defineKernel({
  name: "attention_sequences",
  operands: {
    q: "in f32",
    ...slotKinds("k", "in float?"),
    ...slotKinds("v", "in float?"),
    partial: "out f32?",
    y: "out f32",
  },
  ints: [
    ...(["sequences", "heads", "kvHeads", "width", "valueWidth", "dtype"] as const),
    ...namesAt.flatMap((names) => fields.map((field) => names[field])),
  ],
  floats: ["scale"],
  work: (s) => {
    let pairs = 0;
    for (let i = 0; i < s.sequences; i++) pairs += s[namesAt[i].rows] * s[namesAt[i].length];
    return (pairs * s.heads * (s.width + s.valueWidth)) / 16;
  },
  reference: (operands, s, { scale }) => {
    const { q, y } = operands;
    const { heads, kvHeads, width, valueWidth } = s;
    for (const i of slots) {
      const k = operands[`k${i}`];
      if (k === null) continue;
      const values = operands[`v${i}`] ?? k;
      const stride = operands[`v${i}`] ? valueWidth : width;
      for (let r = 0; r < s[`rows${i}`] * heads; r++) {
        const row = s[`start${i}`] * heads + r;
        const seen = Math.max(0, s[`length${i}`] - s[`rows${i}`] + Math.floor(r / heads) + 1);
        const head = Math.floor((r % heads) / (heads / kvHeads));
        const scores = Float64Array.from({ length: seen }, (_, j) => {
          return scale * dot(q, row * width, k, (j * kvHeads + head) * width, width);
        });
        const largest = scores.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
        const weights = scores.map((x) => Math.exp(x - largest));
        const sum = weights.reduce((a, x) => a + x, 0);
        y.fill(0, row * valueWidth, (row + 1) * valueWidth);
        for (let j = 0; j < seen; j++) {
          const from = (j * kvHeads + head) * stride;
          for (let c = 0; c < valueWidth; c++) {
            y[row * valueWidth + c] += (weights[j] / sum) * values[from + c];
          }
        }
      }
    }
  },
});

/** The cache of a sequence and what the step adds to it. */
export interface SequenceCache {
  /** `[capacity, kvHeads width]` (any shape of as many elements), f32, bf16 or f16; the new tokens are written. */
  readonly keys: Tensor;
  /** `[capacity, kvHeads valueWidth]` of the same dtype; null if a key's first channels are its value. */
  readonly values: Tensor | null;
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
  const first = sequences[0];
  let valueWidth = options.valueWidth ?? width;
  for (const [i, { keys, values, rows, length }] of sequences.entries()) {
    const name = `sequence ${i}`;
    const capacity = keys.size / (kvHeads * width);
    if (!Number.isInteger(rows) || rows < 0) refuse("not a number of rows", "at least 0", rows, name);
    if (!Number.isInteger(length) || length < rows || length > capacity) {
      refuse("length outside the cache", `${rows} to ${Math.floor(capacity)}`, length, name);
    }
    if ((values === null) !== (first.values === null) || keys.dtype !== first.keys.dtype) {
      refuse("caches differ in dtype or layout", first.keys.dtype, keys.dtype, name);
    }
    if (values === null) continue;
    // The longest common capacity: both streams grow together.
    const own = values.size / capacity / kvHeads;
    if (i === 0 && options.valueWidth === undefined) valueWidth = own;
    if (own !== valueWidth || values.dtype !== keys.dtype) {
      refuse("values differ from keys in dtype or capacity", `${keys.dtype}, width ${valueWidth}`, own, name);
    }
  }
  if (first?.values === null && width < valueWidth)
    refuse("keys are narrower than their values", valueWidth, width);
  if (Math.max(width, valueWidth) > MAX_WIDTH)
    refuse("head width out of range", `at most ${MAX_WIDTH}`, width);
  return valueWidth;
}

/**
 * Causal attention of the rows of q [N, H, D] f32, sorted by sequence, over the sequences' caches: [N, H, Dv]. Row t of
 * a sequence sees its keys 0 to length - rows + t. On the CPU a row has the same bits whatever other sequences are in the
 * call, and the same bits as with `attention` with `lengths`. No gradients. @throws ShapeError
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
  const dtype = dtypeCode(sequences[0].keys.dtype);
  let start = 0;
  let members: { cache: SequenceCache; cut: KeyParts; start: number; partial: number }[] = [];
  let partialRows = 0;
  const flush = () => {
    if (members.length === 0) return;
    const floats = partialRows * heads * partRow(valueWidth);
    const partial = floats > 0 ? device.unscoped(() => device.empty([floats])) : null;
    const operands: Record<string, Tensor | null> = { q, partial, y };
    const common = { heads, kvHeads, width, valueWidth, dtype };
    const ints: Record<string, number> = { sequences: members.length, ...common };
    for (const i of slots) {
      const own = members[i];
      const names = namesAt[i];
      operands[names.k] = own?.cache.keys ?? null;
      operands[names.v] = own?.cache.values ?? null;
      ints[names.rows] = own?.cache.rows ?? 0;
      ints[names.length] = own?.cache.length ?? 0;
      ints[names.parts] = own?.cut.parts ?? 0;
      ints[names.base] = own?.cut.base ?? 0;
      ints[names.count] = own?.cut.count ?? 0;
      ints[names.start] = own?.start ?? 0;
      ints[names.partial] = own?.partial ?? 0;
    }
    kernel.run(
      device,
      operands as Parameters<typeof kernel.run>[1],
      ints as Parameters<typeof kernel.run>[2],
      {
        scale: options.scale,
      },
    );
    partial?.dispose();
    members = [];
    partialRows = 0;
  };
  const placed = sequences.map((cache) => {
    const first = start;
    start += cache.rows;
    return { cache, start: first };
  });
  const waiting = placed.filter(({ cache }) => cache.rows > 0);
  for (const group of byMemory(waiting, ({ cache }) => cache.keys)) {
    for (const { cache, start } of group) {
      const cut = keyParts({ tokens: cache.rows, keys: cache.length, heads, kvHeads });
      const rows = cut.parts > 1 ? cut.parts * cache.rows : 0;
      const full = (partialRows + rows) * heads * partRow(valueWidth) > MOST_PARTIAL;
      if (members.length === SLOTS || (full && members.length > 0)) flush();
      members.push({ cache, cut, start, partial: partialRows });
      partialRows += rows;
    }
    flush();
  }
  return y;
}
