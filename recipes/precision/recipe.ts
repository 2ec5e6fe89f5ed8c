/** Training in FP8 (DeepSeek-V3, arXiv 2412.19437, section 3.3 and appendix B) against f32, by rounding both sides of all products. */
import type { TextRecipe } from "../text/declaration.ts";
import { runText } from "../text/program.ts";

const precision = (name: string) => ({ training: { precision: name } });
/** The largest part of a loss that counts as the same (section 3.3.1). */
const SAME = { kind: "same", within: 0.0025 } as const;

export const fp8: TextRecipe = {
  name: "precision",
  folder: import.meta.dirname,
  title: "Training in FP8",
  notes:
    "DeepSeek-V3 (arXiv 2412.19437, section 3.3 and appendix B.1): with e4m3 everywhere, a scale for each 1 x 128 tile of activations and gradients and each " +
    "128 x 128 block of a weight, the loss stays within 0.25 % of BF16's (16B and 230B models); gradients in 128 x 128 blocks made a 16B model " +
    "diverge (appendix B.2). Here both sides of the three products of each linear layer are rounded to what the format holds, and sums are f32; embeddings, the output head, " +
    "norms and the core of attention stay f32, as do the master weights. Dense, width 128, 3 layers, feed-forward 384, vocabulary 1024, sequences of " +
    "128: all axes that are summed over are multiples of 128. The loss is of held-out text, in the precision of the arm. `moved` is f32 from first weights that " +
    "are larger by one part in a million: how far rounding alone carries two runs apart. Values of so small a model have few outliers, so that one scale for a " +
    "tensor may do as well as tiles.",
  corpus: "effect",
  settings: {
    vocabSize: 1024,
    model: {
      ...{ hidden_size: 128, num_hidden_layers: 3, intermediate_size: 384 },
      ...{ num_attention_heads: 4, num_key_value_heads: 4 },
    },
    data: { heldOut: 0.06, fimRate: 0, extensions: ["ts", "js"] },
    training: {
      sequenceLength: 128,
      learningRate: { peak: 3e-3, warmupSteps: 20, shape: "cosine", finalFraction: 0.1 },
    },
  },
  batch: 16,
  tokens: 400_000,
  full: {
    ...{ tokens: 6_000_000, corpus: "babylon" },
    settings: {
      model: {
        ...{ hidden_size: 256, num_hidden_layers: 4, intermediate_size: 768 },
        ...{ num_attention_heads: 4, num_key_value_heads: 4 },
      },
      training: { sequenceLength: 256 },
    },
  },
  speed: 12_000,
  small: { tokens: 60_000, settings: { vocabSize: 320, model: { num_hidden_layers: 1 } } },
  seeds: [1, 2, 3],
  arms: [
    { name: "f32", text: "products in f32" },
    { name: "fp8", text: "e4m3, tiles and blocks as in DeepSeek-V3", settings: precision("fp8") },
    {
      name: "moved",
      text: "f32, first weights larger by one part in a million",
      settings: { training: { initStd: 0.02 * (1 + 1e-6) } },
    },
    { name: "fp8-tensor", text: "e4m3, one scale for a tensor", settings: precision("fp8-tensor") },
    {
      name: "fp8-blocks",
      text: "as fp8, gradients in blocks of 128 x 128",
      settings: precision("fp8-blocks"),
    },
    { name: "fp8-e5m2", text: "as fp8, gradients in e5m2", settings: precision("fp8-e5m2") },
    { name: "bf16", text: "products in bf16", settings: precision("bf16") },
  ],
  exams: [],
  claims: [
    {
      claim: "FP8 with fine scales stays within 0.25 % of the loss",
      paper: "below 0.25 % of BF16's",
      ...{ arm: "fp8", with: "f32", measure: "loss", expects: SAME },
    },
    {
      claim: "as does a run whose first weights are moved by one part in a million",
      paper: "not tried",
      ...{ arm: "moved", with: "f32", measure: "loss", expects: SAME },
    },
    {
      claim: "one scale for a tensor is worse",
      paper: "tiles adapt to outliers",
      ...{ arm: "fp8-tensor", with: "fp8", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "gradients in blocks are worse",
      paper: "a 16B model diverged",
      ...{ arm: "fp8-blocks", with: "fp8", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "gradients in e5m2 are worse",
      paper: "e4m3 on all tensors for its precision",
      ...{ arm: "fp8-e5m2", with: "fp8", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "BF16 has the loss of f32, within 0.25 %",
      paper: "the baseline",
      ...{ arm: "bf16", with: "f32", measure: "loss", expects: SAME },
    },
  ],
  measures: ["loss", "bits per byte"],
};

if (import.meta.main) process.exitCode = await runText(fp8, process.argv.slice(2));
