/** DeepSeekMoE (arXiv 2401.06066, section 4.2) against GShard, Switch, Hash layers and a dense model, at equal parameters of experts. */
import type { TextRecipe } from "../text/declaration.ts";
import { balance } from "../text/exams.ts";
import { runText } from "../text/program.ts";

const baseline = (kind: string, experts: number, width: number, more: Record<string, unknown> = {}) => ({
  model: { kind, experts, expert_width: width, ...more },
  training: { balanceAlpha: kind === "dense" || kind === "hash" ? 0 : 0.01 },
});

export const experts: TextRecipe = {
  name: "experts",
  folder: import.meta.dirname,
  title: "DeepSeekMoE against other mixtures of experts",
  notes:
    "DeepSeekMoE (arXiv 2401.06066, table 1) compares models of 2B parameters after 100B tokens; loss on the Pile: dense 2.060, Hash 1.932, Switch 1.881, " +
    "GShard 1.867, DeepSeekMoE 1.808. Width 64, 3 layers, vocabulary 1024, sequences of 128; every feed-forward layer is replaced, alpha 0.01, no token is " +
    "dropped. Experts of 16 times 176 in all, but for the dense model, which has what Hash and Switch use of them for a token.",
  corpus: "effect",
  settings: {
    vocabSize: 1024,
    model: {
      ...{ model_type: "moe_baseline", kind: "dense", experts: 1, expert_width: 176 },
      ...{ hidden_size: 64, num_hidden_layers: 3, num_attention_heads: 2, num_key_value_heads: 2 },
      ...{ hidden_act: "silu", rms_norm_eps: 1e-6, rope_theta: 10000, tie_word_embeddings: false },
      ...{ max_position_embeddings: 512, bos_token_id: 0, eos_token_id: 1 },
    },
    data: { heldOut: 0.06, fimRate: 0, extensions: ["ts", "js"] },
    training: { sequenceLength: 128, learningRate: { peak: 4e-3, warmupSteps: 20, shape: "step" } },
  },
  batch: 16,
  tokens: 500_000,
  full: {
    ...{ tokens: 8_000_000, corpus: "babylon" },
    settings: {
      ...{ vocabSize: 4096, training: { sequenceLength: 256 } },
      model: { hidden_size: 128, num_hidden_layers: 4, num_attention_heads: 4, num_key_value_heads: 4 },
    },
  },
  speed: 21_000,
  small: { tokens: 40_000, settings: { vocabSize: 320, model: { hidden_size: 32, num_hidden_layers: 1 } } },
  seeds: [1, 2, 3],
  arms: [
    {
      ...{ name: "deepseekmoe", text: "1 shared and 63 routed experts of width 44, 7 active per token" },
      settings: baseline("deepseekmoe", 63, 44, { shared: 1, top_k: 7, alpha: 0.01 }),
    },
    {
      name: "gshard",
      text: "16 experts of width 176, 2 active per token",
      settings: baseline("gshard", 16, 176, { alpha: 0.01 }),
    },
    {
      name: "switch",
      text: "16 experts of width 176, 1 active per token",
      settings: baseline("switch", 16, 176, { alpha: 0.01 }),
    },
    {
      name: "hash",
      text: "16 experts of width 176, chosen by the token's id",
      settings: baseline("hash", 16, 176),
    },
    { name: "dense", text: "one layer of width 176", settings: baseline("dense", 1, 176) },
  ],
  exams: [balance],
  claims: [
    {
      claim: "DeepSeekMoE reaches a lower loss than GShard",
      paper: "1.808 against 1.867 (-3.2 %)",
      ...{ arm: "deepseekmoe", with: "gshard", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "GShard more than Switch",
      paper: "1.867 against 1.881 (-0.7 %)",
      ...{ arm: "gshard", with: "switch", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "Switch more than Hash layers",
      paper: "1.881 against 1.932 (-2.6 %)",
      ...{ arm: "switch", with: "hash", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "Hash layers more than a dense model",
      paper: "1.932 against 2.060 (-6.2 %)",
      ...{ arm: "hash", with: "dense", measure: "loss", expects: { kind: "lower" } },
    },
  ],
  measures: ["loss", "bits per byte", "MaxVio held out", "experts never used"],
};

if (import.meta.main) process.exitCode = await runText(experts, process.argv.slice(2));
