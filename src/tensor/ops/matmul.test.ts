import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShapeError } from "../errors.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice, relativeError } from "../testing.ts";
import { matmul, matmulInto } from "./matmul.ts";

const product =
  (transposeA: boolean, transposeB: boolean) =>
  ([a, b]: Parameters<typeof matmul>[0][]) =>
    matmul(a, b, { transposeA, transposeB });

const forms: [boolean, boolean][] = [
  [false, false],
  [false, true],
  [true, false],
  [true, true],
];

function shapes(m: number, n: number, k: number, tA: boolean, tB: boolean, batch?: number, shared = false) {
  const lead = batch === undefined ? [] : [batch];
  return [
    [...lead, ...(tA ? [k, m] : [m, k])],
    [...(shared ? [] : lead), ...(tB ? [n, k] : [k, n])],
  ];
}

describe("matmul", () => {
  it.each(forms)("has the gradients that differences give (transposeA %s, transposeB %s)", async (tA, tB) => {
    await checkGradients(product(tA, tB), shapes(3, 5, 4, tA, tB));
    await checkGradients(product(tA, tB), shapes(2, 3, 4, tA, tB, 3));
    await checkGradients(product(tA, tB), shapes(2, 3, 4, tA, tB, 3, true));
    await checkGradients(product(tA, tB), shapes(1, 1, 1, tA, tB));
  });

  it("adds to a gradient that is there already", async () => {
    await checkGradients(([a]) => matmul(a, a, { transposeB: true }), [[4, 3]]);
    await checkBackends(([a]) => matmul(a, a, { transposeB: true }), [[33, 18]]);
  });

  const sizes = [
    [1, 1, 1],
    [3, 5, 7],
    [6, 16, 4],
    [7, 33, 130],
    [8, 64, 63],
    [9, 17, 31],
    [50, 40, 300],
    [150, 20, 9],
    [13, 300, 70],
  ];
  it.each(forms)("is the same on every backend (transposeA %s, transposeB %s)", async (tA, tB) => {
    for (const [m, n, k] of sizes) {
      await checkBackends(product(tA, tB), shapes(m, n, k, tA, tB));
    }
    await checkBackends(product(tA, tB), shapes(5, 19, 11, tA, tB, 3));
    await checkBackends(product(tA, tB), shapes(20, 35, 11, tA, tB, 3, true));
    await checkBackends(product(tA, tB), shapes(0, 3, 2, tA, tB));
    await checkBackends(product(tA, tB), shapes(3, 0, 2, tA, tB));
    await checkBackends(product(tA, tB), shapes(3, 2, 0, tA, tB));
    await checkBackends(product(tA, tB), shapes(13, 2, 0, tA, tB));
  });

  it.each(["bf16", "f16"] as const)("reads weights in %s", async (dtype) => {
    for (const m of [1, 2, 5, 8, 21]) {
      for (const [tA, tB] of forms) {
        const [a, b] = shapes(m, 37, 45, tA, tB);
        await checkBackends(product(tA, tB), [
          { shape: a, gradient: !tA },
          { shape: b, dtype },
        ]);
      }
    }
  });

  it("reads every half as the value it stands for", async () => {
    // Subnormals, both zeros, the largest and the smallest normal.
    const values = [0, -0, 2 ** -24, -(2 ** -24) * 1023, 2 ** -14, 65504, -65504, 1, 0.333251953125];
    const shape = [values.length, 1];
    for (const relaxed of [false, true]) {
      const device = await cpuDevice(1, relaxed);
      using b = device.tensor(values, shape, "f16");
      for (const rows of [1, 9]) {
        using a = device.tensor(new Float32Array(rows).fill(1), [rows, 1]);
        using y = matmul(a, b, { transposeB: true });
        expect(Array.from((await y.data()).slice(0, values.length))).toEqual(values.map((v) => v + 0));
      }
    }
  });

  it.each(["f32", "bf16", "f16"] as const)(
    "gives a row the same bits in any company of up to 8, %s",
    async (dtype) => {
      const random = new Random(5);
      const normals = (length: number) => Float32Array.from({ length }, () => random.normal());
      for (const [n, k] of [
        [37, 45],
        [19, 2100],
        [530, 40],
      ]) {
        const [left, right] = [normals(8 * k), normals(k * n)];
        for (const transposeB of [false, true]) {
          const results: (readonly number[])[] = [];
          for (const relaxed of [false, true]) {
            const device = await cpuDevice(2, relaxed);
            using _scope = new Scope(device);
            const b = device.tensor(right, transposeB ? [n, k] : [k, n], dtype);
            const run = async (rows: number) => {
              const y = matmul(device.tensor(left.subarray(0, rows * k), [rows, k]), b, { transposeB });
              return [...(await y.data())];
            };
            const all = await run(8);
            for (const rows of [1, 2, 3, 4, 5, 6, 7]) expect(await run(rows)).toEqual(all.slice(0, rows * n));
            results.push(all);
          }
          const reference = createReferenceDevice();
          const b = reference.tensor(right, transposeB ? [n, k] : [k, n], dtype);
          const expected = await matmul(reference.tensor(left, [8, k]), b, { transposeB }).data();
          for (const result of results) expect(relativeError(result, expected)).toBeLessThan(2e-5);
        }
      }
    },
  );

  it("cuts a long k into chunks and a wide result into units, the same for any number of threads", async () => {
    await checkBackends(product(true, false), shapes(50, 70, 2100, true, false), { tolerance: 5e-5 });
    await checkBackends(product(false, true), shapes(400, 530, 40, false, true));
    await checkBackends(product(false, false), shapes(9, 5, 33_000, false, false), { tolerance: 2e-4 });
  });

  it("agrees with the plain sum for any sizes, strides and offsets", async () => {
    const reference = createReferenceDevice();
    const size = fc.integer({ min: 1, max: 40 });
    const pad = fc.integer({ min: 0, max: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.record({ m: size, n: size, k: size, batch: fc.integer({ min: 1, max: 3 }), pad, seed: fc.nat() }),
        fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
        fc.constantFrom<0 | 1>(0, 1),
        async ({ m, n, k, batch, pad: p, seed }, [tA, tB, shareB], accumulate) => {
          const view = (rows: number, columns: number, transposed: boolean) =>
            transposed ? { row: 1, column: rows + p } : { row: columns + p, column: 1 };
          const area = (rows: number, columns: number) => (rows + p) * (columns + p) + p;
          const run = async (device: Device) => {
            const random = new Random(seed);
            const make = (length: number) =>
              device.tensor(Float32Array.from({ length }, () => random.normal()));
            using a = make(batch * area(m, k) + 2);
            using b = make(batch * area(k, n) + 3);
            using c = make(batch * area(m, n) + 1);
            matmulInto(
              device,
              { m, n, k, batch },
              { tensor: a, offset: 2, batch: area(m, k), ...view(m, k, tA) },
              { tensor: b, offset: 3, batch: shareB ? 0 : area(k, n), ...view(k, n, tB) },
              { tensor: c, offset: 1, batch: area(m, n), row: n + p },
              accumulate,
            );
            return c.data();
          };
          const expected = await run(reference);
          for (const relaxed of [false, true]) {
            const one = await run(await cpuDevice(1, relaxed));
            expect(relativeError(one, expected)).toBeLessThan(2e-5);
            expect(await run(await cpuDevice(2, relaxed))).toEqual(one);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("refuses operands that do not fit, with both shapes", () => {
    const device = createReferenceDevice();
    const make = (...shape: number[]) => device.zeros(shape);
    expect(() => matmul(make(2, 3), make(2, 3))).toThrow(/\[2,3\] and \[2,3\]/);
    expect(() => matmul(make(2, 2, 3), make(3, 3, 2))).toThrow(ShapeError);
    expect(() => matmul(make(3), make(3, 2))).toThrow(ShapeError);
    const half = device.zeros([3, 2], "bf16");
    const weight = make(2, 3);
    half.requiresGrad = true;
    expect(() => matmul(weight, half)).toThrow(/must be f32/);
    const c = make(2, 2);
    expect(() =>
      matmulInto(
        device,
        { m: 2, n: 2, k: 4 },
        { tensor: weight, row: 3 },
        { tensor: make(4, 2), row: 2 },
        { tensor: c, row: 2 },
      ),
    ).toThrow(/beyond its tensor/);
    expect(() =>
      matmulInto(
        device,
        { m: 2, n: 2, k: 3 },
        { tensor: weight, row: 3 },
        { tensor: make(3, 2), row: 2 },
        { tensor: c, row: 1, column: 2 },
      ),
    ).toThrow(ShapeError);
  });
});
