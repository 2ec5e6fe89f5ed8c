/**
 * Load-balance losses of the experts, their gradient, and the router bias that replaces them in V3.
 */
import { hsum, madd } from "./math";
import { barrier, nextUnit, scratch } from "./runtime";
import { TINY } from "./selection";
import { rowsPerUnit, unitsOf } from "./units";

/**
 * Load of each expert per sequence, as the balance losses count it. level 0: selections of the expert; 1: mean of
 * that over its device; 2: tokens that reach its device. Arguments: ids, out; sequences, tokens, experts, topK,
 * devices, level; factor.
 */
export function expert_load(a: usize): void {
  const ids = load<usize>(a);
  const out = load<usize>(a, 4);
  const sequences = load<i32>(a, 8);
  const tokens = load<i32>(a, 12);
  const experts = load<i32>(a, 16);
  const k = load<i32>(a, 20);
  const devices = load<i32>(a, 24);
  const level = load<i32>(a, 28);
  const factor = load<f32>(a, 32);
  const size = experts / devices;
  const counts = scratch();
  for (let b = nextUnit(); b < sequences; b = nextUnit()) {
    memory.fill(counts, 0, (<usize>experts) << 2);
    for (let t = b * tokens; t < (b + 1) * tokens; t++) {
      let last = -1;
      for (let j = 0; j < k; j++) {
        const id = load<u32>(ids + ((<usize>(t * k + j)) << 2));
        if (id >= <u32>experts) unreachable();
        let bin = <i32>id;
        if (level == 2) {
          // Ids ascend, so the experts of one device follow each other.
          bin = <i32>id / size;
          if (bin == last) continue;
          last = bin;
        }
        const at = counts + ((<usize>bin) << 2);
        store<i32>(at, load<i32>(at) + 1);
      }
    }
    const to = out + ((<usize>(b * experts)) << 2);
    for (let e = 0; e < experts; e++) {
      let value: f32 = 0;
      if (level == 0) {
        value = <f32>load<i32>(counts + ((<usize>e) << 2));
      } else if (level == 2) {
        value = <f32>load<i32>(counts + ((<usize>(e / size)) << 2));
      } else {
        let sum = 0;
        const first = (e / size) * size;
        for (let i = first; i < first + size; i++) sum += load<i32>(counts + ((<usize>i) << 2));
        value = <f32>sum / <f32>size;
      }
      store<f32>(to + ((<usize>e) << 2), value * factor);
    }
  }
}

/** Sum over experts of load and score, and of scores, for one row; the latter returned through `sums`. */
// @ts-ignore: decorator
@inline
function affinity(s: usize, w: usize, experts: i32, sums: usize): void {
  let wideDot = f32x4.splat(0);
  let wideSum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= experts; i += 4) {
    const at = (<usize>i) << 2;
    const v = v128.load(s + at);
    wideSum = f32x4.add(wideSum, v);
    wideDot = madd(v, v128.load(w + at), wideDot);
  }
  let dot = hsum(wideDot);
  let sum = hsum(wideSum);
  for (; i < experts; i++) {
    const v = load<f32>(s + ((<usize>i) << 2));
    sum += v;
    dot += v * load<f32>(w + ((<usize>i) << 2));
  }
  store<f32>(sums, dot);
  store<f32>(sums, sum, 4);
}

/**
 * loss = mean over rows of the load-weighted scores (or of their share in the row's sum).
 * Arguments: scores, load, rowTerms, loss; rows, tokens, experts, normalize.
 */
export function balance_loss(a: usize): void {
  const scores = load<usize>(a);
  const weights = load<usize>(a, 4);
  const terms = load<usize>(a, 8);
  const loss = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const tokens = load<i32>(a, 20);
  const experts = load<i32>(a, 24);
  const normalize = load<i32>(a, 28) != 0;
  const sums = scratch();
  const perUnit = rowsPerUnit(experts);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const w = weights + ((<usize>((r / tokens) * experts)) << 2);
      affinity(scores + ((<usize>(r * experts)) << 2), w, experts, sums);
      const dot = load<f32>(sums);
      store<f32>(terms + ((<usize>r) << 2), normalize ? dot / (load<f32>(sums, 4) + TINY) : dot);
    }
  }
  barrier();
  if (nextUnit(1) != 0) return;
  let total: f64 = 0;
  for (let r = 0; r < rows; r++) total += <f64>load<f32>(terms + ((<usize>r) << 2));
  store<f32>(loss, <f32>(total / <f64>max(1, rows)));
}

/** Arguments: scores, load, dLoss, dScores; rows, tokens, experts, normalize, accumulate. */
export function balance_loss_backward(a: usize): void {
  const scores = load<usize>(a);
  const weights = load<usize>(a, 4);
  const dLoss = load<f32>(load<usize>(a, 8));
  const dScores = load<usize>(a, 12);
  const rows = load<i32>(a, 16);
  const tokens = load<i32>(a, 20);
  const experts = load<i32>(a, 24);
  const normalize = load<i32>(a, 28) != 0;
  const accumulate = load<i32>(a, 32) != 0;
  const sums = scratch();
  const perRow = dLoss / <f32>rows;
  const perUnit = rowsPerUnit(experts);
  const count = unitsOf(rows, perUnit);
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * perUnit);
    for (let r = u * perUnit; r < end; r++) {
      const s = scores + ((<usize>(r * experts)) << 2);
      const w = weights + ((<usize>((r / tokens) * experts)) << 2);
      const to = dScores + ((<usize>(r * experts)) << 2);
      let factor = perRow;
      let mean: f32 = 0;
      if (normalize) {
        affinity(s, w, experts, sums);
        const sum = load<f32>(sums, 4) + TINY;
        mean = load<f32>(sums) / sum;
        factor = perRow / sum;
      }
      let i = 0;
      for (; i + 4 <= experts; i += 4) {
        const at = (<usize>i) << 2;
        let d = f32x4.mul(f32x4.splat(factor), f32x4.sub(v128.load(w + at), f32x4.splat(mean)));
        if (accumulate) d = f32x4.add(d, v128.load(to + at));
        v128.store(to + at, d);
      }
      for (; i < experts; i++) {
        const at = (<usize>i) << 2;
        const d = factor * (load<f32>(w + at) - mean);
        store<f32>(to + at, accumulate ? load<f32>(to + at) + d : d);
      }
    }
  }
}

/** bias += gamma sign(mean count - count), compared in integers. Arguments: bias, counts; experts; gamma. */
export function update_router_bias(a: usize): void {
  if (nextUnit() != 0) return;
  const bias = load<usize>(a);
  const counts = load<usize>(a, 4);
  const experts = load<i32>(a, 8);
  const gamma = load<f32>(a, 12);
  let total: i64 = 0;
  for (let e = 0; e < experts; e++) total += <i64>load<i32>(counts + ((<usize>e) << 2));
  for (let e = 0; e < experts; e++) {
    const at = (<usize>e) << 2;
    const scaled = <i64>load<i32>(counts + at) * <i64>experts;
    if (scaled < total) store<f32>(bias + at, load<f32>(bias + at) + gamma);
    else if (scaled > total) store<f32>(bias + at, load<f32>(bias + at) - gamma);
  }
}

/** total += counts, i32. Arguments: total, counts; experts. */
export function add_counts(a: usize): void {
  if (nextUnit() != 0) return;
  const total = load<usize>(a);
  const counts = load<usize>(a, 4);
  const experts = load<i32>(a, 8);
  for (let e = 0; e < experts; e++) {
    const at = (<usize>e) << 2;
    store<i32>(total + at, load<i32>(total + at) + load<i32>(counts + at));
  }
}
