/**
 * The feed-forward network of experts with quantized weights in two kernels: gate, up and SwiGLU; then down and the
 * weighted sum per token. A token is quantized once for all its experts, rows are gathered by address.
 *
 * A token's sum runs over its experts in ascending order regardless of the other tokens, and stacks that lie in
 * several pieces go on where the piece before ended: the same bits in every case.
 */
import { madd, sigmoid4 } from "./math";
import { activationBytes, quantizeRow, quantizeRows } from "./quantized-activations";
import { groupSize, padding, prepareTiles, privateResults, privateRows } from "./quantized-lanes";
import { unitGroups, unitTokens } from "./quantized-matmul";
import { multiplyTiles } from "./quantized-tiles";
import { barrier, nextUnit } from "./runtime";

/** Bytes of private results: three MiB are there. */
const RESULT_BYTES: usize = 3 << 20;
/** Groups of 8 outputs of a unit of the sum over experts, if they fit. */
const DOWN_GROUPS: usize = 8;
/** Columns of a unit of the sum alone. */
const SUM_COLUMNS: i32 = 256;

/** silu(gate) up of `n` columns (a multiple of 8). */
function gate(gates: usize, ups: usize, to: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) {
    const at = (<usize>i) << 2;
    const g = v128.load(gates + at);
    v128.store(to + at, f32x4.mul(f32x4.mul(g, sigmoid4(g)), v128.load(ups + at)));
  }
}

/**
 * y[r] = silu(gate x[row r]) up x[row r]. Arguments: x (f32 [tokens, k]), offsets (i32 [groups + 1], absent for one
 * group of all tokens), index (i32: token of each row, absent if row r is token r), w (gate over up, f each),
 * y (f32 [rows, f]), rows (memory for quantized tokens; absent if they are few and fit private memory); format,
 * groups, tokens, f (a multiple of 8), k, count (rows, for the estimate of work only).
 */
export function quantized_gate_up(a: usize): void {
  const x = load<usize>(a);
  const offsets = load<usize>(a, 4);
  const index = load<usize>(a, 8);
  const w = load<usize>(a, 12);
  const y = load<usize>(a, 16);
  const lent = load<usize>(a, 20);
  const format = load<i32>(a, 24);
  const groups = load<i32>(a, 28);
  const tokens = load<i32>(a, 32);
  const f = load<i32>(a, 36);
  const k = load<i32>(a, 40);
  const rowBytes = activationBytes(format, k);
  const groupBytes = groupSize(format, k);
  const half = groupBytes * <usize>(f >> 3);
  const step = (<usize>f) << 2;
  prepareTiles();
  const pad = padding();
  let rows = lent;
  if (lent != 0) {
    quantizeRows(format, x, (<usize>k) << 2, tokens, k, lent, pad, 0);
    barrier();
  } else {
    rows = privateRows();
    for (let r = 0; r < tokens; r++) {
      quantizeRow(format, x + ((<usize>r * <usize>k) << 2), k, rows + <usize>r * rowBytes, pad);
    }
  }
  // Long streams of memory: gate and up take turns. They meet in private memory: 128 rows of 2 x 2048 at most.
  const columns = min(
    2048,
    unitGroups(groupBytes, (f >> 3) * (offsets != 0 ? min(groups, load<i32>(a, 44)) : 1)) << 3,
  );
  const columnUnits = (f + columns - 1) / columns;
  const high = unitTokens(rowBytes);
  const gates = privateResults();
  let group = 0;
  let first = 0;
  for (let u = nextUnit(1); ; u = nextUnit(1)) {
    let begin = 0;
    let count = 0;
    let parts = 0;
    for (; group < groups; group++) {
      begin = offsets != 0 ? load<i32>(offsets + ((<usize>group) << 2)) : 0;
      count = offsets != 0 ? load<i32>(offsets + ((<usize>group) << 2), 4) - begin : tokens;
      parts = (count + high - 1) / high;
      if (u < first + parts * columnUnits) break;
      first += parts * columnUnits;
    }
    if (group == groups) break;
    const block = (u - first) / parts;
    const i = begin + (u - first - block * parts) * high;
    const m = min(high, begin + count - i);
    const j = block * columns;
    const wide = min(columns, f - j);
    const line = (<usize>wide) << 2;
    const ups = gates + <usize>m * line;
    const tiles = w + <usize>group * half * 2 + <usize>(j >> 3) * groupBytes;
    const at = index != 0 ? rows : rows + <usize>i * rowBytes;
    const names = index != 0 ? index + ((<usize>i) << 2) : 0;
    multiplyTiles(format, at, names, m, tiles, wide, k, gates, line);
    multiplyTiles(format, at, names, m, tiles + half, wide, k, ups, line);
    let to = y + <usize>i * step + ((<usize>j) << 2);
    for (let r = 0; r < m; r++) {
      gate(gates + <usize>r * line, ups + <usize>r * line, to, wide);
      to += step;
    }
  }
}

/**
 * Columns `j` to `j` + `n` of the sums of all tokens, from results of rows `start` on, `step` bytes apart. `a` is the
 * argument block of `quantized_down`.
 */
function combine(a: usize, j: i32, n: i32, results: usize, step: usize, start: i32): void {
  const ids = load<usize>(a, 8);
  const weights = load<usize>(a, 12);
  const slots = load<usize>(a, 16);
  const y = load<usize>(a, 24);
  const begin = load<i32>(a, 40);
  const end = begin + load<i32>(a, 44);
  const tokens = load<i32>(a, 48);
  const topK = load<i32>(a, 52);
  const width = load<i32>(a, 56);
  const accumulate = load<i32>(a, 64) != 0;
  const pad = padding();
  for (let t = 0; t < tokens; t++) {
    const choices = (<usize>t * <usize>topK) << 2;
    for (let c = 0; c < n; c += 8) {
      const to = y + ((<usize>t * <usize>width + <usize>(j + c)) << 2);
      const short = n - c < 8;
      const bytes = (<usize>(n - c)) << 2;
      let out = to;
      if (short) {
        memory.copy(pad, to, bytes);
        out = pad;
      }
      let s0 = f32x4.splat(0);
      let s1 = s0;
      if (accumulate) {
        s0 = v128.load(out);
        s1 = v128.load(out, 16);
      }
      for (let i = 0; i < topK; i++) {
        const at = choices + ((<usize>i) << 2);
        const id = load<i32>(ids + at);
        if (id < begin || id >= end) continue;
        const from = results + <usize>(load<i32>(slots + at) - start) * step + ((<usize>c) << 2);
        const weight = v128.load32_splat(weights + at);
        s0 = madd(weight, v128.load(from), s0);
        s1 = madd(weight, v128.load(from, 16), s1);
      }
      v128.store(out, s0);
      v128.store(out, s1, 16);
      if (short) memory.copy(to, pad, bytes);
    }
  }
}

/**
 * y[t] (+)= sum over the choices c of token t of weights[t][c] w[ids[t][c]] x[slots[t][c]], for the experts of one
 * piece of the stack. Arguments: x (f32 [rows, k], sorted by expert), offsets (i32 [experts of the piece + 1]), ids,
 * weights, slots (each [tokens, topK]), w, y (f32 [tokens, n]), rows (memory for quantized x), partial (f32 [rows,
 * n rounded up to 8], if rows are few: units are then parts of one expert, and the sum comes after); format, begin (first
 * expert of the piece), experts (of the piece), tokens, topK, n, k, accumulate.
 */
export function quantized_down(a: usize): void {
  const x = load<usize>(a);
  const offsets = load<usize>(a, 4);
  const w = load<usize>(a, 20);
  const rows = load<usize>(a, 28);
  const partial = load<usize>(a, 32);
  const format = load<i32>(a, 36);
  const experts = load<i32>(a, 44);
  const n = load<i32>(a, 56);
  const k = load<i32>(a, 60);
  const rowBytes = activationBytes(format, k);
  const groupBytes = groupSize(format, k);
  const groups = (n + 7) >> 3;
  const matrixBytes = groupBytes * <usize>groups;
  prepareTiles();
  const pad = padding();
  const start = load<i32>(offsets);
  const total = load<i32>(offsets + ((<usize>experts) << 2)) - start;
  quantizeRows(format, x + ((<usize>start * <usize>k) << 2), (<usize>k) << 2, total, k, rows, pad, 0);
  barrier();
  if (partial != 0) {
    const step = (<usize>(groups << 3)) << 2;
    const columns = unitGroups(groupBytes, groups * min(experts, total)) << 3;
    const parts = (n + columns - 1) / columns;
    let at = rows;
    let to = partial;
    let first = 0;
    let e = 0;
    for (let u = nextUnit(1); ; u = nextUnit(1)) {
      let m = 0;
      for (; e < experts; e++) {
        const bounds = offsets + ((<usize>e) << 2);
        m = load<i32>(bounds, 4) - load<i32>(bounds);
        const count = m > 0 ? parts : 0;
        if (u < first + count) break;
        first += count;
        at += <usize>m * rowBytes;
        to += <usize>m * step;
      }
      if (e == experts) break;
      const j = (u - first) * columns;
      const tiles = w + <usize>e * matrixBytes + <usize>(j >> 3) * groupBytes;
      multiplyTiles(format, at, 0, m, tiles, min(columns, n - j), k, to + ((<usize>j) << 2), step);
    }
    barrier();
    for (let u = nextUnit(2); u * SUM_COLUMNS < n; u = nextUnit(2)) {
      const j = u * SUM_COLUMNS;
      combine(a, j, min(SUM_COLUMNS, n - j), partial + ((<usize>j) << 2), step, start);
    }
    return;
  }
  const results = privateResults();
  const perUnit = <i32>max(1, min(DOWN_GROUPS, RESULT_BYTES / (max(1, <usize>total) << 5)));
  const units = (groups + perUnit - 1) / perUnit;
  const step = (<usize>perUnit) << 5;
  for (let u = nextUnit(1); u < units; u = nextUnit(1)) {
    const q = u * perUnit;
    const j = q << 3;
    const wide = min(perUnit << 3, n - j);
    let at = rows;
    let to = results;
    for (let e = 0; e < experts; e++) {
      const bounds = offsets + ((<usize>e) << 2);
      const m = load<i32>(bounds, 4) - load<i32>(bounds);
      if (m == 0) continue;
      const tiles = w + <usize>e * matrixBytes + <usize>q * groupBytes;
      multiplyTiles(format, at, 0, m, tiles, wide, k, to, step);
      at += <usize>m * rowBytes;
      to += <usize>m * step;
    }
    combine(a, j, wide, results, step, start);
  }
}
