/**
 * Mixture-of-experts routing: scores, group-limited choice and their gradient, the counting sort by expert, and
 * moving rows to and from expert order.
 *
 * Rows are independent, so a unit is a block of rows; slots of a plan are a permutation, so writes never meet.
 */
import { expNegative4, hmax, hsum, madd, sigmoid4 } from "./math";
import { nextUnit, scratch } from "./runtime";
import { choose, endOf, limitGroups, TINY, writeKeys } from "./selection";
import { rowsPerUnit, unitsOf } from "./units";

function sigmoidRow(x: usize, y: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) v128.store(y + ((<usize>i) << 2), sigmoid4(v128.load(x + ((<usize>i) << 2))));
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    store<f32>(y + at, f32x4.extract_lane(sigmoid4(f32x4.splat(load<f32>(x + at))), 0));
  }
}

function softmaxRow(x: usize, y: usize, n: i32): void {
  let i = 0;
  let wideTop = f32x4.splat(load<f32>(x));
  for (; i + 4 <= n; i += 4) wideTop = f32x4.max(wideTop, v128.load(x + ((<usize>i) << 2)));
  let top = hmax(wideTop);
  for (; i < n; i++) top = max(top, load<f32>(x + ((<usize>i) << 2)));
  wideTop = f32x4.splat(top);
  let wideSum = f32x4.splat(0);
  for (i = 0; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const e = expNegative4(f32x4.sub(v128.load(x + at), wideTop));
    v128.store(y + at, e);
    wideSum = f32x4.add(wideSum, e);
  }
  let sum = hsum(wideSum);
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const e = f32x4.extract_lane(expNegative4(f32x4.splat(load<f32>(x + at) - top)), 0);
    store<f32>(y + at, e);
    sum += e;
  }
  wideSum = f32x4.splat(sum);
  for (i = 0; i + 4 <= n; i += 4) {
    const at = y + ((<usize>i) << 2);
    v128.store(at, f32x4.div(v128.load(at), wideSum));
  }
  for (; i < n; i++) {
    const at = y + ((<usize>i) << 2);
    store<f32>(at, load<f32>(at) / sum);
  }
}

/**
 * Arguments: logits, bias (or 0), scores, ids, weights; rows, experts, topK, sigmoid, groups, topGroups, topTwo,
 * zeroMask, normalize; scale.
 */
export function route(a: usize): void {
  const logits = load<usize>(a);
  const bias = load<usize>(a, 4);
  const scores = load<usize>(a, 8);
  const ids = load<usize>(a, 12);
  const weights = load<usize>(a, 16);
  const rows = load<i32>(a, 20);
  const experts = load<i32>(a, 24);
  const k = load<i32>(a, 28);
  const sigmoid = load<i32>(a, 32) != 0;
  const groups = load<i32>(a, 36);
  const topGroups = load<i32>(a, 40);
  const topTwo = load<i32>(a, 44) != 0;
  const zeroMask = load<i32>(a, 48) != 0;
  const normalize = load<i32>(a, 52) != 0;
  const factor = load<f32>(a, 56);
  const limited = topGroups < groups;
  const keys = scratch();
  const groupKeys = endOf(keys, experts);

  const perUnit = rowsPerUnit(experts);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const from = (<usize>(r * experts)) << 2;
      const s = scores + from;
      const chosen = ids + ((<usize>(r * k)) << 2);
      if (sigmoid) sigmoidRow(logits + from, s, experts);
      else softmaxRow(logits + from, s, experts);
      writeKeys(s, bias, keys, experts);
      if (limited) limitGroups(keys, experts, groups, topGroups, topTwo, zeroMask, groupKeys);
      choose(keys, experts, k, chosen);

      const w = weights + ((<usize>(r * k)) << 2);
      let sum: f32 = 0;
      for (let j = 0; j < k; j++) {
        const at = (<usize>j) << 2;
        const id = (<usize>load<i32>(chosen + at)) << 2;
        let v = load<f32>(s + id);
        // Changes nothing, unless the bias is no number.
        if (bias != 0) v += 0 * load<f32>(bias + id);
        store<f32>(w + at, v);
        sum += v;
      }
      const divisor: f32 = normalize ? sum + TINY : 1;
      for (let j = 0; j < k; j++) {
        const at = w + ((<usize>j) << 2);
        store<f32>(at, (load<f32>(at) / divisor) * factor);
      }
    }
  }
}

/**
 * Arguments: scores, ids, dWeights (or 0), dScores (or 0), dLogits; rows, experts, topK, sigmoid, normalize,
 * accumulate; scale.
 */
export function route_backward(a: usize): void {
  const scores = load<usize>(a);
  const ids = load<usize>(a, 4);
  const dWeights = load<usize>(a, 8);
  const dScores = load<usize>(a, 12);
  const dLogits = load<usize>(a, 16);
  const rows = load<i32>(a, 20);
  const experts = load<i32>(a, 24);
  const k = load<i32>(a, 28);
  const sigmoid = load<i32>(a, 32) != 0;
  const normalize = load<i32>(a, 36) != 0;
  const accumulate = load<i32>(a, 40) != 0;
  const factor = load<f32>(a, 44);
  const bytes = (<usize>experts) << 2;
  const ds = scratch();

  const perUnit = rowsPerUnit(experts);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const from = (<usize>(r * experts)) << 2;
      const s = scores + from;
      const dx = dLogits + from;
      if (dScores != 0) memory.copy(ds, dScores + from, bytes);
      else memory.fill(ds, 0, bytes);
      if (dWeights != 0) {
        const chosen = ids + ((<usize>(r * k)) << 2);
        const dw = dWeights + ((<usize>(r * k)) << 2);
        let sum: f32 = 0;
        let dot: f32 = 0;
        if (normalize) {
          for (let j = 0; j < k; j++) {
            const at = (<usize>j) << 2;
            const v = load<f32>(s + ((<usize>load<i32>(chosen + at)) << 2));
            sum += v;
            dot += v * load<f32>(dw + at);
          }
        }
        const divisor: f32 = normalize ? sum + TINY : 1;
        const mean = dot / divisor;
        for (let j = 0; j < k; j++) {
          const at = (<usize>j) << 2;
          const to = ds + ((<usize>load<i32>(chosen + at)) << 2);
          store<f32>(to, load<f32>(to) + (factor * (load<f32>(dw + at) - mean)) / divisor);
        }
      }
      let i = 0;
      if (sigmoid) {
        const one = f32x4.splat(1);
        for (; i + 4 <= experts; i += 4) {
          const at = (<usize>i) << 2;
          const v = v128.load(s + at);
          let d = f32x4.mul(f32x4.mul(v128.load(ds + at), v), f32x4.sub(one, v));
          if (accumulate) d = f32x4.add(d, v128.load(dx + at));
          v128.store(dx + at, d);
        }
        for (; i < experts; i++) {
          const at = (<usize>i) << 2;
          const v = load<f32>(s + at);
          const d = load<f32>(ds + at) * v * (1 - v);
          store<f32>(dx + at, accumulate ? load<f32>(dx + at) + d : d);
        }
        continue;
      }
      let wideDot = f32x4.splat(0);
      for (; i + 4 <= experts; i += 4) {
        const at = (<usize>i) << 2;
        wideDot = madd(v128.load(ds + at), v128.load(s + at), wideDot);
      }
      let dot = hsum(wideDot);
      for (; i < experts; i++) dot += load<f32>(ds + ((<usize>i) << 2)) * load<f32>(s + ((<usize>i) << 2));
      wideDot = f32x4.splat(dot);
      for (i = 0; i + 4 <= experts; i += 4) {
        const at = (<usize>i) << 2;
        let d = f32x4.mul(f32x4.sub(v128.load(ds + at), wideDot), v128.load(s + at));
        if (accumulate) d = f32x4.add(d, v128.load(dx + at));
        v128.store(dx + at, d);
      }
      for (; i < experts; i++) {
        const at = (<usize>i) << 2;
        const d = (load<f32>(ds + at) - dot) * load<f32>(s + at);
        store<f32>(dx + at, accumulate ? load<f32>(dx + at) + d : d);
      }
    }
  }
}

/** The k largest of each row, ids ascending, ties to the lowest index. Arguments: scores, ids; rows, experts, topK. */
export function top_k_ids(a: usize): void {
  const scores = load<usize>(a);
  const ids = load<usize>(a, 4);
  const rows = load<i32>(a, 8);
  const experts = load<i32>(a, 12);
  const k = load<i32>(a, 16);
  const keys = scratch();
  const perUnit = rowsPerUnit(experts);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const chosen = ids + ((<usize>(r * k)) << 2);
      writeKeys(scores + ((<usize>(r * experts)) << 2), 0, keys, experts);
      choose(keys, experts, k, chosen);
    }
  }
}

/**
 * Stable counting sort by expert: two passes over the ids on one thread. Traps on an id outside [0, experts).
 * Arguments: ids, counts, offsets, sorted, slots; rows, experts, topK.
 */
export function expert_plan(a: usize): void {
  if (nextUnit() != 0) return;
  const ids = load<usize>(a);
  const counts = load<usize>(a, 4);
  const offsets = load<usize>(a, 8);
  const sorted = load<usize>(a, 12);
  const slots = load<usize>(a, 16);
  const rows = load<i32>(a, 20);
  const experts = load<i32>(a, 24);
  const k = load<i32>(a, 28);
  const next = scratch();
  memory.fill(counts, 0, (<usize>experts) << 2);
  const total = rows * k;
  for (let i = 0; i < total; i++) {
    const id = load<u32>(ids + ((<usize>i) << 2));
    if (id >= <u32>experts) unreachable();
    const at = counts + ((<usize>id) << 2);
    store<i32>(at, load<i32>(at) + 1);
  }
  let before = 0;
  for (let e = 0; e < experts; e++) {
    const at = (<usize>e) << 2;
    store<i32>(offsets + at, before);
    store<i32>(next + at, before);
    before += load<i32>(counts + at);
  }
  store<i32>(offsets + ((<usize>experts) << 2), before);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < k; j++, i++) {
      const at = (<usize>i) << 2;
      const cursor = next + ((<usize>load<i32>(ids + at)) << 2);
      const slot = load<i32>(cursor);
      store<i32>(cursor, slot + 1);
      store<i32>(slots + at, slot);
      store<i32>(sorted + ((<usize>slot) << 2), r);
    }
  }
}

/** y[i] = x[index[i]]. Arguments: x, index, y; rows, width. */
export function gather_rows(a: usize): void {
  const x = load<usize>(a);
  const index = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const rows = load<i32>(a, 12);
  const width = load<i32>(a, 16);
  const bytes = (<usize>width) << 2;
  const perUnit = rowsPerUnit(width);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const from = x + <usize>load<i32>(index + ((<usize>r) << 2)) * bytes;
      const to = y + <usize>r * bytes;
      let i = 0;
      for (; i + 8 <= width; i += 8) {
        const at = (<usize>i) << 2;
        const left = v128.load(from + at);
        const right = v128.load(from + at, 16);
        v128.store(to + at, left);
        v128.store(to + at, right, 16);
      }
      for (; i < width; i++) store<f32>(to + ((<usize>i) << 2), load<f32>(from + ((<usize>i) << 2)));
    }
  }
}

/**
 * out[n] = sum over k of weights[n][k] x[slots[n][k]]; without weights each counts once.
 * Arguments: x, weights (or 0), slots, out; rows, topK, width, accumulate.
 */
export function combine_rows(a: usize): void {
  const x = load<usize>(a);
  const weights = load<usize>(a, 4);
  const slots = load<usize>(a, 8);
  const out = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const k = load<i32>(a, 20);
  const width = load<i32>(a, 24);
  const accumulate = load<i32>(a, 28) != 0;
  // Scratch: address and weight of each of the k rows.
  const table = scratch();
  const tableEnd = table + ((<usize>k) << 3);
  const perUnit = rowsPerUnit(width * k);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      for (let j = 0; j < k; j++) {
        const at = (<usize>(r * k + j)) << 2;
        const entry = table + ((<usize>j) << 3);
        store<usize>(entry, x + ((<usize>load<i32>(slots + at) * <usize>width) << 2));
        store<f32>(entry, weights != 0 ? load<f32>(weights + at) : 1, 4);
      }
      const to = out + ((<usize>r * <usize>width) << 2);
      let i = 0;
      for (; i + 16 <= width; i += 16) {
        const at = (<usize>i) << 2;
        let s0 = f32x4.splat(0);
        let s1 = s0;
        let s2 = s0;
        let s3 = s0;
        for (let entry = table; entry < tableEnd; entry += 8) {
          const from = load<usize>(entry) + at;
          const w = v128.load32_splat(entry + 4);
          s0 = madd(w, v128.load(from), s0);
          s1 = madd(w, v128.load(from, 16), s1);
          s2 = madd(w, v128.load(from, 32), s2);
          s3 = madd(w, v128.load(from, 48), s3);
        }
        if (accumulate) {
          s0 = f32x4.add(s0, v128.load(to + at));
          s1 = f32x4.add(s1, v128.load(to + at, 16));
          s2 = f32x4.add(s2, v128.load(to + at, 32));
          s3 = f32x4.add(s3, v128.load(to + at, 48));
        }
        v128.store(to + at, s0);
        v128.store(to + at, s1, 16);
        v128.store(to + at, s2, 32);
        v128.store(to + at, s3, 48);
      }
      for (; i < width; i++) {
        const at = (<usize>i) << 2;
        let sum: f32 = 0;
        for (let entry = table; entry < tableEnd; entry += 8) {
          sum += load<f32>(entry, 4) * load<f32>(load<usize>(entry) + at);
        }
        store<f32>(to + at, accumulate ? load<f32>(to + at) + sum : sum);
      }
    }
  }
}

/**
 * dx[slots[n][k]] = weights[n][k] dOut[n]; dWeights[n][k] = x[slots[n][k]] . dOut[n].
 * Arguments: x, weights, slots, dOut, dx (or 0), dWeights (or 0); rows, topK, width, accumulateX, accumulateWeights.
 */
export function combine_backward(a: usize): void {
  const x = load<usize>(a);
  const weights = load<usize>(a, 4);
  const slots = load<usize>(a, 8);
  const dOut = load<usize>(a, 12);
  const dx = load<usize>(a, 16);
  const dWeights = load<usize>(a, 20);
  const rows = load<i32>(a, 24);
  const k = load<i32>(a, 28);
  const width = load<i32>(a, 32);
  const accumulateX = load<i32>(a, 36) != 0;
  const accumulateWeights = load<i32>(a, 40) != 0;
  const perUnit = rowsPerUnit(width * k);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const dy = dOut + ((<usize>r * <usize>width) << 2);
      for (let j = 0; j < k; j++) {
        const entry = (<usize>(r * k + j)) << 2;
        const row = (<usize>load<i32>(slots + entry) * <usize>width) << 2;
        if (dx != 0) {
          const w = load<f32>(weights + entry);
          const wide = f32x4.splat(w);
          const to = dx + row;
          let i = 0;
          for (; i + 4 <= width; i += 4) {
            const at = (<usize>i) << 2;
            let d = f32x4.mul(wide, v128.load(dy + at));
            if (accumulateX) d = f32x4.add(d, v128.load(to + at));
            v128.store(to + at, d);
          }
          for (; i < width; i++) {
            const at = (<usize>i) << 2;
            const d = w * load<f32>(dy + at);
            store<f32>(to + at, accumulateX ? load<f32>(to + at) + d : d);
          }
        }
        if (dWeights != 0) {
          const from = x + row;
          let s0 = f32x4.splat(0);
          let s1 = s0;
          let i = 0;
          for (; i + 8 <= width; i += 8) {
            const at = (<usize>i) << 2;
            s0 = madd(v128.load(from + at), v128.load(dy + at), s0);
            s1 = madd(v128.load(from + at, 16), v128.load(dy + at, 16), s1);
          }
          let sum = hsum(f32x4.add(s0, s1));
          for (; i < width; i++)
            sum += load<f32>(from + ((<usize>i) << 2)) * load<f32>(dy + ((<usize>i) << 2));
          const to = dWeights + entry;
          store<f32>(to, accumulateWeights ? load<f32>(to) + sum : sum);
        }
      }
    }
  }
}

/** Whether score `a` at place `i` comes before `b` at place `j`: NaN first, then the larger, ties by place. */
function precedes(a: f32, i: i32, b: f32, j: i32): bool {
  const first = F32.isNaN(a);
  const second = F32.isNaN(b);
  if (first != second) return first;
  return first || a == b ? i < j : a > b;
}

/**
 * Which choices find room at their experts: all first choices take places in the order of the rows, then all second
 * ones. One thread: a place depends on all before it. Traps on an id outside [0, experts).
 * Arguments: ids, scores, kept, taken; rows, experts, topK, capacity.
 */
export function expert_capacity(a: usize): void {
  if (nextUnit() != 0) return;
  const ids = load<usize>(a);
  const scores = load<usize>(a, 4);
  const kept = load<usize>(a, 8);
  const taken = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const experts = load<i32>(a, 20);
  const k = load<i32>(a, 24);
  const capacity = load<i32>(a, 28);
  memory.fill(taken, 0, (<usize>experts) << 2);
  // Until its turn a choice holds minus its rank, from 1.
  for (let r = 0; r < rows; r++) {
    const own = ids + ((<usize>(r * k)) << 2);
    const row = scores + ((<usize>(r * experts)) << 2);
    for (let j = 0; j < k; j++) {
      const id = load<u32>(own + ((<usize>j) << 2));
      if (id >= <u32>experts) unreachable();
      const score = load<f32>(row + ((<usize>id) << 2));
      let rank = 1;
      for (let i = 0; i < k; i++) {
        const other = load<u32>(own + ((<usize>i) << 2));
        if (other >= <u32>experts) unreachable();
        if (precedes(load<f32>(row + ((<usize>other) << 2)), i, score, j)) rank++;
      }
      store<f32>(kept + ((<usize>(r * k + j)) << 2), <f32>-rank);
    }
  }
  for (let turn = 1; turn <= k; turn++) {
    const wanted = <f32>-turn;
    for (let i = 0, n = rows * k; i < n; i++) {
      const at = (<usize>i) << 2;
      if (load<f32>(kept + at) != wanted) continue;
      const places = taken + ((<usize>load<i32>(ids + at)) << 2);
      const place = load<i32>(places);
      const fits = place < capacity;
      if (fits) store<i32>(places, place + 1);
      store<f32>(kept + at, fits ? 1 : 0);
    }
  }
}
