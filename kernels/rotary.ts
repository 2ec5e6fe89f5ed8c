/** Rotary position embedding of a range of channels per head, both ways of pairing, and the keys of MLA. */
import { madd, nmadd } from "./math";
import { nextUnit } from "./runtime";

/** Tokens of a unit. */
const TOKENS: i32 = 16;

/**
 * y = x with channels start to start + 2 half of each head rotated by the row of the tables at the token's
 * position; `inverse` rotates back. Arguments: x, cos, sin, positions, y; tokens, heads, width, start, half,
 * interleaved, inverse, add.
 */
export function rotary(a: usize): void {
  const x = load<usize>(a);
  const cos = load<usize>(a, 4);
  const sin = load<usize>(a, 8);
  const positions = load<usize>(a, 12);
  const y = load<usize>(a, 16);
  const tokens = load<i32>(a, 20);
  const heads = load<i32>(a, 24);
  const width = load<i32>(a, 28);
  const start = load<i32>(a, 32);
  const half = load<i32>(a, 36);
  const interleaved = load<i32>(a, 40);
  const sign: f32 = load<i32>(a, 44) ? -1 : 1;
  const add = load<i32>(a, 48);
  const bytes = (<usize>width) << 2;
  const begin = (<usize>start) << 2;
  const units = (tokens + TOKENS - 1) / TOKENS;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(tokens, (u + 1) * TOKENS);
    for (let t = u * TOKENS; t < end; t++) {
      const row = (<usize>load<i32>(positions + ((<usize>t) << 2)) * <usize>half) << 2;
      for (let h = 0; h < heads; h++) {
        const at = (<usize>t * <usize>heads + <usize>h) * bytes;
        move(x + at, y + at, start, add);
        if (interleaved) pairs(x + at + begin, y + at + begin, cos + row, sin + row, half, sign, add);
        else halves(x + at + begin, y + at + begin, cos + row, sin + row, half, sign, add);
        const after = begin + ((<usize>half) << 3);
        move(x + at + after, y + at + after, width - start - 2 * half, add);
      }
    }
  }
}

/** y = x or y += x, n floats. */
function move(x: usize, y: usize, n: i32, add: i32): void {
  for (; n >= 4; n -= 4) {
    v128.store(y, add ? f32x4.add(v128.load(y), v128.load(x)) : v128.load(x));
    x += 16;
    y += 16;
  }
  for (; n > 0; n--) {
    store<f32>(y, add ? load<f32>(y) + load<f32>(x) : load<f32>(x));
    x += 4;
    y += 4;
  }
}

/** Pairs (i, i + half). */
function halves(x: usize, y: usize, cos: usize, sin: usize, half: i32, sign: f32, add: i32): void {
  const far = (<usize>half) << 2;
  const wide = f32x4.splat(sign);
  let i = half;
  for (; i >= 4; i -= 4) {
    const c = v128.load(cos);
    const s = f32x4.mul(wide, v128.load(sin));
    const p = v128.load(x);
    const q = v128.load(x + far);
    let even = nmadd(q, s, f32x4.mul(p, c));
    let odd = madd(p, s, f32x4.mul(q, c));
    if (add) {
      even = f32x4.add(even, v128.load(y));
      odd = f32x4.add(odd, v128.load(y + far));
    }
    v128.store(y, even);
    v128.store(y + far, odd);
    x += 16;
    y += 16;
    cos += 16;
    sin += 16;
  }
  for (; i > 0; i--) {
    rotate(x, x + far, y, y + far, load<f32>(cos), sign * load<f32>(sin), add);
    x += 4;
    y += 4;
    cos += 4;
    sin += 4;
  }
}

/** Pairs (2 i, 2 i + 1). */
function pairs(x: usize, y: usize, cos: usize, sin: usize, half: i32, sign: f32, add: i32): void {
  for (let i = half; i > 0; i--) {
    rotate(x, x + 4, y, y + 4, load<f32>(cos), sign * load<f32>(sin), add);
    x += 8;
    y += 8;
    cos += 4;
    sin += 4;
  }
}

// @ts-ignore: decorator
@inline
function rotate(x0: usize, x1: usize, y0: usize, y1: usize, c: f32, s: f32, add: i32): void {
  const p = load<f32>(x0);
  const q = load<f32>(x1);
  const even = p * c - q * s;
  const odd = q * c + p * s;
  store<f32>(y0, add ? even + load<f32>(y0) : even);
  store<f32>(y1, add ? odd + load<f32>(y1) : odd);
}

/**
 * Keys and values of MLA from the expanded latent and the one rotary key: k[h] = [kv[h] to nope | kRope],
 * v[h] = kv[h] from nope. Arguments: kv, kRope, k, v; tokens, heads, nope, valueWidth, rope.
 */
export function mla_expand(a: usize): void {
  const kv = load<usize>(a);
  const kRope = load<usize>(a, 4);
  const k = load<usize>(a, 8);
  const v = load<usize>(a, 12);
  const tokens = load<i32>(a, 16);
  const heads = load<i32>(a, 20);
  const nope = load<i32>(a, 24);
  const valueWidth = load<i32>(a, 28);
  const rope = load<i32>(a, 32);
  const nopeBytes = (<usize>nope) << 2;
  const valueBytes = (<usize>valueWidth) << 2;
  const ropeBytes = (<usize>rope) << 2;
  const units = (tokens + TOKENS - 1) / TOKENS;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(tokens, (u + 1) * TOKENS);
    for (let t = u * TOKENS; t < end; t++) {
      const shared = kRope + <usize>t * ropeBytes;
      for (let h = 0; h < heads; h++) {
        const row = <usize>t * <usize>heads + <usize>h;
        const from = kv + row * (nopeBytes + valueBytes);
        const to = k + row * (nopeBytes + ropeBytes);
        move(from, to, nope, 0);
        move(shared, to + nopeBytes, rope, 0);
        move(from + nopeBytes, v + row * valueBytes, valueWidth, 0);
      }
    }
  }
}

/**
 * Gradients of mla_expand; that of kRope is the sum over heads in their order. Arguments: dk?, dv?, dkv?,
 * dkRope?; tokens, heads, nope, valueWidth, rope, addKv, addRope. A missing dk or dv counts as zero.
 */
export function mla_expand_backward(a: usize): void {
  const dk = load<usize>(a);
  const dv = load<usize>(a, 4);
  const dkv = load<usize>(a, 8);
  const dkRope = load<usize>(a, 12);
  const tokens = load<i32>(a, 16);
  const heads = load<i32>(a, 20);
  const nope = load<i32>(a, 24);
  const valueWidth = load<i32>(a, 28);
  const rope = load<i32>(a, 32);
  const addKv = load<i32>(a, 36);
  const addRope = load<i32>(a, 40);
  const nopeBytes = (<usize>nope) << 2;
  const valueBytes = (<usize>valueWidth) << 2;
  const ropeBytes = (<usize>rope) << 2;
  const units = (tokens + TOKENS - 1) / TOKENS;
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    const end = min(tokens, (u + 1) * TOKENS);
    for (let t = u * TOKENS; t < end; t++) {
      const shared = dkRope + <usize>t * ropeBytes;
      if (dkRope && !addRope) memory.fill(shared, 0, ropeBytes);
      for (let h = 0; h < heads; h++) {
        const row = <usize>t * <usize>heads + <usize>h;
        const from = dk + row * (nopeBytes + ropeBytes);
        if (dkv) {
          const to = dkv + row * (nopeBytes + valueBytes);
          if (dk) move(from, to, nope, addKv);
          else if (!addKv) memory.fill(to, 0, nopeBytes);
          if (dv) move(dv + row * valueBytes, to + nopeBytes, valueWidth, addKv);
          else if (!addKv) memory.fill(to + nopeBytes, 0, valueBytes);
        }
        if (dkRope && dk) move(from + nopeBytes, shared, rope, 1);
      }
    }
  }
}
