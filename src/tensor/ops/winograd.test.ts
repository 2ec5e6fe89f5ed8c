import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import type { Device } from "../tensor.ts";
import { checkBackends, cpuDevice, doubles, relativeError } from "../testing.ts";
import { type ConvOptions, conv2d } from "./conv2d.ts";
import { suitsTiles } from "./winograd.ts";

type Case = [x: number[], outputs: number, options: ConvOptions];

const cases: Case[] = [
  // Whole tiles, and tiles that reach over the edge on every side.
  [[1, 40, 40, 32], 32, { padding: 1 }],
  [[2, 41, 38, 36], 32, { padding: 1 }],
  [[1, 45, 42, 32], 40, {}],
  [[1, 39, 43, 32], 36, { padding: { top: 0, bottom: 1, left: 2, right: 0 } }],
  // Few tiles and channels; padding that its gradient cannot have; more tiles than one block.
  [[3, 16, 15, 16], 20, { padding: 1 }],
  [[1, 17, 20, 32], 32, { padding: 3 }],
  [[1, 68, 64, 32], 36, { padding: 1 }],
];

const shapeOf = ([[batch, height, width, channels], outputs, { padding = 0 }]: Case) => {
  const sides =
    typeof padding === "number" ? { top: padding, bottom: padding, left: padding, right: padding } : padding;
  const { top, bottom, left, right } = sides;
  const [outHeight, outWidth] = [height + top + bottom - 2, width + left + right - 2];
  return { batch, height, width, channels, outputs, top, left, outHeight, outWidth };
};

/** A convolution and the gradient of its input; with a channel of zeros more, for which there are no tiles. */
function convolved(device: Device, [shape, outputs, options]: Case, zeros: number) {
  const random = new Random(5);
  const channels = shape[3];
  const widened = (rows: number) => {
    const values = new Float32Array(rows * (channels + zeros));
    for (let i = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++) values[i * (channels + zeros) + c] = random.normal();
    }
    return values;
  };
  const wide = channels + zeros;
  const x = device.tensor(widened(shape[0] * shape[1] * shape[2]), [...shape.slice(0, 3), wide]);
  const w = device.tensor(widened(9 * outputs), [outputs, 3, 3, wide]);
  const bias = device.tensor(Float32Array.from({ length: outputs }, () => random.normal()));
  x.requiresGrad = true;
  using tape = new Tape(device);
  const y = conv2d(x, w, bias, options);
  const results = Float64Array.from(doubles(y));
  const seed = device.unscoped(() => device.tensor(results.map(Math.sin), y.shape));
  tape.backwardFrom([y], [seed]);
  const gradient = Array.from(doubles(x.grad!)).filter((_, i) => i % wide < channels);
  return { results, gradient };
}

describe("convolution by tiles", () => {
  it.each(cases)("is the plain one at %j to %i, %j", (...each) => {
    expect(suitsTiles(shapeOf(each))).toBe(true);
    const device = createReferenceDevice();
    const [tiled, plain] = [0, 1].map((zeros) => convolved(device, each, zeros));
    expect(relativeError(tiled.results, plain.results)).toBeLessThan(1e-12);
    expect(relativeError(tiled.gradient, plain.gradient)).toBeLessThan(1e-12);
  });

  it.each(cases.slice(1, 4))("agrees with the reference at %j to %i, %j", async (x, outputs, options) => {
    await checkBackends(
      ([p, q, b]) => conv2d(p, q, b, options),
      [x, { shape: [outputs, 3, 3, x[3]], gradient: false }, [outputs]],
    );
  });

  it("takes bf16 and f16 weights", async () => {
    for (const dtype of ["bf16", "f16"] as const) {
      const weight = { shape: [32, 3, 3, 32], dtype };
      await checkBackends(([p, q]) => conv2d(p, q, null, { padding: 1 }), [[1, 40, 38, 32], weight]);
    }
  });

  it("adds to a gradient that is there", async () => {
    const twice = ([p, q]: Parameters<typeof conv2d>[0][]) => [
      conv2d(p, q, null, { padding: 1 }),
      conv2d(p, q, null, { padding: 1 }),
    ];
    const weight = { shape: [32, 3, 3, 32], gradient: false };
    await checkBackends(twice, [[1, 40, 40, 32], weight]);
  });

  it("gives an image the same bits alone and among others", async () => {
    const device = await cpuDevice(2, true);
    const random = new Random(8);
    const normal = (shape: number[]) =>
      device.tensor(
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
        shape,
      );
    const [x, w] = [normal([3, 43, 50, 32]), normal([32, 3, 3, 32])];
    using all = device.inference(() => conv2d(x, w, null, { padding: 1 }));
    const size = all.size / 3;
    using image = device.inference(() => x.slice(1, 2));
    using alone = device.inference(() => conv2d(image, w, null, { padding: 1 }));
    expect(await alone.data()).toEqual((await all.data()).slice(size, 2 * size));
    // The fewest tiles that an image may have.
    const small = normal([5, 16, 16, 32]);
    using few = device.inference(() => conv2d(small, w, null, { padding: 1 }));
    using one = device.inference(() => small.slice(4, 5));
    using single = device.inference(() => conv2d(one, w, null, { padding: 1 }));
    expect(await single.data()).toEqual((await few.data()).slice(4 * single.size));
    for (const each of [x, w, small]) each.dispose();
  });

  it("is for images and channels that it is faster for", () => {
    const shape = shapeOf([[1, 40, 40, 32], 32, { padding: 1 }]);
    expect(suitsTiles(shape)).toBe(true);
    for (const other of [
      { channels: 12 },
      { channels: 33 },
      { outputs: 3 },
      { outHeight: 4 },
      { outputs: 8192 },
      { channels: 1024, outputs: 1028 },
    ]) {
      expect(suitsTiles({ ...shape, ...other })).toBe(false);
    }
  });
});
