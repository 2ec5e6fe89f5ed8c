/** Experts balanced by a bias (arXiv 2408.15664; DeepSeek-V3, arXiv 2412.19437, section 2.1.2) against an auxiliary loss. */
import type { TextRecipe } from "../text/declaration.ts";
import { balance } from "../text/exams.ts";
import { runText } from "../text/program.ts";
import { SMALL_V3, V3_FORM } from "../text/v3.ts";

const by = (balanceAlpha: number, biasGamma: number) => ({ training: { balanceAlpha, biasGamma } });

export const balancing: TextRecipe = {
  name: "balance",
  folder: import.meta.dirname,
  title: "Balancing experts without an auxiliary loss",
  notes:
    "Wang et al. (arXiv 2408.15664) raise the bias of experts with few tokens and lower that of experts with many, in steps of gamma, instead of " +
    "adding a balance loss: perplexity 9.50 against 9.56 at 1B parameters, MaxVio 0.04 against 0.72; DeepSeek-V3 (arXiv 2412.19437, table 5) has 0.724 " +
    "against 0.727 bits per byte at 15.7B. DeepSeek-V3's shape, width 64, 3 layers, 1 + 16 experts of width 44, 4 active per token, vocabulary 1024, sequences of " +
    "128. MaxVio is (largest load - mean) / mean, the mean over layers: `held out` over all held-out text, `batches` in batches of the last fifth of " +
    "training. A bias can travel gamma times the steps at most, and these runs are short: hence the larger gamma.",
  ...V3_FORM,
  settings: SMALL_V3,
  speed: 37_000,
  arms: [
    { name: "loss-1e-3", text: "sequence-wise balance loss, alpha 1e-3", settings: by(1e-3, 0) },
    { name: "bias-5e-3", text: "bias alone, gamma 5e-3", settings: by(0, 5e-3) },
    { name: "none", text: "neither", settings: by(0, 0) },
    { name: "loss-1e-2", text: "balance loss, alpha 1e-2", settings: by(1e-2, 0) },
    { name: "bias-1e-3", text: "bias alone, gamma 1e-3, as in DeepSeek-V3", settings: by(0, 1e-3) },
  ],
  exams: [balance],
  claims: [
    {
      claim: "the bias gives a lower loss than a balance loss",
      paper: "perplexity 9.50 against 9.56 (-0.3 % in nats)",
      ...{ arm: "bias-5e-3", with: "loss-1e-3", measure: "loss", expects: { kind: "lower" } },
    },
    {
      claim: "and better balance",
      paper: "MaxVio 0.04 against 0.72",
      ...{ arm: "bias-5e-3", with: "loss-1e-3", measure: "MaxVio held out", expects: { kind: "lower" } },
    },
    {
      claim: "a larger balance loss costs language modeling",
      paper: "figure 2: a dilemma",
      ...{ arm: "loss-1e-2", with: "loss-1e-3", measure: "loss", expects: { kind: "higher" } },
    },
    {
      claim: "without any balance experts are loaded less evenly than with the bias",
      paper: "collapse of routing",
      ...{ arm: "none", with: "bias-5e-3", measure: "MaxVio held out", expects: { kind: "higher" } },
    },
  ],
  measures: ["loss", "bits per byte", "MaxVio held out", "MaxVio batches", "experts never used"],
};

if (import.meta.main) process.exitCode = await runText(balancing, process.argv.slice(2));
