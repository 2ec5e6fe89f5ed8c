/** DeepSeek LLM's multi-step schedule (arXiv 2401.02954, section 2.3) against cosine, and what continuing a run costs with either. */
import type { TextRecipe } from "../text/declaration.ts";
import { runText } from "../text/program.ts";

const PEAK = 4e-3;
const rate = (more: Record<string, unknown>) => ({
  training: { learningRate: { peak: PEAK, warmupSteps: 20, ...more } },
});
const steps = (...dropsAt: number[]) => rate({ shape: "step", dropsAt });
const cosine = rate({ shape: "cosine", finalFraction: 0.1 });

export const schedule: TextRecipe = {
  name: "schedule",
  folder: import.meta.dirname,
  title: "The multi-step schedule",
  notes:
    "DeepSeek LLM (arXiv 2401.02954, section 2.3) trains with a rate that drops to 0.316 and 0.1 of its peak after 80 % and 90 % of the tokens, " +
    'since the long first part can be continued: figure 1 shows a loss "essentially consistent" with cosine, without numbers. A dense model, ' +
    "width 64, 2 layers, vocabulary 1024, sequences of 128, peak 4e-3 for all arms (not tuned for each). `step-twice` is bit-identical to " +
    "`step` continued from 80 % of its steps (`src/scaling/train-chain.ts` trains that way); `cosine-continued` goes on from the end of " +
    "`cosine` with the second half of the longer cosine. Of so few steps (342) cosine spends most below its peak: where steps are lower, the time " +
    "at the peak is what they have more of, which a run of many more tokens need not show.",
  corpus: "effect",
  settings: {
    vocabSize: 1024,
    model: {
      hidden_size: 64,
      num_hidden_layers: 2,
      intermediate_size: 176,
      num_attention_heads: 2,
      num_key_value_heads: 2,
    },
    data: { heldOut: 0.06, fimRate: 0, extensions: ["ts", "js"] },
    training: { sequenceLength: 128 },
  },
  batch: 16,
  tokens: 700_000,
  full: {
    ...{ tokens: 6_000_000, corpus: "babylon" },
    settings: {
      model: {
        hidden_size: 96,
        num_hidden_layers: 4,
        intermediate_size: 256,
        num_attention_heads: 3,
        num_key_value_heads: 3,
      },
      training: { sequenceLength: 256 },
    },
  },
  speed: 60_000,
  small: { tokens: 100_000, settings: { vocabSize: 320, model: { hidden_size: 32, num_hidden_layers: 1 } } },
  seeds: [1, 2, 3, 4, 5],
  arms: [
    { name: "cosine", text: "cosine to a tenth", settings: cosine },
    { name: "step", text: "drops after 80 % and 90 %", settings: steps(0.8, 0.9) },
    { name: "step-70", text: "drops after 70 % and 85 %", settings: steps(0.7, 0.85) },
    { name: "step-60", text: "drops after 60 % and 80 %", settings: steps(0.6, 0.8) },
    { name: "linear", text: "linear to zero", settings: rate({ shape: "linear", finalFraction: 0 }) },
    { name: "cosine-twice", text: "cosine over twice the tokens", settings: cosine, length: 2 },
    { name: "step-twice", text: "steps over twice the tokens", settings: steps(0.8, 0.9), length: 2 },
    {
      ...{ name: "cosine-continued", text: "`cosine`, continued to twice its tokens" },
      ...{ settings: cosine, length: 2, after: "cosine" },
    },
  ],
  exams: [],
  claims: [
    {
      claim: "multi-step ends at the loss of cosine, within 0.5 %",
      paper: "essentially consistent (figure)",
      ...{ arm: "step", with: "cosine", measure: "loss", expects: { kind: "same", within: 0.005 } },
    },
    {
      claim: "other proportions are slightly better: 70/15/15",
      paper: "slightly better (figure)",
      ...{ arm: "step-70", with: "step", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "other proportions are slightly better: 60/20/20",
      paper: "slightly better (figure)",
      ...{ arm: "step-60", with: "step", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "a continued multi-step run is as good as a fresh cosine of the whole length, within 0.5 %",
      paper: "the reason for the schedule",
      ...{
        arm: "step-twice",
        with: "cosine-twice",
        measure: "loss",
        expects: { kind: "same", within: 0.005 },
      },
    },
    {
      claim: "a continued cosine is worse than a fresh one",
      paper: "the reason for the schedule",
      ...{ arm: "cosine-continued", with: "cosine-twice", measure: "loss", expects: { kind: "higher" } },
    },
  ],
  measures: ["loss", "bits per byte"],
};

if (import.meta.main) process.exitCode = await runText(schedule, process.argv.slice(2));
