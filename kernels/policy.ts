/** Log-probabilities of chosen tokens with their gradient, terms of clipped policy objectives, losses of preferences. */
import { blockMax } from "./loss";
import { expf, expNegative4, hsum, logd, pin } from "./math";
import { nextUnit, threadIndex } from "./runtime";

const UNIT: i32 = 16384;

/**
 * stats[r] = largest logit of a row and the sum of exp(scale (logit - largest)); logp[r] = log softmax(scale logits) at the
 * target, 0 if the target is negative, NaN if it is past the row; entropy[r] of that softmax, in nats, 0 without target.
 * stats and entropy may be absent. Arguments: logits, targets, stats, logp, entropy; rows, n; scale.
 */
export function token_log_probabilities(a: usize): void {
  pin(threadIndex() >> 20);
  const logits = load<usize>(a);
  const targets = load<usize>(a, 4);
  const stats = load<usize>(a, 8);
  const logp = load<usize>(a, 12);
  const entropy = load<usize>(a, 16);
  const rows = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const scale = load<f32>(a, 28);
  const wideScale = f32x4.splat(scale);
  const rowsPerUnit = max(1, UNIT / max(1, n));
  const count = (rows + rowsPerUnit - 1) / rowsPerUnit;
  for (let u = nextUnit(); u < count; u = nextUnit()) {
    const end = min(rows, (u + 1) * rowsPerUnit);
    for (let r = u * rowsPerUnit; r < end; r++) {
      const at = (<usize>r) << 2;
      const target = load<i32>(targets + at);
      if (target < 0) {
        store<f32>(logp + at, 0);
        if (entropy) store<f32>(entropy + at, 0);
        if (stats) {
          store<f32>(stats + (at << 1), 0);
          store<f32>(stats + (at << 1), 1, 4);
        }
        continue;
      }
      const row = logits + ((<usize>r * <usize>n) << 2);
      const largest = blockMax(row, n);
      const shift = f32x4.splat(largest);
      let sum: f64 = 0;
      // Sum of p log p before its division, of which the entropy is made: a logit of -inf adds nothing.
      let weighted: f64 = 0;
      let i = 0;
      for (; i + 4 <= n; i += 4) {
        const z = f32x4.mul(f32x4.sub(v128.load(row + ((<usize>i) << 2)), shift), wideScale);
        const e = expNegative4(z);
        sum += <f64>hsum(e);
        const zero = f32x4.eq(e, f32x4.splat(0));
        if (entropy) weighted += <f64>hsum(v128.andnot(f32x4.mul(e, z), zero));
      }
      for (; i < n; i++) {
        const z = (load<f32>(row + ((<usize>i) << 2)) - largest) * scale;
        const e = f32x4.extract_lane(expNegative4(f32x4.splat(z)), 0);
        sum += <f64>e;
        if (e != 0) weighted += <f64>e * <f64>z;
      }
      if (stats) {
        store<f32>(stats + (at << 1), largest);
        store<f32>(stats + (at << 1), <f32>sum, 4);
      }
      const log = logd(sum);
      let value = f32.reinterpret_i32(0x7fc00000);
      if (target < n) {
        const z = (<f64>load<f32>(row + ((<usize>target) << 2)) - <f64>largest) * <f64>scale;
        value = <f32>(z - log);
      }
      store<f32>(logp + at, value);
      if (entropy) store<f32>(entropy + at, <f32>(log - weighted / sum));
    }
  }
}

/**
 * dx (+)= dy[r] scale (one-hot of the target - softmax(scale logits)), 0 for rows without target; dx may be logits itself.
 * Arguments: logits, targets, stats, dy, dx; rows, n, accumulate; scale.
 */
export function token_log_probabilities_grad(a: usize): void {
  pin(threadIndex() >> 20);
  const logits = load<usize>(a);
  const targets = load<usize>(a, 4);
  const stats = load<usize>(a, 8);
  const dy = load<usize>(a, 12);
  const dx = load<usize>(a, 16);
  const rows = load<i32>(a, 20);
  const n = load<i32>(a, 24);
  const accumulate = load<i32>(a, 28);
  const scale = load<f32>(a, 32);
  const mask = i32x4.splat(-accumulate);
  const wideScale = f32x4.splat(scale);
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
      const factor = load<f32>(dy + ((<usize>r) << 2)) * scale;
      let shift = load<f32>(stats + ((<usize>r) << 3));
      if (target >= n) shift = f32.reinterpret_i32(0x7fc00000);
      const wideShift = f32x4.splat(shift);
      const wide = f32x4.splat(-factor / load<f32>(stats + ((<usize>r) << 3), 4));
      let i = 0;
      for (; i + 4 <= n; i += 4) {
        const at = (<usize>i) << 2;
        const z = f32x4.mul(f32x4.sub(v128.load(from + at), wideShift), wideScale);
        const p = f32x4.mul(expNegative4(z), wide);
        v128.store(to + at, f32x4.add(p, v128.and(v128.load(to + at), mask)));
      }
      for (; i < n; i++) {
        const at = (<usize>i) << 2;
        const z = f32x4.mul(f32x4.sub(v128.load32_splat(from + at), wideShift), wideScale);
        const value = f32x4.extract_lane(f32x4.mul(expNegative4(z), wide), 0);
        store<f32>(to + at, accumulate ? load<f32>(to + at) + value : value);
      }
      if (target < n) {
        const at = to + ((<usize>target) << 2);
        store<f32>(at, load<f32>(at) + factor);
      }
    }
  }
}

/**
 * Per token of sequences that begin at `starts` (one more than there are sequences): losses = weight (beta k3 - surrogate),
 * slopes = derivative of the sum of losses by logp, kl = k3, clipped = 1 where the clip takes the gradient away.
 * `level` 0: a ratio a token; 1: the product over the sequence; 2: its geometric mean. Without old the ratio is 1, without
 * reference k3 is 0. dual 0: no lower bound of negative terms; bound 0: log ratios to the reference as they are.
 * Arguments: logp, old, reference, advantages, weights, starts, losses, slopes, kl, clipped; sequences, level; low, high,
 * dual, beta, bound.
 */
export function policy_terms(a: usize): void {
  pin(threadIndex() >> 20);
  const logp = load<usize>(a);
  const old = load<usize>(a, 4);
  const reference = load<usize>(a, 8);
  const advantages = load<usize>(a, 12);
  const weights = load<usize>(a, 16);
  const starts = load<usize>(a, 20);
  const losses = load<usize>(a, 24);
  const slopes = load<usize>(a, 28);
  const kl = load<usize>(a, 32);
  const clipped = load<usize>(a, 36);
  const sequences = load<i32>(a, 40);
  const level = load<i32>(a, 44);
  const low = load<f32>(a, 48);
  const high = load<f32>(a, 52);
  const dual = load<f32>(a, 56);
  const beta = load<f32>(a, 60);
  const bound = load<f32>(a, 64);
  for (let s = nextUnit(); s < sequences; s = nextUnit()) {
    const begin = load<i32>(starts + ((<usize>s) << 2));
    const end = load<i32>(starts + ((<usize>s) << 2), 4);
    let whole: f64 = 0;
    let weight: f64 = 0;
    if (level != 0) {
      for (let t = begin; t < end; t++) {
        const at = (<usize>t) << 2;
        if (old) whole += <f64>load<f32>(logp + at) - <f64>load<f32>(old + at);
        weight += <f64>load<f32>(weights + at);
      }
      if (level == 2 && end > begin) {
        whole /= <f64>(end - begin);
        weight /= <f64>(end - begin);
      }
    }
    for (let t = begin; t < end; t++) {
      const at = (<usize>t) << 2;
      const p = load<f32>(logp + at);
      const advantage = load<f32>(advantages + at);
      const w = load<f32>(weights + at);
      let ratio: f32 = 1;
      if (level != 0) ratio = expf(<f32>whole);
      else if (old) ratio = expf(p - load<f32>(old + at));
      // One comparison a side, so that a NaN is kept.
      let surrogate = ratio * advantage;
      let slope = surrogate;
      const limit = (advantage < 0 ? low : high) * advantage;
      if (surrogate > limit) {
        surrogate = limit;
        slope = 0;
      }
      if (dual != 0 && advantage < 0 && surrogate < dual * advantage) {
        surrogate = dual * advantage;
        slope = 0;
      }
      store<f32>(clipped + at, slope == 0 && advantage != 0 ? 1 : 0);
      let k3: f32 = 0;
      let k3Slope: f32 = 0;
      if (reference) {
        let d = load<f32>(reference + at) - p;
        // True for NaN, which is kept.
        const inside = bound == 0 || !(abs(d) >= bound);
        if (!inside) d = d > 0 ? bound : -bound;
        const e = expf(d);
        // The difference loses all digits where d is small; there the series has them.
        k3 = abs(d) < 0.01 ? d * d * (0.5 + d * (<f32>(1.0 / 6.0) + d * <f32>(1.0 / 24.0))) : e - d - 1;
        if (inside) k3Slope = abs(d) < 0.01 ? -d * (1 + d * (0.5 + d * <f32>(1.0 / 6.0))) : 1 - e;
      }
      const pull = level == 0 ? w : <f32>weight;
      store<f32>(losses + at, w * (beta * k3 - surrogate));
      store<f32>(slopes + at, w * beta * k3Slope - pull * slope);
      store<f32>(kl + at, k3);
    }
  }
}

/**
 * Losses of pairs of sequences, of which sequence 2p is preferred to 2p + 1; sequences begin at `starts`. With D a sequence's sum
 * of logp less that of the reference, over its length if `normalized`, and h = D of the preferred - D of the other:
 * kind 0: -(1 - smoothing) log sigmoid(beta h) - smoothing log sigmoid(-beta h); 1: max(0, 1 - beta h); 2: (h - 1 / (2 beta))^2.
 * losses get the loss times `factor`, slopes its derivative by each logp; preferred, other = beta D; correct = h > 0.
 * Arguments: logp, reference, starts, losses, slopes, preferred, other, correct; pairs, kind, normalized; beta, smoothing, factor.
 */
export function preference_terms(a: usize): void {
  pin(threadIndex() >> 20);
  const logp = load<usize>(a);
  const reference = load<usize>(a, 4);
  const starts = load<usize>(a, 8);
  const losses = load<usize>(a, 12);
  const slopes = load<usize>(a, 16);
  const preferred = load<usize>(a, 20);
  const other = load<usize>(a, 24);
  const correct = load<usize>(a, 28);
  const pairs = load<i32>(a, 32);
  const kind = load<i32>(a, 36);
  const normalized = load<i32>(a, 40);
  const beta = <f64>load<f32>(a, 44);
  const smoothing = <f64>load<f32>(a, 48);
  const factor = <f64>load<f32>(a, 52);
  for (let p = nextUnit(); p < pairs; p = nextUnit()) {
    const at = (<usize>p) << 2;
    const first = load<i32>(starts + (at << 1));
    const middle = load<i32>(starts + (at << 1), 4);
    const last = load<i32>(starts + (at << 1), 8);
    let better: f64 = -(<f64>load<f32>(reference + (at << 1)));
    let worse: f64 = -(<f64>load<f32>(reference + (at << 1), 4));
    for (let t = first; t < middle; t++) better += <f64>load<f32>(logp + ((<usize>t) << 2));
    for (let t = middle; t < last; t++) worse += <f64>load<f32>(logp + ((<usize>t) << 2));
    if (normalized != 0) {
      better /= <f64>(middle - first);
      worse /= <f64>(last - middle);
    }
    const h = better - worse;
    const x = beta * h;
    let loss: f64 = 0;
    let slope: f64 = 0;
    if (kind == 0) {
      const e = <f64>expf(<f32>-abs(x));
      // softplus(-x) = -log sigmoid(x), and sigmoid(-x).
      const soft = max(-x, 0) + logd(1 + e);
      const against = x > 0 ? e / (1 + e) : 1 / (1 + e);
      loss = soft + smoothing * x;
      slope = beta * (smoothing - against);
    } else if (kind == 1) {
      loss = x < 1 ? 1 - x : x - x;
      slope = x < 1 ? -beta : 0;
    } else {
      const distance = h - 0.5 / beta;
      loss = distance * distance;
      slope = 2 * distance;
    }
    store<f32>(losses + at, <f32>(factor * loss));
    store<f32>(preferred + at, <f32>(beta * better));
    store<f32>(other + at, <f32>(beta * worse));
    store<f32>(correct + at, h > 0 ? 1 : 0);
    const up = <f32>(factor * (normalized != 0 ? slope / <f64>(middle - first) : slope));
    const down = <f32>(-factor * (normalized != 0 ? slope / <f64>(last - middle) : slope));
    for (let t = first; t < middle; t++) store<f32>(slopes + ((<usize>t) << 2), up);
    for (let t = middle; t < last; t++) store<f32>(slopes + ((<usize>t) << 2), down);
  }
}
