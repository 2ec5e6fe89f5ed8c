/**
 * A training step of low-rank adapters over quantized weights, as it is and with blocks recomputed, against one of all weights
 * of the same model: a Llama shape of 98 million parameters, random, on the same tokens. Rounds alternate. Options:
 *   --rounds N       rounds of one step each (5)
 *   --tokens N       tokens of a step (256)
 *   --rank N         of the adapters, on all linear layers (16)
 *   --base FORMAT    storage below the adapters: q4 (default), q8, bf16, f32
 *   --shape NAME     another one, of a released model: deepseek-coder-1.3b, ..
 *   --sides LIST     of full, plain and recomputed (all): all weights of a large shape do not fit
 *   --threads N      default: the machine's cores
 */
import { parseArgs } from "node:util";
import { AdaptedModel, createAdapters } from "../src/models/adapted-model.ts";
import { type CreateOptions, createModel } from "../src/models/causal-lm.ts";
import { presets } from "../src/models/presets.ts";
import type { TrainableModel } from "../src/models/token-model.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import type { BatchSource } from "../src/train/batches.ts";
import { Trainer } from "../src/train/trainer.ts";
import { median, round, table } from "./support/numbers.ts";

export const name = "adapters";

const SHAPE: Shape = {
  model_type: "llama",
  vocab_size: 8192,
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  bos_token_id: 0,
  eos_token_id: 1,
};

type Shape = { readonly vocab_size: number } & Record<string, unknown>;

const SIDES = ["full", "plain", "recomputed"] as const;

/** Milliseconds between the sides of a round: threads of the one that stopped may spin for a while. */
const PAUSE = 400;

/** One row of uniform token ids after the other. */
function randomRows(length: number, vocabulary: number): BatchSource {
  const random = new Random(2);
  return {
    next: async (batch) => {
      const tokens = Int32Array.from({ length: batch * (length + 1) }, () => random.int(vocabulary));
      const targets = tokens.filter((_, i) => i % (length + 1) !== 0);
      return { tokens, targets, batch, length };
    },
    state: () => null,
    restore: () => undefined,
  };
}

interface Side extends AsyncDisposable {
  readonly label: string;
  readonly trained: number;
  readonly wall: number[];
  /** Processor time of all threads. */
  readonly cpu: number[];
  step(): Promise<void>;
  /** Most bytes that were held at once. */
  peak(): number;
}

interface Settings {
  readonly tokens: number;
  readonly rank: number;
  readonly threads: number | undefined;
  readonly shape: Shape;
}

/** A model on its own device. @param adapters whether these alone are trained, and how */
async function side(
  label: string,
  { tokens, rank, threads, shape }: Settings,
  dtype: CreateOptions["dtype"],
  adapters: { readonly recompute: boolean } | null,
): Promise<Side> {
  const device = await createCpuDevice(threads === undefined ? {} : { threads });
  const base = createModel(shape, device, { seed: 1, std: 0.02, dtype });
  const adapted =
    adapters === null
      ? null
      : new AdaptedModel(base, createAdapters(base, { rank, alpha: 2 * rank, targets: ["all-linear"] }, 1));
  if (adapted !== null) adapted.recompute = adapters!.recompute;
  const model: TrainableModel = adapted ?? base;
  const trainer = new Trainer(model, randomRows(tokens, shape.vocab_size), {
    steps: 1e6,
    batch: { size: 1 },
    learningRate: { peak: 1e-4, warmupSteps: 0, shape: "constant" },
    optimizer: { weightDecay: 0, clipNorm: 1 },
  });
  const [wall, cpu]: [number[], number[]] = [[], []];
  return {
    ...{ label, wall, cpu, trained: model.parameters.count },
    async step() {
      const before = process.cpuUsage();
      const start = performance.now();
      await trainer.trainStep();
      wall.push(performance.now() - start);
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1000);
    },
    peak: () => device.backend.memory().peakBytes,
    async [Symbol.asyncDispose]() {
      trainer[Symbol.dispose]();
      adapted?.[Symbol.dispose]();
      base[Symbol.dispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));

/** Prints time and memory of each side and their ratios to training all weights. */
export async function run(log: (line: string) => void, args: string[] = []) {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "5" },
      tokens: { type: "string", default: "256" },
      rank: { type: "string", default: "16" },
      base: { type: "string", default: "q4" },
      shape: { type: "string" },
      sides: { type: "string", default: SIDES.join() },
      threads: { type: "string" },
    },
  });
  const wanted = values.sides.split(",");
  const unknown = wanted.find((each) => !(SIDES as readonly string[]).includes(each));
  if (unknown !== undefined)
    throw new Error(`--sides: no such side: ${unknown}; there are ${SIDES.join(", ")}`);
  if (values.shape !== undefined && !Object.hasOwn(presets, values.shape))
    throw new Error(`--shape: no such shape: ${values.shape}; there are ${Object.keys(presets).join(", ")}`);
  const settings: Settings = {
    shape: values.shape === undefined ? SHAPE : presets[values.shape as keyof typeof presets],
    tokens: Number(values.tokens),
    rank: Number(values.rank),
    threads: values.threads === undefined ? undefined : Number(values.threads),
  };
  const dtype = values.base as CreateOptions["dtype"];
  await using stack = new AsyncDisposableStack();
  const open = async (
    kind: (typeof SIDES)[number],
    ...given: [string, typeof dtype, Parameters<typeof side>[3]]
  ) => {
    const [label, ...rest] = given;
    return wanted.includes(kind) ? stack.use(await side(label, settings, ...rest)) : null;
  };
  const full = await open("full", "all weights, f32", "f32", null);
  const plain = await open("plain", `adapters over ${dtype}`, dtype, { recompute: false });
  const again = await open("recomputed", `adapters over ${dtype}, recomputed`, dtype, { recompute: true });
  const sides = [full, plain, again].filter((each) => each !== null);
  for (const each of sides) {
    await each.step();
    each.wall.length = 0;
    each.cpu.length = 0;
  }
  for (let r = 0; r < Number(values.rounds); r++) {
    for (const each of sides) {
      await pause();
      await each.step();
    }
  }
  const mega = (bytes: number) => bytes / 2 ** 20;
  const rows = sides.map(({ label, trained, wall, cpu, peak }) => [
    label,
    `${round(trained / 1e6)}M`,
    `${round(median(wall))}`,
    `${round(median(cpu))}`,
    `${round((1000 * settings.tokens) / median(wall))}`,
    `${round(mega(peak()), 0)}`,
  ]);
  for (const line of table([["", "trained", "ms", "processor ms", "tokens/s", "peak MiB"], ...rows]))
    log(line);
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  for (const { label, wall, cpu, peak } of sides) {
    metrics[`${label}: ms`] = round(median(wall));
    metrics[`${label}: processor ms`] = round(median(cpu));
    metrics[`${label}: peak MiB`] = round(mega(peak()), 0);
  }
  for (const [what, own] of [
    ["adapters", plain],
    ["recomputed adapters", again],
  ] as const) {
    if (own === null || full === null) continue;
    const { wall, cpu, peak } = own;
    ratios[`speed of ${what} over all weights`] = round(median(wall.map((ms, i) => full.wall[i] / ms)), 3);
    ratios[`speed of ${what} over all weights, by processor time`] = round(
      median(cpu.map((ms, i) => full.cpu[i] / ms)),
      3,
    );
    ratios[`memory of ${what} over all weights`] = round(peak() / full.peak(), 3);
  }
  log("");
  for (const [label, value] of Object.entries(ratios)) log(`${label.padEnd(64)} ${value}`);
  return { metrics, ratios };
}
