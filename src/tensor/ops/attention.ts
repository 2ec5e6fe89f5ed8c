/**
 * Causal attention for multi-head, grouped-query, multi-query and absorbed latent attention, flash style
 * (FlashAttention-2, algorithms 1 and 2): no matrix of scores outlives a block; the forward pass saves one
 * log-sum-exp per query and head, the backward pass computes scores again. Other masks are left out.
 */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

/** Rows (query, head of a group) of a unit, as in kernels/attention-unit.ts. */
const UNIT_ROWS = 64;
/** Keys of the parts next to the first key. */
export const PART_KEYS = 96;
/** Floats of a row of a part's results in addition to its outputs, as in kernels/attention-parts.ts. */
const PART_EXTRA = 4;
/**
 * Up to so many queries are cut as one is, so that a query's result is the same to the last bit whether it comes alone
 * or with another: a draft is verified by two queries at once.
 */
const FEW_QUERIES = 2;
/** Units that keep any number of threads we know busy; fewer, and the keys are cut in parts. */
const ENOUGH_UNITS = 32;
/** Most floats of the parts' results at a time: more sequences go in several calls. */
export const MOST_PARTIAL = 2 ** 23;
const SPLIT_KEYS_BACKWARD = 256;
const ENOUGH_UNITS_BACKWARD = 8;
const MAX_SPLITS_BACKWARD = 4;
const MOST_KEYS = 2 ** 29;
/** Panels of this width fit a thread's scratch memory. */
export const MAX_WIDTH = 1024;

export interface Sizes {
  batch: number;
  tokens: number;
  keys: number;
  heads: number;
  kvHeads: number;
  width: number;
  valueWidth: number;
}

const sizeNames = ["batch", "tokens", "keys", "heads", "kvHeads", "width", "valueWidth"] as const;

const work = (s: Sizes) => (s.batch * s.tokens * s.heads * s.keys * (s.width + s.valueWidth)) / 16;

/** Visits every (row, query head, key head) with the number of keys the query sees. */
function eachQuery(
  { batch, tokens, keys, heads, kvHeads }: Sizes,
  lengths: Int32Array | null,
  visit: (row: number, bh: number, b: number, kvHead: number, seen: number) => void,
): void {
  for (let b = 0; b < batch; b++) {
    const valid = lengths ? Math.min(keys, lengths[b]) : keys;
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const row = (b * tokens + t) * heads + h;
        const seen = Math.max(0, valid - tokens + t + 1);
        visit(row, (b * heads + h) * tokens + t, b, Math.floor(h / (heads / kvHeads)), seen);
      }
    }
  }
}

export function dot(x: Float64Array, xAt: number, y: Float64Array, yAt: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += x[xAt + i] * y[yAt + i];
  return sum;
}

const forwardKernel = defineKernel({
  name: "attention_forward",
  operands: {
    q: "in f32",
    k: "in float",
    v: "in float?",
    lengths: "in i32?",
    partial: "out f32?",
    y: "out f32",
    lse: "out f32?",
  },
  ints: [...sizeNames, "parts", "base", "count", "dtype"],
  floats: ["scale"],
  work,
  reference: ({ q, k, v, lengths, y, lse }, sizes, { scale }) => {
    const { keys, kvHeads, width, valueWidth } = sizes;
    const values = v ?? k;
    const valueStride = v ? valueWidth : width;
    eachQuery(sizes, lengths, (row, bh, b, kvHead, seen) => {
      const keyAt = (j: number) => (b * keys + j) * kvHeads + kvHead;
      const scores = Float64Array.from({ length: seen }, (_, j) => {
        return scale * dot(q, row * width, k, keyAt(j) * width, width);
      });
      const largest = scores.reduce((a, s) => Math.max(a, s), Number.NEGATIVE_INFINITY);
      let sum = 0;
      for (let j = 0; j < seen; j++) sum += scores[j] = Math.exp(scores[j] - largest);
      y.fill(0, row * valueWidth, (row + 1) * valueWidth);
      for (let j = 0; j < seen; j++) {
        const from = keyAt(j) * valueStride;
        for (let c = 0; c < valueWidth; c++) y[row * valueWidth + c] += (scores[j] / sum) * values[from + c];
      }
      if (lse) lse[bh] = largest + Math.log(sum);
    });
  },
});

const backwardKernel = defineKernel({
  name: "attention_backward",
  operands: {
    q: "in f32",
    k: "in f32",
    v: "in f32",
    y: "in f32",
    lse: "in f32",
    dy: "in f32",
    delta: "out f32",
    partial: "out f32?",
    dq: "inout f32?",
    dk: "inout f32?",
    dv: "inout f32?",
  },
  ints: [...sizeNames, "splits", "addQ", "addK", "addV"],
  floats: ["scale"],
  work: (sizes) => 2.5 * work(sizes),
  reference: ({ q, k, v, y, lse, dy, dq, dk, dv }, sizes, { scale }) => {
    const { batch, tokens, keys, heads, kvHeads, width, valueWidth } = sizes;
    if (!sizes.addQ) dq?.fill(0, 0, batch * tokens * heads * width);
    if (!sizes.addK) dk?.fill(0, 0, batch * keys * kvHeads * width);
    if (!sizes.addV) dv?.fill(0, 0, batch * keys * kvHeads * valueWidth);
    eachQuery(sizes, null, (row, bh, b, kvHead, seen) => {
      const delta = dot(dy, row * valueWidth, y, row * valueWidth, valueWidth);
      for (let j = 0; j < seen; j++) {
        const key = (b * keys + j) * kvHeads + kvHead;
        const p = Math.exp(scale * dot(q, row * width, k, key * width, width) - lse[bh]);
        const slope = scale * p * (dot(dy, row * valueWidth, v, key * valueWidth, valueWidth) - delta);
        for (let c = 0; c < width; c++) {
          if (dq) dq[row * width + c] += slope * k[key * width + c];
          if (dk) dk[key * width + c] += slope * q[row * width + c];
        }
        if (dv) {
          for (let c = 0; c < valueWidth; c++) dv[key * valueWidth + c] += p * dy[row * valueWidth + c];
        }
      }
    });
  },
});

export interface AttentionOptions {
  /** Factor of the scores before softmax. */
  scale: number;
  /** Valid keys of each row, i32 [B]; keys from there on are not read. Default: all. */
  lengths?: Tensor;
  /** Where v is null: the first channels of a key that are its value. */
  valueWidth?: number;
}

function refuse(message: string, expected: unknown, found: unknown): never {
  throw new ShapeError(message, { where: "attention", expected, found });
}

function sizesOf(q: Tensor, k: Tensor, v: Tensor | null, options: AttentionOptions): Sizes {
  if (q.shape.length !== 4) refuse("q must be [batch, tokens, heads, width]", "4 axes", q.shape);
  if (k.shape.length !== 4) refuse("k must be [batch, keys, kvHeads, width]", "4 axes", k.shape);
  const [batch, tokens, heads, width] = q.shape;
  const [, keys, kvHeads] = k.shape;
  if (k.shape[0] !== batch || k.shape[3] !== width) {
    refuse("q and k differ in batch or width", [batch, "keys", "kvHeads", width], k.shape);
  }
  if (kvHeads === 0 || heads % kvHeads !== 0) {
    refuse("query heads are not a multiple of key heads", `a divisor of ${heads}`, kvHeads);
  }
  if (v && (v.shape.length !== 4 || v.shape.slice(0, 3).some((n, i) => n !== k.shape[i]))) {
    refuse("v and k differ in leading axes", [batch, keys, kvHeads, "valueWidth"], v.shape);
  }
  const valueWidth = v ? v.shape[3] : (options.valueWidth ?? width);
  if (options.valueWidth !== undefined && (v ? valueWidth : width) < options.valueWidth) {
    refuse("valueWidth out of range", `at most ${v ? valueWidth : width}`, options.valueWidth);
  }
  if (v && options.valueWidth !== undefined && options.valueWidth !== valueWidth) {
    refuse("valueWidth differs from the width of v", valueWidth, options.valueWidth);
  }
  if (Math.max(width, valueWidth) > MAX_WIDTH)
    refuse("head width out of range", `at most ${MAX_WIDTH}`, width);
  if (v && v.dtype !== k.dtype) refuse("keys and values have different dtypes", k.dtype, v.dtype);
  const { lengths } = options;
  if (lengths && (lengths.dtype !== "i32" || lengths.size !== batch)) {
    refuse("lengths must be i32 with one entry per row", [batch], lengths.shape);
  }
  if (!lengths && keys < tokens) refuse("more queries than keys", `at least ${tokens} keys`, keys);
  return { batch, tokens, keys, heads, kvHeads, width, valueWidth };
}

/** How keys are cut: `parts` in total, `count` of them of `base` keys, and so on (kernels/attention-parts.ts). */
export interface KeyParts {
  readonly parts: number;
  readonly base: number;
  readonly count: number;
}

/**
 * Cuts `keys` keys for `tokens` queries of a sequence. Where a part begins depends on the sizes of a query and, beyond
 * two, on their number, but not on that of the keys. `batch` counts sequences that come with it in any case.
 */
export function keyParts(
  { tokens, keys, heads, kvHeads }: Pick<Sizes, "tokens" | "keys" | "heads" | "kvHeads">,
  batch = 1,
): KeyParts {
  const rows = ((tokens <= FEW_QUERIES ? 1 : tokens) * heads) / kvHeads;
  const blocks = batch * kvHeads * Math.ceil(rows / UNIT_ROWS);
  if (keys > MOST_KEYS) refuse("too many keys", `at most ${MOST_KEYS}`, keys);
  if (blocks >= ENOUGH_UNITS) return { parts: 1, base: PART_KEYS, count: 0 };
  const count = blocks >= 8 ? 4 : blocks >= 2 ? 8 : 16;
  let parts = 1;
  const begin = (i: number) => {
    const level = Math.floor(i / count);
    return level === 0 ? i * PART_KEYS : PART_KEYS * 2 ** (level - 1) * (count + (i % count));
  };
  while (begin(parts) < keys) parts++;
  return { parts, base: PART_KEYS, count };
}

/** Floats of a row of a part's results. */
export function partRow(valueWidth: number): number {
  return valueWidth + PART_EXTRA;
}

/** Runs the forward kernel, rows of the batch in groups if the parts' results would take much memory. */
function runForward(
  operands: { q: Tensor; k: Tensor; v: Tensor | null; lengths: Tensor | null; y: Tensor; lse: Tensor | null },
  sizes: Sizes,
  scale: number,
  cut: KeyParts,
): void {
  const { batch, tokens, heads, valueWidth } = sizes;
  const { device } = operands.q;
  const each = cut.parts > 1 ? cut.parts * tokens * heads * partRow(valueWidth) : 0;
  const group = Math.max(1, Math.min(batch, Math.floor(MOST_PARTIAL / Math.max(1, each))));
  const dtype = dtypeCode(operands.k.dtype);
  device.unscoped(() => {
    using partial = each > 0 ? device.empty([group * each]) : null;
    for (let b = 0; b < batch; b += group) {
      const end = Math.min(batch, b + group);
      const whole = end - b === batch;
      const rows = (t: Tensor | null) => (t && !whole ? t.slice(b, end) : t);
      const { q, k, v, lengths, y, lse } = operands;
      const part = {
        q: rows(q)!,
        k: rows(k)!,
        v: rows(v),
        lengths: rows(lengths),
        y: rows(y)!,
        lse: rows(lse),
      };
      forwardKernel.run(device, { ...part, partial }, { ...sizes, batch: end - b, ...cut, dtype }, { scale });
      if (!whole) for (const t of Object.values(part)) t?.dispose();
    }
  });
}

/**
 * Causal softmax attention: q [B,T,H,D], k [B,S,Hkv,D], v [B,S,Hkv,Dv] -> [B,T,H,Dv], f32; k and v may
 * be f16 or bf16 (of one dtype, without gradients). The queries are the last T of the valid keys: query t of row b sees keys 0 to lengths[b]-T+t (`lengths` defaults to S); a query that
 * sees no key gives 0. Query heads h*H/Hkv to (h+1)*H/Hkv - 1 share key head h. With v null the value of a key is
 * its own first `valueWidth` channels (absorbed MLA over a latent cache). Gradients flow to q, k and v unless
 * `lengths` is given or v is null. On the CPU a query has the same bits alone or batched with one other. @throws ShapeError
 */
export function attention(q: Tensor, k: Tensor, v: Tensor | null, options: AttentionOptions): Tensor {
  const sizes = sizesOf(q, k, v, options);
  const { batch, tokens, keys, heads, kvHeads, width, valueWidth } = sizes;
  const { scale, lengths = null } = options;
  const { device } = q;
  const tracked = device.tape !== null && [q, k, ...(v ? [v] : [])].some((t) => t.requiresGrad) && q.size > 0;
  if (tracked && (lengths || !v)) {
    refuse(
      "no gradient through a cache",
      "v, and no lengths, while a tape records",
      v ? "lengths" : "v = null",
    );
  }
  if (tracked && (k.dtype !== "f32" || v?.dtype !== "f32")) {
    refuse("gradients need keys and values in f32", "f32", [k.dtype, v?.dtype]);
  }
  const y = device.empty([batch, tokens, heads, valueWidth]);
  if (y.size === 0 && !tracked) return y;
  const lse = tracked ? device.empty([batch, heads, tokens]) : null;

  // What a sequence gets from its cache must not depend on the others of a batch.
  const alone = lengths !== null || tokens <= FEW_QUERIES;
  runForward({ q, k, v, lengths, y, lse }, sizes, scale, keyParts(sizes, alone ? 1 : batch));

  if (tracked) {
    record([y], [q, k, v!], ([dy], grads) => {
      const into = [0, 1, 2].map((i) => (grads.wants(i) ? grads.target(i) : null));
      const [dq, dk, dv] = into.map((target) => target?.tensor ?? null);
      const [addQ, addK, addV] = into.map((target) => target?.accumulate ?? 0);
      const units = batch * kvHeads;
      const wanted = Math.min(
        Math.ceil(ENOUGH_UNITS_BACKWARD / units),
        Math.ceil(keys / SPLIT_KEYS_BACKWARD),
      );
      const splits = Math.max(1, Math.min(wanted, MAX_SPLITS_BACKWARD));
      backwardKernel.run(
        device,
        {
          ...{ q, k, v: v!, y, lse: lse!, dy: dy!, dq, dk, dv },
          delta: device.empty([batch, heads, tokens]),
          partial: splits > 1 && dq ? device.empty([splits, batch, tokens, heads, width]) : null,
        },
        { ...sizes, splits, addQ, addK, addV },
        { scale },
      );
    });
  }
  return y;
}
