/**
 * The vision towers beside PyTorch and onnxruntime-node on the same weights and pixels: SigLIP-L/16-384, SAM-B at 1,024 pixels
 * with its necks, SigLIP-SO400M/14-384. Ours is written as safetensors, read by `vision_torch.py` and exported to ONNX from
 * there; outputs are compared, then every round runs each program once. Ratios are those of the least times of all rounds,
 * and the range of the rounds' own. On a machine with other work compare processor time with `--threads 1`: threads of PyTorch
 * that wait for each other cost it time that is not arithmetic.
 * Options: --python FILE (or DEEPSEEK_TS_PEER_PYTHON), --only TEXT, --rounds N, --threads N, --formats q8,q4 (besides f32 and
 * bf16), --no-onnx.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../../src/files/temporary.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import type { StorageFormat } from "../../src/nn/storage.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { type Device, Scope, type Tensor } from "../../src/tensor/tensor.ts";
import type { SamConfig, SiglipConfig } from "../../src/vision/tower-config.ts";
import type { BenchmarkResult } from "../run.ts";
import { round, table } from "../support/numbers.ts";
import {
  makeSam,
  makeSiglip,
  randomPixels,
  samOperations,
  siglipOperations,
  towerConfigs,
  writeTower,
} from "../support/towers.ts";
import { type Child, startChild } from "./child.ts";
import { distance, floatsOf, KEEPS_MEMORY } from "./outputs.ts";
import { least, type Runner, runner, type Times, takeTurns, timed } from "./runners.ts";

export const name = "peers/vision";

interface Tower extends Disposable {
  readonly parameters: Parameters;
  forward(pixels: Tensor): Tensor;
}

interface Work {
  readonly label: string;
  readonly config: SiglipConfig | SamConfig;
  readonly operations: number;
  make(device: Device, format: StorageFormat): Tower;
}

/** Starts onnxruntime-node; null, with the reason logged, where it is not installed. */
async function startOnnx(threads: number, log: (line: string) => void): Promise<Child<object> | null> {
  try {
    const script = fileURLToPath(new URL("vision-onnx.ts", import.meta.url));
    return await startChild<object>(process.execPath, [script, `${threads}`]);
  } catch (error) {
    log(
      `without onnxruntime-node: ${
        String(error)
          .split("\n")
          .find((line) => line.includes("rror")) ?? error
      }`,
    );
    return null;
  }
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      python: { type: "string", default: process.env.DEEPSEEK_TS_PEER_PYTHON },
      only: { type: "string", default: "" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      formats: { type: "string", default: "q8,q4" },
      onnx: { type: "boolean", default: true },
    },
    allowNegative: true,
  });
  if (values.python === undefined) {
    throw new Error("peers/vision needs a Python with torch: --python FILE");
  }
  const threads = Number(values.threads);
  const rounds = Number(values.rounds);
  const { siglipL, so400m, hybrid } = towerConfigs();
  const siglip = (label: string, config: SiglipConfig): Work => ({
    ...{ label, config, operations: siglipOperations(config) },
    make: (device, format) => makeSiglip(device, config, format),
  });
  const works: Work[] = [
    siglip("SigLIP-L/16-384", siglipL),
    {
      ...{ label: "SAM-B 1024 with necks", config: hybrid.high, operations: samOperations(hybrid.high) },
      make: (device: Device, format: StorageFormat) => makeSam(device, hybrid.high, format),
    },
    siglip("SigLIP-SO400M/14-384, 1 tile", so400m),
  ].filter(({ label }) => label.includes(values.only));

  await using device = await createCpuDevice({ threads });
  const script = fileURLToPath(new URL("vision_torch.py", import.meta.url));
  const options = [script, "--threads", `${threads}`];
  await using torch = await startChild<{ torch: string; capability: string }>(
    values.python,
    options,
    KEEPS_MEMORY,
  );
  await using narrow = await startChild<object>(values.python, options, KEEPS_MEMORY);
  await using onnx = values.onnx ? await startOnnx(threads, log) : null;
  log(`PyTorch ${torch.description.torch} (${torch.description.capability}), ${threads} threads each`);
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  for (const work of works) {
    await withTemporaryFolder("deepseek-ts-vision-", (folder) =>
      compare(
        work,
        folder,
        { device, torch, narrow, onnx, rounds, formats: values.formats },
        log,
        metrics,
        ratios,
      ),
    );
  }
  return { metrics, ratios };
}

interface Programs {
  readonly device: Device;
  readonly torch: Child<object>;
  /** PyTorch again, for bf16. */
  readonly narrow: Child<object>;
  readonly onnx: Child<object> | null;
  readonly rounds: number;
  readonly formats: string;
}

async function compare(
  { label, config, operations, make }: Work,
  folder: string,
  { device, torch, narrow, onnx, rounds, formats }: Programs,
  log: (line: string) => void,
  metrics: Record<string, number>,
  ratios: Record<string, number>,
): Promise<void> {
  using tower = make(device, "f32");
  using pixels = randomPixels(device, 1, config.imageSize);
  const [weights, picture, output, graph] = ["tower.safetensors", "pixels", "output", "tower.onnx"].map(
    (file) => join(folder, file),
  );
  await writeTower(tower, weights);
  await writeFile(picture, (await pixels.data()) as Float32Array);
  const runners: Runner[] = [];
  const add = (name: string, once: () => Promise<Times>) => runners.push(runner(name, once));
  const ours = (name: string, module: Tower) =>
    add(name, async () => {
      using _scope = new Scope(device);
      return await timed(() => device.noGrad(() => module.forward(pixels)));
    });
  const outputOf = async (module: Tower): Promise<Float32Array> => {
    const y = device.inference(() => module.forward(pixels));
    try {
      return (await y.data()) as Float32Array;
    } finally {
      y.dispose();
    }
  };
  const expected = await outputOf(tower);
  const agree = (name: string, found: Float32Array, most: number) => {
    const { rms, most: largest } = distance(found, expected);
    log(
      `${label}: ${name} differs from ours by ${rms.toExponential(1)} (rms), ${largest.toExponential(1)} (most)`,
    );
    if (!(rms < most))
      throw new Error(`${label}: outputs of ${name} differ by ${rms}, expected less than ${most}`);
  };

  ours("f32", tower);
  for (const [name, child, dtype, most] of [
    ["PyTorch f32", torch, "float32", 1e-4],
    ["PyTorch bf16", narrow, "bfloat16", 0.1],
  ] as const) {
    const loaded = await child.ask<{ attention: string; trials: Record<string, number> }>(
      JSON.stringify({ load: weights, config, dtype, pixels: picture }),
    );
    if (Object.keys(loaded.trials).length > 0) {
      log(`${label}: ${name} attends by "${loaded.attention}", of ${JSON.stringify(loaded.trials)} ms`);
    }
    await child.ask(JSON.stringify({ run: 1 }));
    await child.ask(JSON.stringify({ output }));
    agree(name, await floatsOf(output), most);
    add(name, () => child.ask<Times>(JSON.stringify({ run: 1 })));
  }
  if (onnx !== null) {
    try {
      await torch.ask(JSON.stringify({ export: graph }));
      const shape = [1, 3, config.imageSize, config.imageSize];
      const planar = join(folder, "planar");
      await writeFile(planar, channelsFirst((await pixels.data()) as Float32Array));
      await onnx.ask(JSON.stringify({ load: graph, pixels: planar, shape }));
      await onnx.ask(JSON.stringify({ run: 1 }));
      await onnx.ask(JSON.stringify({ output }));
      agree("onnxruntime-node", await floatsOf(output), 1e-4);
      add("onnxruntime-node f32", () => onnx.ask<Times>(JSON.stringify({ run: 1 })));
    } catch (error) {
      log(`${label}: without onnxruntime-node: ${error}`);
    }
  }
  const others: Tower[] = [];
  for (const format of ["bf16", ...formats.split(",").filter(Boolean)] as StorageFormat[]) {
    const other = make(device, format);
    others.push(other);
    ours(format, other);
    await runners.at(-1)!.run();
  }
  await takeTurns(runners, rounds);
  for (const other of others) other[Symbol.dispose]();
  const reference = runners.find((each) => each.label === "PyTorch f32")!;
  const rows = runners.map(({ label: program, wall, cpu }) => {
    const ratio = least(reference.wall) / least(wall);
    const work = least(reference.cpu) / least(cpu);
    const each = wall.map((ms, i) => reference.wall[i] / ms);
    metrics[`${label}, ${program}, ms`] = round(least(wall));
    ratios[`${label}, ${program} against PyTorch f32`] = round(ratio, 3);
    ratios[`${label}, ${program} against PyTorch f32, processor time`] = round(work, 3);
    return [
      `${label}, ${program}`,
      least(wall).toFixed(0),
      least(cpu).toFixed(0),
      (operations / least(wall) / 1e6).toFixed(0),
      `${ratio.toFixed(2)} (${least(each).toFixed(2)} to ${Math.max(...each).toFixed(2)})`,
      work.toFixed(2),
    ];
  });
  const head = [
    "least of the rounds",
    "ms",
    "processor ms, all threads",
    "GFLOP/s",
    "PyTorch f32 over it",
    "the same by processor time",
  ];
  for (const line of table([head, ...rows])) log(line);
}

/** `[n, n, 3]` to `[3, n, n]`. */
function channelsFirst(pixels: Float32Array): Float32Array {
  const area = pixels.length / 3;
  return Float32Array.from(
    { length: pixels.length },
    (_, i) => pixels[(i % area) * 3 + Math.floor(i / area)],
  );
}
