/** Fill-in-the-middle (DeepSeek-Coder, arXiv 2401.14196, section 3.1.2): what it costs, and what it brings. */
import type { TextRecipe } from "../text/declaration.ts";
import { infilling } from "../text/exams.ts";
import { runText } from "../text/program.ts";

const at = (fimRate: number) => ({ data: { fimRate } });

export const infill: TextRecipe = {
  name: "infilling",
  folder: import.meta.dirname,
  title: "Fill-in-the-middle",
  notes:
    "DeepSeek-Coder (arXiv 2401.14196, section 3.1.2) turns half of the documents into prefix, suffix, middle: that rate was chosen since at 1.0 " +
    "completion suffers. A dense model, width 64, 3 layers, vocabulary 1024, sequences of 256. Files are cut at ends of lines into documents of at most " +
    "500 characters, so that a sequence holds whole ones: at this length the parts of a whole file would hardly ever stand in one sequence. " +
    "`loss` is that of held-out text from left to right. `infill` counts holes whose middle is written exactly, greedily, within 64 tokens: a third " +
    "each are a whole line, 5 to 40 characters, three lines; `infill similarity` is 1 minus edit distance over the length of the longer text. `nats of middles` is the mean of their tokens, read after prefix and " +
    "suffix, at rate 0 after the prefix alone.",
  corpus: "effect",
  settings: {
    vocabSize: 1024,
    model: {
      ...{ hidden_size: 64, num_hidden_layers: 3, intermediate_size: 176, num_attention_heads: 2 },
      ...{ num_key_value_heads: 2, max_position_embeddings: 512 },
    },
    data: { heldOut: 0.06, extensions: ["ts", "js"] },
    training: { sequenceLength: 256, learningRate: { peak: 4e-3, warmupSteps: 20, shape: "step" } },
  },
  pieces: 500,
  batch: 8,
  tokens: 900_000,
  full: {
    ...{ tokens: 6_000_000, corpus: "babylon" },
    settings: {
      ...{ vocabSize: 4096 },
      model: {
        hidden_size: 128,
        num_hidden_layers: 4,
        intermediate_size: 352,
        num_attention_heads: 4,
        num_key_value_heads: 4,
      },
    },
  },
  speed: 40_000,
  small: {
    tokens: 60_000,
    settings: {
      vocabSize: 320,
      model: { hidden_size: 32, num_hidden_layers: 1, max_position_embeddings: 1024 },
    },
  },
  seeds: [1, 2, 3],
  arms: [
    { name: "rate-0", text: "no document is rearranged", settings: at(0) },
    { name: "rate-50", text: "half of the documents", settings: at(0.5) },
    { name: "rate-100", text: "all documents", settings: at(1) },
  ],
  exams: [infilling],
  claims: [
    {
      claim: "at rate 0.5 the loss from left to right stays the same, within 0.5 %",
      paper: "no cost",
      ...{ arm: "rate-50", with: "rate-0", measure: "loss", expects: { kind: "same", within: 0.005 } },
    },
    {
      claim: "at rate 0.5 what follows a hole makes its middle likelier than the prefix alone does at rate 0",
      paper: "it infills",
      ...{ arm: "rate-50", with: "rate-0", measure: "nats of middles", expects: { kind: "lower" } },
    },
    {
      claim: "at rate 0.5 middles are written that are not without",
      paper: "it infills",
      ...{ arm: "rate-50", with: "rate-0", measure: "infill", expects: { kind: "higher" } },
    },
    {
      claim: "at rate 1.0 the loss from left to right is higher than at 0.5",
      paper: "weaker completion",
      ...{ arm: "rate-100", with: "rate-50", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "and infilling is better",
      paper: "the best infilling",
      ...{ arm: "rate-100", with: "rate-50", measure: "infill", expects: { kind: "higher" } },
    },
  ],
  measures: [
    "loss",
    "nats of middles",
    "infill",
    "infill line",
    "infill span",
    "infill lines",
    "infill similarity",
    "infill stops",
  ],
};

if (import.meta.main) process.exitCode = await runText(infill, process.argv.slice(2));
