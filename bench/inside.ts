/**
 * What the inside of an answer costs beside decoding: a random model of DeepSeek-V2-Lite's layers and vocabulary with fewer
 * layers, in 4 bits, read by an engine alone and by all that a server does (text, messages between threads, chunks as JSON).
 * Off and on take turns; each ratio is the median of those of its pairs, with their quartiles. Times are of the wall and, over all threads, of the
 * processor: where other programs run, only the second means something.
 * Options: --layers N (4), --tokens N (32), --rounds N (8), --threads N, --temperature T (0).
 */
import { parseArgs } from "node:util";
import { Engine } from "../src/engine/engine.ts";
import { type EngineChannel, EngineClient } from "../src/engine/host/engine-client.ts";
import { localChannel } from "../src/engine/host/local-channel.ts";
import type { CompletionRequest } from "../src/engine/host/protocol.ts";
import { sampleTexts } from "../src/engine/testing-folder.ts";
import { type CausalLM, createModel } from "../src/models/causal-lm.ts";
import { readGenerationConfig } from "../src/pretrained/generation-config.ts";
import { completionChunks } from "../src/serve/completion-answer.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { loadTokenizer, type Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../src/tokenizer/train-bpe.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, quartiles, table } from "./support/numbers.ts";

export const name = "inside";

const VOCABULARY = 102_400;
const PROMPT = 16;

/** DeepSeek-V2-Lite but for the number of layers, 27. */
const shapeOf = (layers: number) => ({
  ...{ model_type: "deepseek_v2", vocab_size: VOCABULARY, hidden_size: 2048, num_hidden_layers: layers },
  ...{ intermediate_size: 10_944, moe_intermediate_size: 1408, first_k_dense_replace: 1, moe_layer_freq: 1 },
  ...{ num_attention_heads: 16, num_key_value_heads: 16, kv_lora_rank: 512, q_lora_rank: null },
  ...{ qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, max_position_embeddings: 4096 },
  ...{ n_routed_experts: 64, num_experts_per_tok: 6, n_shared_experts: 2, topk_method: "greedy" },
  ...{ scoring_func: "softmax", norm_topk_prob: false, routed_scaling_factor: 1, n_group: 1, topk_group: 1 },
  ...{ rope_theta: 10_000, rms_norm_eps: 1e-6, bos_token_id: 0, eos_token_id: 1 },
});

/** A tokenizer with as many tokens: all but a few hundred are never the result of reading a text. */
async function tokenizerOf(): Promise<Tokenizer> {
  const trained = await trainBpe(sampleTexts(100), { vocabSize: 400 });
  const vocab: Record<string, number> = { ...trained.model.vocab };
  // In the vocabulary they keep their ids, which would else come behind it.
  for (const { content, id } of trained.added_tokens) vocab[content] = id;
  for (let id = Object.keys(vocab).length; id < VOCABULARY; id++) vocab[`word${id}`] = id;
  return loadTokenizer({ ...trained, model: { ...trained.model, vocab } }, trainedTokenizerConfig(4096));
}

interface Settings {
  readonly tokens: number;
  readonly temperature: number;
}

/** Milliseconds of a token. */
interface Spent {
  readonly wall: number;
  readonly processor: number;
}

/** Times what `body` awaits after its first token. */
async function timed(tokens: number, body: (first: () => void) => Promise<void>): Promise<Spent> {
  let since = 0;
  let before = process.cpuUsage();
  await body(() => {
    since = performance.now();
    before = process.cpuUsage();
  });
  const { user, system } = process.cpuUsage(before);
  return { wall: (performance.now() - since) / tokens, processor: (user + system) / 1e3 / tokens };
}

const promptOf = (round: number) =>
  Array.from({ length: PROMPT }, (_, i) => ((i + 97 * round) * 7919 + 13) % VOCABULARY);

function byEngine(engine: Engine, { tokens, temperature }: Settings, round: number, inside: boolean) {
  const logprobs = inside ? { logprobs: 5 } : {};
  const generation = engine.submit({
    ...{ prompt: promptOf(round), maxTokens: tokens + 1, stopIds: [], temperature, seed: round, inside },
    ...{ ...logprobs, reusePrefix: false },
  });
  return timed(tokens, async (first) => {
    await generation.next();
    first();
    for await (const _ of generation);
  });
}

async function byServer(client: EngineClient, settings: Settings, round: number, inside: boolean) {
  const request: CompletionRequest = {
    ...{ kind: "completion", prompts: [promptOf(round)], suffix: null, addSpecialTokens: false },
    ...{ format: { type: "text" }, maxTokens: settings.tokens + 1, temperature: settings.temperature },
    ...{ topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 },
    ...{ logitBias: [], seed: round, stop: [], logprobs: null, n: 1, ignoreEos: true, minTokens: 0 },
    ...{ stopIds: [], includeStop: false, skipSpecial: true, reusePrefix: false, echo: false, inside },
  };
  const shape = { logprobs: false, tokenIds: false, choicesPerPrompt: 1, includeUsage: false };
  const head = { id: "cmpl", created: 0, model: "random", fingerprint: "fp" };
  const job = await client.generate(request);
  let characters = 0;
  const spent = await timed(settings.tokens, async (first) => {
    const chunks = completionChunks(job, head, shape);
    await chunks.next();
    first();
    for await (const chunk of chunks) characters += JSON.stringify(chunk).length;
  });
  return { ...spent, characters: characters / settings.tokens };
}

/** Messages to the reader as from another thread: copied. */
function copying(channel: EngineChannel): EngineChannel {
  return {
    ...channel,
    listen: (onMessage, onEnd) => channel.listen((message) => onMessage(structuredClone(message)), onEnd),
  };
}

/** Off and on in turn, after a pair that warms up; which is first changes. */
async function pairs<T extends Spent>(
  rounds: number,
  measure: (round: number, inside: boolean) => Promise<T>,
): Promise<{ readonly off: T; readonly on: T }[]> {
  const found: { off: T; on: T }[] = [];
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 === 0 ? [false, true] : [true, false];
    const [a, b] = [await measure(round, order[0]), await measure(round, order[1])];
    if (round > 0) found.push(order[0] ? { off: b, on: a } : { off: a, on: b });
  }
  return found;
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const options = { layers: "4", tokens: "32", rounds: "8", threads: "", temperature: "0" };
  const { values } = parseArgs({
    args,
    options: Object.fromEntries(
      Object.entries(options).map(([key, value]) => [key, { type: "string", default: value } as const]),
    ),
  });
  const number = (key: keyof typeof options) => Number(values[key]);
  const settings = { tokens: number("tokens"), temperature: number("temperature") };
  const rounds = number("rounds");
  const device = await createCpuDevice(values.threads === "" ? {} : { threads: number("threads") });
  const model: CausalLM = createModel(shapeOf(number("layers")), device, {
    storage: () => "q4",
    seed: 1,
    std: 0.02,
  });
  const tokenizer = await tokenizerOf();
  const engine = new Engine(model, { maxBatch: 1 });
  const alone = await pairs(rounds, (round, inside) => byEngine(engine, settings, round, inside));
  await engine[Symbol.asyncDispose]();
  const dispose = async () => {
    model[Symbol.dispose]();
    await device[Symbol.asyncDispose]();
  };
  const channel = localChannel({ maxBatch: 1 }, async () => ({
    ...{ model, vision: null, drawing: null, adapter: null, tokenizer, chatTemplate: null },
    ...{
      generationConfig: readGenerationConfig(null, []),
      name: "random",
      source: { kind: "folder", path: "" },
      device,
      dispose,
    },
    [Symbol.asyncDispose]: dispose,
  }));
  const client = await EngineClient.connect(copying(channel));
  const served = await pairs(rounds, (round, inside) => byServer(client, settings, round, inside));
  await client.shutdown();

  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const rows: string[][] = [
    [
      ...["", "off, tokens/s", "on, tokens/s", "on over off", "quartiles"],
      ...["off, ms of processor", "on", "on over off", "quartiles"],
    ],
  ];
  for (const [label, found] of [
    ["engine", alone],
    ["to the client", served],
  ] as const) {
    const of = (key: keyof Spent, side: "off" | "on") => median(found.map((pair) => pair[side][key]));
    const ratiosOf = (key: keyof Spent) => found.map(({ off, on }) => on[key] / off[key]);
    const ratio = (key: keyof Spent) => median(ratiosOf(key));
    const spread = (key: keyof Spent) =>
      quartiles(ratiosOf(key))
        .map((each) => each.toFixed(3))
        .join("–");
    const speed = (side: "off" | "on") => 1000 / of("wall", side);
    metrics[`${label}, off, tokens/s`] = speed("off");
    metrics[`${label}, on, tokens/s`] = speed("on");
    metrics[`${label}, off, ms of processor a token`] = of("processor", "off");
    metrics[`${label}, on, ms of processor a token`] = of("processor", "on");
    ratios[`${label}, processor time, on over off`] = ratio("processor");
    ratios[`${label}, wall time, on over off`] = ratio("wall");
    rows.push([
      ...[label, speed("off").toFixed(1), speed("on").toFixed(1), ratio("wall").toFixed(3), spread("wall")],
      ...[of("processor", "off").toFixed(2), of("processor", "on").toFixed(2), ratio("processor").toFixed(3)],
      spread("processor"),
    ]);
  }
  for (const line of table(rows)) log(line);
  const characters = median(served.map(({ on }) => on.characters));
  metrics["characters of JSON a token"] = characters;
  log(`${characters.toFixed(0)} characters of JSON a token`);
  return { metrics, ratios };
}
