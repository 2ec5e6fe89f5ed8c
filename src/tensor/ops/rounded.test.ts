import { describe, expect, it } from "vitest";
import { bf16ToF32, e4m3ToF32, f32ToBf16, f32ToE4m3 } from "../float-formats.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope } from "../tensor.ts";
import { cpuDevice, relativeError } from "../testing.ts";
import { linear } from "./linear.ts";
import {
  type ProductRounding,
  type RoundedFormat,
  roundedLinear,
  roundTiles,
  type ScaleTile,
} from "./rounded.ts";

/** Of magnitudes from 2^-20 to 2^4, with zeros between. */
function spread(length: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length }, (_, i) =>
    i % 17 === 0 ? 0 : random.normal() * 2 ** (24 * random.uniform() - 20),
  );
}

const devices = async (): Promise<Device[]> => [
  createReferenceDevice(),
  await cpuDevice(1, false),
  await cpuDevice(3, true),
];

async function rounded(device: Device, x: Float32Array, n: number, format: RoundedFormat, tile: ScaleTile) {
  using _scope = new Scope(device);
  return Float32Array.from(await roundTiles(device.tensor(x, [x.length / n, n]), format, tile).data());
}

/** Tile by tile, by the conversion that checkpoints use. */
function byCodes(x: Float32Array, n: number, { rows, columns }: ScaleTile): Float32Array {
  const out = new Float32Array(x.length);
  const count = x.length / n;
  const [high, wide] = [rows || count, columns || n];
  for (let r0 = 0; r0 < count; r0 += high) {
    for (let c0 = 0; c0 < n; c0 += wide) {
      const places: number[] = [];
      for (let r = r0; r < Math.min(count, r0 + high); r++)
        for (let c = c0; c < Math.min(n, c0 + wide); c++) places.push(r * n + c);
      const scale = Math.fround(Math.max(...places.map((i) => Math.abs(x[i]))) / 448);
      if (scale === 0) continue;
      const values = e4m3ToF32(f32ToE4m3(Float32Array.from(places, (i) => x[i] / scale)));
      for (const [at, i] of places.entries()) out[i] = values[at] * scale;
    }
  }
  return out;
}

const tiles: readonly (readonly [string, ScaleTile])[] = [
  ["a row's tiles", { rows: 1, columns: 128 }],
  ["a column's tiles", { rows: 128, columns: 1 }],
  ["blocks", { rows: 32, columns: 16 }],
  ["short tiles", { rows: 5, columns: 3 }],
  ["the whole", { rows: 0, columns: 0 }],
];

describe("roundTiles", () => {
  it.each(tiles)("of %s has the values of e4m3 codes", async (_, tile) => {
    for (const [rows, n] of [
      [3, 300],
      [270, 6],
      [40, 33],
    ]) {
      const x = spread(rows * n, rows);
      const expected = byCodes(x, n, tile);
      for (const device of await devices())
        expect(await rounded(device, x, n, "e4m3", tile)).toEqual(expected);
    }
  });

  it("has two bits behind the point and powers down to 2^-14 in e5m2", async () => {
    // The first is the largest there is, so that the scale is 1.
    const x = Float32Array.of(
      57_344,
      1.125,
      1.126,
      1.375,
      -3.3,
      2 ** -16,
      1.5 * 2 ** -16,
      0.4 * 2 ** -16,
      5e4,
    );
    const expected = Float32Array.of(57_344, 1, 1.25, 1.5, -3.5, 2 ** -16, 2 ** -15, 0, 49_152);
    for (const device of await devices())
      expect(await rounded(device, x, x.length, "e5m2", { rows: 0, columns: 0 })).toEqual(expected);
  });

  it("needs no scale in bf16", async () => {
    const x = spread(515, 3);
    x[100] = 3e38;
    const expected = bf16ToF32(f32ToBf16(x));
    for (const device of await devices())
      for (const [, tile] of tiles) expect(await rounded(device, x, 5, "bf16", tile)).toEqual(expected);
  });

  it("shows what is no number, in its own tile", async () => {
    const x = new Float32Array(256).fill(1);
    x[3] = Number.NaN;
    x[200] = Number.POSITIVE_INFINITY;
    for (const device of await devices()) {
      const y = await rounded(device, x, 4, "e4m3", { rows: 1, columns: 4 });
      expect(y.subarray(0, 4)).toEqual(new Float32Array(4).fill(Number.NaN));
      expect(Number.isFinite(y[200])).toBe(false);
      expect(y.subarray(4, 196)).toEqual(new Float32Array(192).fill(1));
    }
  });
});

const FINE: ProductRounding = { format: "e4m3", gradients: "e4m3", scales: "tiles" };
const roundings: readonly (readonly [string, ProductRounding])[] = [
  ["tiles", FINE],
  ["one scale", { ...FINE, scales: "tensor" }],
  ["blocks of gradients", { ...FINE, gradientBlocks: true }],
  ["e5m2 gradients", { ...FINE, gradients: "e5m2" }],
  ["bf16", { format: "bf16", gradients: "bf16", scales: "tiles" }],
];

describe("roundedLinear", () => {
  it.each(roundings)(
    "with %s is the product of rounded sides, and so are its gradients",
    async (_, rounding) => {
      const [m, n, k] = [150, 20, 260];
      const device = await cpuDevice(2, true);
      using _scope = new Scope(device);
      const x = device.tensor(spread(m * k, 1), [m, k]);
      const w = device.tensor(spread(n * k, 2), [n, k]);
      const bias = device.tensor(spread(n, 3), [n]);
      const gradient = spread(m * n, 4);
      const dy = device.tensor(gradient, [m, n]);
      for (const each of [x, w, bias]) each.requiresGrad = true;
      const { format, gradients, scales, gradientBlocks } = rounding;
      const tile = (rows: number, columns: number) =>
        scales === "tensor" ? { rows: 0, columns: 0 } : { rows, columns };
      const [blockOr, acrossOr] = gradientBlocks
        ? [tile(128, 128), tile(128, 128)]
        : [tile(1, 128), tile(128, 1)];
      const plain = {
        y: linear(roundTiles(x, format, tile(1, 128)), roundTiles(w, format, tile(128, 128)), bias),
        dx: linear(
          roundTiles(dy, gradients, blockOr),
          device.tensor(transposed(await roundTiles(w, format, tile(128, 128)).data(), n, k), [k, n]),
        ),
        dw: linear(
          device.tensor(transposed(await roundTiles(dy, gradients, acrossOr).data(), m, n), [n, m]),
          device.tensor(transposed(await roundTiles(x, format, tile(128, 1)).data(), m, k), [k, m]),
        ),
      };
      using tape = new Tape(device);
      const y = roundedLinear(x, w, bias, rounding);
      tape.backwardFrom([y], [dy]);
      expect(await y.data()).toEqual(await plain.y.data());
      expect(relativeError(await x.grad!.data(), await plain.dx.data())).toBeLessThan(1e-6);
      expect(relativeError(await w.grad!.data(), await plain.dw.data())).toBeLessThan(1e-6);
      const column = Float32Array.from({ length: n }, (_, c) => {
        let total = 0;
        for (let r = 0; r < m; r++) total += gradient[r * n + c];
        return total;
      });
      expect(relativeError(await bias.grad!.data(), column)).toBeLessThan(1e-5);
    },
  );
});

function transposed(values: ArrayLike<number>, rows: number, columns: number): Float32Array {
  return Float32Array.from(
    { length: values.length },
    (_, i) => values[(i % rows) * columns + Math.floor(i / rows)],
  );
}
