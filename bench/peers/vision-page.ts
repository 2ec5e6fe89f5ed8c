/** What `vision-web.ts` runs in a page: a SigLIP tower by this package and by onnxruntime-web, in turn, on the same weights. */
type Backend = typeof import("../../src/tensor/cpu/backend.ts");
type Kernels = typeof import("../../src/tensor/kernel.ts");
type Scopes = typeof import("../../src/nn/scope.ts");
type Siglip = typeof import("../../src/vision/siglip.ts");
type Tower = InstanceType<Siglip["SiglipTower"]>;
type Config = Tower["config"];

/** What is used of onnxruntime-web. */
interface OnnxTensor {
  readonly data: Float32Array;
}
interface Onnx {
  readonly env: { readonly wasm: { numThreads: number; wasmPaths: string } };
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(inputs: { x: OnnxTensor }): Promise<{ y: OnnxTensor }> }>;
  };
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OnnxTensor;
}

export interface WebReport {
  readonly ours: number[];
  readonly onnx: number[];
  /** Operations per second of our inner loop, by round. */
  readonly peaks: number[];
  /** Root of the mean squared difference of both outputs over that of the size. */
  readonly difference: number;
}

const load = async <T>(path: string): Promise<T> => (await import(path)) as T;

const bytes = async (path: string): Promise<ArrayBuffer> => (await fetch(path)).arrayBuffer();

/** Fills parameters from a safetensors file of f32. */
function fill(tower: Tower, file: ArrayBuffer): void {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  for (const { name, group, offset } of tower.parameters.named()) {
    const [begin, end] = header[name].data_offsets;
    group.tensor.set(new Float32Array(file.slice(8 + length + begin, 8 + length + end)), offset);
  }
}

async function compare(config: Config, threads: number, rounds: number): Promise<WebReport> {
  const { createCpuDevice } = await load<Backend>("/dist/tensor/cpu/backend.js");
  const { defineKernel } = await load<Kernels>("/dist/tensor/kernel.js");
  const { allocateModule } = await load<Scopes>("/dist/nn/scope.js");
  const { SiglipTower } = await load<Siglip>("/dist/vision/siglip.js");
  const device = await createCpuDevice({ threads });
  const tower = allocateModule(device, "f32", (scope) => new SiglipTower(scope, config));
  fill(tower, await bytes("/data/tower.safetensors"));
  const size = config.imageSize;
  const values = new Float32Array(await bytes("/data/pixels"));
  const pixels = device.tensor(values, [1, size, size, 3]);

  const ort = await load<Onnx>("/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(new Uint8Array(await bytes("/data/tower.onnx")), {
    executionProviders: ["wasm"],
  });
  const area = size * size;
  const planar = Float32Array.from(values, (_, i) => values[(i % area) * 3 + Math.floor(i / area)]);
  const x = new ort.Tensor("float32", planar, [1, 3, size, size]);

  const once = async () => {
    const start = performance.now();
    const y = device.inference(() => tower.forward(pixels));
    const output = (await y.data()) as Float32Array;
    y.dispose();
    return { ms: performance.now() - start, output };
  };
  const onnxOnce = async () => {
    const start = performance.now();
    const { y } = await session.run({ x });
    return { ms: performance.now() - start, output: y.data };
  };
  const peakKernel = defineKernel({
    name: "gemm_peak",
    operands: { c: "out f32" },
    ints: ["units", "repeats", "wide"],
    work: ({ units, repeats }) => units * repeats * 1e4,
    reference: ({ c }) => void c.fill(0),
  });
  const c = device.empty([64]);
  const peak = () => {
    const start = performance.now();
    peakKernel.run(device, { c }, { units: 32, repeats: 20, wide: 0 });
    return (32 * 20 * 2 * 6 * 16 * 256) / (performance.now() - start) / 1e6;
  };
  const [a, b] = [(await once()).output, (await onnxOnce()).output];
  let [difference, whole] = [0, 0];
  a.forEach((value, i) => {
    difference += (value - b[i]) ** 2;
    whole += b[i] ** 2;
  });
  const report = { ours: [] as number[], onnx: [] as number[], peaks: [] as number[] };
  for (let i = 0; i < rounds; i++) {
    report.peaks.push(peak());
    report.ours.push((await once()).ms);
    report.onnx.push((await onnxOnce()).ms);
  }
  return { ...report, difference: Math.sqrt(difference / whole) };
}

const onPage = { compare };
export type OnPage = typeof onPage;
Object.assign(globalThis, { onPage });
