/** Preferences: losses, gradients and implicit rewards of `dpo`, the eight updates of `dpo-steps`. */

import type { CausalLM } from "../../models/causal-lm.ts";
import { scoreCompletions } from "../../train/objectives/completions.ts";
import {
  type PreferenceOptions,
  type PreferencePair,
  preferenceBatches,
  preferenceObjective,
  type ScoredPair,
  scorePairs,
} from "../../train/objectives/preference.ts";
import { AdamW } from "../../train/optimizer.ts";
import type { AlignCase, FixtureJson } from "./align-case.ts";

/** Tokens of a pass: enough for a whole case. */
const WHOLE = 4096;

const pairsOf = ({ prompts, chosen, rejected }: FixtureJson): PreferencePair[] =>
  prompts.map((prompt: number[], i: number) => ({ prompt, chosen: chosen[i], rejected: rejected[i] }));

function updateOf(run: AlignCase, model: CausalLM, pairs: readonly ScoredPair[], options: PreferenceOptions) {
  const objective = preferenceObjective(options);
  const batches = preferenceBatches(pairs, WHOLE).map((batch) => ({
    batch,
    share: batch.batch / pairs.length,
  }));
  return run.update(batches, (batch) => objective(model, batch, {}));
}

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

/** Log-probabilities of tokens, chosen rows first, then rejected ones. */
async function compareTokens(run: AlignCase, model: CausalLM, name: string): Promise<void> {
  const { prompts, chosen, rejected } = run.inputs;
  const completions: number[][] = [...chosen, ...rejected];
  const rows = completions.map((completion, i) => ({ prompt: prompts[i % prompts.length], completion }));
  const { logp, entropy } = run.device.inference(() => scoreCompletions(model, rows, { routing: "batched" }));
  const found = await logp.data();
  const wanted = await run.table(
    name,
    completions.map(({ length }) => length),
  );
  run.comparison.values(name, found, wanted.flat(), run.tolerance.logps_max_abs);
  logp.dispose();
  entropy.dispose();
}

export async function compareDpo(run: AlignCase): Promise<void> {
  const { comparison, inputs, tolerance } = run;
  using model = await run.model();
  using reference = await run.model("reference.safetensors");
  await compareTokens(run, model, "token_logps");
  await compareTokens(run, reference, "ref_token_logps");
  const pairs = await scorePairs(reference, pairsOf(inputs));
  const policy = await scorePairs(model, pairsOf(inputs));
  for (const side of ["chosen", "rejected"] as const) {
    const sums = (scored: readonly ScoredPair[]) => scored.map((pair) => pair.reference[side]);
    const compare = async (name: string, found: readonly number[], bound: number) =>
      comparison.values(name, found, await run.expected(name), bound);
    await compare(`ref_${side}_logps`, sums(pairs), tolerance.logps_max_abs);
    await compare(`${side}_logps`, sums(policy), tolerance.logps_max_abs);
    const rewards = policy.map((pair, i) => inputs.beta * (pair.reference[side] - pairs[i].reference[side]));
    await compare(`reward_${side}`, rewards, 2 * inputs.beta * tolerance.logps_max_abs);
  }
  const margin = ({ reference: { chosen, rejected } }: ScoredPair) => chosen - rejected;
  const logits = policy.map((pair, i) => inputs.beta * (margin(pair) - margin(pairs[i])));
  comparison.values("logit", logits, await run.expected("logit"), 4 * inputs.beta * tolerance.logps_max_abs);
  const { beta, sft_weight: sftWeight, label_smoothing: labelSmoothing } = inputs;
  const cases: readonly [name: string, options: PreferenceOptions, gradients?: string][] = [
    ["sigmoid", {}, "grads.safetensors"],
    ["conservative", { labelSmoothing }],
    ["hinge", { loss: "hinge" }],
    ["ipo", { loss: "ipo" }],
    ["sigmoid_length_normalised", { normalize: true }],
    ["sigmoid_plus_sft", { sftWeight }, "grads_sigmoid_plus_sft.safetensors"],
    ["sigmoid_plus_sft_sequence_mean", { sftWeight, sftAverage: "completion" }],
  ];
  for (const [name, options, gradients] of cases) {
    const { loss, terms } = await updateOf(run, model, pairs, { beta, ...options });
    const compare = async (what: string, found: number) =>
      comparison.values(what, [found], await run.expected(what), tolerance.loss_max_abs);
    await compare(`loss.${name}`, loss);
    if (name === "sigmoid_plus_sft") await compare("loss.sft", terms.sft);
    if (name === "sigmoid") {
      const right = Array.from(await run.expected("logit"), (logit) => (logit > 0 ? 1 : 0));
      comparison.values("accuracy", [terms.accuracy], [mean(right)], 1e-6);
    }
    if (gradients !== undefined) await run.gradients(model, gradients, `grad.${name}.`);
    model.parameters.clearGradients();
  }
}

export async function compareDpoSteps(run: AlignCase): Promise<void> {
  const { comparison, device, inputs, meta, tolerance } = run;
  using model = await run.model();
  const pairs = await scorePairs(model, pairsOf(inputs));
  const { betas, eps, weight_decay: weightDecay, clip_global_norm: clipNorm } = meta.optimizer;
  const settings = { beta1: betas[0], beta2: betas[1], epsilon: eps, weightDecay, clipNorm };
  using optimizer = new AdamW(model.parameters, settings);
  const found = { loss: [] as number[], grad_norm: [] as number[], accuracy: [] as number[] };
  for (const [step, batch] of (inputs.batches as number[][]).entries()) {
    const some = batch.map((i) => pairs[i]);
    const { loss, terms } = await updateOf(run, model, some, { beta: inputs.beta });
    using squared = device.unscoped(() => optimizer.squaredNorm());
    found.loss.push(loss);
    found.grad_norm.push(Math.sqrt(await squared.item()));
    found.accuracy.push(terms.accuracy);
    device.tidy(() => optimizer.step(inputs.learning_rates[step], squared));
    optimizer.clearGradients();
  }
  comparison.values("loss", found.loss, await run.expected("loss"), tolerance.loss_max_abs);
  const norms = { abs: 0, rel: tolerance.grad_norm_rel };
  comparison.bounded("grad_norm", found.grad_norm, await run.expected("grad_norm"), norms);
  // At the first step both rewards are 0 but for rounding, and neither answer leads.
  comparison.values(
    "accuracy",
    found.accuracy,
    await run.expected("accuracy"),
    1e-6,
    "absolute",
    (i) => i > 0,
  );
  for (const { name } of model.parameters.named()) {
    const wanted = await run.expected(name, "final.safetensors");
    const values = await model.parameters.get(name).data();
    comparison.values(`final.${name}`, values, wanted, tolerance.final_param_max_abs);
  }
}
