/**
 * Convolutions of images with channels last as matrix products whose left operand is never stored: rows of patches are
 * gathered, a block of rows and of k at a time, into memory that stays in the cache. Weights are [out, kh, kw, in], so
 * that what a patch takes from one line of the image lies there as one piece, in the order of k.
 */
import {
  BLOCK_COLUMNS,
  BLOCK_ROWS,
  blockDepth,
  ceilDiv,
  combine,
  multiply,
  multiplyPanels,
  PACK_DEPTH,
  PACKED_B_FLOATS,
  packColumns,
  packEdgeRows,
  packedColumns,
  packedRows,
  roundUp,
  unitColumns,
  unitRows,
} from "./gemm";
import { TILE_ROWS } from "./packing";
import { barrier, nextUnit, wideVectors } from "./runtime";

/** Rows of patches that are gathered at once for a gradient of weights. */
const PATCH_ROWS: i32 = 1152;
/** Rows of a unit of a gradient of inputs. */
const UNIT_ROWS: i32 = 432;
/** Results of a block of rows that wait to be scattered. */
const WAITING_FLOATS: i32 = 36864;

// The shape of the call, in globals of the thread: every function here reads it.
let height: i32 = 0;
let width: i32 = 0;
let channels: i32 = 0;
let outputs: i32 = 0;
let kernelHeight: i32 = 0;
let kernelWidth: i32 = 0;
let stride: i32 = 1;
let top: i32 = 0;
let left: i32 = 0;
let outHeight: i32 = 0;
let outWidth: i32 = 0;

/** Reads height, width, channels, outputs, kh, kw, stride, top, left, outHeight, outWidth from `at` on. */
function readShape(at: usize): void {
  height = load<i32>(at);
  width = load<i32>(at, 4);
  channels = load<i32>(at, 8);
  outputs = load<i32>(at, 12);
  kernelHeight = load<i32>(at, 16);
  kernelWidth = load<i32>(at, 20);
  stride = load<i32>(at, 24);
  top = load<i32>(at, 28);
  left = load<i32>(at, 32);
  outHeight = load<i32>(at, 36);
  outWidth = load<i32>(at, 40);
}

// @ts-ignore: decorator
@inline
function copy(from: usize, to: usize, n: i32): void {
  let i = 0;
  for (; i + 16 <= n; i += 16) {
    const at = (<usize>i) << 2;
    const a = v128.load(from + at);
    const b = v128.load(from + at, 16);
    const c = v128.load(from + at, 32);
    const d = v128.load(from + at, 48);
    v128.store(to + at, a);
    v128.store(to + at, b, 16);
    v128.store(to + at, c, 32);
    v128.store(to + at, d, 48);
  }
  for (; i + 4 <= n; i += 4) v128.store(to + ((<usize>i) << 2), v128.load(from + ((<usize>i) << 2)));
  for (; i < n; i++) store<f32>(to + ((<usize>i) << 2), load<f32>(from + ((<usize>i) << 2)));
}

// @ts-ignore: decorator
@inline
function clear(to: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(to + ((<usize>i) << 2), 0);
}

/** Elements `begin` to `begin + n` of a line of the image at `line`, zeros outside of it, to `to`. */
// @ts-ignore: decorator
@inline
function copyClipped(line: usize, begin: i32, n: i32, to: usize): void {
  const size = width * channels;
  const before = min(n, max(0, -begin));
  const inside = max(0, min(n, size - begin) - before);
  if (before > 0) clear(to, before);
  if (inside > 0) copy(line + ((<usize>(begin + before)) << 2), to + ((<usize>before) << 2), inside);
  const after = n - before - inside;
  if (after > 0) clear(to + ((<usize>(before + inside)) << 2), after);
}

/** Elements `p` to `p + deep` of the patches of outputs `first` to `first + rows`, row after row, to `to`. */
function gatherPatches(x: usize, first: i32, rows: i32, p: i32, deep: i32, to: usize): void {
  const line = kernelWidth * channels;
  const lineBytes = (<usize>width * <usize>channels) << 2;
  const ky0 = p / line;
  const rest0 = p - ky0 * line;
  let ox = first % outWidth;
  let oy = (first / outWidth) % outHeight;
  let image = x + <usize>(first / outWidth / outHeight) * <usize>height * lineBytes;
  for (let r = 0; r < rows; r++) {
    const begin = (ox * stride - left) * channels;
    let ky = ky0;
    let rest = rest0;
    let put = to;
    for (let q = 0; q < deep; ) {
      const n = min(deep - q, line - rest);
      const iy = oy * stride - top + ky;
      if (iy < 0 || iy >= height) clear(put, n);
      else copyClipped(image + <usize>iy * lineBytes, begin + rest, n, put);
      put += (<usize>n) << 2;
      q += n;
      rest = 0;
      ky++;
    }
    to += (<usize>deep) << 2;
    if (++ox == outWidth) {
      ox = 0;
      if (++oy == outHeight) {
        oy = 0;
        image += <usize>height * lineBytes;
      }
    }
  }
}

/** The product of `rows` gathered rows, `deep` each, with packed columns. */
// @ts-ignore: decorator
@inline
function multiplyGathered(
  rows: i32,
  deep: i32,
  panels: usize,
  n: i32,
  c: usize,
  ldc: usize,
  add: i32,
  last: bool,
  bias: usize,
): void {
  const a = packedRows();
  const pitch = (<usize>deep) << 2;
  const rest = rows % TILE_ROWS;
  const edge = a + <usize>rows * pitch;
  if (rest > 0) packEdgeRows(a + <usize>(rows - rest) * pitch, pitch, 4, rest, deep, edge);
  multiplyPanels(a, pitch, 4, pitch * TILE_ROWS, edge, panels, deep, rows, n, c, ldc, add, last, bias, 0);
}

/** Floats of a packed row of `n` columns. */
// @ts-ignore: decorator
@inline
function packedWidth(n: i32): i32 {
  return roundUp(n, wideVectors() ? 16 : 8);
}

/**
 * y = convolution of x with w, plus the bias. Arguments: x [batch, height, width, channels], w [outputs, kh, kw,
 * channels], y [batch, outHeight, outWidth, outputs], bias (f32 [outputs] or absent); batch, the shape (`readShape`), dtype
 * of w.
 */
export function conv2d(a: usize): void {
  const x = load<usize>(a);
  const w = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const bias = load<usize>(a, 12);
  const batch = load<i32>(a, 16);
  readShape(a + 20);
  const dtype = load<i32>(a, 64);
  const shift: usize = dtype == 0 ? 2 : 1;
  const m = batch * outHeight * outWidth;
  const k = kernelHeight * kernelWidth * channels;
  const n = outputs;
  const columns = unitColumns(n, k, ceilDiv(m, 48));
  const columnUnits = ceilDiv(n, columns);
  const rows = unitRows(m, columnUnits);
  const rowUnits = ceilDiv(m, rows);
  const packed = packedColumns();
  const ldc = (<usize>n) << 2;
  let held = -1;
  for (let u = nextUnit(); u < columnUnits * rowUnits; u = nextUnit()) {
    const block = u / rowUnits;
    const j = block * columns;
    const wide = min(columns, n - j);
    const begin = (u - block * rowUnits) * rows;
    const end = min(m, begin + rows);
    const biasAt = bias != 0 ? bias + ((<usize>j) << 2) : 0;
    for (let q = 0; q < k; q += PACK_DEPTH) {
      const part = min(PACK_DEPTH, k - q);
      const whole = part == k;
      if (!whole || held != block) {
        packColumns(w + ((<usize>j * <usize>k + <usize>q) << shift), 1, k, part, wide, dtype, packed);
        held = whole ? block : -1;
      }
      const depth = blockDepth(part);
      for (let i = begin; i < end; i += BLOCK_ROWS) {
        const high = min(BLOCK_ROWS, end - i);
        const to = y + <usize>i * ldc + ((<usize>j) << 2);
        let panel = packed;
        for (let p = 0; p < part; p += depth) {
          const deep = min(depth, part - p);
          gatherPatches(x, i, high, q + p, deep, packedRows());
          multiplyGathered(high, deep, panel, wide, to, ldc, i32(q + p > 0), q + p + deep == k, biasAt);
          panel += (<usize>packedWidth(wide) * <usize>deep) << 2;
        }
      }
    }
  }
}

/** Outputs `begin` to `begin + deep` that pixels of one class get from one tap, row after row, zeros outside, to `to`. */
function gatherOutputs(
  dy: usize,
  first: i32,
  rows: i32,
  high: i32,
  wide: i32,
  shiftY: i32,
  shiftX: i32,
  begin: i32,
  deep: i32,
  to: usize,
): void {
  let qx = first % wide;
  let qy = (first / wide) % high;
  let image = first / wide / high;
  for (let r = 0; r < rows; r++) {
    const oy = qy + shiftY;
    const ox = qx + shiftX;
    if (oy < 0 || oy >= outHeight || ox < 0 || ox >= outWidth) clear(to, deep);
    else {
      const at = (<usize>(image * outHeight + oy) * <usize>outWidth + <usize>ox) * <usize>outputs;
      copy(dy + ((at + <usize>begin) << 2), to, deep);
    }
    to += (<usize>deep) << 2;
    if (++qx == wide) {
      qx = 0;
      if (++qy == high) {
        qy = 0;
        image++;
      }
    }
  }
}

/** dx of pixels of one class (+)= the waiting results, [rows][n], in columns `j` to `j + n`. */
function scatterRows(
  from: usize,
  dx: usize,
  classY: i32,
  classX: i32,
  first: i32,
  rows: i32,
  high: i32,
  wide: i32,
  j: i32,
  n: i32,
  accumulate: i32,
): void {
  const mask = i32x4.splat(-accumulate);
  for (let r = first; r < first + rows; r++) {
    const qx = r % wide;
    const qy = (r / wide) % high;
    const line = (r / wide / high) * height + classY + qy * stride;
    const pixel = <usize>line * <usize>width + <usize>(classX + qx * stride);
    const to = dx + ((pixel * <usize>channels + <usize>j) << 2);
    let i = 0;
    for (; i + 4 <= n; i += 4) {
      const at = (<usize>i) << 2;
      v128.store(to + at, f32x4.add(v128.load(from + at), v128.and(v128.load(to + at), mask)));
    }
    for (; i < n; i++) {
      const at = (<usize>i) << 2;
      store<f32>(to + at, accumulate ? load<f32>(to + at) + load<f32>(from + at) : load<f32>(from + at));
    }
    from += (<usize>n) << 2;
  }
}

/** Whether a tap reaches a class of pixels, by its distance along one axis. */
// @ts-ignore: decorator
@inline
function reaches(distance: i32): bool {
  return distance % stride == 0;
}

/**
 * dx (+)= gradient of conv2d for its input. Pixels fall into stride x stride classes by their place; each class is a dense
 * product over the taps that reach it. Arguments: dy, w, dx; batch, the shape, dtype of w, accumulate.
 */
export function conv2d_input_grad(a: usize): void {
  const dy = load<usize>(a);
  const w = load<usize>(a, 4);
  const dx = load<usize>(a, 8);
  const batch = load<i32>(a, 12);
  readShape(a + 16);
  const dtype = load<i32>(a, 60);
  const accumulate = load<i32>(a, 64);
  const shift: usize = dtype == 0 ? 2 : 1;
  const k = outputs;
  const area = kernelHeight * kernelWidth;
  const mostTaps = ceilDiv(kernelHeight, stride) * ceilDiv(kernelWidth, stride);
  const room = PACKED_B_FLOATS - WAITING_FLOATS;
  const columns = max(16, min(min(BLOCK_COLUMNS, roundUp(channels, 16)), (room / (mostTaps * k)) & ~15));
  const columnUnits = ceilDiv(channels, columns);
  const waiting = packedColumns();
  const packed = waiting + ((<usize>WAITING_FLOATS) << 2);
  const depth = blockDepth(k);
  // Taps packed at once: all of them, but for huge kernels.
  const tapsHeld = max(1, room / (k * packedWidth(columns)));
  const row = area * channels;
  let held = -1;
  let kind = 0;
  let first = 0;
  for (let u = nextUnit(); ; u = nextUnit()) {
    let high = 0;
    let wide = 0;
    let parts = 0;
    for (; kind < stride * stride; kind++) {
      high = max(0, ceilDiv(height - kind / stride, stride));
      wide = max(0, ceilDiv(width - (kind % stride), stride));
      parts = ceilDiv(batch * high * wide, UNIT_ROWS) * columnUnits;
      if (u < first + parts) break;
      first += parts;
    }
    if (kind == stride * stride) break;
    const classY = kind / stride;
    const classX = kind % stride;
    const m = batch * high * wide;
    const rowUnits = parts / columnUnits;
    const block = (u - first) / rowUnits;
    const j = block * columns;
    const n = min(columns, channels - j);
    const tapFloats = packedWidth(n) * k;
    const begin = (u - first - block * rowUnits) * UNIT_ROWS;
    const end = min(m, begin + UNIT_ROWS);
    const key = kind * columnUnits + block;
    for (let i = begin; i < end; i += BLOCK_ROWS) {
      const rows = min(BLOCK_ROWS, end - i);
      let taps = 0;
      for (let tap = 0; tap < area; tap++) {
        const distanceY = classY + top - tap / kernelWidth;
        const distanceX = classX + left - (tap % kernelWidth);
        if (!reaches(distanceY) || !reaches(distanceX)) continue;
        let panel = packed + ((<usize>(taps % tapsHeld) * <usize>tapFloats) << 2);
        if (held != key) {
          const from = w + ((<usize>tap * <usize>channels + <usize>j) << shift);
          packColumns(from, row, 1, k, n, dtype, panel);
        }
        for (let p = 0; p < k; p += depth) {
          const deep = min(depth, k - p);
          gatherOutputs(
            dy,
            i,
            rows,
            high,
            wide,
            distanceY / stride,
            distanceX / stride,
            p,
            deep,
            packedRows(),
          );
          multiplyGathered(rows, deep, panel, n, waiting, (<usize>n) << 2, i32(taps + p > 0), false, 0);
          panel += (<usize>packedWidth(n) * <usize>deep) << 2;
        }
        taps++;
      }
      held = taps <= tapsHeld ? key : -1;
      if (taps == 0) memory.fill(waiting, 0, (<usize>(rows * n)) << 2);
      scatterRows(waiting, dx, classY, classX, i, rows, high, wide, j, n, accumulate);
    }
  }
}

/**
 * dw (+)= gradient of conv2d for its weights. Arguments: x, dy, dw, partial (f32 [chunks, outputs, kh kw channels], absent
 * for one chunk); batch, the shape, accumulate, chunks (parts that the outputs' pixels are cut into).
 */
export function conv2d_weight_grad(a: usize): void {
  const x = load<usize>(a);
  const dy = load<usize>(a, 4);
  const dw = load<usize>(a, 8);
  const partial = load<usize>(a, 12);
  const batch = load<i32>(a, 16);
  readShape(a + 20);
  const accumulate = load<i32>(a, 64);
  const chunks = load<i32>(a, 68);
  const m = batch * outHeight * outWidth;
  const k = kernelHeight * kernelWidth * channels;
  const columns = min(BLOCK_COLUMNS, roundUp(k, 16));
  const columnUnits = ceilDiv(k, columns);
  const rows = unitRows(outputs, columnUnits * chunks);
  const rowUnits = ceilDiv(outputs, rows);
  const chunk = max(1, roundUp(ceilDiv(m, chunks), 8));
  const patches = packedColumns();
  const packed = patches + ((<usize>PATCH_ROWS * <usize>BLOCK_COLUMNS) << 2);
  for (let u = nextUnit(0); u < columnUnits * rowUnits * chunks; u = nextUnit(0)) {
    const outer = u / rowUnits;
    const i = (u - outer * rowUnits) * rows;
    const part = outer / columnUnits;
    const j = (outer - part * columnUnits) * columns;
    const wide = min(columns, k - j);
    const high = min(rows, outputs - i);
    const begin = min(m, part * chunk);
    const end = chunks > 1 ? min(m, begin + chunk) : m;
    const add = chunks > 1 ? 0 : accumulate;
    const base = chunks > 1 ? partial + ((<usize>part * <usize>outputs * <usize>k) << 2) : dw;
    const to = base + ((<usize>i * <usize>k + <usize>j) << 2);
    let p = begin;
    do {
      const deep = min(PATCH_ROWS, end - p);
      gatherPatches(x, p, deep, j, wide, patches);
      packColumns(patches, wide, 1, deep, wide, 0, packed);
      const from = dy + ((<usize>p * <usize>outputs + <usize>i) << 2);
      multiply(from, 1, outputs, packed, deep, high, wide, to, k, add | i32(p > begin), false, 0, 0);
      p += deep;
    } while (p < end);
  }
  if (chunks > 1) {
    barrier();
    combine(partial, dw, outputs, k, k, chunks, accumulate, 0, 0);
  }
}
