/** The settings of a run that learns from rewards, as `run.json` holds them, and their refusal by name. */
import {
  checkChoice,
  checkKeys,
  checkNumber,
  checkSection,
  type Place,
  refuseValue,
} from "../../tensor/check-value.ts";
import { FormatError } from "../../tensor/errors.ts";
import { checkPolicySettings, type PolicySettings } from "../../train/policy/settings.ts";
import { checkAdapter, checkBase, type TunedAdapter, type TunedBase } from "../tuned/config.ts";
import { checkRewards, type RewardSettings } from "./rewards.ts";

/** Storage of weights that sample: those of training themselves, or a copy that takes them over before each rollout. */
export const SAMPLE_FORMATS = ["f32", "bf16", "q8"] as const;
/** Storage of the reference's weights. */
export const REFERENCE_FORMATS = ["f32", "bf16", "q8"] as const;

export interface PolicyRunConfig {
  /** Tells the run from others. */
  readonly kind: "policy";
  readonly model: TunedBase;
  /** What the prompts came from, for people: the run has a copy of its own. */
  readonly data: readonly string[];
  readonly policy: Omit<PolicySettings, "vocabularySize"> & {
    readonly steps: number;
    readonly seed: number;
    readonly stopIds: readonly number[];
  };
  readonly reward: RewardSettings;
  /** Adapters in place of all weights; what they sample with are the weights that they are trained over. */
  readonly lora?: TunedAdapter;
  readonly sampling: {
    readonly dtype: (typeof SAMPLE_FORMATS)[number];
    /** Most completions that are sampled at a time. */
    readonly together: number;
  };
  readonly reference: (typeof REFERENCE_FORMATS)[number];
  /** Pass rates of held-out prompts, before the first step, after each `every` steps and at the end. */
  readonly evaluation: { readonly every: number; readonly samples: number; readonly ks: readonly number[] };
  /** Steps between saved states, and how many of them are kept. */
  readonly saveEvery: number;
  readonly keep: number;
}

/** Rewards that programs bring beside the built-in ones: a verifier of Lean (`deepseek-ts/prove`). */
export const OTHER_REWARDS = ["lean"] as const;

const MOST_TOGETHER = 1024;

/** Whether a `run.json` is of this kind. */
export const isPolicyRun = (json: unknown): boolean =>
  typeof json === "object" && json !== null && (json as { kind?: unknown }).kind === "policy";

/** @throws ConfigError */
export function checkPolicyRun(place: Place, config: object): asserts config is PolicyRunConfig {
  const fields = config as Readonly<Record<string, unknown>>;
  checkKeys(place, fields, [
    ...[
      "kind",
      "model",
      "data",
      "policy",
      "reward",
      "sampling",
      "reference",
      "evaluation",
      "saveEvery",
      "keep",
      "lora",
    ],
  ]);
  checkChoice(place, "kind", fields.kind, ["policy"]);
  checkBase(place, fields.model);
  if (!Array.isArray(fields.data) || fields.data.some((each) => typeof each !== "string")) {
    refuseValue(place, "data", "a list of names", fields.data);
  }
  const policy = checkSection(place, "policy", fields.policy);
  checkPolicySettings(policy.at, policy.fields);
  checkNumber(policy.at, "steps", policy.fields.steps, { integer: true, min: 1 });
  checkNumber(policy.at, "seed", policy.fields.seed, { integer: true });
  const { stopIds } = policy.fields;
  if (!Array.isArray(stopIds) || !stopIds.every((id) => Number.isSafeInteger(id) && id >= 0)) {
    refuseValue(policy.at, "stopIds", "a list of token ids", stopIds);
  }
  checkRewards(place, fields.reward, OTHER_REWARDS);
  const sampling = checkSection(place, "sampling", fields.sampling);
  checkKeys(sampling.at, sampling.fields, ["dtype", "together"]);
  checkChoice(sampling.at, "dtype", sampling.fields.dtype, SAMPLE_FORMATS);
  if (fields.lora !== undefined) {
    checkAdapter(place, fields.lora);
    if (sampling.fields.dtype !== "f32") {
      refuseValue(
        sampling.at,
        "dtype",
        "f32 with lora: adapters sample over the weights below",
        sampling.fields.dtype,
      );
    }
  }
  checkNumber(sampling.at, "together", sampling.fields.together, {
    integer: true,
    min: 1,
    max: MOST_TOGETHER,
  });
  checkChoice(place, "reference", fields.reference, REFERENCE_FORMATS);
  const evaluation = checkSection(place, "evaluation", fields.evaluation);
  checkKeys(evaluation.at, evaluation.fields, ["every", "samples", "ks"]);
  const { every, samples, ks } = evaluation.fields;
  checkNumber(evaluation.at, "every", every, { integer: true, min: 1 });
  checkNumber(evaluation.at, "samples", samples, { integer: true, min: 1, max: 4096 });
  if (!Array.isArray(ks)) refuseValue(evaluation.at, "ks", "a list of numbers", ks);
  for (const [i, k] of ks.entries()) {
    checkNumber(evaluation.at, `ks[${i}]`, k, { integer: true, min: 1, max: samples });
  }
  checkNumber(place, "saveEvery", fields.saveEvery, { integer: true, min: 1 });
  checkNumber(place, "keep", fields.keep, { integer: true, min: 1 });
}

/** Settings as `run.json` holds them. @throws FormatError, ConfigError naming what is damaged */
export function savedPolicyRun(json: unknown, where: string): PolicyRunConfig {
  if (!isPolicyRun(json)) {
    throw new FormatError("not the settings of a run that learns from rewards", {
      ...{
        where,
        name: "kind",
        expected: "policy",
        found: (json as { kind?: unknown } | null)?.kind ?? "nothing",
      },
    });
  }
  checkPolicyRun({ where }, json as object);
  return json as PolicyRunConfig;
}
