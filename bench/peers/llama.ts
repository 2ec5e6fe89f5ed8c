/**
 * This package compared with node-llama-cpp on the same weights: a random 4-layer model of DeepSeek-V2's shape (1.96B
 * parameters, 64 experts of 1408, Q4_0 throughout), exported to GGUF by us, opened by both, measured in turn.
 *
 * The limit of decoding is memory: a token reads the weights it activates once, 0.22 GB here. Prefill and batches
 * are bound by arithmetic. Each round measures llama.cpp, then us; ratios are those of the medians.
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { exportGguf } from "../../src/checkpoint/gguf/export.ts";
import { nodeFileSink } from "../../src/checkpoint/node-files.ts";
import { Engine } from "../../src/engine/engine.ts";
import { generate } from "../../src/engine/generate.ts";
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { weightBytes } from "../../src/models/count.ts";
import { describeDecoder } from "../../src/models/decoder.ts";
import { weightsOf } from "../../src/nn/model-weights.ts";
import { load } from "../../src/pretrained/node-load.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { ggufTokenizerMetadata } from "../../src/tokenizer/gguf-tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";
import type { Benchmark } from "../run.ts";
import { median } from "../support/numbers.ts";
import { type LlamaSequence, startLlama } from "./llama-cpp.ts";

export const name: Benchmark["name"] = "peers/llama";

/** The shape that the figures in the README are for. */
export const shape = {
  architectures: ["DeepseekV2ForCausalLM"],
  model_type: "deepseek_v2",
  hidden_size: 2048,
  intermediate_size: 10944,
  moe_intermediate_size: 1408,
  num_hidden_layers: 4,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  kv_lora_rank: 512,
  q_lora_rank: 768,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  n_routed_experts: 64,
  num_experts_per_tok: 6,
  n_shared_experts: 2,
  first_k_dense_replace: 1,
  moe_layer_freq: 1,
  topk_method: "greedy",
  scoring_func: "softmax",
  norm_topk_prob: false,
  routed_scaling_factor: 1,
  n_group: 1,
  topk_group: 1,
  vocab_size: 32000,
  max_position_embeddings: 4096,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  bos_token_id: 0,
  eos_token_id: 1,
  torch_dtype: "float32",
};

const SENTENCE = "function add(a: number, b: number): number { return a + b; } // adds two numbers\n";
const PROMPT = 256;
const DECODED = 48;
const BATCH = 8;
const BATCH_PROMPT = 32;
const BATCH_DECODED = 24;

const prompt = (length: number, salt: number) =>
  Array.from({ length }, (_, i) => 300 + ((i * 7919 + salt * 104729) % 31000));

interface Round {
  /** Milliseconds until the first token after a prompt of 256, and of each further token. */
  readonly prefillMs: number;
  readonly tokenMs: number;
  /** Tokens a second of eight sequences together. */
  readonly batchPerSecond: number;
}

async function makeFile(path: string, log: (line: string) => void): Promise<void> {
  await using device = await createCpuDevice();
  using model = createModel(shape, device, { storage: () => "q4", seed: 1, std: 0.02 });
  const trained = await trainBpe([SENTENCE.repeat(200)], { vocabSize: 300 });
  const sink = await nodeFileSink(path);
  const bytes = await exportGguf(
    sink,
    {
      weights: weightsOf(model),
      config: model.config,
      tokenizer: ggufTokenizerMetadata(trained, trainedTokenizerConfig(4096), model.config.vocabSize),
    },
    { type: "Q4_0" },
  );
  log(`exported ${(bytes / 1e9).toFixed(2)} GB to ${path}`);
}

async function llamaRound(sequences: readonly LlamaSequence[], round: number): Promise<Round> {
  const [first] = sequences;
  await first.clearHistory();
  const start = performance.now();
  let firstAt = 0;
  let last = 0;
  let made = 0;
  for await (const _ of first.evaluate(prompt(PROMPT, round), { temperature: 0 })) {
    last = performance.now();
    if (made++ === 0) firstAt = last;
    if (made > DECODED) break;
  }
  for (const [i, sequence] of sequences.entries()) {
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt(BATCH_PROMPT, 50 + i));
  }
  const from = performance.now();
  let count = 0;
  await Promise.all(
    sequences.map(async (sequence, i) => {
      let own = 0;
      for await (const _ of sequence.evaluate([300 + i], { temperature: 0 })) {
        count++;
        if (++own === BATCH_DECODED) break;
      }
    }),
  );
  const batchPerSecond = (1000 * count) / (performance.now() - from);
  return { prefillMs: firstAt - start, tokenMs: (last - firstAt) / (made - 1), batchPerSecond };
}

async function ourRound(model: CausalLM, round: number): Promise<Round> {
  using cache = model.createCache(PROMPT + DECODED + 1, "f16");
  const tokens = generate(model, prompt(PROMPT, round), { maxTokens: DECODED + 1, stopIds: [], cache });
  let next = await tokens.next();
  while (!next.done) next = await tokens.next();
  const { prefillMs, decodeMs } = next.value;
  await using engine = new Engine(model, { maxBatch: BATCH, cacheDtype: "f16", cacheTokens: 4096 });
  // The clock runs from the moment at which all sequences decode to the one at which the first has ended.
  let running = 0;
  let [from, to, count] = [0, 0, 0];
  await Promise.all(
    Array.from({ length: BATCH }, async (_, i) => {
      const request = { prompt: prompt(BATCH_PROMPT, 50 + i), maxTokens: BATCH_DECODED + 8, stopIds: [] };
      let own = 0;
      for await (const _ of engine.submit(request)) {
        if (own++ === 0 && ++running === BATCH) from = performance.now();
        else if (from > 0 && to === 0) count++;
      }
      if (to === 0) to = performance.now();
    }),
  );
  return { prefillMs, tokenMs: decodeMs / DECODED, batchPerSecond: (1000 * count) / (to - from) };
}

/** Interleaved rounds of both on the same file. Arguments: rounds (default 5). */
export const run: Benchmark["run"] = async (log, args = []) => {
  const rounds = Number(args[0] ?? 5);
  const threads = availableParallelism();
  const folder = join(tmpdir(), "deepseek-ts-peers");
  await mkdir(folder, { recursive: true });
  const path = join(folder, "v2-shape-4-layers.q4_0.gguf");
  if (!existsSync(path)) await makeFile(path, log);

  const opening = performance.now();
  await using ours = await load(path);
  const { model } = ours;
  const loadMs = performance.now() - opening;
  await generate(model, prompt(8, 1), { maxTokens: 1 }).next();
  const firstTokenMs = performance.now() - opening;
  const { total, perToken } = weightBytes(describeDecoder(model.config), () => "q4");

  const llama = await startLlama(threads);
  const { repo, release } = llama.llamaCppRelease;
  log(`${repo} ${release}, ${threads} threads, ${llama.systemInfo}`);
  const theirs = await llama.loadModel({ modelPath: path });
  const context = await theirs.createContext({ contextSize: 512, sequences: BATCH, batchSize: 512, threads });
  const sequences = Array.from({ length: BATCH }, () => context.getSequence());

  const sides = { llama: [] as Round[], ours: [] as Round[] };
  for (let round = 0; round <= rounds; round++) {
    const one = { llama: await llamaRound(sequences, round), ours: await ourRound(model, round) };
    const text = (r: Round) =>
      `${r.tokenMs.toFixed(1)} ms a token, prefill ${((1000 * PROMPT) / r.prefillMs).toFixed(0)}/s, ` +
      `batch ${r.batchPerSecond.toFixed(0)}/s`;
    log(
      `${round === 0 ? "warm-up" : `round ${round}`}  llama.cpp ${text(one.llama)};  ours ${text(one.ours)}`,
    );
    if (round === 0) continue;
    sides.llama.push(one.llama);
    sides.ours.push(one.ours);
  }
  for (const sequence of sequences) sequence.dispose();
  await context.dispose();
  await theirs.dispose();
  await llama.dispose();

  const figures = (list: readonly Round[]) => ({
    tokenMs: median(list.map((r) => r.tokenMs)),
    prefillPerSecond: (1000 * PROMPT) / median(list.map((r) => r.prefillMs)),
    batchPerSecond: median(list.map((r) => r.batchPerSecond)),
  });
  const [a, b] = [figures(sides.llama), figures(sides.ours)];
  const rows: [string, string, number, number, number][] = [
    ["decode", "ms a token", a.tokenMs, b.tokenMs, a.tokenMs / b.tokenMs],
    [
      "prefill of 256",
      "tokens/s",
      a.prefillPerSecond,
      b.prefillPerSecond,
      b.prefillPerSecond / a.prefillPerSecond,
    ],
    ["8 sequences", "tokens/s", a.batchPerSecond, b.batchPerSecond, b.batchPerSecond / a.batchPerSecond],
  ];
  log("");
  log("                                llama.cpp       ours   ours is faster by");
  for (const [what, unit, x, y, ratio] of rows) {
    log(
      `${what.padEnd(16)}${unit.padEnd(12)}${x.toFixed(1).padStart(13)}${y.toFixed(1).padStart(11)}${ratio.toFixed(2).padStart(12)}`,
    );
  }
  const gain = b.batchPerSecond / (1000 / b.tokenMs);
  log(
    `8 sequences over 1, ours: ${gain.toFixed(2)}; ${(perToken / b.tokenMs / 1e6).toFixed(1)} GB of weights a second`,
  );
  log(
    `opened ${(total / 1e9).toFixed(2)} GB in ${(loadMs / 1000).toFixed(2)} s, first token after ${(firstTokenMs / 1000).toFixed(2)} s`,
  );
  return {
    metrics: {
      "llama.cpp decode ms": a.tokenMs,
      "decode ms": b.tokenMs,
      "decode weights GB/s": perToken / b.tokenMs / 1e6,
      "llama.cpp prefill tokens/s": a.prefillPerSecond,
      "prefill tokens/s": b.prefillPerSecond,
      "llama.cpp batch tokens/s": a.batchPerSecond,
      "batch tokens/s": b.batchPerSecond,
      "load s": loadMs / 1000,
      "first token s": firstTokenMs / 1000,
    },
    ratios: {
      decode: a.tokenMs / b.tokenMs,
      prefill: b.prefillPerSecond / a.prefillPerSecond,
      "batch of 8": b.batchPerSecond / a.batchPerSecond,
      "batch of 8 over batch of 1, ours": gain,
    },
  };
};
