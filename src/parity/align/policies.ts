/** Policies: losses, gradients and tables of `grpo`, `advantages`, and the terms of `kl-and-clip`. */

import { type PolicyTermsOptions, policyTerms } from "../../tensor/ops/policy-terms.ts";
import { differentiate } from "../../tensor/tape.ts";
import { batchAdvantages, groupAdvantages, processAdvantages } from "../../train/advantages.ts";
import { scoreCompletions } from "../../train/objectives/completions.ts";
import { type PolicyOptions, type PolicyRow, policyObjective } from "../../train/objectives/policy.ts";
import type { AlignCase, FixtureJson } from "./align-case.ts";

/** Single precision, where a fixture was made in double precision from given numbers. */
const SINGLE = { abs: 1e-5, rel: 1e-5 };

export async function compareGrpo(run: AlignCase): Promise<void> {
  const { comparison, device, inputs, tolerance } = run;
  const { group_size: size, completions, prompts, rewards, epsilon, beta } = inputs;
  const lengths: number[] = completions.map(({ length }: number[]) => length);
  const groups: number[][] = prompts.map((_: unknown, g: number) => rewards.slice(g * size, (g + 1) * size));
  using model = await run.model();
  const [old, reference] = [
    await run.table("old_token_logps", lengths),
    await run.table("ref_token_logps", lengths),
  ];
  const rowsOf = (advantages: readonly number[]): PolicyRow[] =>
    completions.map((completion: number[], i: number) => ({
      ...{ prompt: prompts[Math.floor(i / size)], completion, advantage: advantages[i] },
      ...{ old: old[i], reference: reference[i] },
    }));
  const sample = groups.flatMap((each) => groupAdvantages(each));
  for (const [name, file] of [
    ["token_logps", "model.safetensors"],
    ["old_token_logps", "old.safetensors"],
    ["ref_token_logps", "reference.safetensors"],
  ]) {
    using scored = await run.model(file);
    const { logp, entropy } = device.inference(() => scoreCompletions(scored, rowsOf(sample)));
    const wanted = (await run.table(name, lengths)).flat();
    comparison.values(name, await logp.data(), wanted, tolerance.logps_max_abs);
    logp.dispose();
    entropy.dispose();
  }
  const advantages: Record<string, number[]> = {
    population: groups.flatMap((each) => groupAdvantages(each, "population")),
    sample,
    "sample_plus_1e-4": groups.flatMap((each) => groupAdvantages(each, "sample", 1e-4)),
    "sample_plus_1e-6": groups.flatMap((each) => groupAdvantages(each, "sample", 1e-6)),
    mean_only: groups.flatMap((each) => groupAdvantages(each, "mean-only")),
    leave_one_out: groups.flatMap((each) => groupAdvantages(each, "leave-one-out")),
    "batch_sample_plus_1e-4": batchAdvantages(groups, 1e-4).flat(),
  };
  for (const [name, found] of Object.entries(advantages)) {
    const key = `advantages.${name}`;
    comparison.values(key, found, await run.expected(key), tolerance.advantages_max_abs);
  }
  await compareTerms(run, lengths, sample);
  const clip = { clipLow: epsilon, clipHigh: epsilon };
  const constant = { average: "constant", maxTokens: inputs.max_completion_length } as const;
  const higher = { clipLow: epsilon, clipHigh: inputs.epsilon_high_of_dapo, average: "token" } as const;
  const cases: readonly [name: string, options: PolicyOptions, advantages: number[], gradients?: string][] = [
    ["grpo", { ...clip, beta }, sample, "grads.safetensors"],
    ["grpo_without_kl", clip, sample],
    ["token_mean", { ...clip, average: "token", beta }, sample],
    ["dr_grpo", { ...clip, ...constant }, advantages.mean_only, "grads_dr_grpo.safetensors"],
    ["dapo", higher, sample, "grads_dapo.safetensors"],
    ["sequence_ratio", { ...clip, ratio: "sequence" }, sample],
    ["sequence_ratio_length_normalised", { ...clip, ratio: "sequence-mean" }, sample],
  ];
  for (const [name, options, each, gradients] of cases) {
    const objective = policyObjective(options);
    const rows = rowsOf(each);
    const batch = { batch: rows.length, length: 1, rows };
    const { loss } = await run.update([{ batch, share: 1 }], (part) => objective(model, part, {}));
    const key = `loss.${name}`;
    comparison.values(key, [loss], await run.expected(key), tolerance.loss_max_abs);
    if (gradients !== undefined) await run.gradients(model, gradients, `grad.${name}.`);
    model.parameters.clearGradients();
  }
}

/** Ratios, surrogates and k3 of all tokens, from the recorded log-probabilities. */
async function compareTerms(
  run: AlignCase,
  lengths: readonly number[],
  advantages: readonly number[],
): Promise<void> {
  const { comparison, inputs } = run;
  const flat = async (name: string) => (await run.table(name, lengths)).flat();
  const [logp, old, reference] = [
    await flat("token_logps"),
    await flat("old_token_logps"),
    await flat("ref_token_logps"),
  ];
  const each = lengths.flatMap((length, i) => Array<number>(length).fill(advantages[i]));
  const options = { clipLow: inputs.epsilon, clipHigh: inputs.epsilon };
  const terms = await tokenTerms(run, { logp, old, reference, advantages: each }, options);
  // Recorded as it stands in the loss: negative.
  const losses = terms.surrogate.map((value) => -value);
  comparison.bounded("surrogate", losses, await flat("surrogate"), { abs: 1e-4, rel: 1e-4 });
  comparison.bounded("kl_k3", terms.kl, await flat("kl_k3"), { abs: 1e-4, rel: 1e-4 });
  const ratios = await tokenTerms(run, { logp, old, reference: null, advantages: each.map(() => 1) }, OPEN);
  comparison.bounded("ratio", ratios.surrogate, await flat("ratio"), { abs: 1e-4, rel: 1e-4 });
}

/** No clip below or above. */
const OPEN = { clipLow: 1, clipHigh: Number.POSITIVE_INFINITY } satisfies PolicyTermsOptions;

interface TokenInputs {
  readonly logp: readonly number[];
  readonly old: readonly number[] | null;
  readonly reference: readonly number[] | null;
  readonly advantages: readonly number[];
}

/** The terms of tokens that are a sequence each: surrogates, k3, and the gradient of the loss by `logp`. */
async function tokenTerms({ device }: AlignCase, inputs: TokenInputs, options: PolicyTermsOptions) {
  const tensorOf = (values: readonly number[] | null) =>
    values && device.tensor([...values], [values.length]);
  const { length } = inputs.logp;
  const starts = Array.from({ length: length + 1 }, (_, i) => i);
  const logp = device.tensor([...inputs.logp], [length]);
  logp.requiresGrad = true;
  const [old, reference, advantages] = [inputs.old, inputs.reference, inputs.advantages].map(tensorOf);
  const weights = device.tensor(Array<number>(length).fill(1), [length]);
  const whole = differentiate(device, () =>
    policyTerms(logp, { old, reference, advantages: advantages!, weights, starts }, options),
  );
  const kl = Array.from(await whole.kl.data());
  const gradient = Array.from(await logp.grad!.data());
  // The loss is a sum: one token at a time tells their terms.
  const surrogate: number[] = [];
  for (let i = 0; i < length; i++) {
    const one = (values: readonly number[] | null) => values && device.tensor([values[i]], [1]);
    const parts = {
      old: one(inputs.old),
      reference: null,
      advantages: one(inputs.advantages)!,
      weights: device.tensor([1], [1]),
    };
    const single = device.tensor([inputs.logp[i]], [1]);
    const { loss, kl, clipped } = policyTerms(single, { ...parts, starts: [0, 1] }, { ...options, beta: 0 });
    surrogate.push(-(await loss.item()));
    for (const tensor of [loss, kl, clipped, single, ...Object.values(parts)]) tensor?.dispose();
  }
  logp.grad!.dispose();
  for (const tensor of [...Object.values(whole), logp, old, reference, advantages, weights])
    tensor?.dispose();
  return { kl, gradient, surrogate };
}

export async function compareAdvantages(run: AlignCase): Promise<void> {
  const { comparison, inputs, tolerance } = run;
  const expected = await run.expectedJson();
  const bound = tolerance.max_abs;
  inputs.groups.forEach((rewards: number[], i: number) => {
    const wanted = expected.groups[i];
    const found: Record<string, number[]> = {
      population: groupAdvantages(rewards, "population"),
      sample: groupAdvantages(rewards),
      "sample_plus_1e-4": groupAdvantages(rewards, "sample", 1e-4),
      "sample_plus_1e-6": groupAdvantages(rewards, "sample", 1e-6),
      mean_only: groupAdvantages(rewards, "mean-only"),
      leave_one_out: groupAdvantages(rewards, "leave-one-out"),
    };
    for (const [name, values] of Object.entries(found)) {
      comparison.values(`groups.${i}.${name}`, values, wanted[name], bound);
    }
  });
  inputs.process.forEach((steps: number[][], i: number) => {
    const wanted: number[][] = expected.process[i].advantage_from_step;
    comparison.values(`process.${i}`, processAdvantages(steps).flat(), wanted.flat(), bound);
  });
}

export async function compareKlAndClip(run: AlignCase): Promise<void> {
  const { comparison, inputs } = run;
  const { kl, clip } = await run.expectedJson();
  const { logp, ref_logp: reference } = inputs;
  const still = { logp, old: null, reference, advantages: logp.map(() => 0) };
  const free = await tokenTerms(run, still, { beta: 1 });
  comparison.bounded("kl.k3", free.kl, kl.k3, SINGLE);
  comparison.bounded("kl.k3_gradient", free.gradient, kl.k3_gradient, SINGLE);
  const held = await tokenTerms(run, still, { beta: 1, klBound: 20 });
  comparison.bounded("kl.k3_log_ratio_clamped_20", held.kl, kl.k3_log_ratio_clamped_20, SINGLE);
  const { epsilon: clipLow, epsilon_high: high, dual_clip: dualClip } = inputs;
  const ratio: number[] = inputs.ratio;
  for (const wanted of clip as FixtureJson[]) {
    const tokens = {
      ...{ logp: ratio.map(Math.log), old: ratio.map(() => 0), reference: null },
      advantages: ratio.map(() => wanted.advantage as number),
    };
    const compare = async (options: PolicyTermsOptions, objective: string, slope?: string) => {
      const { surrogate, gradient } = await tokenTerms(run, tokens, { clipLow, ...options });
      const label = `clip ${wanted.advantage}.`;
      comparison.bounded(label + objective, surrogate, wanted[objective], SINGLE);
      const negative = gradient.map((value) => -value);
      if (slope !== undefined) comparison.bounded(label + slope, negative, wanted[slope], SINGLE);
    };
    await compare({ clipHigh: clipLow }, "objective", "gradient_of_log_ratio");
    await compare({ clipHigh: high }, "objective_clip_higher", "gradient_clip_higher");
    await compare({ clipHigh: clipLow, dualClip }, "objective_dual_clip_3");
  }
}
