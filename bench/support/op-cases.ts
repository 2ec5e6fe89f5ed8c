/**
 * Ops against their limits: products against the bare inner loop, everything else against a copy of as many bytes as one pass
 * over its arrays takes. Limits are measured in every round beside the ops; figures are medians over rounds.
 */
import type { CpuBackend } from "../../src/tensor/cpu/backend.ts";
import { copy } from "../../src/tensor/ops/memory.ts";
import { Random } from "../../src/tensor/random.ts";
import { Tape } from "../../src/tensor/tape.ts";
import { type Device, Scope, sizeOf, type Tensor } from "../../src/tensor/tensor.ts";
import type { BenchmarkResult } from "../run.ts";
import { median } from "./numbers.ts";
import { peakKernel } from "./peaks.ts";

const ROUNDS = 5;
/** Milliseconds that a case takes in a round, at least two runs. */
const BUDGET = 40;
/** Floats of the copy that others are compared with. */
const COPIED = 4096 * 768;

type Limit = "inner loop" | "copy";

interface Case {
  readonly label: string;
  /** Multiplications and additions, or bytes of every array once. */
  readonly amount: number;
  readonly limit: Limit;
  /** Milliseconds of one run. */
  run(): number;
}

/** Milliseconds of the fastest run of a case. */
function fastest(run: () => number): number {
  let best = Number.POSITIVE_INFINITY;
  const begin = performance.now();
  for (let r = 0; r < 2 || performance.now() - begin < BUDGET; r++) best = Math.min(best, run());
  return best;
}

export class OpCases {
  readonly device: Device;
  readonly #cases: Case[] = [];
  readonly #noise: Float32Array;

  constructor(device: Device) {
    this.device = device;
    const random = new Random(1);
    this.#noise = Float32Array.from({ length: 1 << 16 }, () => 4 * random.uniform() - 2);
  }

  /** Random values from -2 to 2. */
  make(...shape: number[]): Tensor {
    const values = new Float32Array(sizeOf(shape));
    const noise = this.#noise;
    for (let i = 0; i < values.length; i += noise.length)
      values.set(noise.subarray(0, Math.min(noise.length, values.length - i)), i);
    return this.device.tensor(values, shape);
  }

  #timed(body: () => void): number {
    using _scope = new Scope(this.device);
    const start = performance.now();
    body();
    return performance.now() - start;
  }

  forward(label: string, limit: Limit, amount: number, op: () => unknown): void {
    this.#cases.push({ label, limit, amount, run: () => this.#timed(() => this.device.noGrad(op)) });
  }

  /** The backward pass of an op for the gradients of `inputs`, which are written, not added to. */
  backward(label: string, limit: Limit, amount: number, inputs: readonly Tensor[], op: () => Tensor): void {
    const { device } = this;
    const seed = device.noGrad(op);
    const run = () => {
      for (const input of inputs) input.requiresGrad = true;
      using tape = new Tape(device);
      const y = op();
      const start = performance.now();
      tape.backwardFrom([y], [seed]);
      const ms = performance.now() - start;
      for (const input of inputs) {
        input.grad?.dispose();
        input.grad = null;
        input.requiresGrad = false;
      }
      return ms;
    };
    this.#cases.push({ label, limit, amount, run });
  }

  /** Measures all cases in rounds. */
  measure(log: (line: string) => void): BenchmarkResult {
    const { device } = this;
    const wide = (device.backend as CpuBackend).wide ? 1 : 0;
    const cases = this.#cases;
    const [source, target] = [this.make(COPIED), device.empty([COPIED])];
    const results = device.empty([64]);
    const sizes = { units: results.size, repeats: 12, wide };
    const loop = () => this.#timed(() => peakKernel.run(device, { c: results }, sizes));
    const loopAmount = results.size * sizes.repeats * 2 * 6 * 16 * 256;
    const limits: Record<Limit, number[]> = { "inner loop": [], copy: [] };
    const rates = cases.map((): number[] => []);
    const shares = cases.map((): number[] => []);
    for (let round = 0; round < ROUNDS; round++) {
      let limit = 0;
      let measured: Limit | null = null;
      cases.forEach((each, i) => {
        // The limit is taken anew before every fourth case of its kind: the machine's speed changes within a round.
        if (measured !== each.limit || i % 4 === 0) {
          measured = each.limit;
          limit =
            measured === "copy"
              ? (8 * COPIED) / fastest(() => this.#timed(() => copy(source, target)))
              : loopAmount / fastest(loop);
          limits[measured].push(limit / 1e6);
        }
        const rate = each.amount / fastest(each.run);
        rates[i].push(rate / 1e6);
        shares[i].push(rate / limit);
      });
    }
    const metrics: Record<string, number> = {
      "inner loop GFLOP/s": median(limits["inner loop"]),
      "copy 25 MB GB/s": median(limits.copy),
    };
    const ratios: Record<string, number> = {};
    for (const [name, value] of Object.entries(metrics)) log(`${name.padEnd(66)} ${value.toFixed(1)}`);
    cases.forEach(({ label, limit, amount }, i) => {
      const rate = median(rates[i]);
      const ms = amount / rate / 1e6;
      const unit = limit === "copy" ? "GB/s" : "GFLOP/s";
      metrics[`${label} ms`] = ms;
      metrics[`${label} ${unit}`] = rate;
      ratios[`${label} / ${limit}`] = median(shares[i]);
      log(
        `${label.padEnd(66)} ${ms.toFixed(2).padStart(8)} ms ${rate.toFixed(1).padStart(7)} ${unit.padEnd(8)} ` +
          `${median(shares[i]).toFixed(2)} of ${limit}`,
      );
    });
    return { metrics, ratios };
  }
}
