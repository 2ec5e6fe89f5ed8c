/**
 * Attention: forward, backward and decode speed. FLOPs count the causal half only; 5 products backward.
 * Options: --threads N, --baseline (kernels without relaxed SIMD), --only TEXT (shapes whose name contains it).
 */
import { parseArgs } from "node:util";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { attention } from "../src/tensor/ops/attention.ts";
import { Tape } from "../src/tensor/tape.ts";
import type { Device, Tensor } from "../src/tensor/tensor.ts";

export const name = "attention";

interface Shape {
  name: string;
  B: number;
  T: number;
  S: number;
  H: number;
  kv: number;
  D: number;
  Dv: number;
  /** Values are channels of the keys. */
  absorbed?: boolean;
}

const training: Shape[] = [
  { name: "small training", B: 8, T: 256, S: 256, H: 4, kv: 4, D: 48, Dv: 32 },
  { name: "grouped", B: 2, T: 512, S: 512, H: 8, kv: 2, D: 64, Dv: 64 },
  { name: "MLA 2K", B: 1, T: 2048, S: 2048, H: 16, kv: 16, D: 192, Dv: 128 },
];
const decoding: Shape[] = [
  { name: "MHA decode 4K", B: 1, T: 1, S: 4096, H: 16, kv: 16, D: 128, Dv: 128 },
  { name: "GQA decode 8K", B: 1, T: 1, S: 8192, H: 32, kv: 4, D: 128, Dv: 128 },
  { name: "absorbed 16 heads 8K", B: 1, T: 1, S: 8192, H: 16, kv: 1, D: 576, Dv: 512, absorbed: true },
  { name: "absorbed 128 heads 4K", B: 1, T: 1, S: 4096, H: 128, kv: 1, D: 576, Dv: 512, absorbed: true },
  { name: "64K keys, 4 queries", B: 1, T: 4, S: 65536, H: 16, kv: 1, D: 80, Dv: 64, absorbed: true },
];

function noise(device: Device, ...shape: number[]): Tensor {
  const size = shape.reduce((a, n) => a * n, 1);
  let state = 1;
  const values = Float32Array.from({ length: size }, () => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return state / 2 ** 30 - 1;
  });
  return device.tensor(values, shape);
}

interface Times {
  readonly best: number;
  readonly median: number;
}

/** The fastest and the median of `runs` times in milliseconds, after one that warms up. */
async function time(body: () => Promise<number>, runs: number): Promise<Times> {
  const times: number[] = [];
  for (let i = 0; i <= runs; i++) {
    const ms = await body();
    if (i > 0) times.push(ms);
  }
  times.sort((a, b) => a - b);
  return { best: times[0], median: times[times.length >> 1] };
}

/** Prints time, GFLOP/s and GB/s (keys and values read once) of each shape. */
export async function run(
  log: (line: string) => void,
  args: string[] = [],
): Promise<{ metrics: Record<string, number> }> {
  const { values } = parseArgs({
    args,
    options: {
      threads: { type: "string" },
      baseline: { type: "boolean", default: false },
      only: { type: "string", default: "" },
    },
  });
  await using device = await createCpuDevice({
    ...(values.threads ? { threads: Number(values.threads) } : {}),
    ...(values.baseline ? { relaxed: false } : {}),
  });
  const metrics: Record<string, number> = {};
  const report = (label: string, flops: number, bytes: number, { best, median }: Times) => {
    const gflops = (flops / best / 1e6).toFixed(1);
    const gbytes = (bytes / best / 1e6).toFixed(1);
    metrics[`${label}, ms`] = Number(median.toFixed(3));
    metrics[`${label}, GFLOP/s`] = Number(gflops);
    metrics[`${label}, GB/s`] = Number(gbytes);
    log(
      `${label.padEnd(32)} ${median.toFixed(2).padStart(9)} ms  best ${best.toFixed(2).padStart(9)} ms ` +
        `${gflops.padStart(7)} GFLOP/s ${gbytes.padStart(6)} GB/s`,
    );
  };

  for (const { name: label, B, T, S, H, kv, D, Dv, absorbed } of [...training, ...decoding]) {
    if (!label.includes(values.only)) continue;
    using _scope = device.scope();
    const pairs = (B * H * T * (S - T + 1 + S)) / 2;
    const [q, k] = [noise(device, B, T, H, D), noise(device, B, S, kv, D)];
    const v = absorbed ? null : noise(device, B, S, kv, Dv);
    const options = { scale: D ** -0.5, valueWidth: Dv };
    const bytes = 4 * B * S * kv * (D + (v ? Dv : 0));
    const runs = Math.max(3, Math.min(50, Math.round(4e9 / (pairs * (D + Dv)))));
    const forward = async () => {
      using scope = device.scope();
      const begin = performance.now();
      await scope
        .keep(attention(q, k, v, options))
        .slice(0, 1)
        .data();
      return performance.now() - begin;
    };
    report(label, 2 * pairs * (D + Dv), bytes, await time(forward, runs));
    if (T < S || !v) continue;
    const inputs = [q, k, v];
    for (const x of inputs) x.requiresGrad = true;
    const dy = noise(device, B, T, H, Dv);
    const clear = () => {
      for (const x of inputs) {
        x.grad?.dispose();
        x.grad = null;
      }
    };
    const backward = async () => {
      clear();
      using tape = new Tape(device);
      const y = attention(q, k, v, options);
      await tape.keep(y).slice(0, 1).data();
      const begin = performance.now();
      tape.backwardFrom([y], [dy]);
      await q.grad!.slice(0, 1).data();
      return performance.now() - begin;
    };
    report(`${label}, backward`, 2 * pairs * (3 * D + 2 * Dv), bytes, await time(backward, runs));
    clear();
  }
  return { metrics };
}
