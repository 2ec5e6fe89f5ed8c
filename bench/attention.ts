/**
 * Attention: forward, backward and decode speed, caches in f32 and f16, several sequences at once, prefill block by
 * block; vision towers with windows and relative positions. FLOPs count the causal half only, if there is one; 5 products
 * backward. The limit of a cached form or a tower is the time that its FLOPs take at the bare inner loop's speed or its bytes
 * at that of reading memory, whichever is longer, both measured in the same rounds.
 * Options: --threads N, --baseline (kernels without relaxed SIMD), --only TEXT (shapes whose name contains it).
 */
import { parseArgs } from "node:util";
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { attention } from "../src/tensor/ops/attention.ts";
import { attentionBidirectional } from "../src/tensor/ops/attention-bidirectional.ts";
import { AttentionState, finishAttention, foldAttention } from "../src/tensor/ops/attention-fold.ts";
import { attentionSequences } from "../src/tensor/ops/attention-sequences.ts";
import { copy } from "../src/tensor/ops/memory.ts";
import { Tape } from "../src/tensor/tape.ts";
import { type Device, Scope, type Tensor } from "../src/tensor/tensor.ts";
import { peakKernel, readKernel } from "./support/peaks.ts";

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

/** Vision towers: one image, tokens of the grid and the window, relative positions of SAM. */
const towers = [
  { name: "SigLIP-L 576 tokens", side: 24, window: 24, H: 16, D: 64, relative: false },
  { name: "SigLIP-SO400M 729 tokens", side: 27, window: 27, H: 16, D: 72, relative: false },
  { name: "SAM-B global, 4096 tokens", side: 64, window: 64, H: 12, D: 64, relative: true },
  { name: "SAM-B 25 windows of 196", side: 64, window: 14, H: 12, D: 64, relative: true },
];

/** Steps of decoding and prefill over caches of latents (width 576, values 512) and of grouped keys. */
const cached = [1024, 8192, 65_536].flatMap((S) =>
  (["f32", "f16"] as const).flatMap((dtype) => [
    { name: `latents ${S / 1024}K ${dtype}, 16 heads`, S, dtype, H: 16, sequences: 1 },
    { name: `latents ${S / 1024}K ${dtype}, 128 heads`, S, dtype, H: 128, sequences: 1 },
  ]),
);
const many = [
  { name: "latents 1K f16, 16 heads, 32 sequences", S: 1024, dtype: "f16" as const, H: 16, sequences: 32 },
];

/** Measures, with every call, what the inner loop computes and what memory delivers; keeps the best of each. */
class Limits {
  readonly #device: Device;
  readonly #x: Tensor;
  readonly #y: Tensor;
  gflops = 0;
  gbytes = 0;

  constructor(device: Device) {
    this.#device = device;
    this.#x = device.zeros([2 ** 24]);
    this.#y = device.empty([1024]);
  }

  measure(wide: boolean): void {
    const begin = performance.now();
    peakKernel.run(this.#device, { c: this.#y }, { units: 32, repeats: 20, wide: wide ? 1 : 0 });
    const middle = performance.now();
    readKernel.run(this.#device, { x: this.#x, y: this.#y }, { units: 1024, n: 16_384 });
    const end = performance.now();
    this.gflops = Math.max(this.gflops, (32 * 20 * 2 * 6 * 16 * 256) / (middle - begin) / 1e6);
    this.gbytes = Math.max(this.gbytes, 2 ** 26 / (end - middle) / 1e6);
  }
}

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
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
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
  const ratios: Record<string, number> = {};
  const limits = new Limits(device);
  const wide = (device.backend as CpuBackend).wide;
  // Few rounds of a long shape would not meet a moment of full speed.
  for (let i = 0; i < 50; i++) limits.measure(wide);
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
    using _scope = new Scope(device);
    const pairs = (B * H * T * (S - T + 1 + S)) / 2;
    const [q, k] = [noise(device, B, T, H, D), noise(device, B, S, kv, D)];
    const v = absorbed ? null : noise(device, B, S, kv, Dv);
    const options = { scale: D ** -0.5, valueWidth: Dv };
    const bytes = 4 * B * S * kv * (D + (v ? Dv : 0));
    const runs = Math.max(3, Math.min(50, Math.round(4e9 / (pairs * (D + Dv)))));
    const forward = async () => {
      using scope = new Scope(device);
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

  const limited = async (label: string, flops: number, bytes: number, body: () => void, runs: number) => {
    const times = await time(async () => {
      limits.measure(wide);
      using _scope = new Scope(device);
      const begin = performance.now();
      body();
      return performance.now() - begin;
    }, runs);
    report(label, flops, bytes, times);
    const share = Math.max(flops / limits.gflops, bytes / limits.gbytes) / 1e6 / times.best;
    ratios[`${label}, of the limit`] = Number(share.toFixed(3));
    log(`${"".padEnd(32)} ${share.toFixed(2)} of the limit`);
  };
  for (const { name: label, side, window, H, D, relative } of towers) {
    if (!label.includes(values.only)) continue;
    using _scope = new Scope(device);
    const qkv = noise(device, 1, side ** 2, 3, H, D);
    const [padding, rows, columns] = [
      noise(device, 3, H, D),
      ...[0, 1].map(() => noise(device, 2 * window - 1, D)),
    ];
    const options = {
      ...{ scale: D ** -0.5, grid: [side, side] as const, window: [window, window] as const, padding },
      ...(relative && { relative: { rows, columns } }),
    };
    // Products of queries with keys and values; what the tables take is not counted.
    const flops = 4 * side ** 2 * window ** 2 * H * D;
    const bytes = 4 * side ** 2 * 4 * H * D;
    const runs = Math.max(5, Math.min(40, Math.round(4e10 / flops)));
    await limited(label, flops, bytes, () => void attentionBidirectional(qkv, options), runs);
    const inputs = [qkv, padding, rows, columns];
    for (const x of inputs) x.requiresGrad = true;
    const dy = noise(device, 1, side ** 2, H, D);
    const backward = await time(
      async () => {
        using tape = new Tape(device);
        const y = attentionBidirectional(qkv, options);
        await tape.keep(y).slice(0, 1).data();
        limits.measure(wide);
        const begin = performance.now();
        tape.backwardFrom([y], [dy]);
        await qkv.grad!.slice(0, 1).data();
        const ms = performance.now() - begin;
        for (const x of inputs) {
          x.grad?.dispose();
          x.grad = null;
        }
        return ms;
      },
      Math.max(3, runs >> 2),
    );
    report(`${label}, backward`, 2.5 * flops, bytes, backward);
    const share = (2.5 * flops) / limits.gflops / 1e6 / backward.best;
    ratios[`${label}, backward, of the limit`] = Number(share.toFixed(3));
    log(`${"".padEnd(32)} ${share.toFixed(2)} of the limit`);
  }

  const [D, Dv] = [576, 512];
  for (const { name: label, S, dtype, H, sequences } of [...cached, ...many]) {
    if (!label.includes(values.only)) continue;
    using _scope = new Scope(device);
    const keys = noise(device, S, D);
    const caches = Array.from({ length: sequences }, () => {
      const own = copy(keys, device.empty([S, D], dtype));
      return { runs: [{ keys: own, values: null, row: 0, count: S }], rows: 1, length: S };
    });
    const q = noise(device, sequences, H, D);
    const options = { scale: D ** -0.5, keyValueHeads: 1, valueWidth: Dv };
    const flops = 2 * sequences * H * S * (D + Dv);
    const bytes = sequences * S * D * (dtype === "f32" ? 4 : 2);
    const step = () => void attentionSequences(q, caches, options);
    await limited(label, flops, bytes, step, Math.max(3, Math.min(30, Math.round(2e10 / flops))));
  }

  // A chunk of 512 queries after 8K tokens: expanded keys and values, 2K at a time.
  const [T, S, H, block] = [512, 8192, 16, 2048];
  const label = "folded prefill 512 after 8K";
  if (label.includes(values.only)) {
    using _scope = new Scope(device);
    const q = noise(device, 1, T, H, 192);
    const [k, v] = [noise(device, 1, block, H, 192), noise(device, 1, block, H, 128)];
    const body = () => {
      const state = new AttentionState(device, 1, T, H, 128);
      for (let firstKey = 0; firstKey < S; firstKey += block) {
        foldAttention(state, q, k, v, { scale: 192 ** -0.5, firstKey, firstQuery: S });
      }
      finishAttention(state);
    };
    await limited(label, 2 * T * S * H * (192 + 128), 4 * S * H * (192 + 128), body, 3);
  }
  return { metrics, ratios };
}
