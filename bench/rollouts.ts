/**
 * Rollouts of a policy of 10.6 million parameters: 64 completions together, in groups that read their prompt once, sampled by the
 * weights that are trained (f32) or by a copy in bf16 or 8 bits, and what it takes to hand the weights over, as a part of a step.
 * Formats alternate; times are of the wall and, over all threads, of the processor: where other programs run, only the second
 * means something. Options: --groups N (8), --samples N (8), --prompt N (60), --tokens N (64), --threads N, --rounds N.
 */
import { parseArgs } from "node:util";
import { Engine } from "../src/engine/engine.ts";
import { createModel } from "../src/models/causal-lm.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import type { Device } from "../src/tensor/tensor.ts";
import { passRates } from "../src/train/policy/evaluation.ts";
import { PolicyTrainer } from "../src/train/policy/policy-trainer.ts";
import type { Reward } from "../src/train/policy/rewards.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, table } from "./support/numbers.ts";

export const name = "rollouts";

const VOCABULARY = 1024;
const FORMATS = ["f32", "bf16", "q8"] as const;
type Format = (typeof FORMATS)[number];

const config = {
  ...{ model_type: "llama", vocab_size: VOCABULARY, hidden_size: 320, intermediate_size: 864 },
  ...{ num_hidden_layers: 8, num_attention_heads: 5, num_key_value_heads: 5, rms_norm_eps: 1e-6 },
  ...{ max_position_embeddings: 1024, bos_token_id: 0, eos_token_id: 1 },
};

interface Settings {
  readonly groups: number;
  readonly samples: number;
  readonly prompt: number;
  readonly tokens: number;
}

interface Spent {
  readonly wall: number;
  readonly processor: number;
}

async function timed(work: () => Promise<unknown>): Promise<Spent> {
  const since = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { wall: (performance.now() - since) / 1e3, processor: (user + system) / 1e6 };
}

interface Round {
  readonly sampling: Spent;
  readonly handOver: Spent;
  readonly step: Spent;
}

/** A policy that samples in one format, and one round of it. */
async function policyOf(device: Device, format: Format, { groups, samples, prompt, tokens }: Settings) {
  const model = createModel(config, device, { seed: 1, std: 0.06 });
  const copy = format === "f32" ? null : createModel(config, device, { dtype: format });
  const together = groups * samples;
  const engine = new Engine(copy ?? model, {
    ...{ maxBatch: together, maxQueue: together, cacheTokens: 2 * together * (prompt + tokens + 64) },
  });
  const prompts = Array.from({ length: groups }, (_, g) => ({
    ids: Array.from({ length: prompt }, (_, i) => 2 + ((i * 37 + g * 101 + 11) % (VOCABULARY - 2))),
  }));
  const reward: Reward = (group) => group.map((_, i) => i);
  const sampling = { samples, maxTokens: tokens, stopIds: [] };
  const trainer = new PolicyTrainer(
    { model, engine, prompts, reward, ...(copy && { copy }) },
    { ...sampling, steps: null, groups, learningRate: { peak: 1e-4, warmupSteps: 1, shape: "constant" } },
  );
  return {
    async round(): Promise<Round> {
      const step = await timed(() => trainer.step());
      const handOver = await timed(() => trainer.renew());
      return {
        step,
        handOver,
        sampling: await timed(() => passRates(engine, prompts, { reward }, sampling)),
      };
    },
    async [Symbol.asyncDispose]() {
      trainer[Symbol.dispose]();
      await engine[Symbol.asyncDispose]();
      copy?.[Symbol.dispose]();
      model[Symbol.dispose]();
    },
  };
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      groups: { type: "string", default: "8" },
      samples: { type: "string", default: "8" },
      prompt: { type: "string", default: "60" },
      tokens: { type: "string", default: "64" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string" },
    },
  });
  const number = (name: "groups" | "samples" | "prompt" | "tokens" | "rounds") => Number(values[name]);
  const settings: Settings = {
    ...{ groups: number("groups"), samples: number("samples") },
    ...{ prompt: number("prompt"), tokens: number("tokens") },
  };
  await using device = await createCpuDevice({
    threads: values.threads === undefined ? undefined : Number(values.threads),
  });
  const rounds: Record<Format, Round[]> = { f32: [], bf16: [], q8: [] };
  await using f32 = await policyOf(device, "f32", settings);
  await using bf16 = await policyOf(device, "bf16", settings);
  await using q8 = await policyOf(device, "q8", settings);
  const policies = { f32, bf16, q8 };
  for (let round = 0; round <= number("rounds"); round++) {
    for (const format of FORMATS) {
      const figures = await policies[format].round();
      // The first round warms up.
      if (round > 0) rounds[format].push(figures);
    }
  }
  const completions = settings.groups * settings.samples;
  const made = completions * settings.tokens;
  const metrics: Record<string, number> = {};
  const rows = [
    ["", "tokens/s", "a processor's", "rollouts/s", "a processor's", "hand-over, ms", "of a step", "step, s"],
  ];
  for (const format of FORMATS) {
    const of = (figure: (round: Round) => number) => median(rounds[format].map(figure));
    const figures = {
      "tokens/s": of(({ sampling }) => made / sampling.wall),
      "tokens a second of the processor": of(({ sampling }) => made / sampling.processor),
      "rollouts/s": of(({ sampling }) => completions / sampling.wall),
      "rollouts a second of the processor": of(({ sampling }) => completions / sampling.processor),
      "hand-over, ms": of(({ handOver }) => 1e3 * handOver.wall),
      "hand-over, share of a step": of(({ handOver, step }) => handOver.processor / step.processor),
      "step, s": of(({ step }) => step.wall),
    };
    for (const [label, value] of Object.entries(figures)) metrics[`${format}: ${label}`] = value;
    rows.push([format, ...Object.values(figures).map((value) => value.toPrecision(3))]);
  }
  for (const line of table(rows)) log(line);
  const over = (format: Format) =>
    median(rounds.f32.map(({ sampling }, i) => sampling.processor / rounds[format][i].sampling.processor));
  return {
    metrics,
    ratios: { "sampling, f32 over bf16": over("bf16"), "sampling, f32 over q8": over("q8") },
  };
}
