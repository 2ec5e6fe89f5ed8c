/**
 * Norm, loss, activation, embedding and optimizer at the shapes of a small training run, against the bandwidth
 * that a copy of the same size class reaches on this machine. Bytes count each array once per pass over it.
 */
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { crossEntropy } from "../src/tensor/ops/cross-entropy.ts";
import { embedding } from "../src/tensor/ops/embedding.ts";
import { copy, fill } from "../src/tensor/ops/memory.ts";
import { adamw } from "../src/tensor/ops/optimizer.ts";
import { squaredNorm } from "../src/tensor/ops/reduce.ts";
import { rmsNorm } from "../src/tensor/ops/rms-norm.ts";
import { swiglu } from "../src/tensor/ops/swiglu.ts";
import { Random } from "../src/tensor/random.ts";
import { Tape } from "../src/tensor/tape.ts";
import { type Device, Scope, type Tensor } from "../src/tensor/tensor.ts";

export const name = "ops";

/** Milliseconds of the fastest of several runs within about `budget` milliseconds. */
function fastest(body: () => void, budget = 300): number {
  body();
  let best = Number.POSITIVE_INFINITY;
  const stop = performance.now() + budget;
  do {
    const start = performance.now();
    body();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < stop);
  return best;
}

/** Forward time, and backward time with a seed of ones, of one op on `parameters`. */
function forwardAndBackward(device: Device, parameters: Tensor[], op: () => Tensor) {
  const forward = fastest(() => {
    using _scope = new Scope(device);
    device.noGrad(op);
  });
  let backward = Number.POSITIVE_INFINITY;
  using seed = device.tensor(new Float32Array(device.noGrad(op).size).fill(1));
  for (let run = 0; run < 12; run++) {
    using tape = new Tape(device);
    const y = op();
    using shaped = device.unscoped(() => seed.view(y.shape));
    // Gradients of parameters are dropped first, so that the gradient is written, not added.
    for (const p of parameters) {
      p.grad?.dispose();
      p.grad = null;
    }
    const start = performance.now();
    tape.backwardFrom([y], [shaped]);
    backward = Math.min(backward, performance.now() - start);
  }
  for (const p of parameters) {
    p.grad?.dispose();
    p.grad = null;
  }
  return { forward, backward };
}

/** Median microseconds of a call that has nothing to do: handing work to the threads and waiting for them. */
async function callCost(threads: number): Promise<number> {
  const device = await createCpuDevice({ threads, parallelWork: 0 });
  const empty = device.empty([0]);
  const costs = Float64Array.from({ length: 20_000 }, () => {
    const start = performance.now();
    fill(empty, 0);
    return (performance.now() - start) * 1000;
  }).sort();
  await device[Symbol.asyncDispose]();
  return costs[costs.length >> 1];
}

export async function run(
  log: (line: string) => void,
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  const device = await createCpuDevice();
  const random = new Random(1);
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  for (const threads of new Set([1, device.backend.threads])) {
    const cost = await callCost(threads);
    metrics[`empty call, ${threads} threads us`] = cost;
    log(`empty call, ${threads} threads: ${cost.toFixed(2)} us`);
  }
  const scope = new Scope(device);
  const normal = (...shape: number[]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return device.tensor(
      Float32Array.from({ length: size }, () => random.uniform() * 2 - 1),
      shape,
    );
  };
  const parameter = (...shape: number[]) => {
    const tensor = normal(...shape);
    tensor.requiresGrad = true;
    return tensor;
  };

  const copyBandwidth = (elements: number) => {
    using from = device.zeros([elements]);
    using to = device.zeros([elements]);
    return (8 * elements) / fastest(() => copy(from, to)) / 1e6;
  };
  // In and out of the caches: 4 MB and 128 MB in total.
  const near = copyBandwidth(2 ** 19);
  const far = copyBandwidth(2 ** 24);
  metrics["copy 4 MB GB/s"] = near;
  metrics["copy 128 MB GB/s"] = far;
  log(`copy: ${near.toFixed(1)} GB/s at 4 MB, ${far.toFixed(1)} GB/s at 128 MB`);

  const report = (what: string, ms: number, bytes: number) => {
    const bandwidth = bytes / ms / 1e6;
    const against = bytes < 16e6 ? near : far;
    metrics[`${what} ms`] = ms;
    metrics[`${what} GB/s`] = bandwidth;
    ratios[`${what} / copy bandwidth`] = bandwidth / against;
    log(
      `${what}: ${ms.toFixed(3)} ms, ${bandwidth.toFixed(1)} GB/s, ${(bandwidth / against).toFixed(2)} of copy`,
    );
  };

  {
    const [x, w] = [parameter(2048, 256), parameter(256)];
    const { forward, backward } = forwardAndBackward(device, [x, w], () => rmsNorm(x, w, 1e-6));
    report("rmsNorm 2048x256", forward, 2 * 4 * x.size);
    report("rmsNorm backward", backward, 3 * 4 * x.size);
  }
  {
    const x = parameter(2048, 4096);
    const targets = device.tensor(
      Int32Array.from({ length: 2048 }, () => random.int(4096)),
      [2048],
      "i32",
    );
    const { forward, backward } = forwardAndBackward(device, [x], () => crossEntropy(x, targets));
    report("crossEntropy 2048x4096", forward, 4 * x.size);
    report("crossEntropy backward", backward, 2 * 4 * x.size);
    x.dispose();
  }
  {
    const x = parameter(8192, 512);
    const { forward, backward } = forwardAndBackward(device, [x], () => swiglu(x));
    report("swiglu 8192x256", forward, 6 * x.size);
    report("swiglu backward", backward, 10 * x.size);
    x.dispose();
  }
  {
    const w = parameter(4096, 256);
    const ids = device.tensor(
      Int32Array.from({ length: 2048 }, () => random.int(4096)),
      [2048],
      "i32",
    );
    const { forward, backward } = forwardAndBackward(device, [w], () => embedding(w, ids));
    report("embedding 2048 of 4096x256", forward, 2 * 4 * 2048 * 256);
    report("embedding backward", backward, 4 * w.size + 3 * 4 * 2048 * 256);
  }
  {
    const n = 20_000_000;
    const options = {
      learningRate: 1e-4,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      step: 10,
    };
    using w = device.zeros([n]);
    using g = device.zeros([n]);
    for (let at = 0; at < n; at += 2_000_000) {
      g.set(
        Float32Array.from({ length: 2_000_000 }, () => random.uniform() - 0.5),
        at,
      );
    }
    {
      using m = device.zeros([n]);
      using v = device.zeros([n]);
      report(
        "adamw 20M",
        fastest(() => adamw(w, g, m, v, options)),
        28 * n,
      );
    }
    {
      using m = device.zeros([n], "bf16");
      using v = device.zeros([n], "bf16");
      report(
        "adamw 20M bf16 moments",
        fastest(() => adamw(w, g, m, v, options)),
        20 * n,
      );
    }
    report(
      "squaredNorm 20M",
      fastest(() => squaredNorm([g]).dispose()),
      4 * n,
    );
  }
  scope[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
  return { metrics, ratios };
}
