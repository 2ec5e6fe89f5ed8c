import { describe, expect, it } from "vitest";
import { createCpuDevice } from "../cpu/backend.ts";
import { ShapeError } from "../errors.ts";
import { f16ToF32, f32ToF16 } from "../float-formats.ts";
import { type QuantFormat, QuantizedTensor } from "../quantized.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope } from "../tensor.ts";
import { cpuDevice } from "../testing.ts";
import { dequantizeRows, quantizedEmbedding, quantizeInto, repackInto, unpackBlocks } from "./quantize.ts";
import { normals, quantized, quantizedNormals } from "./quantized.fixture.ts";

const formats: readonly QuantFormat[] = ["q4", "q8"];
const devices: [string, () => Promise<Device>][] = [
  ["reference", async () => createReferenceDevice()],
  ["baseline", () => cpuDevice(1, false)],
  ["relaxed", () => cpuDevice(2, true)],
];

/** What Q4_0 and Q8_0 as llama.cpp's reference makes them give back: the error to beat or meet. */
function plainError(format: QuantFormat, x: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < x.length; at += 32) {
    const block = x.subarray(at, at + 32);
    const top = block.reduce((t, v) => (Math.abs(v) > Math.abs(t) ? v : t), 0);
    const d = f16ToF32(f32ToF16(Float32Array.of(format === "q4" ? top / -8 : Math.abs(top) / 127)))[0];
    for (const v of block) {
      const q = format === "q4" ? Math.max(-8, Math.min(7, Math.round(v / d))) : Math.round(v / d);
      sum += (v - d * q) ** 2;
    }
  }
  return sum;
}

for (const [name, open] of devices) {
  describe(`quantized weights, ${name}`, () => {
    for (const format of formats) {
      it.each([
        [8, 32],
        [24, 160],
        [13, 77],
        [1, 5],
      ])(`${format} gives rows of [%i, %i] back within half a step`, async (rows, k) => {
        const device = await open();
        using scope = new Scope(device);
        const x = normals(rows * k, 5);
        using weight = new QuantizedTensor(device, format, [rows, k]);
        quantizeInto(weight, 0, 0, device.tensor(x, [rows, k]));
        const back = await dequantizeRows(weight, 0, 0, rows).data();
        let worst = 0;
        for (let r = 0; r < rows; r++) {
          for (let c = 0; c < k; c++) {
            const begin = r * k + c - (c % 32);
            const block = x.subarray(begin, Math.min(begin + 32, (r + 1) * k));
            const top = block.reduce((t, v) => Math.max(t, Math.abs(v)), 0);
            worst = Math.max(worst, Math.abs(back[r * k + c] - x[r * k + c]) / top);
          }
        }
        expect(worst).toBeLessThan(format === "q4" ? 0.17 : 0.0041);
        expect(scope.tensors.length).toBe(2);
      });
    }

    it("q4 has at most the squared error of Q4_0, and less in all", async () => {
      const device = await open();
      using _scope = new Scope(device);
      const x = normals(16 * 320, 6);
      using weight = new QuantizedTensor(device, "q4", [16, 320]);
      quantizeInto(weight, 0, 0, device.tensor(x, [16, 320]));
      const back = await dequantizeRows(weight, 0, 0, 16).data();
      const error = (begin: number, end: number) => {
        let sum = 0;
        for (let i = begin; i < end; i++) sum += (back[i] - x[i]) ** 2;
        return sum;
      };
      for (let at = 0; at < x.length; at += 32) {
        expect(error(at, at + 32)).toBeLessThanOrEqual(
          plainError("q4", x.subarray(at, at + 32)) * (1 + 1e-5),
        );
      }
      expect(error(0, x.length)).toBeLessThan(0.9 * plainError("q4", x));
    });

    it("zeros, tiny, huge and infinite values become finite blocks", async () => {
      const device = await open();
      using _scope = new Scope(device);
      for (const format of formats) {
        using weight = new QuantizedTensor(device, format, [8, 32]);
        const rows = [0, 1e-9, 1e-6, 1e4, 3e38, Number.POSITIVE_INFINITY, Number.NaN, -0.5];
        const x = Float32Array.from({ length: 256 }, (_, i) => (i % 32 === 3 ? rows[i >> 5] : 0));
        quantizeInto(weight, 0, 0, device.tensor(x, [8, 32]));
        const back = await dequantizeRows(weight, 0, 0, 8).data();
        expect(back.every((v) => Number.isFinite(v))).toBe(true);
        expect(back.subarray(0, 32).every((v) => v === 0)).toBe(true);
        expect(Math.abs(back[3 * 32 + 3] - 1e4)).toBeLessThan(10);
        expect(back[7 * 32 + 3]).toBeCloseTo(-0.5, 3);
      }
    });

    it.each(formats)("%s moves GGUF blocks in and out without loss", async (format) => {
      const device = await open();
      using _scope = new Scope(device);
      const [rows, k] = [19, 96];
      const step = format === "q4" ? 18 : 34;
      const bytes = Uint8Array.from({ length: rows * (k / 32) * step }, (_, i) => (i * 73 + (i >> 3)) & 255);
      using weight = new QuantizedTensor(device, format, [2, rows, k], 1);
      const perRow = (k / 32) * step;
      repackInto(weight, 1, 0, device.tensor(bytes.subarray(0, 8 * perRow), [8 * perRow], "u8"), 8);
      repackInto(weight, 1, 8, device.tensor(bytes.subarray(8 * perRow), [11 * perRow], "u8"), 11);
      expect(await unpackBlocks(weight, 1, 0, rows).data()).toEqual(bytes);
      expect(await unpackBlocks(weight, 1, 8, 5).data()).toEqual(bytes.subarray(8 * perRow, 13 * perRow));
      // The values, as GGUF defines them.
      const back = await dequantizeRows(weight, 1, 10, 1).data();
      const block = bytes.subarray(10 * perRow, 10 * perRow + step);
      const d = f16ToF32(Uint16Array.of(block[0] | (block[1] << 8)))[0];
      const value = (i: number) =>
        format === "q8"
          ? (block[2 + i] << 24) >> 24
          : (i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4) - 8;
      for (let i = 0; i < 32; i++) expect(back[i]).toBe(Math.fround(d * value(i)));
    });

    it.each(formats)("%s: any rows, as columns, by number", async (format) => {
      const device = await open();
      using _scope = new Scope(device);
      const [rows, k] = [21, 45];
      using weight = await quantizedNormals(device, format, [rows, k], 7);
      const all = await dequantizeRows(weight, 0, 0, rows).data();
      const some = await dequantizeRows(weight, 0, 5, 11).data();
      expect(some).toEqual(all.subarray(5 * k, 16 * k));
      const turned = await dequantizeRows(weight, 0, 5, 11, { transpose: true }).data();
      for (let r = 0; r < 11; r++) {
        for (let c = 0; c < k; c++) expect(turned[c * 11 + r]).toBe(some[r * k + c]);
      }
      const ids = device.tensor([20, 0, 21, -1, 7, 7], [2, 3], "i32");
      const found = quantizedEmbedding(weight, ids);
      expect(found.shape).toEqual([2, 3, k]);
      const values = await found.data();
      for (const [i, id] of [20, 0, 21, -1, 7, 7].entries()) {
        const row = values.subarray(i * k, (i + 1) * k);
        if (id < 0 || id > 20) expect(row.every((v) => Number.isNaN(v))).toBe(true);
        else expect(row).toEqual(all.subarray(id * k, (id + 1) * k));
      }
    });
  });
}

describe("quantized weights, all backends", () => {
  it("agree in every byte", async () => {
    for (const format of formats) {
      const found: Uint8Array[] = [];
      for (const [, open] of devices) {
        const device = await open();
        using weight = quantized(device, format, [20, 100], normals(2000, 8));
        found.push((await weight.shards[0].tiles.data()) as Uint8Array);
      }
      expect(found[2]).toEqual(found[1]);
      // The reference searches in double precision: a scale may round the other way.
      const differing = found[0].reduce((n, v, i) => n + (v === found[1][i] ? 0 : 1), 0);
      expect(differing / found[0].length).toBeLessThan(0.02);
    }
  });

  it("pack GGUF blocks to the same bytes, over whatever lay there, and no byte more", async () => {
    for (const format of formats) {
      for (const [rows, k] of [
        ...[
          [8, 32],
          [16, 96],
        ],
        ...[
          [5, 64],
          [43, 1056],
        ],
      ]) {
        const step = format === "q4" ? 18 : 34;
        const bytes = Uint8Array.from({ length: rows * (k / 32) * step }, (_, i) => i * 29 + (i >> 8));
        const found: Uint8Array[] = [];
        for (const [, open] of devices) {
          const device = await open();
          using _scope = new Scope(device);
          using weight = new QuantizedTensor(device, format, [2, rows, k]);
          const { tiles } = weight.shards[0];
          tiles.set(new Uint8Array(weight.bytes).fill(0xee));
          repackInto(weight, 0, 0, device.tensor(bytes, [bytes.length], "u8"), rows);
          const all = (await tiles.data()) as Uint8Array;
          expect(all.subarray(weight.matrixBytes).every((v) => v === 0xee)).toBe(true);
          found.push(all);
          expect(await unpackBlocks(weight, 0, 0, rows).data()).toEqual(bytes);
        }
        expect(found[1]).toEqual(found[0]);
        expect(found[2]).toEqual(found[0]);
      }
    }
  });

  it("refuse rows that are not whole groups, blocks that are not whole, and rows that are not there", async () => {
    const device = createReferenceDevice();
    using _scope = new Scope(device);
    using weight = new QuantizedTensor(device, "q4", [20, 33]);
    const rows = (n: number) => device.zeros([n, 33]);
    expect(() => quantizeInto(weight, 0, 4, rows(8))).toThrow(ShapeError);
    expect(() => quantizeInto(weight, 0, 0, rows(4))).toThrow(ShapeError);
    expect(() => quantizeInto(weight, 0, 16, rows(8))).toThrow(ShapeError);
    expect(() => quantizeInto(weight, 1, 0, rows(8))).toThrow(ShapeError);
    expect(() => quantizeInto(weight, 0, 16, rows(4))).not.toThrow();
    expect(() => unpackBlocks(weight, 0, 0, 8)).toThrow(/whole blocks/);
    expect(() => dequantizeRows(weight, 0, 18, 3)).toThrow(ShapeError);
  });

  it("lie beside what they are used with, where there is room", async () => {
    await using device = await createCpuDevice({ threads: 1, arenaBytes: 32 << 20 });
    const first = device.empty([20 << 20], "u8", true);
    const second = device.empty([18 << 20], "u8", true);
    const arena = (t: { operand(): unknown }) => (t.operand() as { buffer: { arena: number } }).buffer.arena;
    expect(arena(second)).not.toBe(arena(first));
    expect(arena(device.empty([1024], "f32", false, second))).toBe(arena(second));
    expect(arena(device.empty([20 << 20], "u8", false, second))).not.toBe(arena(second));
  });
});
