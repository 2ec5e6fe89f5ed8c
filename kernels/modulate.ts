/** Scale and shift of channels by what a condition says of each sample (FiLM, Perez et al. 2018), forward and backward. */
import { madd } from "./math";
import { barrier, nextUnit } from "./runtime";
import { addProducts, sumSamples } from "./sample-sums";

const UNIT: i32 = 32768;

/** y = x (1 + scale) + shift. */
function modulateRow(x: usize, scale: usize, shift: usize, y: usize, n: i32): void {
  const one = f32x4.splat(1);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const p = madd(v128.load(x + at), f32x4.add(v128.load(scale + at), one), v128.load(shift + at));
    const q = madd(
      v128.load(x + at, 16),
      f32x4.add(v128.load(scale + at, 16), one),
      v128.load(shift + at, 16),
    );
    v128.store(y + at, p);
    v128.store(y + at, q, 16);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const factor = f32x4.add(v128.load32_zero(scale + at), one);
    v128.store32_lane(y + at, madd(v128.load32_zero(x + at), factor, v128.load32_zero(shift + at)), 0);
  }
}

/** dx (+)= dy (1 + scale). */
function scaleRow(dy: usize, scale: usize, dx: usize, n: i32, accumulate: i32): void {
  const one = f32x4.splat(1);
  const mask = i32x4.splat(-accumulate);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load(dx + at), mask);
    v128.store(dx + at, madd(v128.load(dy + at), f32x4.add(v128.load(scale + at), one), old));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const old = v128.and(v128.load32_zero(dx + at), mask);
    const factor = f32x4.add(v128.load32_zero(scale + at), one);
    v128.store32_lane(dx + at, madd(v128.load32_zero(dy + at), factor, old), 0);
  }
}

/** Arguments: x [batch, rows, n], m [batch, 2, n] (scale, then shift), y; batch, rows, n. */
export function modulate(a: usize): void {
  const x = load<usize>(a);
  const m = load<usize>(a, 4);
  const y = load<usize>(a, 8);
  const batch = load<i32>(a, 12);
  const rows = load<i32>(a, 16);
  const n = load<i32>(a, 20);
  const step = (<usize>n) << 2;
  const perUnit = max(1, UNIT / max(1, n));
  const units = (rows + perUnit - 1) / perUnit;
  for (let u = nextUnit(); u < batch * units; u = nextUnit()) {
    const sample = u / units;
    const scale = m + <usize>sample * step * 2;
    const begin = (u % units) * perUnit;
    const end = min(rows, begin + perUnit);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      modulateRow(x + at, scale, scale + step, y + at, n);
    }
  }
}

/**
 * Gradients of modulate; dx may be absent, and dm with its temporary memory partial [batch, blocks, 2, n].
 * Arguments: x, m, dy, dx, dm, partial; batch, rows, n, blockRows, accumulateX,
 * accumulateM.
 */
export function modulate_grad(a: usize): void {
  const x = load<usize>(a);
  const m = load<usize>(a, 4);
  const dy = load<usize>(a, 8);
  const dx = load<usize>(a, 12);
  const dm = load<usize>(a, 16);
  const partial = load<usize>(a, 20);
  const batch = load<i32>(a, 24);
  const rows = load<i32>(a, 28);
  const n = load<i32>(a, 32);
  const blockRows = load<i32>(a, 36);
  const accumulateX = load<i32>(a, 40);
  const accumulateM = load<i32>(a, 44);
  const blocks = (rows + blockRows - 1) / blockRows;
  const step = (<usize>n) << 2;
  for (let u = nextUnit(0); u < batch * blocks; u = nextUnit(0)) {
    const sample = u / blocks;
    const scale = m + <usize>sample * step * 2;
    const begin = (u % blocks) * blockRows;
    const end = min(rows, begin + blockRows);
    const to = partial + <usize>u * step * 2;
    if (dm != 0) memory.fill(to, 0, step * 2);
    for (let r = begin; r < end; r++) {
      const at = (<usize>sample * <usize>rows + <usize>r) * step;
      if (dm != 0) addProducts(dy + at, x + at, to + step, to, n);
      if (dx != 0) scaleRow(dy + at, scale, dx + at, n, accumulateX);
    }
  }
  if (dm == 0) return;
  barrier();
  sumSamples(partial, dm, batch, blocks, 2 * n, accumulateM, 1);
}
