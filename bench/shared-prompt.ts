/**
 * Samples of one prompt in an engine: each reads the prompt by itself, or all share what one reads. The time until all have
 * their first token, and what they make together, of a Llama of 10.6 million parameters with random weights. Both ways alternate;
 * times are of the wall and, over all threads, of the processor: where other programs run, only the second means something.
 * Options: --samples N (16), --prompt N (256), --tokens N (64), --threads N, --rounds N, --storage f32|q8|q4, --cache f32|bf16|f16.
 */
import { parseArgs } from "node:util";
import { Engine } from "../src/engine/engine.ts";
import { type CausalLM, createModel } from "../src/models/causal-lm.ts";
import type { CacheDtype } from "../src/nn/cache.ts";
import type { StorageFormat } from "../src/nn/storage.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, table } from "./support/numbers.ts";

export const name = "shared-prompt";

const VOCABULARY = 1024;

const config = {
  model_type: "llama",
  vocab_size: VOCABULARY,
  hidden_size: 320,
  intermediate_size: 864,
  num_hidden_layers: 8,
  num_attention_heads: 5,
  num_key_value_heads: 5,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  bos_token_id: 0,
  eos_token_id: 1,
};

interface Settings {
  readonly samples: number;
  readonly prompt: readonly number[];
  readonly tokens: number;
  readonly cacheDtype: CacheDtype;
}

interface Spent {
  readonly wall: number;
  readonly processor: number;
}

interface Run {
  /** Until every sample had its first token. */
  readonly first: Spent;
  readonly rest: Spent;
  readonly cacheBytes: number;
  readonly promptTokensRead: number;
}

function clock(): () => Spent {
  const since = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return { wall: (performance.now() - since) / 1e3, processor: (user + system) / 1e6 };
  };
}

async function sample(model: CausalLM, settings: Settings, shared: boolean): Promise<Run> {
  const { samples, prompt, tokens, cacheDtype } = settings;
  const cacheTokens = samples * (prompt.length + tokens + 2);
  await using engine = new Engine(model, { maxBatch: samples, cacheTokens, cacheDtype });
  const time = clock();
  const generations = Array.from({ length: samples }, (_, seed) =>
    engine.submit({ prompt, maxTokens: tokens, stopIds: [], temperature: 1, seed, reusePrefix: shared }),
  );
  await Promise.all(generations.map((generation) => generation.next()));
  const first = time();
  const since = clock();
  const { cacheBytes, promptTokens, cachedPromptTokens } = engine.metrics();
  await Promise.all(
    generations.map(async (generation) => {
      for await (const _ of generation);
    }),
  );
  return { first, rest: since(), cacheBytes, promptTokensRead: promptTokens - cachedPromptTokens };
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      samples: { type: "string", default: "16" },
      prompt: { type: "string", default: "256" },
      tokens: { type: "string", default: "64" },
      rounds: { type: "string", default: "5" },
      threads: { type: "string" },
      storage: { type: "string", default: "f32" },
      cache: { type: "string", default: "f32" },
    },
  });
  const threads = values.threads === undefined ? undefined : Number(values.threads);
  await using device = await createCpuDevice({ threads });
  using model = createModel(config, device, { seed: 1, std: 0.06, dtype: values.storage as StorageFormat });
  const settings: Settings = {
    samples: Number(values.samples),
    prompt: Array.from({ length: Number(values.prompt) }, (_, i) => 2 + ((i * 37 + 11) % (VOCABULARY - 2))),
    tokens: Number(values.tokens),
    cacheDtype: values.cache as CacheDtype,
  };
  const runs: Record<"alone" | "shared", Run[]> = { alone: [], shared: [] };
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const way of ["alone", "shared"] as const) {
      const figures = await sample(model, settings, way === "shared");
      // The first round warms up.
      if (round > 0) runs[way].push(figures);
    }
  }
  const made = settings.samples * (settings.tokens - 1);
  const metrics: Record<string, number> = {};
  const rows = [
    ["", "prompt read", "first tokens, s", "of the processor", "tokens/s", "a processor's", "caches, MB"],
  ];
  for (const way of ["alone", "shared"] as const) {
    const of = (figure: (run: Run) => number) => median(runs[way].map(figure));
    const figures = {
      "prompt tokens read": of((run) => run.promptTokensRead),
      "first tokens, s": of((run) => run.first.wall),
      "first tokens, s of the processor": of((run) => run.first.processor),
      "tokens/s": of((run) => made / run.rest.wall),
      "tokens a second of the processor": of((run) => made / run.rest.processor),
      "caches, MB": of((run) => run.cacheBytes / 1e6),
    };
    for (const [label, value] of Object.entries(figures)) metrics[`${way}: ${label}`] = value;
    rows.push([way, ...Object.values(figures).map((value) => value.toPrecision(4))]);
  }
  for (const line of table(rows)) log(line);
  const over = (figure: (run: Run) => number) =>
    median(runs.alone.map((run, i) => figure(run) / figure(runs.shared[i])));
  return {
    metrics,
    ratios: {
      "first tokens, alone over shared": over((run) => run.first.processor),
      "rest, alone over shared": over((run) => run.rest.processor),
    },
  };
}
