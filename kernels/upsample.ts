/** Images with every pixel repeated along both axes, channels last, and the sums that are the gradient. */
import { nextUnit } from "./runtime";

/** Arguments: x [batch, height, width, n], y [batch, height factor, width factor, n]; lines (batch height), width, n, factor. */
export function upsample_nearest(a: usize): void {
  const x = load<usize>(a);
  const y = load<usize>(a, 4);
  const lines = load<i32>(a, 8);
  const width = load<i32>(a, 12);
  const n = load<i32>(a, 16);
  const factor = load<i32>(a, 20);
  const pixel = (<usize>n) << 2;
  const line = <usize>width * pixel;
  const wide = line * <usize>factor;
  for (let u = nextUnit(); u < lines; u = nextUnit()) {
    const first = y + <usize>u * wide * <usize>factor;
    let to = first;
    let from = x + <usize>u * line;
    for (let i = 0; i < width; i++) {
      for (let k = 0; k < factor; k++) {
        memory.copy(to, from, pixel);
        to += pixel;
      }
      from += pixel;
    }
    for (let k = 1; k < factor; k++) memory.copy(first + <usize>k * wide, first, wide);
  }
}

/** dx (+)= sums of dy over the copies of a pixel. Arguments: dy, dx; lines, width, n, factor, accumulate. */
export function upsample_nearest_grad(a: usize): void {
  const dy = load<usize>(a);
  const dx = load<usize>(a, 4);
  const lines = load<i32>(a, 8);
  const width = load<i32>(a, 12);
  const n = load<i32>(a, 16);
  const factor = load<i32>(a, 20);
  const mask = i32x4.splat(-load<i32>(a, 24));
  const pixel = (<usize>n) << 2;
  const line = <usize>width * pixel;
  const wide = line * <usize>factor;
  for (let u = nextUnit(); u < lines; u = nextUnit()) {
    for (let i = 0; i < width; i++) {
      const from = dy + <usize>u * wide * <usize>factor + <usize>(i * factor) * pixel;
      const to = dx + <usize>u * line + <usize>i * pixel;
      let c = 0;
      for (; c + 4 <= n; c += 4) {
        const at = (<usize>c) << 2;
        let sum = v128.and(v128.load(to + at), mask);
        for (let ky = 0; ky < factor; ky++) {
          for (let kx = 0; kx < factor; kx++) {
            sum = f32x4.add(sum, v128.load(from + <usize>ky * wide + <usize>kx * pixel + at));
          }
        }
        v128.store(to + at, sum);
      }
      for (; c < n; c++) {
        const at = (<usize>c) << 2;
        let sum = v128.and(v128.load32_zero(to + at), mask);
        for (let ky = 0; ky < factor; ky++) {
          for (let kx = 0; kx < factor; kx++) {
            sum = f32x4.add(sum, v128.load32_zero(from + <usize>ky * wide + <usize>kx * pixel + at));
          }
        }
        v128.store32_lane(to + at, sum, 0);
      }
    }
  }
}
