/**
 * Products with quantized weights: bytes of weights read per second where a few tokens are decoded, compared with what
 * memory delivers in the same round, and multiply-adds per second over many tokens, compared with f32 weights.
 *
 * Matrices are 2816 x 2048 (experts 2 x 1408 x 2048, 6 of 64) and used in turn, more than 500 MB in total, so that no
 * cache holds them. All threads; rounds are interleaved, figures are medians. What it does not show: the rest of a
 * model (attention, norms, TypeScript), and bandwidth on a machine whose other cores are busy.
 */
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { linear } from "../src/tensor/ops/linear.ts";
import { quantizeInto } from "../src/tensor/ops/quantize.ts";
import { quantizedExperts } from "../src/tensor/ops/quantized-experts.ts";
import { quantizedLinear } from "../src/tensor/ops/quantized-linear.ts";
import { type QuantFormat, QuantizedTensor } from "../src/tensor/quantized.ts";
import { Random } from "../src/tensor/random.ts";
import { type Device, Scope, type Shape, type Tensor } from "../src/tensor/tensor.ts";
import { median } from "./support/numbers.ts";
import { readKernel } from "./support/peaks.ts";

export const name = "quantized";

const ROUNDS = 5;
const N = 2816;
const K = 2048;
const BYTES = 520e6;
const EXPERTS = 64;
const CHOSEN = 6;

interface Case {
  readonly label: string;
  readonly unit: "GB/s" | "GFLOP/s" | "M weights/s";
  /** Runs for a while; returns the rate. */
  run(): number;
  readonly rates: number[];
}

/**
 * Calls `each(0)`, `each(1)` .. for about `milliseconds`; `amount` by the time of a call that three in four exceed
 * (other programs cut into many), in 1e9 per second.
 */
function rate(amount: number, each: (i: number) => void, milliseconds: number): number {
  const times: number[] = [];
  const begin = performance.now();
  for (let i = 0; i < 4 || performance.now() - begin < milliseconds; i++) {
    const start = performance.now();
    each(i);
    times.push(performance.now() - start);
  }
  return amount / times.sort((a, b) => a - b)[times.length >> 2] / 1e6;
}

function noise(device: Device, shape: Shape): Tensor {
  const random = new Random(1);
  const size = shape.reduce((a, b) => a * b, 1);
  return device.tensor(
    Float32Array.from({ length: size }, () => random.uniform() - 0.5),
    shape,
  );
}

/** As many tensors of `shape` as fill BYTES, with the same values. */
async function copies(device: Device, format: QuantFormat, shape: Shape): Promise<QuantizedTensor[]> {
  const [rows, columns] = shape.slice(-2);
  using source = new QuantizedTensor(device, format, [rows, columns]);
  using values = noise(device, [rows, columns]);
  quantizeInto(source, 0, 0, values);
  const bytes = await source.shards[0].tiles.data();
  const list: QuantizedTensor[] = [];
  for (let used = 0; used < BYTES; ) {
    const weight = new QuantizedTensor(device, format, shape);
    for (const { begin, end, tiles } of weight.shards) {
      for (let g = 0; g < end - begin; g++) tiles.set(bytes, g * bytes.length);
    }
    used += weight.bytes;
    list.push(weight);
  }
  return list;
}

async function cases(device: Device): Promise<{ list: Case[]; read: Case }> {
  const list: Case[] = [];
  const add = (label: string, unit: Case["unit"], run: () => number) =>
    list.push({ label, unit, run, rates: [] });
  const x = noise(device, [256, K]);
  const rows = (m: number) => x.slice(0, m);
  for (const format of ["q4", "q8"] as const) {
    const weights = await copies(device, format, [N, K]);
    const next = (i: number) => weights[i % weights.length];
    for (const m of [1, 2, 4, 8]) {
      const input = rows(m);
      add(`${format}, ${m} tokens`, "GB/s", () =>
        rate(weights[0].bytes, (i) => quantizedLinear(input, next(i)).dispose(), 120),
      );
    }
    for (const m of [24, 256]) {
      const input = rows(m);
      add(`${format}, ${m} tokens`, "GFLOP/s", () =>
        rate(2 * m * N * K, (i) => quantizedLinear(input, next(i)).dispose(), 120),
      );
    }
    const gateUps = await copies(device, format, [EXPERTS, N, K]);
    const downs = await copies(device, format, [EXPERTS, K, N / 2]);
    const routing = Array.from({ length: 16 }, (_, r) => ({
      ids: device.tensor(
        Array.from({ length: CHOSEN }, (_, c) => c * 10 + (r % 10)),
        [1, CHOSEN],
        "i32",
      ),
      weights: noise(device, [1, CHOSEN]),
    }));
    const input = rows(1);
    const used = (CHOSEN / EXPERTS) * (gateUps[0].bytes + downs[0].bytes);
    add(`${format}, experts, 1 token`, "GB/s", () =>
      rate(
        used,
        (i) => {
          using _scope = new Scope(device);
          const [up, down] = [gateUps[i % gateUps.length], downs[i % downs.length]];
          quantizedExperts(input, routing[(i >> 1) % routing.length], up, down);
        },
        120,
      ),
    );
    const source = noise(device, [N, K]);
    add(`${format}, quantizing`, "M weights/s", () =>
      rate(N * K * 1e3, (i) => quantizeInto(next(i), 0, 0, source), 200),
    );
  }
  const floats = Array.from({ length: 4 }, () => noise(device, [N, K]));
  for (const m of [24, 256]) {
    const input = rows(m);
    add(`f32, ${m} tokens`, "GFLOP/s", () =>
      rate(2 * m * N * K, (i) => linear(input, floats[i % 4]).dispose(), 120),
    );
  }
  const memory = device.zeros([1 << 25]);
  const sums = device.empty([64]);
  const read: Case = {
    label: "memory read",
    unit: "GB/s",
    run: () =>
      rate(
        memory.size * 4,
        () => readKernel.run(device, { x: memory, y: sums }, { units: 64, n: memory.size / 64 }),
        60,
      ),
    rates: [],
  };
  return { list, read };
}

/** Prints the table and returns medians and the shares of bandwidth that decoding reaches. */
export async function run(
  log: (line: string) => void,
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  await using device = await createCpuDevice();
  const { list, read } = await cases(device);
  // Engines compile in stages: the first round only warms up.
  for (const each of [read, ...list]) each.run();
  const shares = new Map<Case, number[]>(list.map((each) => [each, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const each of list) {
      const peak = read.run();
      read.rates.push(peak);
      const found = each.run();
      each.rates.push(found);
      shares.get(each)!.push(found / peak);
    }
  }
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  log(`quantized products, ${device.backend.threads} threads, median of ${ROUNDS}; share of memory reads`);
  for (const each of [read, ...list]) {
    const value = median(each.rates);
    metrics[`${each.label} (${each.unit})`] = Number(value.toFixed(1));
    const reads = each.unit === "GB/s" && each !== read;
    const share = reads ? median(shares.get(each)!) : 0;
    if (reads) ratios[each.label] = Number(share.toFixed(3));
    const [low, high] = [Math.min(...each.rates), Math.max(...each.rates)];
    log(
      `${each.label.padEnd(28)} ${value.toFixed(1).padStart(8)} ${each.unit.padEnd(12)}` +
        `${reads ? `${(100 * share).toFixed(0)} %` : ""}`.padEnd(7) +
        `${low.toFixed(1)} to ${high.toFixed(1)}`,
    );
  }
  return { metrics, ratios };
}
