import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import type { Device, Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, doubles, relativeError } from "../testing.ts";
import { attention } from "./attention.ts";
import { add } from "./elementwise.ts";
import { mlaExpand } from "./mla.ts";
import { rotary, rotaryTables } from "./rotary.ts";

const frequencies = (half: number, theta = 100) =>
  Float64Array.from({ length: half }, (_, i) => theta ** (-i / half));

describe("rotary", () => {
  for (const pairing of ["half", "interleaved"] as const) {
    for (const [half, start, width] of [
      [1, 0, 2],
      [5, 3, 15],
      [32, 0, 64],
      [6, 4, 16],
      [0, 2, 5],
    ]) {
      // The tables go with the tape or scope around the op: the backward pass needs them, the leak check counts them.
      const op = (inputs: Tensor[], device: Device) => {
        const tables = rotaryTables(frequencies(half), 40, 1.5, device);
        device.scopes.at(-1)?.tensors.push(tables.cos, tables.sin);
        const [x] = inputs;
        const count = x.shape[0] * x.shape[1];
        const at = Int32Array.from({ length: count }, (_, i) => (i * 7) % 40);
        return rotary(x, tables, device.tensor(at, [count], "i32"), { start, pairing });
      };
      it(`agrees with the reference: ${pairing}, ${2 * half} of ${width} channels from ${start}`, async () => {
        await checkBackends(op, [[3, 7, 2, width]]);
        await checkBackends(([x], device) => add(op([x], device), op([x], device)), [[1, 33, 3, width]]);
      });
      it(`has the right gradient: ${pairing}, ${2 * half} of ${width} channels from ${start}`, () =>
        checkGradients(op, [[2, 3, 2, width]]));
    }
  }

  it("follows the formula of each pairing", () => {
    const device = createReferenceDevice();
    const tables = rotaryTables(Float64Array.of(1, 0.1), 8, 1, device);
    const x = device.tensor([9, 1, 2, 3, 4], [1, 1, 1, 5]);
    const positions = device.tensor([5], [1], "i32");
    const [c0, s0, c1, s1] = [Math.cos(5), Math.sin(5), Math.cos(0.5), Math.sin(0.5)];
    const half = doubles(rotary(x, tables, positions, { start: 1, pairing: "half" }));
    const halfExpected = [9, c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + s0, 4 * c1 + 2 * s1];
    expect(relativeError(half, halfExpected)).toBeLessThan(1e-7);
    const pairs = doubles(rotary(x, tables, positions, { start: 1, pairing: "interleaved" }));
    const pairsExpected = [9, c0 - 2 * s0, 2 * c0 + s0, 3 * c1 - 4 * s1, 4 * c1 + 3 * s1];
    expect(relativeError(pairs, pairsExpected)).toBeLessThan(1e-7);
  });

  it("gives equal scores interleaved and de-interleaved, and others half-split on interleaved weights", () => {
    const device = createReferenceDevice();
    const R = 8;
    const T = 6;
    const random = new Random(5);
    const normals = () => Float64Array.from({ length: T * R }, () => random.normal());
    const [q, k] = [normals(), normals()];
    const values = Float64Array.from({ length: T * 3 }, () => random.normal());
    // [x0, x2, .., x1, x3, ..] of every row.
    const deinterleave = (x: Float64Array) =>
      x.map((_, at) => x[at - (at % R) + (at % R < R / 2 ? 2 * (at % R) : 2 * ((at % R) - R / 2) + 1)]);
    const tables = rotaryTables(frequencies(R / 2), T, 1, device);
    const positions = device.tensor([0, 1, 2, 3, 4, 5], [T], "i32");
    const output = (a: Float64Array, b: Float64Array, pairing: "half" | "interleaved") => {
      const turn = (x: Float64Array) =>
        rotary(device.tensor(x, [1, T, 1, R]), tables, positions, { start: 0, pairing });
      return doubles(attention(turn(a), turn(b), device.tensor(values, [1, T, 1, 3]), { scale: 0.5 }));
    };
    const interleaved = output(q, k, "interleaved");
    expect(relativeError(output(deinterleave(q), deinterleave(k), "half"), interleaved)).toBeLessThan(1e-13);
    expect(relativeError(output(q, k, "half"), interleaved)).toBeGreaterThan(1e-2);
  });

  it("refuses channels outside the head and positions of another count", () => {
    const device = createReferenceDevice();
    const x = device.zeros([1, 2, 1, 6]);
    const positions = device.tensor([0, 1], [2], "i32");
    const tables = rotaryTables(frequencies(2), 4, 1, device);
    expect(() => rotary(x, tables, positions, { start: 3, pairing: "half" })).toThrow(/found: 3 to 7/);
    expect(() => rotary(x, tables, positions.slice(0, 1), { start: 0, pairing: "half" })).toThrow(
      /positions must be i32 with one entry per token/,
    );
  });
});

describe("mlaExpand", () => {
  const sizes = [
    [1, 1, 1, 1, 1, 1],
    [2, 3, 4, 5, 7, 2],
    [1, 33, 3, 8, 4, 6],
    [2, 0, 2, 3, 4, 2],
  ];
  for (const [B, S, H, nope, v, rope] of sizes) {
    const specs = [
      [B, S, H, nope + v],
      [B, S, rope],
    ];
    it(`agrees with the reference at [${[B, S, H, nope, v, rope]}]`, async () => {
      await checkBackends(([kv, kRope]) => mlaExpand(kv, kRope, nope), specs);
      await checkBackends(([kv, kRope]) => mlaExpand(kv, kRope, nope)[0], specs);
      await checkBackends(([kv, kRope]) => mlaExpand(kv, kRope, nope)[1], specs);
    });
    it(`has right gradients at [${[B, S, H, nope, v, rope]}]`, () =>
      checkGradients(([kv, kRope]) => mlaExpand(kv, kRope, nope), specs));
  }

  it("puts each part in its place", () => {
    const device = createReferenceDevice();
    const kv = device.tensor([1, 2, 3, 4, 5, 6], [1, 1, 2, 3]);
    const [k, v] = mlaExpand(kv, device.tensor([8, 9], [1, 1, 2]), 2);
    expect(Array.from(doubles(k))).toEqual([1, 2, 8, 9, 4, 5, 8, 9]);
    expect(Array.from(doubles(v))).toEqual([3, 6]);
  });

  it("refuses other tokens", () => {
    const device = createReferenceDevice();
    expect(() => mlaExpand(device.zeros([1, 2, 1, 4]), device.zeros([1, 3, 2]), 2)).toThrow(
      /the tokens of kv/,
    );
    expect(() => mlaExpand(device.zeros([1, 2, 1, 4]), device.zeros([1, 2, 2]), 5)).toThrow(/at least 5/);
  });
});
