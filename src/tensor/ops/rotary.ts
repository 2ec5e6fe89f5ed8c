/**
 * Rotary position embedding (RoFormer, section 3.2) with either pairing of channels: "half" pairs i with i + R/2
 * (LLaMA style), "interleaved" pairs 2i with 2i + 1 (DeepSeek-V2 and V3). Frequencies come from the caller.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Device, Tensor } from "../tensor.ts";

const rotaryKernel = defineKernel({
  name: "rotary",
  operands: { x: "in f32", cos: "in f32", sin: "in f32", positions: "in i32", y: "inout f32" },
  ints: ["tokens", "heads", "width", "start", "half", "interleaved", "inverse", "add"],
  work: ({ tokens, heads, width }) => tokens * heads * width,
  reference: (
    { x, cos, sin, positions, y },
    { tokens, heads, width, start, half, interleaved, inverse, add },
  ) => {
    for (let row = 0; row < tokens * heads; row++) {
      const at = row * width;
      const table = positions[Math.floor(row / heads)] * half;
      const rotated = x.slice(at, at + width);
      for (let i = 0; i < half; i++) {
        const a = start + (interleaved ? 2 * i : i);
        const b = interleaved ? a + 1 : a + half;
        const c = cos[table + i];
        const s = inverse ? -sin[table + i] : sin[table + i];
        rotated[a] = x[at + a] * c - x[at + b] * s;
        rotated[b] = x[at + b] * c + x[at + a] * s;
      }
      for (let i = 0; i < width; i++) y[at + i] = rotated[i] + (add ? y[at + i] : 0);
    }
  },
});

/** Cosines and sines of position times frequency, [P, R/2] f32 each; freed by `dispose`. */
export interface RotaryTables extends Disposable {
  readonly cos: Tensor;
  readonly sin: Tensor;
  /** P: positions 0 to P - 1 have a row. */
  readonly positions: number;
}

/**
 * Tables for positions 0 to `count` - 1 and R/2 `frequencies` (radians per position), computed in doubles, times
 * `factor` (YaRN's mscale ratio, else 1). They outlive every open scope. @throws ShapeError
 */
export function rotaryTables(
  frequencies: Float64Array,
  count: number,
  factor: number,
  device: Device,
): RotaryTables {
  const half = frequencies.length;
  const cos = new Float64Array(count * half);
  const sin = new Float64Array(count * half);
  for (let p = 0; p < count; p++) {
    for (let i = 0; i < half; i++) {
      cos[p * half + i] = factor * Math.cos(p * frequencies[i]);
      sin[p * half + i] = factor * Math.sin(p * frequencies[i]);
    }
  }
  return device.unscoped(() => {
    const tables = { cos: device.tensor(cos, [count, half]), sin: device.tensor(sin, [count, half]) };
    return {
      ...tables,
      positions: count,
      [Symbol.dispose]: () => {
        tables.cos.dispose();
        tables.sin.dispose();
      },
    };
  });
}

export interface RotaryOptions {
  /** First rotated channel of a head. */
  start: number;
  pairing: "half" | "interleaved";
}

/**
 * Rotates channels start to start + R of every head of x [B,T,H,D] by the table row of its token's position and
 * copies the others; `positions` is i32 [B*T]. Positions lie on the device and are not checked here: the caller
 * knows them and keeps them within 0 to P - 1. @throws ShapeError
 */
export function rotary(x: Tensor, tables: RotaryTables, positions: Tensor, options: RotaryOptions): Tensor {
  const [batch, tokens, heads, width] = x.shape;
  const { start, pairing } = options;
  const half = tables.cos.shape[1];
  if (x.shape.length !== 4)
    throw new ShapeError("x must be [B, T, H, D]", { where: "rotary", found: x.shape });
  if (positions.dtype !== "i32" || positions.size !== batch * tokens) {
    throw new ShapeError("positions must be i32 with one entry per token", {
      where: "rotary",
      expected: [batch * tokens],
      found: `${positions.dtype} [${positions.shape}]`,
    });
  }
  if (!Number.isInteger(start) || start < 0 || start + 2 * half > width) {
    throw new ShapeError("rotated channels reach beyond the head", {
      where: "rotary",
      expected: `within 0 to ${width}`,
      found: `${start} to ${start + 2 * half}`,
    });
  }
  const run = (from: Tensor, to: Tensor, inverse: number, add: number) => {
    rotaryKernel.run(
      x.device,
      { x: from, cos: tables.cos, sin: tables.sin, positions, y: to },
      {
        ...{ tokens: batch * tokens, heads, width, start, half },
        interleaved: +(pairing === "interleaved"),
        inverse,
        add,
      },
    );
  };
  const y = x.device.empty(x.shape);
  run(x, y, 0, 0);
  record([y], [x], ([dy], grads) => {
    const { tensor, accumulate } = grads.target(0);
    run(dy!, tensor, 1, accumulate);
  });
  return y;
}
