/**
 * Products with 4-bit weights whose sums stay in 16 bits for a block, beside those that add four products at once: billions of
 * operations a second on one thread, in turn, with the vectors that Node joins or with those that browsers have. The rate is that which
 * one call in four exceeds; the ratio is of the two.
 * Options: --rounds N (60; fewer of 256 rows). `DEEPSEEK_TS_WIDE=0` leaves vectors apart.
 */
import { parseArgs } from "node:util";
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { quantizeInto } from "../src/tensor/ops/quantize.ts";
import { quantizedLinear } from "../src/tensor/ops/quantized-linear.ts";
import { QuantizedTensor } from "../src/tensor/quantized.ts";
import { Random } from "../src/tensor/random.ts";
import type { BenchmarkResult } from "./run.ts";
import { quartiles, table } from "./support/numbers.ts";

export const name = "quantized-sums";

const [N, K] = [2816, 2048];
const ROWS = [1, 2, 4, 8, 256];

async function side(pairSums: boolean) {
  const device = await createCpuDevice({ threads: 1, pairSums });
  const random = new Random(1);
  const noise = (rows: number) =>
    device.tensor(
      Float32Array.from({ length: rows * K }, () => random.uniform() - 0.5),
      [rows, K],
    );
  const weight = new QuantizedTensor(device, "q4", [N, K]);
  quantizeInto(weight, 0, 0, noise(N));
  return { device, weight, input: noise(ROWS.at(-1)!) };
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({ args, options: { rounds: { type: "string", default: "60" } } });
  const rounds = Number(values.rounds);
  const sides = [await side(false), await side(true)];
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const rows: string[][] = [["rows", "sums of four, GOP/s", "of two, GOP/s", "of two over four"]];
  for (const m of ROWS) {
    const times: number[][] = [[], []];
    for (let round = 0; round < (m > 32 ? rounds / 4 : rounds); round++) {
      for (const [i, { weight, input }] of sides.entries()) {
        using x = input.slice(0, m);
        const start = performance.now();
        quantizedLinear(x, weight).dispose();
        times[i].push(performance.now() - start);
      }
    }
    const [four, two] = times.map((each) => (2 * m * N * K) / quartiles(each)[0] / 1e6);
    metrics[`${m} rows, sums of four, GOP/s`] = four;
    metrics[`${m} rows, sums of two, GOP/s`] = two;
    ratios[`${m} rows, two over four`] = two / four;
    rows.push([String(m), four.toFixed(1), two.toFixed(1), (two / four).toFixed(2)]);
  }
  const { wide } = sides[0].device.backend as CpuBackend;
  log(`vectors of ${wide ? 256 : 128} bits, one thread`);
  for (const line of table(rows)) log(line);
  for (const { device } of sides) await device[Symbol.asyncDispose]();
  return { metrics, ratios };
}
