import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import type { Device, Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, doubles, type InputSpec, relativeError } from "../testing.ts";
import { attentionBidirectional, type BidirectionalOptions } from "./attention-bidirectional.ts";

interface Case {
  readonly B: number;
  readonly grid: readonly [number, number];
  readonly window?: readonly [number, number];
  readonly H: number;
  readonly D: number;
  readonly relative?: boolean;
}

const name = ({ B, grid, window, H, D, relative }: Case) =>
  `B=${B} ${grid.join("x")}${window ? ` in ${window.join("x")}` : ""} H=${H} D=${D}${relative ? " relative" : ""}`;

/** Inputs of a case in order: qkv, padding if there are windows, tables. */
function specs({ B, grid, window, H, D, relative }: Case): InputSpec[] {
  const [height, width] = window ?? grid;
  return [
    [B, grid[0] * grid[1], 3, H, D],
    ...(window ? [[3, H, D]] : []),
    ...(relative
      ? [
          [2 * height - 1, D],
          [2 * width - 1, D],
        ]
      : []),
  ];
}

function opOf({ grid, window, relative }: Case, scale = 0.3) {
  return ([qkv, ...rest]: Tensor[]) => {
    const padding = window ? rest.shift() : undefined;
    const options: BidirectionalOptions = {
      ...{ scale, grid, ...(window && { window }), ...(padding && { padding }) },
      ...(relative && { relative: { rows: rest[0], columns: rest[1] } }),
    };
    return attentionBidirectional(qkv, options);
  };
}

const cases: Case[] = [
  { B: 1, grid: [1, 1], H: 1, D: 1 },
  { B: 2, grid: [3, 2], H: 2, D: 5 },
  { B: 3, grid: [2, 9], H: 2, D: 8, relative: true },
  { B: 1, grid: [7, 9], H: 2, D: 17 },
  { B: 2, grid: [15, 15], H: 1, D: 24 },
  { B: 1, grid: [21, 21], H: 1, D: 20 },
  { B: 1, grid: [13, 19], H: 1, D: 72 },
  { B: 1, grid: [4, 5], H: 1, D: 128 },
  { B: 2, grid: [5, 7], H: 2, D: 6, relative: true },
  { B: 1, grid: [17, 13], H: 1, D: 16, relative: true },
  { B: 1, grid: [16, 16], window: [14, 14], H: 2, D: 8, relative: true },
  { B: 2, grid: [5, 7], window: [4, 3], H: 1, D: 9, relative: true },
  { B: 1, grid: [8, 8], window: [4, 4], H: 2, D: 7, relative: true },
  { B: 1, grid: [3, 4], window: [5, 6], H: 2, D: 4 },
  // The widest heads, and with them the largest tables that fit a thread's scratch memory.
  { B: 1, grid: [2, 83], H: 1, D: 1024, relative: true },
  { B: 9, grid: [9, 9], window: [2, 2], H: 3, D: 10 },
  // Enough heads for units of the most queries.
  { B: 1, grid: [1, 593], H: 16, D: 2 },
];

describe("bidirectional attention on every backend", () => {
  for (const c of cases) it(name(c), () => checkBackends(opOf(c), specs(c)));

  it("without tokens or images", async () => {
    for (const shape of [
      [0, 4, 3, 2, 4],
      [2, 0, 3, 2, 4],
    ]) {
      await checkBackends(([qkv]) => attentionBidirectional(qkv, { scale: 1 }), [shape]);
    }
  });

  it("keeps large scores apart without overflow", async () => {
    const c: Case = { B: 1, grid: [7, 9], H: 2, D: 8, relative: true };
    await checkBackends(opOf(c, 300), specs(c), { tolerance: 2e-3 });
  });

  it("adds to gradients that are already there, and leaves out those that nobody wants", async () => {
    const c: Case = { B: 1, grid: [4, 5], window: [3, 4], H: 2, D: 6, relative: true };
    const twice = (inputs: Tensor[]) => [opOf(c)(inputs), opOf(c, 0.7)(inputs)];
    await checkBackends(twice, specs(c));
    const shapes = specs(c) as number[][];
    for (const wanted of [0, 1, 2, 3]) {
      const some = shapes.map((shape, i) => ({ shape, gradient: i === wanted }));
      await checkBackends(opOf(c), some);
    }
  });
});

describe("gradients of bidirectional attention", () => {
  const small: Case[] = [
    { B: 2, grid: [3, 2], H: 2, D: 3 },
    { B: 1, grid: [3, 4], H: 2, D: 2, relative: true },
    { B: 1, grid: [3, 5], window: [2, 3], H: 2, D: 2, relative: true },
    { B: 2, grid: [2, 3], window: [3, 2], H: 1, D: 3 },
  ];
  for (const c of small) {
    it(`agree with finite differences at ${name(c)}`, () => checkGradients(opOf(c), specs(c)));
  }
});

const normals = (device: Device, shape: readonly number[], seed: number) => {
  const random = new Random(seed);
  const size = shape.reduce((a, n) => a * n, 1);
  return device.tensor(
    Float64Array.from({ length: size }, () => random.normal()),
    shape,
  );
};

describe("bidirectional attention and its twins", () => {
  it("equals attention over windows cut out of a padded image, with a bias for each pair", () => {
    const device = createReferenceDevice();
    const [B, height, width, side, H, D, scale] = [2, 5, 4, 3, 2, 3, 0.45];
    const qkv = normals(device, [B, height * width, 3, H, D], 1);
    const padding = normals(device, [3 * H * D], 2);
    const [rows, columns] = [3, 4].map((seed) => normals(device, [2 * side - 1, D], seed));
    const y = attentionBidirectional(qkv, {
      ...{ scale, padding, grid: [height, width], window: [side, side], relative: { rows, columns } },
    });
    // As sam.py: pad, cut, attend with a matrix of scores, join, crop.
    const at = (b: number, i: number, j: number, part: number, h: number, c: number) => {
      if (i >= height || j >= width) return doubles(padding)[(part * H + h) * D + c];
      return doubles(qkv)[(((b * height * width + i * width + j) * 3 + part) * H + h) * D + c];
    };
    const channels = Array.from({ length: D }, (_, c) => c);
    const expected = new Float64Array(y.size);
    for (let b = 0; b < B; b++) {
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          for (let h = 0; h < H; h++) {
            const weights: number[] = [];
            const values: number[][] = [];
            for (let k = 0; k < side * side; k++) {
              const [p, r] = [Math.floor(k / side), k % side];
              const [keyI, keyJ] = [i - (i % side) + p, j - (j % side) + r];
              const score = channels.reduce((sum, c) => {
                const q = at(b, i, j, 0, h, c);
                const bias =
                  doubles(rows)[((i % side) - p + side - 1) * D + c] +
                  doubles(columns)[((j % side) - r + side - 1) * D + c];
                return sum + q * scale * at(b, keyI, keyJ, 1, h, c) + q * bias;
              }, 0);
              weights.push(Math.exp(score));
              values.push(channels.map((c) => at(b, keyI, keyJ, 2, h, c)));
            }
            const total = weights.reduce((a, w) => a + w, 0);
            for (const c of channels) {
              const mixed = weights.reduce((sum, w, k) => sum + (w / total) * values[k][c], 0);
              expected[((b * height * width + i * width + j) * H + h) * D + c] = mixed;
            }
          }
        }
      }
    }
    expect(relativeError(doubles(y), expected)).toBeLessThan(1e-13);
  });
});

describe("what bidirectional attention refuses", () => {
  const device = createReferenceDevice();
  const qkv = device.zeros([1, 6, 3, 2, 4]);
  const table = (rows: number, width = 4) => device.zeros([rows, width]);
  const refused: [string, Tensor, BidirectionalOptions, RegExp][] = [
    ["another rank", device.zeros([6, 3, 8]), { scale: 1 }, /qkv must be/],
    ["no three parts", device.zeros([1, 6, 2, 2, 4]), { scale: 1 }, /qkv must be/],
    ["wide heads", device.zeros([1, 1, 3, 1, 1025]), { scale: 1 }, /head width/],
    ["a scale of 0", qkv, { scale: 0 }, /scale must be positive/],
    ["a scale that is no number", qkv, { scale: Number.NaN }, /scale must be positive/],
    ["another number of tokens", qkv, { scale: 1, grid: [2, 2] }, /grid and number of tokens/],
    ["an empty window", qkv, { scale: 1, grid: [2, 3], window: [0, 3] }, /window must be/],
    ["half a window", qkv, { scale: 1, grid: [2, 3], window: [1.5, 3] }, /window must be/],
    ["no padding", qkv, { scale: 1, grid: [2, 3], window: [2, 2] }, /no padding/],
    [
      "short padding",
      qkv,
      { scale: 1, grid: [2, 3], window: [2, 2], padding: device.zeros([23]) },
      /padding must have one row/,
    ],
    [
      "a long table",
      qkv,
      { scale: 1, grid: [2, 3], relative: { rows: table(4), columns: table(5) } },
      /table of rows/,
    ],
    [
      "a wide table",
      qkv,
      { scale: 1, grid: [2, 3], relative: { rows: table(3), columns: table(5, 5) } },
      /table of columns/,
    ],
    [
      "a window that is too large for relative positions",
      device.zeros([1, 800, 3, 1, 4]),
      { scale: 1, grid: [1, 800], relative: { rows: table(1), columns: table(1599) } },
      /window too large/,
    ],
  ];
  for (const [what, input, options, message] of refused) {
    it(what, () => expect(() => attentionBidirectional(input, options)).toThrow(message));
  }
});
