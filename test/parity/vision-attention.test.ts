/** Attention of vision towers inside their blocks, against the values that the reference classes recorded. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/folder.ts";
import { modelWeights } from "../../src/checkpoint/model.ts";
import { nodeFileSource, nodeFolder } from "../../src/checkpoint/node-files.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import {
  BidirectionalAttention,
  type BidirectionalConfig,
  type Grid,
  stretchTable,
} from "../../src/nn/attention/bidirectional.ts";
import { Linear } from "../../src/nn/linear.ts";
import { LayerNorm } from "../../src/nn/norm.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { allocateModule, type ParameterScope } from "../../src/nn/scope.ts";
import { add } from "../../src/tensor/ops/elementwise.ts";
import type { Device, Tensor } from "../../src/tensor/tensor.ts";
import { backends } from "./checked-cases.ts";

const root = new URL("../fixtures/vl/", import.meta.url).pathname;

async function readFloats(path: string) {
  const source = await nodeFileSource(path);
  const file = await openSafetensors(source);
  const found = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  for (const [name, { dtype, shape }] of file.tensors) {
    if (dtype !== "F32") continue;
    found.set(name, { shape, values: new Float32Array((await file.read(name)).slice().buffer) });
  }
  await source.close?.();
  return (name: string) => found.get(name)!;
}

/** A pre-norm block of a tower; `names` are those of the two products of its feed-forward network. */
class Block {
  readonly parameters: Parameters;
  readonly #norms: readonly LayerNorm[];
  readonly #attention: BidirectionalAttention;
  readonly #up: Linear;
  readonly #down: Linear;

  constructor(
    scope: ParameterScope,
    [width, inner]: readonly [number, number],
    names: readonly string[],
    config: BidirectionalConfig,
  ) {
    this.#norms = ["norm1", "norm2"].map((name) => new LayerNorm(scope.child(name), width, 1e-6));
    this.#attention = new BidirectionalAttention(scope.child("attn"), width, config);
    const [up, down] = names.map((name) => scope.child(`mlp.${name}`));
    this.#up = new Linear(up, width, inner, { bias: true, activation: "gelu" });
    this.#down = new Linear(down, inner, width, { bias: true });
    this.parameters = scope.parameters;
  }

  /** What attention adds, and the block's output. */
  forward(x: Tensor, grid?: Grid): { attention: Tensor; output: Tensor } {
    const attention = this.#attention.forward(this.#norms[0].forward(x), grid);
    const sum = add(x, attention);
    return { attention, output: add(sum, this.#down.forward(this.#up.forward(this.#norms[1].forward(sum)))) };
  }
}

function expectClose(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  { abs, rel }: { abs: number; rel: number },
): void {
  expect(found.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const excess = Math.abs(found[i] - expected[i]) - rel * Math.abs(expected[i]);
    worst = Number.isNaN(excess) ? Number.POSITIVE_INFINITY : Math.max(worst, excess);
  }
  expect(worst).toBeLessThanOrEqual(abs);
}

describe.each(backends)("attention of vision towers on %s", (_, create) => {
  let device: Device;
  beforeAll(async () => {
    device = await create();
  });
  afterAll(() => device[Symbol.asyncDispose]());

  /** The case's recorded values, its tolerances, and blocks with its weights. */
  async function open(name: string, prefix: string) {
    const folder = root + name;
    const expected = await readFloats(`${folder}/expected.safetensors`);
    const stored = await readFloats(`${folder}/model.safetensors`);
    const { tolerance } = JSON.parse(readFileSync(`${folder}/meta.json`, "utf8"));
    const block = async (
      index: number,
      widths: readonly [number, number],
      names: readonly string[],
      config: BidirectionalConfig,
    ) => {
      const checkpoint = await openCheckpoint(nodeFolder(folder));
      const made = allocateModule(
        device,
        "f32",
        (scope) => new Block(scope.child(`${prefix}.blocks.${index}`), widths, names, config),
      );
      await made.parameters.load(modelWeights(checkpoint));
      await checkpoint.close();
      return made;
    };
    const bounds = (output: string) => {
      return { abs: tolerance.abs_per_output?.[output] ?? tolerance.abs, rel: tolerance.rel };
    };
    // Patches and their positions, as the first block gets them.
    const embedded = (patches: string) => {
      const { shape, values } = expected(patches);
      const positions = stored(`${prefix}.pos_embed`).values;
      const sums = values.map((x, i) => x + positions[i % positions.length]);
      return device.tensor(sums, [shape[0], values.length / shape[0] / shape.at(-1)!, shape.at(-1)!]);
    };
    return { expected, bounds, block, embedded };
  }

  it("SigLIP, all patches with each other", async () => {
    const { expected, bounds, block, embedded } = await open("siglip", "vision_model.vision_tower");
    const first = await block(0, [32, 86], ["fc1", "fc2"], { heads: heads("siglip") });
    const { attention, output } = first.forward(embedded("patch_embed"));
    expectClose(await attention.data(), expected("block0.attn").values, bounds("block0.attn"));
    expectClose(await output.data(), expected("block0").values, bounds("block0"));
  });

  it("SAM, in padded windows and over the grid, with relative positions", async () => {
    const prefix = "vision_model.vision_tower_high.vision_tower";
    const { expected, bounds, block, embedded } = await open("hybrid", prefix);
    const [side, window, width] = [16, 14, 32];
    const grid: Grid = [side, side];
    let x = embedded("sam.patch_embed");
    for (const index of [0, 1, 2, 3]) {
      const whole = index % 2 === 1;
      const config = {
        ...{ heads: heads("hybrid") },
        ...(whole ? { relative: grid } : { window, relative: [window, window] as const }),
      };
      const { attention, output } = (await block(index, [width, 128], ["lin1", "lin2"], config)).forward(
        x,
        grid,
      );
      const name = `sam.block${index}`;
      expectClose(await output.data(), expected(name).values, bounds(name));
      if (index === 0) {
        // Recorded window by window, what lies outside the grid included.
        const windows = expected("sam.block0.attn_windows").values;
        const tokens = Array.from({ length: side * side }, (_, token) => {
          const [y, x] = [Math.floor(token / side), token % side];
          const at = Math.floor(y / window) * 2 + Math.floor(x / window);
          const begin = ((at * window + (y % window)) * window + (x % window)) * width;
          return windows.subarray(begin, begin + width);
        });
        const inside = tokens.flatMap((row) => [...row]);
        expectClose(await attention.data(), inside, bounds("sam.block0.attn_windows"));
      }
      const { shape, values } = expected(name);
      x = device.tensor(values, [shape[0], side * side, width]);
    }
  });

  it("SAM's tables of other lengths", async () => {
    const folder = `${root}sam-rel-pos`;
    const [tables, expected] = await Promise.all(
      ["inputs", "expected"].map((name) => readFloats(`${folder}/${name}.safetensors`)),
    );
    const sizes = JSON.parse(readFileSync(`${folder}/inputs.json`, "utf8"));
    const { tolerance } = JSON.parse(readFileSync(`${folder}/meta.json`, "utf8"));
    for (const [name, { q, k }] of Object.entries<{ q: number; k: number }>(sizes)) {
      const { shape, values } = tables(name);
      const rows = 2 * Math.max(q, k) - 1;
      const table = await stretchTable(device.tensor(values, shape), rows).data();
      const found: number[] = [];
      for (let i = 0; i < q; i++) {
        for (let j = 0; j < k; j++) {
          const row = i * Math.max(k / q, 1) - j * Math.max(q / k, 1) + (k - 1) * Math.max(q / k, 1);
          found.push(...table.subarray(row * shape[1], (row + 1) * shape[1]));
        }
      }
      expectClose(found, expected(name).values, tolerance);
    }
  });
});

/** Heads of a case's tower; the high one of a hybrid. */
function heads(name: string): number {
  const { params } = JSON.parse(readFileSync(`${root}${name}/config.json`, "utf8")).vision_config;
  return (params.high_res_cfg ?? params).heads;
}
