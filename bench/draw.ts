/**
 * Drawing with a model of Janus-1.3B's shape and random weights: a step of one image under guidance (2 rows) and of four (8 rows),
 * and the image tokenizer's decoder. Images have as many codes behind them as on average, so that a step times their number
 * is the time of an image.
 *
 * The limit of a step is the bytes that it reads over the bandwidth of a plain read, measured before and after each step: the
 * weights of the blocks, of the head and of the adaptor once, whatever the number of images, and the caches of all rows. That of the
 * decoder is its operations over the bare inner loop's peak. Times are of the wall and of the processor, per thread: where other
 * programs run, only the second means something, and shares are taken of it.
 * Options: --formats q8,q4, --images 1,4, --steps N (timed), --cache f32, --threads N, --no-decode, --profile.
 */
import { parseArgs } from "node:util";
import { CodeSampler, codeGrid, codesOf } from "../src/engine/draw/code-sampler.ts";
import { step } from "../src/engine/step.ts";
import { parseVisionConfig } from "../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../src/models/vision-language.ts";
import { visionPresets } from "../src/models/vision-presets.ts";
import type { CacheDtype } from "../src/nn/cache.ts";
import { storedBytes } from "../src/nn/parameter-group.ts";
import { allocateModule } from "../src/nn/scope.ts";
import { type StorageFormat, storageRule } from "../src/nn/storage.ts";
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import { type Device, disposeAll } from "../src/tensor/tensor.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, round, table } from "./support/numbers.ts";
import { peakKernel, readKernel } from "./support/peaks.ts";
import { Profile } from "./support/profile.ts";
import { fillRandomly } from "./support/towers.ts";

export const name = "draw";

const FORMATS: readonly StorageFormat[] = ["bf16", "q8", "q4"];
const CACHES: readonly CacheDtype[] = ["f32", "bf16", "f16"];

/** Tokens of a prompt. */
const PROMPT = 36;

/** Operations of the decoder for one image of 24 x 24 codes. */
const DECODER_OPERATIONS = 570e9;

function known<T extends string>(flag: string, all: readonly T[], text: string): T {
  const found = all.find((each) => each === text);
  if (found !== undefined) return found;
  throw new Error(`--${flag}: expected ${all.join(", ")}, found "${text}"`);
}

/** Bytes of weights that a step reads: not the embedding and the head of text, nor what sees and decodes. */
function stepBytes({ language, generation }: VisionLanguageModel): number {
  const unread = /embed_tokens|lm_head|gen_vision_model|gen_embed/;
  return [...language.parameters.groups(), ...generation!.parameters.groups()]
    .filter(({ key }) => !unread.test(key))
    .reduce((sum, group) => sum + storedBytes(group), 0);
}

/** Milliseconds of processor time per thread, and of the wall, that work takes. */
class Clock {
  readonly #threads: number;

  constructor(device: Device) {
    this.#threads = (device.backend as CpuBackend).threads;
  }

  async time(work: () => unknown): Promise<{ cpu: number; wall: number }> {
    const used = process.cpuUsage();
    const begin = performance.now();
    await work();
    const wall = performance.now() - begin;
    const { user, system } = process.cpuUsage(used);
    return { cpu: (user + system) / 1e3 / this.#threads, wall };
  }
}

/** What the machine can do at the moment. */
class Limits implements Disposable {
  readonly #device: Device;
  readonly #clock: Clock;
  readonly #tensors;

  constructor(device: Device, clock: Clock) {
    this.#device = device;
    this.#clock = clock;
    this.#tensors = { memory: device.zeros([1 << 26]), sums: device.empty([64]) };
  }

  /** Bytes per millisecond of a plain read. */
  async read(): Promise<number> {
    const { memory, sums } = this.#tensors;
    const shape = { units: 64, n: memory.size / 64 };
    const { cpu } = await this.#clock.time(() => readKernel.run(this.#device, { x: memory, y: sums }, shape));
    return (4 * memory.size) / cpu;
  }

  /** Operations per millisecond of the inner loop. */
  async compute(): Promise<number> {
    const wide = (this.#device.backend as CpuBackend).wide ? 1 : 0;
    const [units, repeats] = [32, 200];
    const { cpu } = await this.#clock.time(() =>
      peakKernel.run(this.#device, { c: this.#tensors.sums }, { units, repeats, wide }),
    );
    return (units * repeats * 2 * 6 * 16 * 256) / cpu;
  }

  [Symbol.dispose](): void {
    disposeAll(this.#tensors);
  }
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      formats: { type: "string", default: "q8,q4" },
      images: { type: "string", default: "1,4" },
      steps: { type: "string", default: "24" },
      cache: { type: "string", default: "f32" },
      threads: { type: "string" },
      "no-decode": { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
    },
  });
  const formats = values.formats.split(",").map((each) => known("formats", FORMATS, each));
  const counts = values.images.split(",").map(Number);
  const cacheDtype = known("cache", CACHES, values.cache);
  await using device = await createCpuDevice(values.threads ? { threads: Number(values.threads) } : {});
  const clock = new Clock(device);
  using limits = new Limits(device, clock);
  const config = parseVisionConfig({ ...visionPresets["janus-1.3b"] });
  const metrics: Record<string, number> = { threads: (device.backend as CpuBackend).threads };
  const ratios: Record<string, number> = {};
  const rows = [
    ["", "cpu ms a step", "wall", "steps/s", "s an image", "GB read", "limit, ms", "of the limit"],
  ];
  for (const [at, format] of formats.entries()) {
    using model = allocateModule(
      device,
      storageRule(format),
      (scope) => new VisionLanguageModel(scope, config),
    );
    model.parameters.initialize(new Random(1), 0.02);
    fillRandomly(codesOf(model).parameters, 1);
    const side = codeGrid(model);
    const before = PROMPT + ((side ** 2) >> 1);
    const ids = Array.from({ length: before }, (_, i) => (i * 7919 + 11) % 100_000);
    for (const count of counts) {
      using sampler = new CodeSampler(model, { ids, padId: 2, count, cacheDtype });
      const pass = () => step(model.language, [], { guests: [sampler] });
      while (sampler.done < 3) await pass();
      const weights = stepBytes(model);
      const times: { cpu: number; wall: number }[] = [];
      const shares: number[] = [];
      let floor = Number.POSITIVE_INFINITY;
      let bytes = 0;
      while (times.length < Number(values.steps)) {
        bytes = weights + 2 * count * (before + sampler.done) * model.language.cacheTokenBytes(cacheDtype);
        const first = await limits.read();
        const took = await clock.time(pass);
        const limit = bytes / Math.max(first, await limits.read());
        floor = Math.min(floor, limit);
        times.push(took);
        shares.push(limit / took.cpu);
      }
      const best = Math.min(...times.map(({ cpu }) => cpu));
      const wall = Math.min(...times.map((each) => each.wall));
      const key = `Janus-1.3B ${format}, ${count} image${count === 1 ? "" : "s"}`;
      const image = (best * side ** 2) / 1e3 / count;
      metrics[`${key}, cpu ms a step`] = round(best);
      metrics[`${key}, wall ms a step`] = round(wall);
      metrics[`${key}, steps per second`] = round(1e3 / best);
      metrics[`${key}, seconds of steps an image`] = round(image);
      ratios[`${key}, of the limit`] = round(median(shares), 3);
      rows.push([
        ...[key, best.toFixed(1), wall.toFixed(1), (1e3 / best).toFixed(1), image.toFixed(1)],
        ...[(bytes / 1e9).toFixed(2), floor.toFixed(1), median(shares).toFixed(2)],
      ]);
      if (!values.profile) continue;
      using profile = new Profile(device);
      profile.enter("step");
      await pass();
      profile.enter("");
      profile.report(1, log);
    }
    if (at > 0 || values["no-decode"]) continue;
    // The tokenizer is f32 with every format.
    using codes = device.tensor(new Int32Array(side ** 2), [1, side, side], "i32");
    const peak = await limits.compute();
    const { cpu: ms } = await clock.time(() =>
      device.inference(() => codesOf(model).tokenizer.decode(codes)).dispose(),
    );
    const limit = DECODER_OPERATIONS / Math.max(peak, await limits.compute());
    metrics["decoder, cpu seconds an image"] = round(ms / 1e3, 2);
    ratios["decoder, of the inner loop"] = round(limit / ms, 3);
    log(
      `decoder, 24 x 24 codes to ${16 * side} pixels: ${(ms / 1e3).toFixed(2)} s, ${(DECODER_OPERATIONS / ms / 1e6).toFixed(0)} GFLOP/s, ` +
        `${(limit / ms).toFixed(2)} of the inner loop`,
    );
  }
  for (const line of table(rows)) log(line);
  return { metrics, ratios };
}
