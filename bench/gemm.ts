/**
 * Matrix products: squares, the shapes of training in their three forms, experts and the few rows of decoding,
 * compared with what the bare inner loop computes and what memory delivers in the same moment. Runs on a device with all
 * threads; rounds are interleaved, figures are medians.
 */
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { groupedLinear } from "../src/tensor/ops/grouped-matmul.ts";
import { type MatrixView, matmulInto, type ProductSize } from "../src/tensor/ops/matmul.ts";
import { Random } from "../src/tensor/random.ts";
import { Tape } from "../src/tensor/tape.ts";
import type { Device, Tensor } from "../src/tensor/tensor.ts";
import { median } from "./support/numbers.ts";
import { peakKernel, readKernel } from "./support/peaks.ts";

export const name = "gemm";

const ROUNDS = 5;
const TOKENS = 2048;
const SQUARES = [256, 512, 1024, 2048];
// [n, k] of a layer's weight.
const LAYERS = [
  [256, 256],
  [512, 256],
  [4096, 256],
  [176, 256],
  [192, 96],
  [256, 64],
  [256, 128],
  [1408, 256],
  [256, 704],
];
const EXPERTS = [
  [256, 256],
  [256, 128],
];
const GROUPS = 32;

interface Case {
  readonly name: string;
  /** Multiply-adds, or bytes read, of one run. */
  readonly amount: number;
  readonly unit: "GFLOP/s" | "GB/s";
  run(): void;
  readonly rates: number[];
}

function rate(each: Case): number {
  // Long enough for the clock, short enough that other programs seldom cut in.
  let best = Number.POSITIVE_INFINITY;
  const begin = performance.now();
  for (let r = 0; r < 2 || (r < 20 && performance.now() - begin < 20); r++) {
    const start = performance.now();
    each.run();
    best = Math.min(best, performance.now() - start);
  }
  return ((each.unit === "GFLOP/s" ? 2 : 1) * each.amount) / best / 1e6;
}

function product(
  device: Device,
  label: string,
  size: ProductSize,
  a: MatrixView,
  b: MatrixView,
  c: MatrixView,
): Case {
  return {
    name: label,
    amount: size.m * size.n * size.k,
    unit: "GFLOP/s",
    run: () => matmulInto(device, size, a, b, c),
    rates: [],
  };
}

function cases(device: Device): Case[] {
  const random = new Random(1);
  const noise = Float32Array.from({ length: 1 << 16 }, () => random.uniform() - 0.5);
  const make = (length: number, dtype: "f32" | "bf16" = "f32"): Tensor => {
    const values = new Float32Array(length);
    for (let i = 0; i < length; i += noise.length)
      values.set(noise.subarray(0, Math.min(noise.length, length - i)), i);
    return device.tensor(values, [length], dtype);
  };
  const a = make(TOKENS * 4096);
  const b = make(TOKENS * 4096);
  const c = make(TOKENS * 4096);
  const half = make(TOKENS * 4096, "bf16");
  const list: Case[] = [];
  for (const n of SQUARES) {
    const forms = { NT: [n, 1, 1, n], NN: [n, 1, n, 1], TN: [1, n, n, 1] };
    for (const [form, [rowA, columnA, rowB, columnB]] of Object.entries(forms)) {
      if (n === 2048 && form !== "NT") continue;
      const left = { tensor: a, row: rowA, column: columnA };
      const right = { tensor: b, row: rowB, column: columnB };
      list.push(
        product(device, `square ${n} ${form}`, { m: n, n, k: n }, left, right, { tensor: c, row: n }),
      );
    }
  }
  const m = TOKENS;
  for (const [n, k] of LAYERS) {
    const x = { tensor: a, row: k };
    const dy = { tensor: b, row: n };
    list.push(
      product(
        device,
        `layer ${n}x${k} y`,
        { m, n, k },
        x,
        { tensor: b, row: 1, column: k },
        { tensor: c, row: n },
      ),
      product(device, `layer ${n}x${k} dx`, { m, n: k, k: n }, dy, x, { tensor: c, row: k }),
      product(device, `layer ${n}x${k} dw`, { m: n, n: k, k: m }, { ...dy, row: 1, column: n }, x, {
        tensor: c,
        row: k,
      }),
    );
  }
  const counts = Array.from({ length: GROUPS + 1 }, (_, i) => i * 256);
  const offsets = device.tensor(counts, [GROUPS + 1], "i32");
  for (const [n, k] of EXPERTS) {
    const rows = GROUPS * 256;
    const x = a.slice(0, rows * k).view([rows, k]);
    const weight = b.slice(0, GROUPS * n * k).view([GROUPS, n, k]);
    const seed = c.slice(0, rows * n).view([rows, n]);
    const amount = rows * n * k;
    list.push({
      name: `experts ${GROUPS} of ${n}x${k} y`,
      amount,
      unit: "GFLOP/s",
      run: () => groupedLinear(x, offsets, weight).dispose(),
      rates: [],
    });
    const trained = b.slice(0, GROUPS * n * k).view([GROUPS, n, k]);
    const input = a.slice(0, rows * k).view([rows, k]);
    trained.requiresGrad = true;
    input.requiresGrad = true;
    list.push({
      name: `experts ${GROUPS} of ${n}x${k} y, dx, dw`,
      amount: 3 * amount,
      unit: "GFLOP/s",
      run: () => {
        using tape = new Tape(device);
        tape.backwardFrom([groupedLinear(input, offsets, trained)], [seed]);
        for (const t of [trained, input]) {
          t.grad?.dispose();
          t.grad = null;
        }
      },
      rates: [],
    });
  }
  for (const rows of [1, 4, 8]) {
    for (const [dtype, w] of [
      ["f32", b],
      ["bf16", half],
    ] as const) {
      const [n, k] = [4096, 2048];
      const right = { tensor: w, row: 1, column: k };
      list.push({
        name: `${rows} rows, ${n}x${k} ${dtype}`,
        amount: n * k * (dtype === "f32" ? 4 : 2),
        unit: "GB/s",
        run: () => matmulInto(device, { m: rows, n, k }, { tensor: a, row: k }, right, { tensor: c, row: n }),
        rates: [],
      });
    }
  }
  return list;
}

function peaks(device: Device): Case[] {
  const x = device.zeros([1 << 24]);
  const y = device.empty([64]);
  const inner = (wide: 0 | 1): Case => ({
    name: `inner loop, ${wide ? "6x16" : "6x8"}`,
    amount: 32 * 20 * 6 * 16 * 256,
    unit: "GFLOP/s",
    run: () => peakKernel.run(device, { c: y }, { units: 32, repeats: 20, wide }),
    rates: [],
  });
  const read: Case = {
    name: "memory read",
    amount: x.size * 4,
    unit: "GB/s",
    run: () => readKernel.run(device, { x, y }, { units: 64, n: x.size / 64 }),
    rates: [],
  };
  return [inner(0), inner(1), read];
}

/** Prints the table and returns medians (GFLOP/s, GB/s) and their shares of the peaks of the same round. */
export async function run(
  log: (line: string) => void,
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  await using single = await createCpuDevice({ threads: 1 });
  await using device = await createCpuDevice();
  const alone = peaks(single).slice(0, 2);
  const bare = peaks(device);
  const list = cases(device);
  // Engines compile in stages: the first rounds only warm up.
  for (const each of [...alone, ...bare, ...list]) rate(each);
  const shares = new Map<Case, number[]>(list.map((each) => [each, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const each of alone) each.rates.push(rate(each));
    for (const each of bare) each.rates.push(rate(each));
    const now = () => Math.max(...bare.slice(0, 2).map(rate));
    const peak = now();
    for (const each of list) {
      const found = rate(each);
      each.rates.push(found);
      shares.get(each)!.push(found / (each.unit === "GFLOP/s" ? peak : bare[2].rates.at(-1)!));
    }
  }
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const show = (label: string, each: Case, share?: number) => {
    const value = median(each.rates);
    metrics[`${label} (${each.unit})`] = Number(value.toFixed(1));
    const low = Math.min(...each.rates).toFixed(1);
    const high = Math.max(...each.rates).toFixed(1);
    const part = share === undefined ? "" : `${(100 * share).toFixed(0).padStart(4)} %`;
    log(
      `${label.padEnd(40)} ${value.toFixed(1).padStart(7)} ${each.unit.padEnd(8)}${part.padEnd(7)} ${low} to ${high}`,
    );
  };
  log(
    `matrix products, ${device.backend.threads} threads, median of ${ROUNDS}, share of the peak of the round`,
  );
  for (const each of alone) show(`${each.name}, 1 thread`, each);
  for (const each of bare) show(`${each.name}, ${device.backend.threads} threads`, each);
  for (const each of list) {
    const share = median(shares.get(each)!);
    ratios[each.name] = Number(share.toFixed(3));
    show(each.name, each, share);
  }
  return { metrics, ratios };
}
