import { afterAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { Tape } from "../../tensor/tape.ts";
import { Scope, type Tensor } from "../../tensor/tensor.ts";
import { cpuDevice, doubles, relativeError } from "../../tensor/testing.ts";
import type { Parameters } from "../parameters.ts";
import { allocateModule, describeModule, type ParameterScope } from "../scope.ts";
import { BidirectionalAttention, type BidirectionalConfig, type Grid } from "./bidirectional.ts";

const device = createReferenceDevice();
afterAll(() => device[Symbol.asyncDispose]());

/** A module that keeps what it declared. */
class Block {
  readonly parameters: Parameters;
  readonly attention: BidirectionalAttention;

  constructor(scope: ParameterScope, hidden: number, config: BidirectionalConfig) {
    this.attention = new BidirectionalAttention(scope.child("attn"), hidden, config);
    this.parameters = scope.parameters;
  }
}

async function blockOf(hidden: number, config: BidirectionalConfig, on = device): Promise<Block> {
  const block = allocateModule(on, "f32", (scope) => new Block(scope, hidden, config));
  const random = new Random(5);
  // Biases and relative positions start as zeros: here they count.
  for (const { weight } of block.parameters.groups()) {
    const tensor = weight as Tensor;
    tensor.set(Float32Array.from({ length: tensor.size }, () => 0.6 * random.normal()));
  }
  return block;
}

const numbers = (shape: readonly number[], seed: number) => {
  const random = new Random(seed);
  return Float32Array.from({ length: shape.reduce((a, n) => a * n, 1) }, () => random.normal());
};

describe("BidirectionalAttention", () => {
  it("declares the official names", () => {
    const names = (config: BidirectionalConfig) => {
      const { parameters } = describeModule((scope) => new Block(scope, 12, config), "blocks.3.");
      return [...parameters.groups()].map(({ key, shape, decay }) => `${key} [${shape}] ${decay}`);
    };
    const plain = [
      "blocks.3.attn.qkv.weight [36,12] true",
      "blocks.3.attn.qkv.bias [36] false",
      "blocks.3.attn.proj.weight [12,12] true",
      "blocks.3.attn.proj.bias [12] false",
    ];
    expect(names({ heads: 4 })).toEqual(plain);
    expect(names({ heads: 4, window: 5, relative: [5, 7] })).toEqual([
      ...plain,
      "blocks.3.attn.rel_pos_h [9,3] false",
      "blocks.3.attn.rel_pos_w [13,3] false",
    ]);
    expect(() => names({ heads: 5 })).toThrow(ConfigError);
  });

  const cases: [string, BidirectionalConfig, Grid | undefined][] = [
    ["over all tokens", { heads: 2 }, undefined],
    ["over a grid with relative positions", { heads: 2, relative: [2, 3] }, [2, 3]],
    ["with relative positions of another grid", { heads: 2, relative: [3, 2] }, [2, 3]],
    ["in padded windows", { heads: 2, window: 2, relative: [2, 2] }, [2, 3]],
  ];
  it.each(cases)("has the gradients of finite differences %s", async (_, config, grid) => {
    const shape = [2, 6, 4];
    const block = await blockOf(4, config);
    const groups = [...block.parameters.groups()].map(({ weight }) => weight as Tensor);
    const x = device.tensor(numbers(shape, 1), shape);
    x.requiresGrad = true;
    const weights = numbers(shape, 2);
    const total = () => {
      using _scope = new Scope(device);
      return doubles(block.attention.forward(x, grid)).reduce((sum, y, i) => sum + y * weights[i], 0);
    };
    {
      using tape = new Tape(device);
      const y = block.attention.forward(x, grid);
      using seed = device.unscoped(() => device.tensor(weights, shape));
      tape.backwardFrom([y], [seed]);
    }
    const step = 1e-5;
    for (const tensor of [x, ...groups]) {
      const values = doubles(tensor);
      const slopes = Float64Array.from(values, (at, i) => {
        values[i] = at + step;
        const up = total();
        values[i] = at - step;
        const down = total();
        values[i] = at;
        return (up - down) / (2 * step);
      });
      expect(relativeError(doubles(tensor.grad!), slopes)).toBeLessThan(1e-6);
    }
  });

  it("refuses tokens without a grid where it matters", async () => {
    const x = device.zeros([1, 4, 4]);
    for (const config of [
      { heads: 2, window: 2 },
      { heads: 2, relative: [2, 2] as const },
    ]) {
      const block = await blockOf(4, config);
      expect(() => block.attention.forward(x)).toThrow(/need the grid/);
      expect(block.attention.forward(x, [2, 2]).shape).toEqual([1, 4, 4]);
    }
  });

  it("computes the same on the CPU, for images of any grid", async () => {
    const config: BidirectionalConfig = { heads: 3, window: 4, relative: [4, 4] };
    const cpu = await cpuDevice(2, true);
    const [plain, fast] = [await blockOf(24, config), await blockOf(24, config, cpu)];
    for (const grid of [
      [8, 8],
      [5, 9],
    ] as const) {
      const shape = [2, grid[0] * grid[1], 24];
      const [x, z] = [device, cpu].map((on) => on.tensor(numbers(shape, 3), shape));
      const [expected, found] = [plain.attention.forward(x, grid), fast.attention.forward(z, grid)];
      expect(relativeError(await found.data(), doubles(expected))).toBeLessThan(1e-5);
      z.dispose();
      found.dispose();
    }
    fast.parameters[Symbol.dispose]();
  });
});
