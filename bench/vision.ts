/**
 * Vision towers and projectors of the released sizes with random weights: SigLIP-L/16-384, SAM-B at 1,024 pixels with its
 * necks, the two together, SigLIP-SO400M/14-384, in f32, bf16, 8 and 4 bits; and DeepSeek-VL2-Tiny from the bytes of an
 * image file to the first token, then to that of a second question about the same picture.
 *
 * The limit is the operations over the bare inner loop's peak, measured before and after each run; weights are read once
 * per image, far below it. Quantized products have an inner loop of their own, so that their share of the f32 one can
 * exceed 1.
 * Options: --only TEXT (rows whose name contains it), --formats f32,q8, --rounds N, --threads N, --views N (of SO400M),
 * --profile (where the time goes, by kernel).
 */
import { parseArgs } from "node:util";
import type { PromptPiece } from "../src/chat/image-messages.ts";
import { ModelSource } from "../src/engine/conversation.ts";
import { imagePrompt } from "../src/engine/image-prompt.ts";
import type { Prompt } from "../src/engine/prompt.ts";
import { parseTileProcessor, tiledPixels } from "../src/models/deepseek_vl2/processor.ts";
import { parseVisionConfig } from "../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../src/models/vision-language.ts";
import { visionPresets } from "../src/models/vision-presets.ts";
import { allocateModule } from "../src/nn/scope.ts";
import { type StorageFormat, storageRule } from "../src/nn/storage.ts";
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import { type Device, Scope, type Tensor } from "../src/tensor/tensor.ts";
import { decodeImage } from "../src/vision/image/decode.ts";
import { encodePng } from "../src/vision/image/png-writer.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, round } from "./support/numbers.ts";
import { peakKernel } from "./support/peaks.ts";
import { Profile } from "./support/profile.ts";
import {
  anyOf,
  fillRandomly,
  makeHybrid,
  makeProjector,
  makeSam,
  makeSiglip,
  projectorConfig,
  projectorOperations,
  randomPixels,
  samOperations,
  siglipOperations,
  towerConfigs,
  towerOperations,
} from "./support/towers.ts";

export const name = "vision";

const FORMATS: readonly StorageFormat[] = ["f32", "bf16", "q8", "q4"];

/** Operations per second of the inner loop on all threads, the better of two short runs. */
function peakOf(device: Device, c: Tensor): number {
  const wide = (device.backend as CpuBackend).wide ? 1 : 0;
  const [units, repeats] = [32, 20];
  let best = 0;
  for (let i = 0; i < 2; i++) {
    const begin = performance.now();
    peakKernel.run(device, { c }, { units, repeats, wide });
    best = Math.max(best, (units * repeats * 2 * 6 * 16 * 256) / (performance.now() - begin));
  }
  return best;
}

interface Row {
  readonly label: string;
  readonly operations: number;
  /** Makes the module; the function computes one output. */
  make(format: StorageFormat): Disposable & { run(): Tensor };
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: "" },
      formats: { type: "string", default: FORMATS.join(",") },
      rounds: { type: "string", default: "3" },
      threads: { type: "string" },
      views: { type: "string", default: "1,10" },
      profile: { type: "boolean", default: false },
    },
  });
  const formats = values.formats.split(",").map((each) => {
    const format = FORMATS.find((known) => known === each);
    if (format === undefined) throw new Error(`--formats: expected ${FORMATS.join(", ")}, found "${each}"`);
    return format;
  });
  const rounds = Number(values.rounds);
  await using device = await createCpuDevice(values.threads ? { threads: Number(values.threads) } : {});
  const { siglipL, so400m, hybrid } = towerConfigs();
  const wanted = (label: string) => label.includes(values.only);
  const rows: Row[] = [];
  const row = <T extends Disposable>(
    label: string,
    operations: number,
    input: readonly number[],
    module: (format: StorageFormat) => T,
    forward: (module: T, x: Tensor) => Tensor,
  ) => {
    if (!wanted(label)) return;
    rows.push({
      label,
      operations,
      make(format) {
        const made = module(format);
        const pixels = input.length === 2;
        const x = pixels ? randomPixels(device, input[0], input[1]) : device.zeros(input);
        return {
          run: () => forward(made, x),
          [Symbol.dispose]() {
            x.dispose();
            made[Symbol.dispose]();
          },
        };
      },
    });
  };
  row(
    "SigLIP-L/16-384",
    siglipOperations(siglipL),
    [1, 384],
    (format) => makeSiglip(device, siglipL, format),
    (tower, x) => tower.forward(x),
  );
  row(
    "SAM-B 1024 with necks",
    samOperations(hybrid.high),
    [1, 1024],
    (format) => makeSam(device, hybrid.high, format),
    (tower, x) => tower.forward(x),
  );
  row(
    "hybrid of both",
    towerOperations(hybrid),
    [1, 1024],
    (format) => makeHybrid(device, hybrid, format),
    (tower, x) => anyOf(tower.forward(x)),
  );
  for (const views of values.views.split(",").map(Number)) {
    row(
      `SigLIP-SO400M/14-384, ${views} tile${views === 1 ? "" : "s"}`,
      views * siglipOperations(so400m),
      [views, 384],
      (format) => makeSiglip(device, so400m, format),
      (tower, x) => tower.forward(x),
    );
  }
  const aligner = projectorConfig("deepseek-vl-1.3b");
  row(
    "projector of VL-1.3B, 576 tokens",
    projectorOperations(aligner, 24),
    [1, 576, 1024],
    (format) => makeProjector(device, aligner, format),
    (projector, x) => projector.forward(x),
  );
  const joining = projectorConfig("deepseek-vl2-tiny");
  row(
    "projector of VL2-Tiny, 7 views",
    7 * projectorOperations(joining, 27),
    [7, 729, 1152],
    (format) => makeProjector(device, joining, format),
    (projector, x) => projector.forward(x),
  );

  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const small = device.empty([64]);
  const peaks: number[] = [];
  for (const { label, operations, make } of rows) {
    for (const format of formats) {
      using made = make(format);
      const times: number[] = [];
      const shares: number[] = [];
      let cpu = Number.POSITIVE_INFINITY;
      const once = () => {
        using scope = new Scope(device);
        void scope;
        device.noGrad(() => made.run());
      };
      once();
      for (let i = 0; i < rounds; i++) {
        const before = peakOf(device, small);
        const used = process.cpuUsage();
        const begin = performance.now();
        once();
        const ms = performance.now() - begin;
        const { user, system } = process.cpuUsage(used);
        const peak = Math.max(before, peakOf(device, small));
        peaks.push(peak / 1e6);
        times.push(ms);
        cpu = Math.min(cpu, (user + system) / 1e3 / (device.backend as CpuBackend).threads);
        shares.push(operations / ms / peak);
      }
      const ms = Math.min(...times);
      const share = median(shares);
      const key = `${label}, ${format}`;
      metrics[`${key}, ms`] = round(ms);
      metrics[`${key}, GFLOP/s`] = round(operations / ms / 1e6);
      ratios[`${key}, of the inner loop`] = round(share, 3);
      log(
        `${key.padEnd(40)} ${ms.toFixed(0).padStart(7)} ms  cpu ${cpu.toFixed(0).padStart(7)}  ` +
          `${(operations / ms / 1e6).toFixed(0).padStart(4)} GFLOP/s  ${share.toFixed(2)} of the inner loop`,
      );
      if (!values.profile) continue;
      using profile = new Profile(device);
      profile.enter("forward");
      once();
      profile.enter("");
      profile.report(1, log);
    }
  }
  if (peaks.length > 0) {
    metrics["inner loop GFLOP/s"] = round(Math.max(...peaks));
    log(`inner loop at most ${Math.max(...peaks).toFixed(0)} GFLOP/s`);
  }
  for (const format of formats.filter((each) => wanted(`VL2-Tiny, first token, ${each}`))) {
    await firstToken(device, format, rounds, log, metrics, ratios);
  }
  return { metrics, ratios };
}

/** A page of lines: what a document looks like to the decoder and the resizing. */
async function page(width: number, height: number): Promise<Uint8Array> {
  const rgb = new Uint8Array(width * height * 3).fill(250);
  const random = new Random(3);
  for (let y = 20; y < height - 20; y++) {
    for (let x = 20; x < width - 20 && y % 20 < 12; x++) {
      if (random.uniform() < 0.35)
        rgb.fill(random.uniform() * 90, (y * width + x) * 3, (y * width + x + 1) * 3);
    }
  }
  return encodePng({ width, height, rgb });
}

/** DeepSeek-VL2-Tiny, language part in 4 bits, tower and projector in `format`: an image of 1,000 x 700 pixels. */
async function firstToken(
  device: Device,
  format: StorageFormat,
  rounds: number,
  log: (line: string) => void,
  metrics: Record<string, number>,
  ratios: Record<string, number>,
): Promise<void> {
  const config = parseVisionConfig({ ...(visionPresets["deepseek-vl2-tiny"] as Record<string, never>) });
  const storage = storageRule("q4", format);
  const model = allocateModule(device, storage, (scope) => new VisionLanguageModel(scope, config));
  using _model = model;
  model.parameters.initialize(new Random(1), 0.02);
  fillRandomly(model.tower.parameters, 1);
  fillRandomly(model.projector.parameters, 2);
  const processor = parseTileProcessor({
    processor_class: "DeepseekVLV2Processor",
    candidate_resolutions: config.tiling!.resolutions,
    ...{ patch_size: 14, downsample_ratio: 2, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
    ...{ normalize: true, add_special_token: false, sft_format: "deepseek", ignore_id: -100 },
  });
  const file = await page(1000, 700);
  const text = (seed: number, n: number) =>
    Array.from({ length: n }, (_, i) => 1000 + ((i * 7919 + seed) % 90_000));
  const label = `VL2-Tiny, 1,000 x 700, tower ${format}`;
  const best = {
    all: Number.POSITIVE_INFINITY,
    ratio: Number.POSITIVE_INFINITY,
    second: Number.POSITIVE_INFINITY,
  };
  let line = "";
  for (let i = 0; i <= rounds; i++) {
    using source = new ModelSource(model.language);
    const first = async (prompt: Prompt) => {
      for await (const _ of source.generate(prompt, { maxTokens: 1 }).tokens) break;
    };
    const start = performance.now();
    const image = await decodeImage(file, { name: "page.png" });
    const { pixels, plans } = await tiledPixels([image], processor, { device });
    const ready = performance.now();
    const images = await model.encodeImages({ pixels, tiles: plans.map(({ tiles }) => tiles) });
    const seen = performance.now();
    const pieces = (seed: number): PromptPiece[] => [
      { ids: text(0, 6), learned: false },
      { image: 0 },
      { ids: text(seed, 12), learned: false },
    ];
    await first(imagePrompt(pieces(1), images, 5));
    const answered = performance.now();
    await first(imagePrompt(pieces(2), images, 5));
    const second = performance.now() - answered;
    const [{ tokens, tiles }] = plans;
    const views = 1 + tiles[0] * tiles[1];
    const all = answered - start;
    // The towers alone on the same views.
    const x = device.tensor(pixels, [views, 384, 384, 3]);
    const begin = performance.now();
    device.inference(() => anyOf(model.tower.forward(x))).dispose();
    const tower = performance.now() - begin;
    x.dispose();
    for (const each of images) each[Symbol.dispose]();
    if (i === 0 || all >= best.all) continue;
    best.all = all;
    best.ratio = all / tower;
    best.second = Math.min(best.second, second);
    line =
      `${label}: ${views} views, ${tokens} image tokens; file to pixels ${(ready - start).toFixed(0)} ms, towers and ` +
      `projector ${(seen - ready).toFixed(0)}, prompt and first token ${(answered - seen).toFixed(0)}; all ${all.toFixed(0)} = ` +
      `${best.ratio.toFixed(2)} x the towers alone (${tower.toFixed(0)}); second question ${second.toFixed(0)} ms`;
  }
  log(line);
  metrics[`${label}, first token ms`] = round(best.all);
  metrics[`${label}, second question ms`] = round(best.second);
  ratios[`${label}, first token over towers`] = round(best.ratio, 3);
}
