/**
 * Attention that goes on: the state of a softmax (outputs not yet divided, largest scores, sums) of some queries takes
 * up a block of keys, wherever it lies before or around the queries. Long contexts pass block by block in this way.
 */
import { beginRows, emit, foldKeys, largestOf, prepareUnits, ROWS, rowOf, sumOf } from "./attention-unit";
import { nextUnit } from "./runtime";
import { rowsPerUnit, unitsOf } from "./units";

/**
 * Arguments: q, k, v?, output, largest, total; batch, tokens, keys, heads, kvHeads, width, valueWidth, past (query t
 * sees keys up to past + t), fresh (no key so far: the state is overwritten), dtype of k and v; scale. The largest
 * scores are in base 2.
 */
export function attention_fold(a: usize): void {
  const q = load<usize>(a);
  const k = load<usize>(a, 4);
  const v = load<usize>(a, 8);
  const output = load<usize>(a, 12);
  const largest = load<usize>(a, 16);
  const total = load<usize>(a, 20);
  const batch = load<i32>(a, 24);
  const tokens = load<i32>(a, 28);
  const keys = load<i32>(a, 32);
  const heads = load<i32>(a, 36);
  const kvHeads = load<i32>(a, 40);
  const width = load<i32>(a, 44);
  const valueWidth = load<i32>(a, 48);
  const past = load<i32>(a, 52);
  const fresh = load<i32>(a, 56);
  const dtype = load<i32>(a, 60);
  prepareUnits(heads, kvHeads, width, valueWidth, v, dtype, load<f32>(a, 64));

  const group = heads / kvHeads;
  const rows = tokens * group;
  const blocks = (rows + ROWS - 1) / ROWS;
  const shift: usize = dtype == 0 ? 2 : 1;
  const outBytes = (<usize>valueWidth) << 2;
  for (let u = nextUnit(); u < batch * kvHeads * blocks; u = nextUnit()) {
    const first = (blocks - 1 - (u % blocks)) * ROWS;
    const b = u / blocks / kvHeads;
    const h = (u / blocks) % kvHeads;
    const n = min(ROWS, rows - first);
    const end = min(keys, max(0, past + (first + n - 1) / group + 1));
    if (end == 0 && !fresh) continue;
    const head = <usize>(b * tokens * heads + h * group);
    const row = <usize>b * <usize>keys * <usize>kvHeads + <usize>h;
    const kBase = k + ((row * <usize>width) << shift);
    const vBase = v ? v + ((row * <usize>valueWidth) << shift) : kBase;
    const out = output + head * outBytes;
    const m = largest + (head << 2);
    const l = total + (head << 2);
    beginRows(q + ((head * <usize>width) << 2), first, n, fresh ? 0 : out, m, l);
    foldKeys(first, n, kBase, vBase, 0, end, past);
    emit(out, outBytes, first, n, false);
    for (let i = 0; i < n; i++) {
      store<f32>(rowOf(m, first + i, 4), largestOf(i));
      store<f32>(rowOf(l, first + i, 4), sumOf(i));
    }
  }
}

/** y = output / total row by row, 0 if the total is. Arguments: output, total, y; rows, width. */
export function attention_finish(a: usize): void {
  const output = load<usize>(a);
  const total = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const width = load<i32>(a, 16);
  const perUnit = rowsPerUnit(width);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    for (let r = u * perUnit; r < min(rows, (u + 1) * perUnit); r++) {
      const sum = load<f32>(total + ((<usize>r) << 2));
      const factor: f32 = sum == 0 ? 0 : 1 / sum;
      const wide = f32x4.splat(factor);
      let at = (<usize>r * <usize>width) << 2;
      let c = width;
      for (; c >= 4; c -= 4) {
        v128.store(y + at, f32x4.mul(wide, v128.load(output + at)));
        at += 16;
      }
      for (; c > 0; c--) {
        store<f32>(y + at, factor * load<f32>(output + at));
        at += 4;
      }
    }
  }
}
