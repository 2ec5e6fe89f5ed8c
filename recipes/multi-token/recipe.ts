/** Multi-token prediction (DeepSeek-V3, arXiv 2412.19437, sections 2.2 and 4.5.1): the main model with and without it, and its drafts. */
import type { TextRecipe } from "../text/declaration.ts";
import { drafts, nextLine } from "../text/exams.ts";
import { runText } from "../text/program.ts";
import { SMALL_V3, V3_FORM } from "../text/v3.ts";

const weight = (mtpWeight: unknown) => ({ training: { mtpWeight } });
const FALLING = [
  [0, 0.3],
  [0.68, 0.1],
];

export const multiToken: TextRecipe = {
  name: "multi-token",
  folder: import.meta.dirname,
  title: "Multi-token prediction",
  notes:
    "DeepSeek-V3 (arXiv 2412.19437, table 4) trains with one module that predicts the token after the next: the loss stays (0.729 against 0.729 and 0.657 " +
    "against 0.658 bits per byte), tasks gain (HumanEval 20.7 to 26.8 and 44.5 to 53.7), and 85 to 90 % of its drafts are kept (section 5.4.3). " +
    "DeepSeek-V3's shape as in `balance`, balanced by the bias, gamma 5e-3. All arms have the module; `none` does not train it. `next line` counts held-out " +
    "places whose next line is written exactly, greedily; `drafts kept` is the share that greedy self-speculative decoding keeps at the same " +
    "places. `none-longer` has 30 % more tokens, for about the time that the module costs.",
  ...V3_FORM,
  settings: {
    ...SMALL_V3,
    model: { ...(SMALL_V3.model as object), num_nextn_predict_layers: 1 },
    training: { ...(SMALL_V3.training as object), biasGamma: 5e-3, balanceAlpha: 0 },
  },
  speed: 26_000,
  arms: [
    { name: "none", text: "the module is not trained", settings: weight(0) },
    {
      name: "falling",
      text: "weight 0.3, from 68 % on 0.1: about as in DeepSeek-V3",
      settings: weight(FALLING),
    },
    { name: "none-longer", text: "as `none`, 30 % more tokens", settings: weight(0), length: 1.3 },
  ],
  exams: [nextLine, drafts],
  claims: [
    {
      claim: "the loss of the main model stays the same, within 0.5 %",
      paper: "0.729 against 0.729, 0.657 against 0.658",
      ...{ arm: "falling", with: "none", measure: "loss", expects: { kind: "same", within: 0.005 } },
    },
    {
      claim: "it completes better",
      paper: "HumanEval 26.8 against 20.7, 53.7 against 44.5",
      ...{ arm: "falling", with: "none", measure: "next line", expects: { kind: "higher" } },
    },
    {
      claim: "85 to 90 % of drafts are kept",
      paper: "85 to 90 %",
      ...{ arm: "falling", measure: "drafts kept", expects: { kind: "between", low: 0.85, high: 0.9 } },
    },
    {
      claim: "the loss is lower than that of a run which spends the time on more tokens",
      paper: "not tried",
      ...{ arm: "falling", with: "none-longer", measure: "loss", expects: { kind: "lower" } },
    },
  ],
  measures: ["loss", "bits per byte", "next line", "drafts kept"],
};

if (import.meta.main) process.exitCode = await runText(multiToken, process.argv.slice(2));
