/**
 * Drawing beside PyTorch at the released sizes: the decoders of VQ-16 (24 x 24 codes) and of Stable Diffusion XL's autoencoder (48 x 48
 * latents) on the same weights, whose outputs are compared; a guided step of Janus-1.3B and a guided velocity of
 * JanusFlow-1.3B on random weights. Every round runs each program once; ratios are those of the least times of all rounds. On a
 * machine with other work compare processor time with `--threads 1`.
 * Options: --python FILE (or DEEPSEEK_TS_PEER_PYTHON), --only TEXT, --rounds N, --threads N, --steps N (of Janus in a round).
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CodeSampler, codeGrid } from "../../src/engine/draw/code-sampler.ts";
import { FlowSampler, flowLatentSide } from "../../src/engine/draw/flow-sampler.ts";
import { step } from "../../src/engine/step.ts";
import { withTemporaryFolder } from "../../src/files/temporary.ts";
import { sdxlVae } from "../../src/models/vae-config.ts";
import { parseVisionConfig } from "../../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { type VisionPresetName, visionPresets } from "../../src/models/vision-presets.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { type StorageFormat, storageRule } from "../../src/nn/storage.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Device, Tensor } from "../../src/tensor/tensor.ts";
import { VaeModel } from "../../src/vision/vae.ts";
import { VqTokenizer } from "../../src/vision/vq.ts";
import type { BenchmarkResult } from "../run.ts";
import { round, table } from "../support/numbers.ts";
import { fillRandomly, writeTower } from "../support/towers.ts";
import { type Child, startChild } from "./child.ts";
import { distance, floatsOf, KEEPS_MEMORY } from "./outputs.ts";
import { least, type Runner, runner, type Times, takeTurns, timed } from "./runners.ts";

export const name = "peers/draw";

/** Works with what they are called in the table. */
const WORKS = {
  vq: "VQ-16 decoder, 24 x 24 codes",
  vae: "SDXL VAE decoder, 48 x 48 latents",
  step: "Janus-1.3B, guided step",
  velocity: "JanusFlow-1.3B, guided velocity",
} as const;
type Work = keyof typeof WORKS;

/** Tokens of a prompt, and positions before a step: half of the image is there. */
const PROMPT = 36;
const POSITIONS = PROMPT + 288;
const FLOW_PROMPT = 17;

interface Bench {
  readonly device: Device;
  /** PyTorch for f32 and for bf16. */
  readonly peers: readonly (readonly [label: string, child: Child<object>, dtype: string])[];
  readonly steps: number;
  readonly log: (line: string) => void;
}

/** One of the two decoders: ours in f32, PyTorch's in f32 and bf16. */
async function decoders(
  work: "vq" | "vae",
  folder: string,
  { device, peers, log }: Bench,
): Promise<Runner[]> {
  const [weights, input, output] = ["weights.safetensors", "input", "output"].map((file) =>
    join(folder, file),
  );
  const random = new Random(3);
  let module: { readonly parameters: Parameters };
  let decode: () => Tensor;
  if (work === "vq") {
    const { generation } = parseVisionConfig({ ...visionPresets["janus-1.3b"] });
    if (generation?.kind !== "codes") throw new Error("Janus draws by codes");
    const tokenizer = allocateModule(device, "f32", (scope) => new VqTokenizer(scope, generation.vq));
    const ids = Int32Array.from({ length: 24 ** 2 }, () => (random.uniform() * generation.vq.codes) | 0);
    const codes = device.tensor(ids, [1, 24, 24], "i32");
    await writeFile(input, ids);
    [module, decode] = [tokenizer, () => tokenizer.decode(codes)];
  } else {
    const vae = allocateModule(device, "f32", (scope) => new VaeModel(scope, sdxlVae));
    const values = Float32Array.from({ length: 48 ** 2 * 4 }, () => random.normal());
    const latents = device.tensor(values, [1, 48, 48, 4]);
    // Ours divides by the scaling factor itself.
    await writeFile(
      input,
      values.map((value) => value / sdxlVae.scalingFactor),
    );
    [module, decode] = [vae, () => vae.decode(latents)];
  }
  fillRandomly(module.parameters, 1);
  await writeTower(module, weights);
  const before = device.backend.memory().bytes;
  const decoded = device.inference(decode);
  const expected = (await decoded.data()) as Float32Array;
  decoded.dispose();
  const ours = runner("f32", () => timed(() => device.inference(decode).dispose(), 1));
  ours.peakMb = (device.backend.memory().peakBytes - before) / 2 ** 20;
  const runners = [ours];
  for (const [label, child, dtype] of peers) {
    const { trials } = await child.ask<{ trials: object }>(
      JSON.stringify({ load: work, weights, input, dtype }),
    );
    await child.ask(JSON.stringify({ run: 1 }));
    log(`${WORKS[work]}: ${label} takes the faster of ${JSON.stringify(trials)} ms`);
    // Random weights multiply differences by hundreds: those of bf16 say nothing.
    if (dtype === "float32") {
      await child.ask(JSON.stringify({ output }));
      const { rms, most } = distance(await floatsOf(output), expected);
      log(
        `${WORKS[work]}: ${label} differs from ours by ${rms.toExponential(1)} (rms), ${most.toExponential(1)} (most)`,
      );
      if (!(rms < 1e-3))
        throw new Error(`${WORKS[work]}: ${label} differs by ${rms}, expected less than 0.001`);
    }
    runners.push(runner(label, () => child.ask<Times>(JSON.stringify({ run: 1 }))));
  }
  return runners;
}

const modelOf = (device: Device, preset: VisionPresetName, format: StorageFormat): VisionLanguageModel => {
  const config = parseVisionConfig({ ...visionPresets[preset] });
  const model = allocateModule(
    device,
    storageRule(format),
    (scope) => new VisionLanguageModel(scope, config),
  );
  model.parameters.initialize(new Random(1), 0.02);
  return model;
};

const promptOf = (tokens: number): number[] =>
  Array.from({ length: tokens }, (_, i) => (i * 7919 + 11) % 100_000);

/** Steps of Janus, or velocities of JanusFlow, in this program with weights in `format`. */
async function drawing(
  work: "step" | "velocity",
  format: StorageFormat,
  { device, steps }: Bench,
): Promise<Runner> {
  if (work === "step") {
    const model = modelOf(device, "janus-1.3b", format);
    const sampler = new CodeSampler(model, { ids: promptOf(POSITIONS), padId: 2, count: 1 });
    const pass = () => step(model.language, [], { guests: [sampler] });
    if (codeGrid(model) ** 2 < 4 * steps) throw new Error(`--steps: expected less, found ${steps}`);
    while (sampler.done < 3) await pass();
    return runner(format, () => timed(pass, steps));
  }
  const model = modelOf(device, "janusflow-1.3b", format);
  const sampler = await FlowSampler.prepare(model, { ids: promptOf(FLOW_PROMPT), steps: 30 });
  const side = flowLatentSide(model);
  const random = new Random(5);
  const noise = Float32Array.from({ length: side ** 2 * 4 }, () => random.normal());
  const latents = device.tensor(noise, [1, side, side, 4]);
  return runner(format, () => timed(async () => (await sampler.velocity(latents, 15)).dispose(), 1));
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      python: { type: "string", default: process.env.DEEPSEEK_TS_PEER_PYTHON },
      only: { type: "string", default: "" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      steps: { type: "string", default: "8" },
    },
  });
  if (values.python === undefined) throw new Error("peers/draw needs a Python with torch: --python FILE");
  const threads = Number(values.threads);
  const script = fileURLToPath(new URL("draw_torch.py", import.meta.url));
  const start = () =>
    startChild<{ torch: string; capability: string }>(
      values.python!,
      [script, "--threads", `${threads}`],
      KEEPS_MEMORY,
    );
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const head = ["least of the rounds", "ms", "processor ms, all threads", "peak MiB"];
  const rows = [
    [...head, "PyTorch f32 over it", "by processor time", "PyTorch bf16 over it, by processor time"],
  ];
  for (const work of Object.keys(WORKS) as Work[]) {
    if (!WORKS[work].includes(values.only)) continue;
    // Started anew: memory of one work must not be that of another.
    await using torch = await start();
    await using narrow = await start();
    await using device = await createCpuDevice({ threads });
    const { description } = torch;
    log(`PyTorch ${description.torch} (${description.capability}), ${threads} threads each`);
    const peers = [
      ["PyTorch f32", torch, "float32"],
      ["PyTorch bf16", narrow, "bfloat16"],
    ] as const;
    const bench: Bench = { device, peers, steps: Number(values.steps), log };
    await withTemporaryFolder("deepseek-ts-draw-", async (folder) => {
      const runners: Runner[] = [];
      if (work === "vq" || work === "vae") runners.push(...(await decoders(work, folder, bench)));
      else {
        const formats = work === "step" ? (["q8", "q4"] as const) : (["f32", "q8", "q4"] as const);
        for (const format of formats) runners.push(await drawing(work, format, bench));
        const positions = work === "step" ? POSITIONS : FLOW_PROMPT - 1;
        const count = work === "step" ? bench.steps : 1;
        for (const [label, child, dtype] of peers) {
          await child.ask(JSON.stringify({ load: work, positions, dtype }));
          await child.ask(JSON.stringify({ run: 1 }));
          runners.push(runner(label, () => child.ask<Times>(JSON.stringify({ run: count }))));
        }
      }
      await takeTurns(runners, Number(values.rounds));
      const [f32, bf16] = ["PyTorch f32", "PyTorch bf16"].map(
        (label) => runners.find((each) => each.label === label)!,
      );
      for (const { label, wall, cpu, peakMb } of runners) {
        const key = `${WORKS[work]}, ${label}`;
        metrics[`${key}, ms`] = round(least(wall));
        metrics[`${key}, processor ms`] = round(least(cpu));
        if (peakMb > 0) metrics[`${key}, peak MiB`] = round(peakMb, 0);
        ratios[`${key} against PyTorch f32`] = round(least(f32.wall) / least(wall), 3);
        ratios[`${key} against PyTorch f32, processor time`] = round(least(f32.cpu) / least(cpu), 3);
        ratios[`${key} against PyTorch bf16, processor time`] = round(least(bf16.cpu) / least(cpu), 3);
        rows.push([
          ...[key, least(wall).toFixed(0), least(cpu).toFixed(0), peakMb > 0 ? peakMb.toFixed(0) : ""],
          ...[least(f32.wall) / least(wall), least(f32.cpu) / least(cpu), least(bf16.cpu) / least(cpu)].map(
            (ratio) => ratio.toFixed(2),
          ),
        ]);
      }
    });
  }
  for (const line of table(rows)) log(line);
  return { metrics, ratios };
}
