/**
 * Agreement with llama.cpp (through node-llama-cpp) on exported models: small random models of each architecture are
 * written as GGUF, loaded on both sides, and compared in token ids of a text, in the logits after every token of it,
 * and in the tokens of greedy generation. F32 files must agree; with Q8_0 and Q4_0 llama.cpp also rounds the
 * activations to 8 bits, which in random models changes choices of experts, so those figures are only shown.
 * Run: node bench/peers/llama-greedy.ts [path of node-llama-cpp]
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  exportGguf,
  ggufConfig,
  ggufWeights,
  openGguf,
  type WritableType,
} from "../../src/checkpoint/gguf/index.ts";
import { nodeFileSink, nodeFileSource } from "../../src/checkpoint/node-files.ts";
import { generate } from "../../src/engine/generate.ts";
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { weightsOf } from "../../src/nn/model-weights.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { ggufTokenizerMetadata } from "../../src/tokenizer/gguf-tokenizer.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";

/** What is used of node-llama-cpp. */
interface Sequence {
  controlledEvaluate(input: unknown[]): Promise<({ next: { logits?: Map<number, number> } } | undefined)[]>;
}
interface LlamaModel {
  tokenize(text: string, specialTokens?: boolean): number[];
  createContext(options: object): Promise<{ getSequence(): Sequence; dispose(): Promise<void> }>;
  dispose(): Promise<void>;
}
interface LlamaModule {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<LlamaModel>;
    dispose(): Promise<void>;
  }>;
}

const VOCABULARY = 600;
const GENERATED = 48;

const common = {
  vocab_size: VOCABULARY + 8,
  hidden_size: 128,
  intermediate_size: 192,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: 1024,
  bos_token_id: 0,
  eos_token_id: 1,
};
const experts = {
  first_k_dense_replace: 1,
  n_shared_experts: 2,
  n_routed_experts: 8,
  num_experts_per_tok: 3,
  moe_intermediate_size: 64,
};
const latent = { kv_lora_rank: 64, qk_nope_head_dim: 32, qk_rope_head_dim: 32, v_head_dim: 32 };
const yarn = (mscale: number) => ({
  type: "yarn",
  factor: 8,
  original_max_position_embeddings: 64,
  beta_fast: 32,
  beta_slow: 1,
  mscale,
  mscale_all_dim: mscale,
});

const models: Readonly<Record<string, object>> = {
  "llama, grouped queries": { ...common, model_type: "llama", num_key_value_heads: 2 },
  "llama, linear rope": {
    ...common,
    model_type: "llama",
    rope_theta: 100000,
    rope_scaling: { type: "linear", factor: 4 },
  },
  "llama, tied, wide heads": { ...common, model_type: "llama", head_dim: 48, tie_word_embeddings: true },
  deepseek: { ...common, ...experts, model_type: "deepseek" },
  "deepseek2, V2-Lite, yarn": {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v2",
    q_lora_rank: null,
    rope_scaling: yarn(0.75),
  },
  "deepseek2, V2, scaled": {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v2",
    q_lora_rank: 64,
    routed_scaling_factor: 4,
    rope_scaling: yarn(1),
  },
  "deepseek2, dense": { ...common, ...latent, model_type: "deepseek_v2", q_lora_rank: 64 },
  "deepseek2, V3": {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v3",
    q_lora_rank: 64,
    n_shared_experts: 1,
    n_group: 1,
    topk_group: 1,
    rope_scaling: yarn(1),
  },
  "deepseek2, V3, groups": {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v3",
    q_lora_rank: 64,
    n_group: 4,
    topk_group: 2,
  },
  "deepseek2, V3, 27 layers": {
    ...common,
    ...experts,
    ...latent,
    model_type: "deepseek_v3",
    num_hidden_layers: 27,
    q_lora_rank: null,
    n_group: 1,
    topk_group: 1,
  },
};

/** Router biases that change choices. */
function spreadBiases(model: CausalLM): void {
  for (const { name, shape } of model.parameters.named()) {
    if (!name.endsWith("e_score_correction_bias")) continue;
    model.parameters.get(name).set(Array.from({ length: shape[0] }, (_, e) => 0.05 * Math.sin(7 * e)));
  }
}

/** Logits after each of `ids`. */
async function ownLogits(model: CausalLM, ids: readonly number[]): Promise<Float32Array> {
  using rows = model.ids([ids]);
  using hidden = model.hidden(rows);
  using logits = model.logits(hidden);
  return (await logits.data()) as Float32Array;
}

async function ownTokens(model: CausalLM, ids: readonly number[]): Promise<number[]> {
  const tokens: number[] = [];
  const options = { maxTokens: GENERATED, temperature: 0, stopIds: [] };
  for await (const token of generate(model, ids, options)) tokens.push(token.id);
  return tokens;
}

interface Peer {
  readonly ids: number[];
  /** One map for each prompt token. */
  readonly logits: Map<number, number>[];
  readonly tokens: number[];
}

/** The token of the largest logit, the lowest id among equals. */
function largest(logits: ReadonlyMap<number, number>): number {
  let [best, most] = [-1, Number.NEGATIVE_INFINITY];
  for (const [id, logit] of logits) {
    if (logit > most || (logit === most && id < best)) [best, most] = [id, logit];
  }
  return best;
}

async function peerRun(llama: Awaited<ReturnType<LlamaModule["getLlama"]>>, modelPath: string, text: string) {
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const cache = { experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" };
  // One thread: the models are tiny, and threads that wait for each other would take far longer.
  const context = await model.createContext({
    contextSize: 512,
    threads: 1,
    flashAttention: false,
    ...cache,
  });
  const ids = model.tokenize(text, false);
  const input = ids.map((id) => [id, { generateNext: { logits: true } }]);
  const sequence = context.getSequence();
  const outputs = await sequence.controlledEvaluate(input);
  const logits = outputs.map((output) => output!.next.logits!);
  const tokens: number[] = [];
  let last = logits[logits.length - 1];
  while (tokens.length < GENERATED) {
    const token = largest(last);
    tokens.push(token);
    const [output] = await sequence.controlledEvaluate([[token, { generateNext: { logits: true } }]]);
    last = output!.next.logits!;
  }
  await context.dispose();
  await model.dispose();
  return { ids, logits, tokens } satisfies Peer;
}

function largestDifference(
  own: Float32Array,
  peer: readonly Map<number, number>[],
  vocabulary: number,
): number {
  let largest = 0;
  peer.forEach((logits, row) => {
    for (const [id, logit] of logits)
      largest = Math.max(largest, Math.abs(own[row * vocabulary + id] - logit));
  });
  return largest;
}

const same = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((n, i) => n === b[i]);

/** Compares one model; the line to print. */
async function compare(
  device: Device,
  llama: Awaited<ReturnType<LlamaModule["getLlama"]>>,
  folder: string,
  name: string,
  type: WritableType,
  text: string,
  tokenizer: { json: unknown; config: unknown; own: Tokenizer },
): Promise<{ agrees: boolean; line: string }> {
  using original = createModel(models[name], device, { seed: 5, std: 0.09 });
  spreadBiases(original);
  const path = join(folder, `${name.replace(/\W+/g, "-")}-${type}.gguf`);
  const { config } = original;
  const metadata = ggufTokenizerMetadata(tokenizer.json, tokenizer.config, config.vocabSize);
  const source = { weights: weightsOf(original), config, tokenizer: metadata };
  await exportGguf(await nodeFileSink(path), source, { type });
  const file = await openGguf(await nodeFileSource(path));
  using model = createModel(ggufConfig(file), device);
  await model.load(ggufWeights(file));
  await file.close();
  const peer = await peerRun(llama, path, text);
  const ids = tokenizer.own.encode(text, { addSpecialTokens: false, parseSpecial: false });
  const own = await ownLogits(model, ids);
  const difference = largestDifference(own, peer.logits, model.config.vocabSize);
  const scale = own.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
  const tokens = await ownTokens(model, ids);
  const until = tokens.findIndex((token, i) => token !== peer.tokens[i]);
  const sameIds = same(ids, peer.ids);
  const greedy = until < 0 ? `${tokens.length} of ${tokens.length}` : `differs at ${until}`;
  const line = [
    `${name}, ${type}`.padEnd(34),
    `ids ${sameIds ? "equal" : "DIFFER"} (${ids.length})`.padEnd(18),
    `logits within ${difference.toExponential(1)} of ${scale.toFixed(1)}`.padEnd(32),
    `greedy ${greedy}`,
  ].join("  ");
  return { agrees: sameIds && (type !== "F32" || (until < 0 && difference < 1e-3 * scale)), line };
}

async function main(): Promise<void> {
  const { getLlama } = (await import(process.argv[2] ?? "node-llama-cpp")) as LlamaModule;
  const sample = await readFile(new URL("../../src/models/causal-lm.ts", import.meta.url), "utf8");
  const json = await trainBpe([sample], { vocabSize: VOCABULARY });
  const config = trainedTokenizerConfig(1024);
  const tokenizer = { json, config, own: loadTokenizer(json, config) };
  const text = `${sample.slice(600, 1000)} 12345 Grüße, 你好!\n\n  x += 1;`;
  const llama = await getLlama({
    gpu: false,
    build: "never",
    logLevel: process.env.DEBUG ? "debug" : "error",
  });
  await using device = await createCpuDevice({ threads: 1 });
  const folder = await mkdtemp(join(tmpdir(), "llama-greedy-"));
  let failures = 0;
  try {
    for (const name of Object.keys(models)) {
      for (const type of ["F32", "Q8_0", "Q4_0"] as const) {
        const { agrees, line } = await compare(device, llama, folder, name, type, text, tokenizer);
        if (!agrees) failures++;
        process.stdout.write(`${line}${agrees ? "" : "  DIFFERS"}\n`);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
    await llama.dispose();
  }
  if (failures > 0) process.exitCode = 1;
}

await main();
