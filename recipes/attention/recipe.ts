/** Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) against MHA, GQA and MQA, at equal parameters. */
import type { TextRecipe } from "../text/declaration.ts";
import { context } from "../text/exams.ts";
import { runText } from "../text/program.ts";

const COMMON = {
  ...{ hidden_act: "silu", rms_norm_eps: 1e-6, rope_theta: 10000, rope_scaling: null, attention_bias: false },
  ...{ tie_word_embeddings: false, max_position_embeddings: 512, bos_token_id: 0, eos_token_id: 1 },
  ...{ hidden_size: 96, num_hidden_layers: 3, num_attention_heads: 6 },
};

/** Widths of the feed-forward layers make up for what attention has less. */
const grouped = (num_key_value_heads: number, intermediate_size: number) => ({
  model: { ...COMMON, model_type: "llama", num_key_value_heads, intermediate_size },
});
const latent = (kv_lora_rank: number, intermediate_size: number) => ({
  model: {
    ...{ ...COMMON, model_type: "deepseek_v2", num_key_value_heads: 6, intermediate_size },
    ...{ q_lora_rank: null, kv_lora_rank, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16 },
  },
});

export const attention: TextRecipe = {
  name: "attention",
  folder: import.meta.dirname,
  title: "Latent attention",
  notes:
    "DeepSeek-V2 (arXiv 2405.04434, tables 8 and 9): dense 7B models with MQA, GQA and MHA have MMLU 37.9, 41.2 and 45.2; MLA against MHA 50.0 against 48.7 " +
    "with 14 % of the cache, and 59.0 against 57.5 with 4 %. Width 96, 3 layers, 6 heads of 16, vocabulary 1024, sequences of 256; total parameters " +
    "are equal within 0.1 % by the width of the feed-forward layers. `cache values` are those of a token in a layer. With 6 heads the cache of " +
    "MLA is 21 % of MHA's, not 4 %, and its queries are 24 wide where the others have 16.",
  corpus: "effect",
  settings: {
    vocabSize: 1024,
    ...grouped(6, 256),
    data: { heldOut: 0.06, fimRate: 0, extensions: ["ts", "js"] },
    training: {
      ...{ sequenceLength: 256, mtpWeight: 0, balanceAlpha: 0, biasGamma: 0 },
      learningRate: { peak: 4e-3, warmupSteps: 20, shape: "step" },
    },
  },
  batch: 8,
  tokens: 500_000,
  full: { tokens: 6_000_000, corpus: "babylon", settings: { vocabSize: 4096 } },
  speed: 21_000,
  small: { tokens: 80_000, settings: { vocabSize: 320 } },
  seeds: [1, 2, 3],
  arms: [
    { name: "mha", text: "keys and values of all 6 heads", settings: grouped(6, 256) },
    { name: "mla", text: "latent attention, rank 32", settings: latent(32, 269) },
    { name: "gqa", text: "keys and values of 2 heads", settings: grouped(2, 299) },
    { name: "mqa", text: "keys and values of 1 head", settings: grouped(1, 309) },
    { name: "mla-16", text: "latent attention, rank 16", settings: latent(16, 285) },
  ],
  exams: [context],
  claims: [
    {
      claim: "latent attention reaches a lower loss than MHA, with a fraction of the cache",
      paper: "MMLU 50.0 against 48.7, 59.0 against 57.5",
      ...{ arm: "mla", with: "mha", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "and than GQA",
      paper: "GQA below MHA, MLA above",
      ...{ arm: "mla", with: "gqa", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "GQA learns less than MHA",
      paper: "MMLU 41.2 against 45.2",
      ...{ arm: "gqa", with: "mha", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "MQA less than GQA",
      paper: "MMLU 37.9 against 41.2",
      ...{ arm: "mqa", with: "gqa", measure: "loss", expects: { kind: "higher" } },
    },
  ],
  measures: ["loss", "loss in second halves", "bits per byte", "cache values"],
};

if (import.meta.main) process.exitCode = await runText(attention, process.argv.slice(2));
