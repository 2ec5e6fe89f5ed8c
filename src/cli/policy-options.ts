/** The settings of a run that learns from rewards, from the options of `deepseek-ts grpo`. */
import { type Command, Option } from "commander";
import { REFERENCE_FORMATS, SAMPLE_FORMATS } from "../runs/policy/config.ts";
import type { PolicyDraft } from "../runs/policy/preparation.ts";
import type { TunedAdapter, TunedBase } from "../runs/tuned/config.ts";
import { ConfigError } from "../tensor/errors.ts";
import { ADVANTAGES } from "../train/advantages.ts";
import { AVERAGES, type PolicyOptions } from "../train/objectives/policy.ts";
import type { PolicySettings } from "../train/policy/settings.ts";
import { SHAPES } from "../train/schedule.ts";
import {
  fraction,
  given,
  naturalNumber,
  notNegative,
  numberThat,
  positiveInteger,
  positiveNumber,
} from "./commands/options.ts";
import { ADAPTER_RATE, loraOption } from "./lora-option.ts";
import {
  COMMANDS_AT_ONCE,
  counts,
  REWARD_NAMES,
  type RewardFlags,
  rewardSettings,
  runsPrograms,
  withRewards,
} from "./policy-rewards.ts";

type Form = Pick<PolicySettings, "advantage" | "equalGroups"> & {
  readonly objective: Pick<PolicyOptions, "average" | "clipLow" | "clipHigh" | "beta">;
};

/** The choices of papers, by name; every option goes before them. */
export const FORMS = {
  // arXiv 2402.03300
  deepseekmath: {
    ...{ advantage: "sample", equalGroups: "keep" },
    objective: { average: "completion", clipLow: 0.2, clipHigh: 0.2, beta: 0.04 },
  },
  // arXiv 2503.20783
  "dr-grpo": {
    ...{ advantage: "mean-only", equalGroups: "keep" },
    objective: { average: "constant", clipLow: 0.2, clipHigh: 0.2, beta: 0 },
  },
  // arXiv 2503.14476
  dapo: {
    ...{ advantage: "sample", equalGroups: "refill" },
    objective: { average: "token", clipLow: 0.2, clipHigh: 0.28, beta: 0 },
  },
  // arXiv 2408.08152
  prover: {
    ...{ advantage: "population", equalGroups: "refill" },
    objective: { average: "completion", clipLow: 0.2, clipHigh: 0.2, beta: 0.02 },
  },
} as const satisfies Record<string, Form>;

export interface PolicyFlags extends RewardFlags {
  readonly steps?: number;
  readonly groups?: number;
  readonly samples?: number;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly rate?: number;
  readonly schedule?: (typeof SHAPES)[number];
  readonly warmup?: number;
  readonly weightDecay?: number;
  readonly form?: keyof typeof FORMS;
  readonly average?: (typeof AVERAGES)[number];
  readonly advantage?: (typeof ADVANTAGES)[number];
  readonly clipLow?: number;
  readonly clipHigh?: number;
  readonly dualClip?: number;
  readonly beta?: number;
  readonly ratio?: NonNullable<PolicyOptions["ratio"]>;
  readonly equalGroups?: NonNullable<PolicySettings["equalGroups"]>;
  readonly mostRefills?: number;
  readonly truncated?: NonNullable<PolicySettings["truncated"]>;
  readonly updates?: number;
  readonly lora?: TunedAdapter;
  readonly sampleDtype?: (typeof SAMPLE_FORMATS)[number];
  readonly referenceDtype?: (typeof REFERENCE_FORMATS)[number];
  readonly together?: number;
  readonly atOnce?: number;
  readonly evaluateEvery?: number;
  readonly evaluateSamples?: number;
  readonly passAt?: readonly number[];
  readonly saveEvery?: number;
  readonly seed?: number;
}

const DEFAULTS = {
  steps: 200,
  groups: 16,
  samples: 8,
  maxTokens: 256,
  rate: 5e-6,
  together: 64,
  atOnce: 4096,
};
const SAVE_EVERY = 20;
const EVALUATE_EVERY = 20;
const EVALUATE_SAMPLES = 8;

const aboveOne = numberThat("a number above 1", (n) => n > 1);

/** Adds the options of rewards, sampling, loss and evaluation. */
export function withPolicy(command: Command): Command {
  const d = DEFAULTS;
  return withRewards(command, REWARD_NAMES)
    .option("--steps <n>", `rollouts with their updates (default: ${d.steps})`, positiveInteger)
    .option("--groups <n>", `prompts of a step (default: ${d.groups})`, positiveInteger)
    .option("--samples <n>", `completions of a prompt (default: ${d.samples})`, positiveInteger)
    .option("--max-tokens <n>", `most tokens of a completion (default: ${d.maxTokens})`, positiveInteger)
    .option("--temperature <t>", "of sampling, and of all probabilities (default: 1)", positiveNumber)
    .option(
      "--rate <r>",
      `peak learning rate (default: ${d.rate}, with --lora ten times; small models take 1e-4 and more)`,
      positiveNumber,
    )
    .addOption(new Option("--schedule <shape>", "of the learning rate (default: constant)").choices(SHAPES))
    .option("--warmup <n>", "steps of linear warm-up (default: 5, half of the run at most)", naturalNumber)
    .option("--weight-decay <w>", "of AdamW (default: 0)", notNegative)
    .addOption(
      new Option(
        "--form <name>",
        "choices of a paper, which the options below replace (default: deepseekmath)",
      ).choices(Object.keys(FORMS)),
    )
    .addOption(new Option("--average <what>", "what the loss is averaged over").choices(AVERAGES))
    .addOption(new Option("--advantage <form>", "how rewards become advantages").choices(ADVANTAGES))
    .option("--clip-low <e>", "how far below 1 ratios count", fraction)
    .option("--clip-high <e>", "how far above 1 ratios count", notNegative)
    .option("--dual-clip <c>", "bound of terms with negative advantages (verl: 3)", aboveOne)
    .option(
      "--beta <b>",
      "weight of the penalty k3 for leaving the model that the run begins with",
      notNegative,
    )
    .addOption(
      new Option("--ratio <of>", "what has a ratio to the sampling policy (default: token)").choices([
        ...["token", "sequence", "sequence-mean"],
      ]),
    )
    .addOption(
      new Option("--equal-groups <what>", "groups of equal rewards: refill is dynamic sampling").choices([
        ...["keep", "skip", "refill"],
      ]),
    )
    .option(
      "--most-refills <n>",
      "with refill: further waves of prompts in a step (default: 4)",
      naturalNumber,
    )
    .addOption(
      new Option("--truncated <what>", "completions cut at the limit (default: keep)").choices([
        "keep",
        "leave-out",
      ]),
    )
    .addOption(loraOption(", and sample with the same"))
    .option("--updates <n>", "updates of a rollout (default: 1)", positiveInteger)
    .addOption(
      new Option(
        "--sample-dtype <dtype>",
        "weights that sample (default: f32, those that are trained)",
      ).choices(SAMPLE_FORMATS),
    )
    .addOption(
      new Option("--reference-dtype <dtype>", "weights of the reference, with --beta (default: f32)").choices(
        REFERENCE_FORMATS,
      ),
    )
    .option(
      "--together <n>",
      `most completions that are sampled at a time (default: ${d.together})`,
      positiveInteger,
    )
    .option("--at-once <n>", `most tokens of one pass of an update (default: ${d.atOnce})`, positiveInteger)
    .option("--evaluate-every <n>", `steps between evaluations (default: ${EVALUATE_EVERY})`, positiveInteger)
    .option(
      "--evaluate-samples <n>",
      `completions of a held-out prompt (default: ${EVALUATE_SAMPLES})`,
      positiveInteger,
    )
    .option("--pass-at <list>", "k of pass@k, with commas (default: 1 and all samples)", counts)
    .option("--save-every <n>", `steps between saved states (default: ${SAVE_EVERY})`, positiveInteger)
    .option("--seed <n>", "seed for prompts and sampling (default: 1)", naturalNumber);
}

/** The settings that the options ask for. @throws ConfigError */
export function policyDraft(model: TunedBase, data: readonly string[], flags: PolicyFlags): PolicyDraft {
  const { lora, sampleDtype } = flags;
  if (lora !== undefined && sampleDtype !== undefined) {
    throw new ConfigError("adapters sample over the weights that they are trained over", {
      ...{ where: "--sample-dtype", found: sampleDtype, hint: "base=.. in --lora stores these weights." },
    });
  }
  const reward = rewardSettings(flags);
  const form: Form = FORMS[flags.form ?? "deepseekmath"];
  const { steps = DEFAULTS.steps, groups = DEFAULTS.groups, samples = DEFAULTS.samples } = flags;
  const { maxTokens = DEFAULTS.maxTokens, schedule = "constant", seed = 1 } = flags;
  const { evaluateSamples = EVALUATE_SAMPLES } = flags;
  const rewardParallel = flags.rewardParallel ?? (runsPrograms(reward) ? COMMANDS_AT_ONCE : undefined);
  const { average, clipLow, clipHigh, dualClip, beta, ratio, temperature } = flags;
  const { equalGroups, mostRefills, truncated, updates, rewardSeconds, passReward, advantage } = flags;
  return {
    ...{ kind: "policy", model, data, reward, reference: flags.referenceDtype ?? "f32" },
    ...(lora !== undefined && { lora }),
    policy: {
      ...{ steps, groups, samples, maxTokens, seed, passTokens: flags.atOnce ?? DEFAULTS.atOnce },
      ...{ advantage: form.advantage, equalGroups: form.equalGroups },
      ...given({
        equalGroups,
        mostRefills,
        truncated,
        updates,
        rewardSeconds,
        passReward,
        advantage,
        rewardParallel,
      }),
      learningRate: {
        peak: flags.rate ?? (lora === undefined ? 1 : ADAPTER_RATE) * DEFAULTS.rate,
        warmupSteps: Math.min(flags.warmup ?? 5, Math.floor(steps / 2)),
        shape: schedule,
      },
      objective: {
        ...form.objective,
        ...given({ average, clipLow, clipHigh, dualClip, beta, ratio, temperature }),
      },
      trainer: { optimizer: { weightDecay: flags.weightDecay ?? 0, clipNorm: 1 } },
    },
    sampling: { dtype: sampleDtype ?? "f32", together: flags.together ?? DEFAULTS.together },
    evaluation: {
      every: flags.evaluateEvery ?? EVALUATE_EVERY,
      samples: evaluateSamples,
      ks: flags.passAt ?? [...new Set([1, evaluateSamples])],
    },
    saveEvery: flags.saveEvery ?? SAVE_EVERY,
    keep: 2,
  };
}
