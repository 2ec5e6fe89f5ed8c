/**
 * Trains a tiny mixture of experts while an engine generates with the same weights: the model learns to count from the
 * number that a prompt holds, given as an embedding in place of a token.
 */
import { createCpuDevice, createModel, type TokenBatch, Trainer } from "deepseek-ts";
import { Engine, type EngineRequest } from "deepseek-ts/engine";

const numbers = 32;
const start = numbers;
const config = {
  model_type: "deepseek",
  vocab_size: numbers + 1,
  hidden_size: 32,
  intermediate_size: 64,
  moe_intermediate_size: 16,
  num_hidden_layers: 2,
  first_k_dense_replace: 0,
  n_routed_experts: 8,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  bos_token_id: start,
  eos_token_id: null,
};

/** Rows that count upwards from anywhere: `[start, n, n + 1, ..]`. */
let drawn = 0;
async function next(batch: number): Promise<TokenBatch> {
  const length = 12;
  const tokens = new Int32Array(batch * (length + 1));
  const targets = new Int32Array(batch * length);
  for (let row = 0; row < batch; row++, drawn++) {
    const ids = [start, ...Array.from({ length }, (_, i) => (drawn * 7 + i) % numbers)];
    tokens.set(ids, row * (length + 1));
    // What the first number is cannot be known.
    targets.set([-1, ...ids.slice(2)], row * length);
  }
  return { tokens, targets, batch, length };
}

await using device = await createCpuDevice();
using model = createModel(config, device, { seed: 1, std: 0.05 });
using trainer = new Trainer(
  model,
  { next, state: () => drawn, restore: (state) => void (drawn = state as number) },
  { steps: 60, batch: { size: 8 }, learningRate: { peak: 1e-2, warmupSteps: 5, shape: "cosine" } },
);
await using engine = new Engine(model);

/** Counts from `number`, which the prompt holds as an embedding. */
async function rollout(number: number): Promise<boolean> {
  using embedded = device.inference(() => model.embed(model.ids([[number]])).view([1, config.hidden_size]));
  const part = { embeddings: embedded, hash: `number ${number}`, placeholderId: 0 };
  const request: EngineRequest = { prompt: [[start], part], maxTokens: 6, logprobs: true, experts: true };
  const ids: number[] = [];
  const experts = new Set<string>();
  let logprob = 0;
  for await (const token of engine.submit(request)) {
    ids.push(token.id);
    logprob += token.logprob!;
    token.experts!.forEach((chosen, layer) => {
      for (const expert of chosen) experts.add(`${layer}.${expert}`);
    });
  }
  const right = ids.every((id, i) => id === (number + 1 + i) % numbers);
  const mark = right ? "right" : "wrong";
  console.log(
    `  ${number}: ${ids.join(" ")}  ${mark}, log-probability ${logprob.toFixed(2)}, ${experts.size} experts`,
  );
  return right;
}

for (;;) {
  console.log(`after ${trainer.step} steps`);
  const right = await Promise.all([3, 17, 29].map(rollout));
  if (trainer.done) {
    if (!right.every(Boolean)) throw new Error("the model has not learned to count");
    break;
  }
  // Between two steps of the engine: what it has cached of the old weights is not used again.
  await engine.changeWeights(async () => {
    for (let i = 0; i < 30; i++) await trainer.trainStep();
  });
}
