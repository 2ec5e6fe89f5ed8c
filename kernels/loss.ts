/** Cross entropy of rows of logits: maximum and sum in one pass over memory, losses, their mean, the gradient. */
import { expNegative4, hmax, hsum, logd, pin } from "./math";
import { nextUnit, threadIndex } from "./runtime";

const UNIT: i32 = 16384;
/** Elements of a block of the running log-sum-exp: read twice, the second time from the nearest cache. */
const BLOCK: i32 = 2048;

// @ts-ignore: decorator
@inline
export function blockMax(x: usize, n: i32): f32 {
  let m0 = f32x4.splat(-f32.reinterpret_i32(0x7f800000));
  let m1 = m0;
  let m2 = m0;
  let m3 = m0;
  let i = 0;
  // pmax drops NaN, which comes back through the sum.
  for (; i + 16 <= n; i += 16) {
    const at = x + ((<usize>i) << 2);
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
    m2 = f32x4.pmax(m2, v128.load(at, 32));
    m3 = f32x4.pmax(m3, v128.load(at, 48));
  }
  for (; i < n; i++) m0 = f32x4.pmax(m0, v128.load32_splat(x + ((<usize>i) << 2)));
  return hmax(f32x4.pmax(f32x4.pmax(m0, m1), f32x4.pmax(m2, m3)));
}

// @ts-ignore: decorator
@inline
function blockSum(x: usize, n: i32, shift: f32): f64 {
  const wide = f32x4.splat(shift);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = x + ((<usize>i) << 2);
    s0 = f32x4.add(s0, expNegative4(f32x4.sub(v128.load(at), wide)));
    s1 = f32x4.add(s1, expNegative4(f32x4.sub(v128.load(at, 16), wide)));
  }
  let sum = <f64>hsum(f32x4.add(s0, s1));
  for (; i < n; i++) {
    const e = expNegative4(f32x4.sub(v128.load32_splat(x + ((<usize>i) << 2)), wide));
    sum += <f64>f32x4.extract_lane(e, 0);
  }
  return sum;
}

/**
 * stats[r] = largest logit of a row and the sum of exp(logit - largest) (stats may be absent); losses[r] = log of
 * that sum - (logit of the target - largest): 0 if the target is negative, NaN if it is past the row.
 * Arguments: logits, targets, stats, losses; rows, n.
 */
export function cross_entropy(a: usize): void {
  pin(threadIndex() >> 20);
  const logits = load<usize>(a);
  const targets = load<usize>(a, 4);
  const stats = load<usize>(a, 8);
  const losses = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const low = -f32.reinterpret_i32(0x7f800000);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const target = load<i32>(targets + ((<usize>r) << 2));
      if (target < 0) {
        store<f32>(losses + ((<usize>r) << 2), 0);
        continue;
      }
      const row = logits + ((<usize>r * <usize>n) << 2);
      let largest = low;
      let shift: f32 = 0;
      let sum: f64 = 0;
      for (let begin = 0; begin < n; begin += BLOCK) {
        const at = row + ((<usize>begin) << 2);
        const width = min(BLOCK, n - begin);
        const larger = max(largest, blockMax(at, width));
        if (larger > largest) {
          if (sum != 0) sum *= <f64>f32x4.extract_lane(expNegative4(f32x4.splat(largest - larger)), 0);
          largest = larger;
          shift = larger;
        }
        // Nothing but -inf so far: a shift of 0, because -inf - -inf would be NaN.
        sum += blockSum(at, width, shift);
      }
      if (stats) {
        store<f32>(stats + ((<usize>r) << 3), shift);
        store<f32>(stats + ((<usize>r) << 3), <f32>sum, 4);
      }
      let loss = f32.reinterpret_i32(0x7fc00000);
      if (target < n) loss = <f32>(logd(sum) - (<f64>load<f32>(row + ((<usize>target) << 2)) - <f64>shift));
      store<f32>(losses + ((<usize>r) << 2), loss);
    }
  }
}

/**
 * loss = sum of losses in row order / denominator, or / number of targets >= 0 (at least 1) if it is 0;
 * inverse = 1 / what was divided by. Arguments: losses, targets, loss, inverse; rows; denominator.
 */
export function cross_entropy_total(a: usize): void {
  const losses = load<usize>(a);
  const targets = load<usize>(a, 4);
  const rows = load<i32>(a, 16);
  let denominator = <f64>load<f32>(a, 20);
  if (nextUnit() != 0) return;
  let sum: f64 = 0;
  let valid = 0;
  for (let r = 0; r < rows; r++) {
    sum += <f64>load<f32>(losses + ((<usize>r) << 2));
    valid += i32(load<i32>(targets + ((<usize>r) << 2)) >= 0);
  }
  if (denominator == 0) denominator = <f64>max(1, valid);
  store<f32>(load<usize>(a, 8), <f32>(sum / denominator));
  store<f32>(load<usize>(a, 12), <f32>(1.0 / denominator));
}

/**
 * dx (+)= dy inverse (softmax(logits) - one-hot of the target), 0 for ignored rows; dx may be logits itself.
 * Arguments: logits, targets, stats, inverse, dy, dx; rows, n, accumulate.
 */
export function cross_entropy_grad(a: usize): void {
  const logits = load<usize>(a);
  const targets = load<usize>(a, 4);
  const stats = load<usize>(a, 8);
  const factor = load<f32>(load<usize>(a, 12)) * load<f32>(load<usize>(a, 16));
  const dx = load<usize>(a, 20);
  const rows = load<i32>(a, 24);
  const n = load<i32>(a, 28);
  const accumulate = load<i32>(a, 32);
  const mask = i32x4.splat(-accumulate);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const target = load<i32>(targets + ((<usize>r) << 2));
      const row = (<usize>r * <usize>n) << 2;
      const from = logits + row;
      const to = dx + row;
      if (target < 0) {
        if (!accumulate) memory.fill(to, 0, (<usize>n) << 2);
        continue;
      }
      let shift = load<f32>(stats + ((<usize>r) << 3));
      if (target >= n) shift = f32.reinterpret_i32(0x7fc00000);
      const wideShift = f32x4.splat(shift);
      const wide = f32x4.splat(factor / load<f32>(stats + ((<usize>r) << 3), 4));
      let i = 0;
      for (; i + 8 <= n; i += 8) {
        const at = (<usize>i) << 2;
        const p = f32x4.mul(expNegative4(f32x4.sub(v128.load(from + at), wideShift)), wide);
        const q = f32x4.mul(expNegative4(f32x4.sub(v128.load(from + at, 16), wideShift)), wide);
        v128.store(to + at, f32x4.add(p, v128.and(v128.load(to + at), mask)));
        v128.store(to + at, f32x4.add(q, v128.and(v128.load(to + at, 16), mask)), 16);
      }
      for (; i < n; i++) {
        const at = (<usize>i) << 2;
        const p = f32x4.mul(expNegative4(f32x4.sub(v128.load32_splat(from + at), wideShift)), wide);
        const value = f32x4.extract_lane(p, 0);
        store<f32>(to + at, accumulate ? load<f32>(to + at) + value : value);
      }
      if (target < n) {
        const at = to + ((<usize>target) << 2);
        store<f32>(at, load<f32>(at) - factor);
      }
    }
  }
}
