/**
 * What every op is tested with: gradients against central differences in double precision, and every backend
 * against the reference, for any number of threads. For tests only.
 */
import { createCpuDevice } from "./cpu/backend.ts";
import { Random } from "./random.ts";
import { createReferenceDevice, type ReferenceBackend } from "./reference/backend.ts";
import { Tape } from "./tape.ts";
import { type Device, Scope, type Shape, sizeOf, type Tensor } from "./tensor.ts";

/** An input of an op under test: a shape of f32 normals, or given numbers. */
export type InputSpec =
  | Shape
  | {
      readonly shape: Shape;
      readonly dtype?: "f32" | "i32" | "bf16" | "f16";
      readonly values?: ArrayLike<number>;
      /** False if no gradient is to be checked; default: true for f32. */
      readonly gradient?: boolean;
    };

/** An op under test: inputs to outputs. */
export type OpUnderTest = (inputs: Tensor[], device: Device) => Tensor | readonly Tensor[];

interface Input {
  shape: Shape;
  dtype: "f32" | "i32" | "bf16" | "f16";
  values: Float32Array;
  gradient: boolean;
}

function resolve(specs: readonly InputSpec[], random: Random): Input[] {
  return specs.map((spec) => {
    const full = "shape" in spec ? spec : { shape: spec };
    const dtype = full.dtype ?? "f32";
    const values = full.values
      ? Float32Array.from(full.values)
      : Float32Array.from({ length: sizeOf(full.shape) }, () => random.normal());
    return { shape: full.shape, dtype, values, gradient: full.gradient ?? dtype === "f32" };
  });
}

function outputs(result: Tensor | readonly Tensor[]): readonly Tensor[] {
  return Array.isArray(result) ? result : [result as Tensor];
}

/** The doubles of a tensor on the reference device, live. */
export function doubles(tensor: Tensor): Float64Array {
  const backend = tensor.device.backend as ReferenceBackend;
  return backend.values(tensor.operand(), tensor.size) as Float64Array;
}

/** Deterministic output weights, so that the scalar sum(w * output) exercises every output element. */
function weightsFor(tensor: Tensor, index: number): Float32Array {
  const random = new Random(7919, index);
  return Float32Array.from({ length: tensor.size }, () => random.normal());
}

function scalarOf(op: OpUnderTest, inputs: Tensor[], device: Device): number {
  using _scope = new Scope(device);
  let total = 0;
  outputs(op(inputs, device)).forEach((output, i) => {
    if (output.dtype !== "f32") return;
    const weights = weightsFor(output, i);
    doubles(output).forEach((value, j) => {
      total += value * weights[j];
    });
  });
  return total;
}

/** Runs forward and backward and returns outputs and input gradients as arrays. */
async function runOnce(op: OpUnderTest, specs: readonly Input[], device: Device) {
  const inputs = specs.map((s) => {
    const tensor = device.tensor(s.values, s.shape, s.dtype);
    tensor.requiresGrad = s.gradient;
    return tensor;
  });
  const tape = new Tape(device);
  const results = outputs(op(inputs, device));
  for (const result of results) tape.keep(result);
  const values = await Promise.all(results.map(async (r) => Array.from(await r.data())));
  const differentiable = results.filter((r) => r.dtype === "f32" && r.requiresGrad);
  if (differentiable.length > 0) {
    const seeds = differentiable.map((r) =>
      device.unscoped(() => device.tensor(weightsFor(r, results.indexOf(r)), r.shape)),
    );
    tape.backwardFrom(differentiable, seeds);
    for (const seed of seeds) seed.dispose();
  }
  const gradients = await Promise.all(
    inputs.map(async (t) => (t.grad ? Array.from(await t.grad.data()) : null)),
  );
  tape[Symbol.dispose]();
  for (const input of inputs) {
    input.grad?.dispose();
    input.dispose();
  }
  return { values, gradients };
}

/** Largest difference divided by the largest magnitude of `expected` (at least `floor`); NaN counts as infinite. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>, floor = 1e-3): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let scale = floor;
  for (let i = 0; i < found.length; i++) {
    const bothNaN = Number.isNaN(found[i]) && Number.isNaN(expected[i]);
    const difference = found[i] === expected[i] || bothNaN ? 0 : Math.abs(found[i] - expected[i]);
    worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
    if (Number.isFinite(expected[i])) scale = Math.max(scale, Math.abs(expected[i]));
  }
  return worst / scale;
}

/**
 * Checks every gradient of `op` against central differences in doubles, on the reference device.
 * @throws Error naming the input and element that differ, or a leak
 */
export async function checkGradients(
  op: OpUnderTest,
  specs: readonly InputSpec[],
  { step = 1e-5, tolerance = 1e-6, seed = 1 } = {},
): Promise<void> {
  const device = createReferenceDevice();
  const inputs = resolve(specs, new Random(seed));
  const tensors = inputs.map((s) => {
    const tensor = device.tensor(s.values, s.shape, s.dtype);
    tensor.requiresGrad = s.gradient;
    return tensor;
  });
  {
    using tape = new Tape(device);
    const results = outputs(op(tensors, device)).filter((r) => r.dtype === "f32" && r.requiresGrad);
    const seeds = results.map((r, i) => device.unscoped(() => device.tensor(weightsFor(r, i), r.shape)));
    // scalarOf numbers every output; a differentiable output must keep its number.
    tape.backwardFrom(results, seeds);
    for (const s of seeds) s.dispose();
  }
  for (let i = 0; i < tensors.length; i++) {
    if (!inputs[i].gradient) continue;
    const { grad } = tensors[i];
    const analytic = grad ? Float64Array.from(doubles(grad)) : new Float64Array(tensors[i].size);
    const values = doubles(tensors[i]);
    const numeric = new Float64Array(values.length);
    for (let j = 0; j < values.length; j++) {
      const at = values[j];
      values[j] = at + step;
      const up = scalarOf(op, tensors, device);
      values[j] = at - step;
      const down = scalarOf(op, tensors, device);
      values[j] = at;
      numeric[j] = (up - down) / (2 * step);
    }
    const error = relativeError(analytic, numeric);
    if (!(error <= tolerance)) {
      const worst = numeric.reduce(
        (k, n, j) => (Math.abs(n - analytic[j]) > Math.abs(numeric[k] - analytic[k]) ? j : k),
        0,
      );
      throw new Error(
        `gradient of input ${i} [${inputs[i].shape}] at element ${worst}: found ${analytic[worst]}, ` +
          `expected ${numeric[worst]} (relative error ${error}, tolerance ${tolerance})`,
      );
    }
  }
  for (const t of tensors) {
    t.grad?.dispose();
    t.dispose();
  }
  const { buffers } = device.backend.memory();
  if (buffers !== 0) throw new Error(`${buffers} buffers are still alive after the gradient check`);
}

/**
 * Checks outputs and gradients of `op` on the CPU backend (baseline and relaxed kernels) against the reference,
 * and that one, two and three threads give the same bits. @throws Error that names the build and the tensor
 */
export async function checkBackends(
  op: OpUnderTest,
  specs: readonly InputSpec[],
  { tolerance = 2e-5, seed = 1 } = {},
): Promise<void> {
  const inputs = resolve(specs, new Random(seed));
  const reference = createReferenceDevice();
  const expected = await runOnce(op, inputs, reference);
  const leaked = reference.backend.memory().buffers;
  if (leaked !== 0) throw new Error(`${leaked} buffers are still alive on the reference device`);
  for (const relaxed of [false, true]) {
    let first: Awaited<ReturnType<typeof runOnce>> | null = null;
    for (const threads of [1, 2, 3]) {
      const where = `${relaxed ? "relaxed" : "baseline"} kernels, ${threads} threads`;
      const device = await cpuDevice(threads, relaxed);
      const before = device.backend.memory().buffers;
      const found = await runOnce(op, inputs, device);
      const alive = device.backend.memory().buffers - before;
      if (alive !== 0) throw new Error(`${where}: ${alive} buffers are still alive`);
      const compare = (name: string, a: number[] | null, b: number[] | null) => {
        if (a === null || b === null) {
          if (a !== b) throw new Error(`${where}: ${name} exists on one backend only`);
          return;
        }
        const error = relativeError(a, b);
        if (!(error <= tolerance))
          throw new Error(`${where}: ${name} is off by ${error} (tolerance ${tolerance})`);
      };
      for (const [i, v] of found.values.entries()) compare(`output ${i}`, v, expected.values[i]);
      for (const [i, g] of found.gradients.entries()) compare(`gradient ${i}`, g, expected.gradients[i]);
      if (first === null) first = found;
      else if (JSON.stringify(first) !== JSON.stringify(found)) {
        throw new Error(`${where}: other bits than with one thread`);
      }
    }
  }
}

const devices = new Map<string, Promise<Device>>();

/** One CPU device per configuration and test process; every kernel runs on all its threads, however small. */
export function cpuDevice(threads: number, relaxed: boolean): Promise<Device> {
  const key = `${threads} ${relaxed}`;
  let device = devices.get(key);
  if (!device) {
    device = createCpuDevice({ threads, relaxed, parallelWork: 0 });
    devices.set(key, device);
  }
  return device;
}
