/**
 * Vector quantization: rows of unit length, the nearest row of a codebook, and the entropies of the soft choice among codes
 * that some tokenizers are trained with. Distances are compared as |c|^2 / 2 - x c; the codebook is laid out anew for it, four
 * codes side by side.
 */
import { expNegative4, hmax, hsum, logf, madd, nmadd } from "./math";
import { barrier, nextUnit } from "./runtime";
import { unitsOf } from "./units";

/** Elements of a unit of rows, about. */
const UNIT: i32 = 8192;
/** Rows that are compared with the codes together. */
const ROWS: i32 = 4;
/** Fours of codes that are laid out by a unit. */
const PACKED: i32 = 256;

/** Sum of squares of a row, in double precision. */
function squares(x: usize, n: i32): f64 {
  let sum: f64 = 0;
  for (let i = 0; i < n; i++) {
    const v = <f64>load<f32>(x + ((<usize>i) << 2));
    sum += v * v;
  }
  return sum;
}

/** y = x / max(|x|, epsilon) per row. Arguments: x, y, inverse [rows]; rows, n; epsilon. */
export function unit_rows(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const inverses = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const n = load<i32>(a, 16);
  const epsilon = <f64>load<f32>(a, 20);
  const perUnit = max(1, UNIT / max(1, n));
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const row = (<usize>r * <usize>n) << 2;
      const inverse = <f32>(1.0 / max<f64>(Math.sqrt(squares(x + row, n)), epsilon));
      store<f32>(inverses + ((<usize>r) << 2), inverse);
      for (let i = 0; i < n; i++) {
        const at = row + ((<usize>i) << 2);
        store<f32>(y + at, load<f32>(x + at) * inverse);
      }
    }
  }
}

/**
 * dx (+)= inverse (dy - y (dy y)); rows not longer than epsilon are only scaled. Arguments: y, inverse, dy, dx; rows, n,
 * accumulate; epsilon.
 */
export function unit_rows_grad(a: usize): void {
  const y = load<usize>(a);
  const inverses = load<usize>(a, 4);
  const dy = load<usize>(a, 8);
  const dx = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const accumulate = load<i32>(a, 24);
  const largest = <f32>1.0 / load<f32>(a, 28);
  const perUnit = max(1, UNIT / max(1, n));
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const row = (<usize>r * <usize>n) << 2;
      const inverse = load<f32>(inverses + ((<usize>r) << 2));
      let along: f64 = 0;
      if (inverse < largest) {
        for (let i = 0; i < n; i++) {
          const at = row + ((<usize>i) << 2);
          along += <f64>load<f32>(dy + at) * <f64>load<f32>(y + at);
        }
      }
      for (let i = 0; i < n; i++) {
        const at = row + ((<usize>i) << 2);
        const value = <f32>(<f64>load<f32>(dy + at) - <f64>load<f32>(y + at) * along) * inverse;
        store<f32>(dx + at, accumulate ? load<f32>(dx + at) + value : value);
      }
    }
  }
}

/** Four codes from `code` on, side by side, after half of their squared lengths; codes past the last are infinitely far. */
function packFour(codes: usize, code: i32, count: i32, n: i32, to: usize): void {
  for (let lane = 0; lane < 4; lane++) {
    const index = code + lane;
    const at = to + ((<usize>lane) << 2);
    const from = codes + ((<usize>min(index, count - 1) * <usize>n) << 2);
    const half = <f32>(squares(from, n) * 0.5);
    store<f32>(at, index < count ? half : f32.reinterpret_i32(0x7f800000));
    for (let i = 0; i < n; i++) {
      store<f32>(at + ((<usize>(i + 1)) << 4), load<f32>(from + ((<usize>i) << 2)));
    }
  }
}

/** Lowest of the lanes' codes among those with the smallest distance. */
function nearestLane(best: v128, index: v128): i32 {
  const least = -hmax(f32x4.neg(best));
  let found: i32 = i32.MAX_VALUE;
  if (f32x4.extract_lane(best, 0) == least) found = min(found, i32x4.extract_lane(index, 0));
  if (f32x4.extract_lane(best, 1) == least) found = min(found, i32x4.extract_lane(index, 1));
  if (f32x4.extract_lane(best, 2) == least) found = min(found, i32x4.extract_lane(index, 2));
  if (f32x4.extract_lane(best, 3) == least) found = min(found, i32x4.extract_lane(index, 3));
  return found == i32.MAX_VALUE ? 0 : found;
}

/** Codes of four rows, of which the last may be the same. */
function nearestOfFour(
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  packed: usize,
  fours: i32,
  n: i32,
  ids: usize,
  rows: i32,
): void {
  const far = f32x4.splat(f32.reinterpret_i32(0x7f800000));
  let b0 = far;
  let b1 = far;
  let b2 = far;
  let b3 = far;
  let i0 = i32x4.splat(0);
  let i1 = i0;
  let i2 = i0;
  let i3 = i0;
  let index = i32x4(0, 1, 2, 3);
  for (let f = 0; f < fours; f++) {
    const half = v128.load(packed);
    packed += 16;
    let d0 = half;
    let d1 = half;
    let d2 = half;
    let d3 = half;
    for (let i = 0; i < n; i++) {
      const at = (<usize>i) << 2;
      const code = v128.load(packed);
      packed += 16;
      d0 = nmadd(v128.load32_splat(x0 + at), code, d0);
      d1 = nmadd(v128.load32_splat(x1 + at), code, d1);
      d2 = nmadd(v128.load32_splat(x2 + at), code, d2);
      d3 = nmadd(v128.load32_splat(x3 + at), code, d3);
    }
    // Only what is strictly nearer replaces an earlier code.
    const m0 = f32x4.lt(d0, b0);
    const m1 = f32x4.lt(d1, b1);
    const m2 = f32x4.lt(d2, b2);
    const m3 = f32x4.lt(d3, b3);
    b0 = v128.bitselect(d0, b0, m0);
    b1 = v128.bitselect(d1, b1, m1);
    b2 = v128.bitselect(d2, b2, m2);
    b3 = v128.bitselect(d3, b3, m3);
    i0 = v128.bitselect(index, i0, m0);
    i1 = v128.bitselect(index, i1, m1);
    i2 = v128.bitselect(index, i2, m2);
    i3 = v128.bitselect(index, i3, m3);
    index = i32x4.add(index, i32x4.splat(4));
  }
  store<i32>(ids, nearestLane(b0, i0));
  if (rows > 1) store<i32>(ids, nearestLane(b1, i1), 4);
  if (rows > 2) store<i32>(ids, nearestLane(b2, i2), 8);
  if (rows > 3) store<i32>(ids, nearestLane(b3, i3), 12);
}

/**
 * ids = the first of the nearest rows of `codes`. Arguments: x [rows, n], codes [count, n], packed [ceil(count / 4), n + 1, 4],
 * ids i32 [rows]; rows, count, n.
 */
export function nearest_code(a: usize): void {
  const x = load<usize>(a);
  const codes = load<usize>(a, 4);
  const packed = load<usize>(a, 8);
  const ids = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const count = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const fours = (count + 3) / 4;
  const fourBytes = (<usize>(n + 1)) << 4;
  for (let u = nextUnit(0); u < unitsOf(fours, PACKED); u = nextUnit(0)) {
    const end = min(fours, (u + 1) * PACKED);
    for (let f = u * PACKED; f < end; f++) packFour(codes, 4 * f, count, n, packed + <usize>f * fourBytes);
  }
  barrier();
  const step = (<usize>n) << 2;
  for (let u = nextUnit(1); u < unitsOf(rows, ROWS); u = nextUnit(1)) {
    const r = u * ROWS;
    const x0 = x + <usize>r * step;
    const x1 = x + <usize>min(rows - 1, r + 1) * step;
    const x2 = x + <usize>min(rows - 1, r + 2) * step;
    const x3 = x + <usize>min(rows - 1, r + 3) * step;
    nearestOfFour(x0, x1, x2, x3, packed, fours, n, ids + ((<usize>r) << 2), rows - r);
  }
}

/** Largest value of a row. */
function largest(x: usize, n: i32): f32 {
  let top = f32x4.splat(-f32.reinterpret_i32(0x7f800000));
  let i = 0;
  for (; i + 4 <= n; i += 4) top = f32x4.max(top, v128.load(x + ((<usize>i) << 2)));
  for (; i < n; i++) top = f32x4.max(top, v128.load32_splat(x + ((<usize>i) << 2)));
  return hmax(top);
}

/** p = softmax(x) of a row; returns its entropy. */
function softmaxRow(x: usize, p: usize, n: i32): f64 {
  const top = f32x4.splat(largest(x, n));
  let sums = f32x4.splat(0);
  let rest: f32 = 0;
  let products = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const d = f32x4.sub(v128.load(x + at), top);
    const e = expNegative4(d);
    sums = f32x4.add(sums, e);
    products = madd(e, f32x4.max(d, f32x4.splat(-1e4)), products);
    v128.store(p + at, e);
  }
  let moment = hsum(products);
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const d = f32x4.sub(v128.load32_zero(x + at), top);
    const e = f32x4.extract_lane(expNegative4(d), 0);
    rest += e;
    moment += e * max<f32>(f32x4.extract_lane(d, 0), -1e4);
    store<f32>(p + at, e);
  }
  const sum = hsum(sums) + rest;
  const inverse = <f32>1.0 / sum;
  for (let j = 0; j < n; j++) {
    const at = p + ((<usize>j) << 2);
    store<f32>(at, load<f32>(at) * inverse);
  }
  return <f64>logf(sum) - <f64>moment / <f64>sum;
}

/**
 * Entropies of a soft choice: p = softmax(x) by rows, entropy of each row, and mean = the mean of p over rows; y = their mean
 * entropy minus the entropy of `mean`, with epsilon inside its logarithm. Arguments: x [rows, n], p, entropy [rows], mean [n],
 * y [1]; rows, n; epsilon.
 */
export function choice_entropy(a: usize): void {
  const x = load<usize>(a);
  const p = load<usize>(a, 4);
  const entropies = load<usize>(a, 8);
  const mean = load<usize>(a, 12);
  const rows = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const epsilon = <f64>load<f32>(a, 28);
  const step = (<usize>n) << 2;
  for (let r = nextUnit(0); r < rows; r = nextUnit(0)) {
    const at = <usize>r * step;
    store<f32>(entropies + ((<usize>r) << 2), <f32>softmaxRow(x + at, p + at, n));
  }
  barrier();
  for (let u = nextUnit(1); u < unitsOf(n, 64); u = nextUnit(1)) {
    for (let i = u * 64; i < min(n, (u + 1) * 64); i++) {
      const at = (<usize>i) << 2;
      let sum: f64 = 0;
      for (let r = 0; r < rows; r++) sum += <f64>load<f32>(p + <usize>r * step + at);
      store<f32>(mean + at, <f32>(sum / <f64>rows));
    }
  }
  barrier();
  if (nextUnit(2) != 0) return;
  let each: f64 = 0;
  for (let r = 0; r < rows; r++) each += <f64>load<f32>(entropies + ((<usize>r) << 2));
  let whole: f64 = 0;
  for (let i = 0; i < n; i++) {
    const q = <f64>load<f32>(mean + ((<usize>i) << 2));
    if (q > 0) whole -= q * <f64>logf(<f32>(q + epsilon));
  }
  store<f32>(load<usize>(a, 16), <f32>(each / <f64>rows - whole));
}

/**
 * dx (+)= dy times the gradient of choice_entropy. Arguments: p, entropy, mean, dy [1], slopes (temporary [n]), dx; rows, n,
 * accumulate; epsilon.
 */
export function choice_entropy_grad(a: usize): void {
  const p = load<usize>(a);
  const entropies = load<usize>(a, 4);
  const mean = load<usize>(a, 8);
  const dy = load<f32>(load<usize>(a, 12));
  const slopes = load<usize>(a, 16);
  const dx = load<usize>(a, 20);
  const rows = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  const accumulate = load<i32>(a, 32);
  const epsilon = <f64>load<f32>(a, 36);
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < unitsOf(n, 256); u = nextUnit(0)) {
    for (let i = u * 256; i < min(n, (u + 1) * 256); i++) {
      const q = <f64>load<f32>(mean + ((<usize>i) << 2));
      const slope = <f64>logf(<f32>(q + epsilon)) + q / (q + epsilon);
      store<f32>(slopes + ((<usize>i) << 2), <f32>slope);
    }
  }
  barrier();
  const factor = <f64>dy / <f64>rows;
  for (let r = nextUnit(1); r < rows; r = nextUnit(1)) {
    const row = <usize>r * step;
    const entropy = <f64>load<f32>(entropies + ((<usize>r) << 2));
    let expected: f64 = 0;
    for (let i = 0; i < n; i++) {
      const at = (<usize>i) << 2;
      expected += <f64>load<f32>(p + row + at) * <f64>load<f32>(slopes + at);
    }
    for (let i = 0; i < n; i++) {
      const at = (<usize>i) << 2;
      const chance = <f64>load<f32>(p + row + at);
      // A probability of 0 has no part, though its logarithm is infinite.
      const own = chance > 0 ? chance * (<f64>logf(<f32>chance) + entropy) : 0;
      const value = <f32>(factor * (chance * (<f64>load<f32>(slopes + at) - expected) - own));
      store<f32>(dx + row + at, accumulate ? load<f32>(dx + row + at) + value : value);
    }
  }
}
