/** The arithmetic of kernels/math.ts on its own, compiled both ways, against Math and the host's number formats. */
import { readFileSync } from "node:fs";
import asc from "assemblyscript/asc";
import { beforeAll, describe, expect, it } from "vitest";
import { bf16ToF32, f16ToF32, f32ToBf16 } from "../float-formats.ts";
import { Random } from "../random.ts";

const entry = `
import { expf4, expf, expNegative4, sigmoid4, logf, hsum, hmax, loadBf16x4, storeBf16x4, loadF16x4, storeBf16,
  loadBf16, loadF16, madd, nmadd } from "./math";
export function exp_all(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(y + (i << 2), expf4(v128.load(x + (i << 2))));
}
export function exp_negative(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(y + (i << 2), expNegative4(v128.load(x + (i << 2))));
}
export function exp_each(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(y + (i << 2), expf(load<f32>(x + (i << 2))));
}
export function sigmoid_all(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(y + (i << 2), sigmoid4(v128.load(x + (i << 2))));
}
export function log_each(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(y + (i << 2), logf(load<f32>(x + (i << 2))));
}
export function sums(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) {
    store<f32>(y + (i << 2), hsum(v128.load(x + (i << 2))));
    store<f32>(y + (i << 2), hmax(v128.load(x + (i << 2))), 4);
  }
}
export function from_bf16(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(y + (i << 2), loadBf16x4(x + (i << 1)));
}
export function from_bf16_each(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(y + (i << 2), loadBf16(x + (i << 1)));
}
export function from_f16(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(y + (i << 2), loadF16x4(x + (i << 1)));
}
export function from_f16_each(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(y + (i << 2), loadF16(x + (i << 1)));
}
export function to_bf16(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) storeBf16x4(y + (i << 1), v128.load(x + (i << 2)));
}
export function to_bf16_each(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i++) storeBf16(y + (i << 1), load<f32>(x + (i << 2)));
}
export function fused(x: usize, y: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) {
    const a = v128.load(x + (i << 2));
    v128.store(y + (i << 2), f32x4.add(madd(a, a, a), nmadd(a, a, a)));
  }
}
`;

type Convert = (x: number, y: number, n: number) => void;

async function compile(relaxed: boolean): Promise<{ memory: ArrayBuffer; exports: Record<string, Convert> }> {
  const math = readFileSync(new URL("../../../kernels/math.ts", import.meta.url), "utf8");
  const files: Record<string, string> = { "entry.ts": entry, "math.ts": math };
  let binary: Uint8Array<ArrayBuffer> | null = null;
  const features = ["simd", "bulk-memory", ...(relaxed ? ["relaxed-simd"] : [])];
  const { error, stderr } = await asc.main(
    [
      ...["entry.ts", "--optimizeLevel", "3", "--noAssert", "--runtime", "stub", "--use", "abort="],
      ...["--initialMemory", "64", "--outFile", "out.wasm", ...features.flatMap((f) => ["--enable", f])],
    ],
    {
      readFile: (name) => files[name] ?? null,
      writeFile: (name, contents) => {
        if (name === "out.wasm") binary = Uint8Array.from(contents as Uint8Array);
      },
      listFiles: () => [],
    },
  );
  if (error || binary === null) throw new Error(stderr.toString());
  const { instance } = await WebAssembly.instantiate(binary as Uint8Array<ArrayBuffer>);
  const { memory, ...functions } = instance.exports;
  return {
    memory: (memory as WebAssembly.Memory).buffer as ArrayBuffer,
    exports: functions as Record<string, Convert>,
  };
}

describe.each([false, true])("kernel arithmetic, relaxed: %s", (relaxed) => {
  let math: Awaited<ReturnType<typeof compile>>;
  beforeAll(async () => {
    math = await compile(relaxed);
  }, 60_000);

  /** Runs function `name` on `values` and returns as many f32. */
  function map(name: string, values: ArrayLike<number>): Float32Array {
    const n = values.length;
    expect(n % 4).toBe(0);
    new Float32Array(math.memory, 65536, n).set(values);
    math.exports[name](65536, 65536 + 4 * n, n);
    return new Float32Array(math.memory, 65536 + 4 * n, n).slice();
  }

  function sweep(low: number, high: number, n: number): Float32Array {
    return Float32Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));
  }

  /** Largest relative error where the expected value is a normal f32. */
  function worst(found: Float32Array, inputs: Float32Array, f: (x: number) => number): number {
    let error = 0;
    let subnormalError = 0;
    inputs.forEach((x, i) => {
      const expected = f(x);
      if (Math.abs(expected) < 2 ** -126) {
        subnormalError = Math.max(subnormalError, Math.abs(found[i] - expected));
      } else error = Math.max(error, Math.abs(found[i] - expected) / Math.abs(expected));
    });
    expect(subnormalError).toBeLessThan(2 ** -148);
    return error;
  }

  it("exp is within 1.5e-7 everywhere, subnormal results included", () => {
    const x = sweep(-110, 88.7, 200_000);
    expect(worst(map("exp_all", x), x, Math.exp)).toBeLessThan(1.5e-7);
    const near = sweep(-1e-3, 1e-3, 10_000);
    expect(worst(map("exp_all", near), near, Math.exp)).toBeLessThan(1.5e-7);
    expect(map("exp_each", x)).toEqual(map("exp_all", x));
  });

  it("exp saturates and keeps NaN", () => {
    const inf = Number.POSITIVE_INFINITY;
    const x = [-inf, -1e30, -1000, -104.5, 0, -0, 88.75, 1000, 1e30, inf, Number.NaN, 1];
    const expected = [0, 0, 0, 0, 1, 1, inf, inf, inf, inf, Number.NaN, Math.fround(Math.E)];
    map("exp_all", x).forEach((value, i) => {
      if (i < 11) expect(value).toBe(expected[i]);
      else expect(value).toBeCloseTo(Math.E, 6);
    });
  });

  it("expNegative is exp below zero, 0 where that is subnormal", () => {
    const x = sweep(-87.3, 1, 100_000);
    expect(worst(map("exp_negative", x), x, Math.exp)).toBeLessThan(1.5e-7);
    const out = map("exp_negative", [Number.NEGATIVE_INFINITY, -1e30, -88, Number.NaN]);
    expect(Array.from(out)).toEqual([0, 0, 0, Number.NaN]);
  });

  it("sigmoid is right at both ends", () => {
    const x = sweep(-87, 100, 100_000);
    expect(worst(map("sigmoid_all", x), x, (v) => 1 / (1 + Math.exp(-v)))).toBeLessThan(4e-7);
    const inf = Number.POSITIVE_INFINITY;
    expect(Array.from(map("sigmoid_all", [-inf, inf, 0, Number.NaN]))).toEqual([0, 1, 0.5, Number.NaN]);
  });

  it("log is correctly rounded, subnormals included", () => {
    const random = new Random(1);
    const x = Float32Array.from({ length: 100_000 }, () => 2 ** (random.uniform() * 276 - 148));
    const found = map("log_each", x);
    let off = 0;
    x.forEach((value, i) => {
      if (found[i] !== Math.fround(Math.log(value))) off++;
    });
    expect(off).toBeLessThan(3);
    const inf = Number.POSITIVE_INFINITY;
    const special = map("log_each", [0, -0, -1, inf, Number.NaN, 1, -inf, 1]);
    expect(Array.from(special)).toEqual([-inf, -inf, Number.NaN, inf, Number.NaN, 0, Number.NaN, 0]);
  });

  it("sums and maxima go across lanes", () => {
    expect(Array.from(map("sums", [1, 2, 3, 5]).subarray(0, 2))).toEqual([11, 5]);
    expect(Array.from(map("sums", [-4, -2, -3, -5]).subarray(0, 2))).toEqual([-14, -2]);
    expect(map("sums", [1, Number.NaN, 3, 4])[1]).toBeNaN();
  });

  it("a b + c and c - a b", () => {
    expect(Array.from(map("fused", [1, 2, 3, -4]))).toEqual([2, 4, 6, -8]);
  });

  it("every bf16 and f16 widens to the host's value", () => {
    const codes = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const [name, expected] of [
      ["from_bf16", bf16ToF32(codes)],
      ["from_bf16_each", bf16ToF32(codes)],
      ["from_f16", f16ToF32(codes)],
      ["from_f16_each", f16ToF32(codes)],
    ] as const) {
      new Uint16Array(math.memory, 65536, 65536).set(codes);
      math.exports[name](65536, 262144, 65536);
      const found = new Float32Array(math.memory, 262144, 65536);
      const wrong = codes.find((_, i) => !Object.is(found[i], expected[i]));
      expect(wrong, name).toBeUndefined();
    }
  });

  it("f32 narrows to bf16 like the host, ties to even", () => {
    const random = new Random(2);
    const bits = Uint32Array.from({ length: 40_000 }, () => random.u32());
    bits.set([
      0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0xff800000, 0x7f800000, 0x00000001, 0x80008000,
    ]);
    // Every NaN is one value to the host; its payload is not promised.
    const values = new Float32Array(bits.buffer).map((v) => (Number.isNaN(v) ? 1.5 : v));
    for (const name of ["to_bf16", "to_bf16_each"]) {
      new Float32Array(math.memory, 65536, values.length).set(values);
      math.exports[name](65536, 1_048_576, values.length);
      expect(new Uint16Array(math.memory, 1_048_576, values.length).slice()).toEqual(f32ToBf16(values));
    }
    new Uint32Array(math.memory, 65536, 4).set([0x7f800001, 0xffffffff, 0x7fc00000, 0x7fffffff]);
    math.exports.to_bf16(65536, 1_048_576, 4);
    expect(bf16ToF32(new Uint16Array(math.memory, 1_048_576, 4).slice()).every(Number.isNaN)).toBe(true);
  });
});
