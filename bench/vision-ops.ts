/**
 * The ops of vision towers at their shapes (SigLIP-L, SAM-B and its neck), each against its limit: products against the
 * bare inner loop, everything else against a copy of as many bytes as one pass over its arrays takes. Limits are measured
 * in every round beside the ops; figures are medians over rounds.
 */
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { conv2d } from "../src/tensor/ops/conv2d.ts";
import { add } from "../src/tensor/ops/elementwise.ts";
import { gelu } from "../src/tensor/ops/gelu.ts";
import { addLayerNorm, layerNorm } from "../src/tensor/ops/layer-norm.ts";
import { linear } from "../src/tensor/ops/linear.ts";
import { copy } from "../src/tensor/ops/memory.ts";
import { multiply } from "../src/tensor/ops/multiply.ts";
import { permute } from "../src/tensor/ops/permute.ts";
import { pixelShuffle, unfold } from "../src/tensor/ops/pixel-shuffle.ts";
import { resize } from "../src/tensor/ops/resize.ts";
import { Random } from "../src/tensor/random.ts";
import { Tape } from "../src/tensor/tape.ts";
import { Scope, sizeOf, type Tensor } from "../src/tensor/tensor.ts";
import type { BenchmarkResult } from "./run.ts";
import { median } from "./support/numbers.ts";
import { peakKernel } from "./support/peaks.ts";

export const name = "vision-ops";

const ROUNDS = 5;
/** Milliseconds that a case takes in a round, at least two runs. */
const BUDGET = 40;

interface Case {
  readonly label: string;
  /** Multiplications and additions, or bytes of every array once. */
  readonly amount: number;
  readonly limit: "inner loop" | "copy";
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

export async function run(log: (line: string) => void): Promise<BenchmarkResult> {
  await using device = await createCpuDevice();
  const wide = (device.backend as CpuBackend).wide ? 1 : 0;
  const random = new Random(1);
  const noise = Float32Array.from({ length: 1 << 16 }, () => 4 * random.uniform() - 2);
  const make = (...shape: number[]): Tensor => {
    const values = new Float32Array(sizeOf(shape));
    for (let i = 0; i < values.length; i += noise.length)
      values.set(noise.subarray(0, Math.min(noise.length, values.length - i)), i);
    return device.tensor(values, shape);
  };
  const timed = (body: () => void): number => {
    using _scope = new Scope(device);
    const start = performance.now();
    body();
    return performance.now() - start;
  };
  const cases: Case[] = [];
  const forward = (label: string, limit: Case["limit"], amount: number, op: () => unknown) =>
    cases.push({ label, limit, amount, run: () => timed(() => device.noGrad(op)) });
  /** The backward pass of an op for the gradients of `inputs`, which are written, not added to. */
  const backward = (
    label: string,
    limit: Case["limit"],
    amount: number,
    inputs: Tensor[],
    op: () => Tensor,
  ) => {
    const seed = device.noGrad(op);
    cases.push({
      label,
      limit,
      amount,
      run() {
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
      },
    });
  };

  // SAM's tokens: 64 x 64 of 768.
  const x = make(4096, 768);
  const r = make(4096, 768);
  const [w, b] = [make(768), make(768)];
  const pass = 4 * x.size;
  const target = device.empty(x.shape);
  for (const form of ["gelu", "gelu_tanh"] as const) {
    forward(form, "copy", 2 * pass, () => gelu(x, form));
    backward(`${form} backward`, "copy", 3 * pass, [x], () => gelu(x, form));
  }
  forward("layerNorm", "copy", 2 * pass, () => layerNorm(x, w, b, 1e-6));
  backward("layerNorm backward", "copy", 3 * pass, [x, w, b], () => layerNorm(x, w, b, 1e-6));
  forward("add, layerNorm", "copy", 4 * pass, () => layerNorm(add(x, r), w, b, 1e-6));
  forward("addLayerNorm", "copy", 4 * pass, () => addLayerNorm(x, r, w, b, 1e-6));
  forward("multiply", "copy", 3 * pass, () => multiply(x, r));
  forward("multiply by channel", "copy", 2 * pass, () => multiply(x, w));
  const grid = x.view([64, 64, 768]);
  forward("permute channels first", "copy", 2 * pass, () => permute(grid, [2, 0, 1]));
  const plane = x.view([768, 4096]);
  forward("permute channels last", "copy", 2 * pass, () => permute(plane, [1, 0]));
  const split = x.view([4096, 3, 4, 64]);
  forward("permute heads to front", "copy", 2 * pass, () => permute(split, [1, 2, 0, 3]));
  const small = make(1, 64, 64, 256);
  forward("resize 64 to 96, bilinear", "copy", 4 * 256 * (64 ** 2 + 96 ** 2), () =>
    resize(small, [96, 96], "bilinear"),
  );
  const photo = make(1, 1024, 1024, 3);
  forward("resize 1024 to 384, antialiased", "copy", 12 * (1024 ** 2 + 384 ** 2), () =>
    resize(photo, [384, 384], "bilinear_antialias"),
  );
  const tiles = make(4, 27, 27, 1152);
  forward("unfold 27 x 27 by 2", "copy", 4 * (tiles.size + 4 * 196 * 4608), () => unfold(tiles, 2));
  const folded = make(4, 14, 14, 4608);
  forward("pixelShuffle by 2", "copy", 8 * folded.size, () => pixelShuffle(folded, 2));

  // The first product of a feed-forward layer of SAM-B and of SigLIP-L.
  for (const [m, n, k] of [
    [4096, 3072, 768],
    [576, 4096, 1024],
  ]) {
    const [input, weight, bias] = [make(m, k), make(n, k), make(n)];
    const amount = 2 * m * n * k;
    const label = `linear ${m} x ${k} to ${n}`;
    forward(label, "inner loop", amount, () => linear(input, weight));
    forward(`${label}, bias`, "inner loop", amount, () => linear(input, weight, bias));
    for (const form of ["gelu", "gelu_tanh"] as const) {
      forward(`${label}, bias, ${form}`, "inner loop", amount, () => linear(input, weight, bias, form));
    }
    forward(`${label}, then gelu`, "inner loop", amount, () => gelu(linear(input, weight, bias)));
  }
  for (const [size, inputs, outputs, kernel, stride, padding] of [
    [1024, 3, 768, 16, 16, 0],
    [64, 768, 256, 1, 1, 0],
    [64, 256, 256, 3, 1, 1],
    [96, 256, 512, 3, 2, 1],
    [48, 512, 1024, 3, 2, 1],
  ]) {
    const [image, weight] = [make(1, size, size, inputs), make(outputs, kernel, kernel, inputs)];
    const op = () => conv2d(image, weight, null, { stride, padding });
    const amount = 2 * (size / stride) ** 2 * outputs * kernel ** 2 * inputs;
    const label = `conv2d ${kernel} x ${kernel}, ${size} x ${size} of ${inputs} to ${outputs}, stride ${stride}`;
    forward(label, "inner loop", amount, op);
    if (inputs > 3) backward(`${label}, input's gradient`, "inner loop", amount, [image], op);
    backward(`${label}, weight's gradient`, "inner loop", amount, [weight], op);
  }

  const results = device.empty([64]);
  const repeats = 12;
  const loop = () =>
    timed(() => peakKernel.run(device, { c: results }, { units: results.size, repeats, wide }));
  const loopAmount = results.size * repeats * 2 * 6 * 16 * 256;
  const rates = cases.map((): number[] => []);
  const shares = cases.map((): number[] => []);
  const peaks: number[] = [];
  const copies: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let limit = 0;
    let measured: Case["limit"] | null = null;
    cases.forEach((each, i) => {
      // The limit is taken anew before every fourth case of its kind: the machine's speed changes within a round.
      if (measured !== each.limit || i % 4 === 0) {
        measured = each.limit;
        limit =
          measured === "copy"
            ? (2 * pass) / fastest(() => timed(() => copy(x, target)))
            : loopAmount / fastest(loop);
        (measured === "copy" ? copies : peaks).push(limit / 1e6);
      }
      const rate = each.amount / fastest(each.run);
      rates[i].push(rate / 1e6);
      shares[i].push(rate / limit);
    });
  }

  const metrics: Record<string, number> = {
    "inner loop GFLOP/s": median(peaks),
    "copy 25 MB GB/s": median(copies),
  };
  const ratios: Record<string, number> = {};
  log(`inner loop ${median(peaks).toFixed(0)} GFLOP/s, copy ${median(copies).toFixed(1)} GB/s\n`);
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
