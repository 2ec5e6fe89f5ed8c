/**
 * Causal attention, forward, over keys in one tensor: of one sequence (training, prefill) or of a cache with
 * a number of valid keys per row. Where there are few rows the keys are cut in parts (attention-parts.ts) whose
 * results are put together in order.
 */
import { combineRow, PART_EXTRA, partBegin, partsOf } from "./attention-parts";
import {
  beginRows,
  emit,
  fewRows,
  foldKeys,
  isFew,
  largestOf,
  prepareUnits,
  ROWS,
  rowOf,
  sumOf,
} from "./attention-unit";
import { logd } from "./math";
import { barrier, nextUnit } from "./runtime";

/** Writes the results of a unit's rows as those of a part: outputs, largest score, sum. `to` is row 0 of the key head. */
export function emitPart(to: usize, first: i32, n: i32, valueWidth: i32): void {
  const bytes = (<usize>(valueWidth + PART_EXTRA)) << 2;
  const after = (<usize>valueWidth) << 2;
  emit(to, bytes, first, n, false);
  for (let i = 0; i < n; i++) {
    const at = rowOf(to, first + i, bytes) + after;
    store<f32>(at, largestOf(i));
    store<f32>(at, sumOf(i), 4);
  }
}

/** Log-sum-exp of a row from its largest score (in base 2) and its sum. */
// @ts-ignore: decorator
@inline
export function lseOf(largest: f32, sum: f32): f32 {
  return <f32>(<f64>largest * 0.6931471805599453 + logd(<f64>sum));
}

/**
 * Arguments: q, k, v?, lengths?, partial?, y, lse?; batch, tokens, keys, heads, kvHeads, width, valueWidth, parts,
 * base, count (of parts; see attention-parts.ts), dtype of k and v; scale. `partial` is f32 [batch, parts, tokens,
 * heads, valueWidth + 4] if there is more than one part.
 */
export function attention_forward(a: usize): void {
  const q = load<usize>(a);
  const k = load<usize>(a, 4);
  const v = load<usize>(a, 8);
  const lengths = load<usize>(a, 12);
  const partial = load<usize>(a, 16);
  const y = load<usize>(a, 20);
  const lse = load<usize>(a, 24);
  const batch = load<i32>(a, 28);
  const tokens = load<i32>(a, 32);
  const keys = load<i32>(a, 36);
  const heads = load<i32>(a, 40);
  const kvHeads = load<i32>(a, 44);
  const width = load<i32>(a, 48);
  const valueWidth = load<i32>(a, 52);
  const parts = load<i32>(a, 56);
  const base = load<i32>(a, 60);
  const count = load<i32>(a, 64);
  const dtype = load<i32>(a, 68);
  prepareUnits(heads, kvHeads, width, valueWidth, v, dtype, load<f32>(a, 72));

  const group = heads / kvHeads;
  const rows = tokens * group;
  const few = isFew(tokens);
  const blocks = (rows + ROWS - 1) / ROWS;
  const shift: usize = dtype == 0 ? 2 : 1;
  const outBytes = (<usize>valueWidth) << 2;
  const partRow = outBytes + ((<usize>PART_EXTRA) << 2);
  const heap = batch * kvHeads * blocks;
  for (let u = nextUnit(); u < heap * parts; u = nextUnit()) {
    // The last parts are the largest and the last rows see the most keys: they go first.
    const part = parts - 1 - u / heap;
    const bh = (u % heap) / blocks;
    const first = (blocks - 1 - (u % blocks)) * ROWS;
    const b = bh / kvHeads;
    const h = bh % kvHeads;
    const n = min(ROWS, rows - first);
    const valid = lengths ? min(keys, load<i32>(lengths + ((<usize>b) << 2))) : keys;
    const past = valid - tokens;
    const limit = max(0, past + (first + n - 1) / group + 1);
    const begin = partBegin(part, base, count);
    // Parts without keys are not read either.
    if (part > 0 && begin >= limit) continue;
    const end = part + 1 < parts ? min(limit, partBegin(part + 1, base, count)) : limit;
    const head = <usize>(b * tokens * heads + h * group);
    const row = <usize>b * <usize>keys * <usize>kvHeads + <usize>h;
    const qBase = q + ((head * <usize>width) << 2);
    const kBase = k + ((row * <usize>width) << shift);
    const vBase = v ? v + ((row * <usize>valueWidth) << shift) : kBase;
    if (few) fewRows(qBase, tokens, 1, kBase, vBase, begin, end, past);
    else {
      beginRows(qBase, first, n, 0, 0, 0);
      foldKeys(first, n, kBase, vBase, begin, end, past);
    }
    if (parts > 1) {
      const at = <usize>((b * parts + part) * tokens * heads + h * group);
      emitPart(partial + at * partRow, first, n, valueWidth);
      continue;
    }
    emit(y + head * outBytes, outBytes, first, n, true);
    for (let i = 0; i < n && lse != 0; i++) {
      const at = (b * heads + h * group + ((first + i) % group)) * tokens + (first + i) / group;
      store<f32>(lse + ((<usize>at) << 2), lseOf(largestOf(i), sumOf(i)));
    }
  }
  if (parts == 1) return;

  barrier();
  const step = <usize>(tokens * heads) * partRow;
  const total = batch * tokens;
  for (let u = nextUnit(1); u < total * kvHeads; u = nextUnit(1)) {
    const t = (u / kvHeads) % tokens;
    const b = u / kvHeads / tokens;
    const valid = lengths ? min(keys, load<i32>(lengths + ((<usize>b) << 2))) : keys;
    // What a unit of the first phase left out has keys that none of its rows sees.
    const seen = max(0, valid - tokens + t + 1);
    const own = min(parts, partsOf(seen, base, count));
    for (let h = (u % kvHeads) * group; h < ((u % kvHeads) + 1) * group; h++) {
      const from = partial + <usize>((b * parts * tokens + t) * heads + h) * partRow;
      const to = y + <usize>((b * tokens + t) * heads + h) * outBytes;
      const state = combineRow(from, step, own, valueWidth, to);
      if (lse) {
        const at = (b * heads + h) * tokens + t;
        store<f32>(lse + ((<usize>at) << 2), lseOf(load<f32>(state), load<f32>(state, 4)));
      }
    }
  }
}
