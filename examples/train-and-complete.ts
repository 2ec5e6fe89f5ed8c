/** Trains a tokenizer and a tiny DeepSeek-V3 on a few lines of TypeScript for about ten seconds, then completes one. */
import {
  BatchIterator,
  completeText,
  createCpuDevice,
  createModel,
  loadTokenizer,
  memoryDataset,
  Trainer,
  tokenArray,
  trainBpe,
} from "deepseek-ts";

const names = ["width", "height", "depth", "count", "price", "weight", "index", "total"];
const texts = names.flatMap((name) => [
  `export function get_${name}(item: Item): number {\n  return item.${name};\n}\n`,
  `export function set_${name}(item: Item, value: number): void {\n  item.${name} = value;\n}\n`,
]);

const tokenizer = loadTokenizer(await trainBpe(texts, { vocabSize: 400 }));
const eosId = tokenizer.specialIds.eos!;
const documents = texts.map((text) => ({ ids: [...tokenizer.encode(text), eosId] }));
const repeated = Array.from({ length: 20 }, () => documents).flat();
const dataset = memoryDataset(await tokenArray(repeated, tokenizer.vocabSize), { eosId });

await using device = await createCpuDevice();
using model = createModel(
  {
    model_type: "deepseek_v3",
    vocab_size: tokenizer.vocabSize,
    hidden_size: 64,
    intermediate_size: 128,
    moe_intermediate_size: 32,
    num_hidden_layers: 2,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    n_shared_experts: 1,
    num_experts_per_tok: 2,
    n_group: 2,
    topk_group: 1,
    scoring_func: "sigmoid",
    topk_method: "noaux_tc",
    norm_topk_prob: true,
    routed_scaling_factor: 1,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    q_lora_rank: 32,
    kv_lora_rank: 32,
    qk_nope_head_dim: 16,
    qk_rope_head_dim: 8,
    v_head_dim: 16,
    num_nextn_predict_layers: 1,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    eos_token_id: eosId,
  },
  device,
  { seed: 1, std: 0.02 },
);

using trainer = new Trainer(model, new BatchIterator(dataset, { batch: 4, length: 64, seed: 1 }), {
  steps: 400,
  batch: { size: 4 },
  learningRate: { peak: 5e-3, warmupSteps: 10, shape: "cosine" },
  mtpWeight: 0.3,
  biasGamma: 1e-3,
});
while (!trainer.done) {
  const { step, loss } = await trainer.trainStep();
  if (step % 80 === 0) console.log(`step ${step}: loss ${loss.toFixed(3)}`);
}

const prompt = "export function set_width";
process.stdout.write(`\n${prompt}`);
for await (const { text } of completeText(model, tokenizer, prompt, { maxTokens: 40 }))
  process.stdout.write(text);
