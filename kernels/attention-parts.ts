/**
 * Keys cut in parts for several threads, and the parts' results put together.
 *
 * Parts grow with their distance from the first key: `count` parts of `base` keys, as many again, then `count` parts of
 * twice the size for every doubling. So where a key lies says which part it is in, whatever keys follow it: a query has
 * the same bits in a cache of any capacity, and long caches have few parts. The op counts them with the same numbers.
 *
 * Results of a part are rows [tokens, heads] of `valueWidth` outputs, the largest score and the sum.
 */
import { madd } from "./math";

/** Floats of a row of results beside its outputs: largest score, sum, and two that keep rows apart by whole vectors. */
export const PART_EXTRA: i32 = 4;

/** First key of part `index`. */
export function partBegin(index: i32, base: i32, count: i32): i32 {
  if (count == 0) return index == 0 ? 0 : i32.MAX_VALUE;
  const level = index / count;
  const at = index % count;
  return level == 0 ? at * base : (base << (level - 1)) * (count + at);
}

/** Parts that have some of the first `limit` keys; one if there is none, for the zeros. */
export function partsOf(limit: i32, base: i32, count: i32): i32 {
  let parts = 1;
  while (partBegin(parts, base, count) < limit) parts++;
  return parts;
}

/** 2^x for x <= 0, 0 if x is below -125. */
// @ts-ignore: decorator
@inline
function weightOf(x: f32): f32 {
  if (x < -125) return 0;
  const shifted = x + 12582912.0;
  const r = x - (shifted - 12582912.0);
  let p: f32 = r * 0.0013276471979406395 + 0.009675541334208455;
  p = p * r + 0.055507132735427844;
  p = p * r + 0.24022119723848676;
  p = p * r + 0.6931469670647331;
  p = p * r + 1.0;
  return reinterpret<f32>(reinterpret<i32>(p) + (reinterpret<i32>(shifted) << 23));
}

/**
 * Puts `parts` results of one row, `step` bytes apart from `from` on, together in their order: y gets the outputs
 * divided by the sum (0 if no key was seen). Returns the address of the largest score and the sum, in the first
 * part's row.
 */
export function combineRow(from: usize, step: usize, parts: i32, valueWidth: i32, y: usize): usize {
  const state = from + ((<usize>valueWidth) << 2);
  if (parts > 1) {
    let largest = load<f32>(state);
    for (let s = 1; s < parts; s++) largest = max(largest, load<f32>(state + <usize>s * step));
    let sum: f32 = 0;
    for (let s = 0; s < parts; s++) {
      const part = from + <usize>s * step;
      const at = state + <usize>s * step;
      const weight = weightOf(load<f32>(at) - largest);
      sum += weight * load<f32>(at, 4);
      addScaled(part, weight, from, valueWidth, s == 0);
    }
    store<f32>(state, largest);
    store<f32>(state, sum, 4);
  }
  const sum = load<f32>(state, 4);
  addScaled(from, sum == 0 ? 0 : 1 / sum, y, valueWidth, true);
  return state;
}

/** y = f x, or y += f x unless `first`. */
function addScaled(x: usize, f: f32, y: usize, n: i32, first: bool): void {
  const wide = f32x4.splat(f);
  if (first) {
    for (; n >= 4; n -= 4) {
      v128.store(y, f32x4.mul(wide, v128.load(x)));
      x += 16;
      y += 16;
    }
  } else {
    for (; n >= 4; n -= 4) {
      v128.store(y, madd(wide, v128.load(x), v128.load(y)));
      x += 16;
      y += 16;
    }
  }
  for (; n > 0; n--) {
    store<f32>(y, f * load<f32>(x) + (first ? 0 : load<f32>(y)));
    x += 4;
    y += 4;
  }
}
