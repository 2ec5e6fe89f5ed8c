/** Repository order (DeepSeek-Coder, arXiv 2401.14196, section 2.2): files behind what they import, for completion across files. */

import { crossFile } from "../text/cross-file.ts";
import type { TextRecipe } from "../text/declaration.ts";
import { runText } from "../text/program.ts";

export const repository: TextRecipe = {
  name: "repository",
  folder: import.meta.dirname,
  title: "Repository order",
  notes:
    "DeepSeek-Coder (arXiv 2401.14196, sections 2.2 and 4.3) concatenates a project's files, imports first, and completes across files better than without: " +
    "CrossCodeEval falls where it is trained on single files. Small modules of date-fns, lodash-es and rxjs; ramda is held out whole. " +
    "A dense model, width 64, 3 layers, vocabulary 1024, sequences of 512: in the order of imports 26 % of files follow right behind one that they import, in random order hardly any. Asked are " +
    "held-out lines, the first of their file that use an imported name. `gain of the needed file` is what the file with that name takes from the nats of a token, beside " +
    "the own file alone; `gain over another file`, beside a file of the same project that is not imported. A gain is larger also " +
    "where lines are told worse without the file: `nats after the needed file` says how likely they are in the end.",
  corpus: "modules",
  heldOutProjects: {
    ...{ modules: ["ramda"], "more-modules": ["ramda"] },
    "small-modules": ["vega-statistics"],
  },
  settings: {
    vocabSize: 1024,
    model: {
      ...{ hidden_size: 64, num_hidden_layers: 3, intermediate_size: 176, num_attention_heads: 2 },
      ...{ num_key_value_heads: 2, max_position_embeddings: 1024 },
    },
    data: { fimRate: 0, extensions: ["ts", "js"] },
    training: { sequenceLength: 512, learningRate: { peak: 4e-3, warmupSteps: 20, shape: "step" } },
  },
  batch: 4,
  tokens: 1_200_000,
  full: {
    ...{ tokens: 8_000_000, corpus: "more-modules" },
    settings: {
      vocabSize: 4096,
      model: {
        ...{ hidden_size: 128, num_hidden_layers: 4, intermediate_size: 352, num_attention_heads: 4 },
        ...{ num_key_value_heads: 4, max_position_embeddings: 2048 },
      },
      training: { sequenceLength: 1024 },
    },
  },
  speed: 30_000,
  small: {
    ...{ tokens: 40_000, corpus: "small-modules" },
    settings: { vocabSize: 320, model: { hidden_size: 32, num_hidden_layers: 1 } },
  },
  seeds: [1, 2, 3],
  arms: [
    { name: "dependencies", text: "a project's files behind what they import", order: "dependencies" },
    { name: "random", text: "a project's files in random order", order: "random" },
    { name: "mixed", text: "files of all projects mixed", order: "mixed" },
  ],
  exams: [crossFile],
  claims: [
    {
      claim:
        "in the order of imports a model learns to use the file that a line needs more than in random order",
      paper: "CrossCodeEval better than on single files",
      ...{ arm: "dependencies", with: "random", measure: "gain of the needed file", absolute: true },
      expects: { kind: "higher" },
    },
    {
      claim: "and more than with files mixed",
      paper: "CrossCodeEval better than on single files",
      ...{ arm: "dependencies", with: "mixed", measure: "gain of the needed file", absolute: true },
      expects: { kind: "higher" },
    },
    {
      claim: "which is not what any file of the project would give",
      paper: "not tried",
      ...{ arm: "dependencies", with: "mixed", measure: "gain over another file", absolute: true },
      expects: { kind: "higher" },
    },
    {
      claim: "lines are written exactly more often after the file that they need",
      paper: "CrossCodeEval better than on single files",
      ...{ arm: "dependencies", with: "mixed", measure: "line after the needed file" },
      expects: { kind: "higher" },
    },
    {
      claim: "held-out text becomes likelier",
      paper: "not tried",
      ...{ arm: "dependencies", with: "mixed", measure: "loss", expects: { kind: "lower" } },
    },
  ],
  measures: [
    ...["loss", "nats after its own file", "nats after the needed file", "gain of the needed file"],
    ...["gain over another file", "line after the needed file", "line after its own"],
  ],
};

if (import.meta.main) process.exitCode = await runText(repository, process.argv.slice(2));
