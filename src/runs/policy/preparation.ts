/** From rows and settings to the folder of a run: everything that can be refused is refused before anything is trained. */
import { join } from "node:path";
import { type HeldOutOptions, heldOutBelow } from "../../data/rows/held-out.ts";
import { stageFolder } from "../../files/folder-sink.ts";
import { makeFolder } from "../../files/temporary.ts";
import type { LanguageConfig } from "../../models/config.ts";
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { PolicyPrompt } from "../../train/policy/prompts.ts";
import { writeJson } from "../json-file.ts";
import { baseReader, type DescribedBase } from "../tuned/base-model.ts";
import { withTemplate } from "../tuned/preparation.ts";
import { checkPolicyRun, type PolicyRunConfig } from "./config.ts";
import {
  encodePrompt,
  HELD_OUT_PROMPTS,
  MOST_PROMPTS,
  type PromptSource,
  TRAIN_PROMPTS,
  writePrompts,
} from "./prompts.ts";
import { builtInParts } from "./rewards.ts";

/** The folder of a run with what its model is: `config.json`, tokenizer, template. */
export const BASE = "base";

/** Prompts between two calls of `onProgress`. */
const PROGRESS = 1000;

/** What is not known before model and data are read; `stopIds` are those that the template adds. */
export type PolicyDraft = Omit<PolicyRunConfig, "policy"> & {
  readonly policy: Omit<PolicyRunConfig["policy"], "stopIds"> & { readonly stopIds?: readonly number[] };
};

export interface PreparedPolicy {
  readonly prompts: number;
  readonly heldOut: number;
  /** Tokens of the longest prompt. */
  readonly longest: number;
}

export interface PrepareOptions {
  /** Which prompts are kept apart; default: a twentieth, 512 at most. */
  readonly heldOut?: HeldOutOptions;
  /** A chat template in place of the model's own: the name of a built-in one, or a Jinja source. */
  readonly template?: string;
  /** Called when everything is read and before the folder is there, with the tokens of the longest prompt; it may refuse. */
  readonly check?: (config: LanguageConfig, longest: number) => void;
  /** Called now and then with the number of prompts read. */
  readonly onProgress?: (prompts: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Encodes all prompts for a model that was described, and makes the run's folder.
 * @throws ConfigError, FormatError naming the setting, or file, line and field; the signal's reason
 */
export async function preparePolicy(
  draft: PolicyDraft,
  base: Pick<DescribedBase, "base" | "config" | "files">,
  sources: AsyncIterable<PromptSource>,
  out: string,
  { heldOut = {}, template, check, onProgress, signal }: PrepareOptions = {},
): Promise<PreparedPolicy> {
  // Whatever else is wrong with the settings is found before the data is read.
  checkPolicyRun({ where: "settings" }, { ...draft, policy: { stopIds: [], ...draft.policy } });
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const folder = join(staged.path, BASE);
    await makeFolder(folder);
    const { name } = base.base;
    await withTemplate(base.files, folder, name, template);
    const text = await baseReader(folder, name);
    const { maxTokens } = draft.policy;
    checkNumber({ where: "settings", prefix: "policy." }, "maxTokens", maxTokens, {
      ...{ integer: true, min: 1, max: base.config.maxPositions - 1 },
    });
    const limits = { maxPositions: base.config.maxPositions, maxTokens };
    const rewards = builtInParts(draft.reward);
    const prompts: PolicyPrompt[] = [];
    const hashes: number[] = [];
    let chat = false;
    for await (const source of sources) {
      signal?.throwIfAborted();
      if (prompts.length === MOST_PROMPTS) {
        throw new ConfigError("too many prompts", {
          where: source.where,
          expected: `at most ${MOST_PROMPTS}`,
        });
      }
      chat ||= typeof source.prompt !== "string";
      prompts.push(encodePrompt(source, text, limits, rewards));
      hashes.push(source.hash);
      if (prompts.length % PROGRESS === 0) onProgress?.(prompts.length);
    }
    const below = heldOutBelow(Float64Array.from(hashes), heldOut);
    const train = prompts.filter((_, i) => hashes[i] >= below);
    const held = prompts.filter((_, i) => hashes[i] < below);
    if (train.length === 0) {
      throw new ConfigError("no prompts", { where: draft.data.join(", "), expected: "one or more" });
    }
    const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    check?.(base.config, longest);
    await writePrompts(staged.path, TRAIN_PROMPTS, train);
    await writePrompts(staged.path, HELD_OUT_PROMPTS, held);
    const ends = [...text.endIds, ...(chat ? text.template!.stopIds : [])];
    const { eos } = text.tokenizer.specialIds;
    const stopIds = draft.policy.stopIds ?? [...new Set([...ends, ...(eos === undefined ? [] : [eos])])];
    const settings: PolicyRunConfig = { ...draft, policy: { ...draft.policy, stopIds } };
    await writeJson(join(staged.path, "run.json"), settings);
    await staged.commit();
    return { prompts: train.length, heldOut: held.length, longest };
  } catch (error) {
    await staged.abort();
    throw error;
  }
}
