/** From rows and settings to the folder of a run: everything that can be refused is refused before anything is trained. */
import { join } from "node:path";
import { type HeldOutOptions, heldOutBelow } from "../../data/rows/held-out.ts";
import { stageFolder } from "../../files/folder-sink.ts";
import { makeFolder } from "../../files/temporary.ts";
import { toConfigJson } from "../../models/config.ts";
import type { ModelPlace } from "../../pretrained/node-load.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { PolicyPrompt } from "../../train/policy/prompts.ts";
import { writeJson, writeText } from "../json-file.ts";
import { baseText, readBase } from "./base.ts";
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

/**
 * Reads the model's files and all prompts, and makes the run's folder.
 * @throws ConfigError, FormatError naming the setting, or file, line and field; the signal's reason
 */
export async function preparePolicy(
  draft: PolicyDraft,
  place: ModelPlace,
  sources: AsyncIterable<PromptSource>,
  out: string,
  { heldOut = {}, signal }: { readonly heldOut?: HeldOutOptions; readonly signal?: AbortSignal } = {},
): Promise<PreparedPolicy> {
  // Whatever else is wrong with the settings is found before the data is read.
  checkPolicyRun({ where: "settings" }, { ...draft, policy: { stopIds: [], ...draft.policy } });
  const base = await readBase(place);
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const folder = join(staged.path, BASE);
    await makeFolder(folder);
    const config = { ...toConfigJson(base.config), torch_dtype: "float32" };
    await writeJson(join(folder, "config.json"), config);
    for (const [name, text] of Object.entries(base.files)) await writeText(join(folder, name), text);
    const text = await baseText(folder, base);
    const { maxTokens } = draft.policy;
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
    }
    const below = heldOutBelow(Float64Array.from(hashes), heldOut);
    const train = prompts.filter((_, i) => hashes[i] >= below);
    const held = prompts.filter((_, i) => hashes[i] < below);
    if (train.length === 0) {
      throw new ConfigError("no prompts", { where: draft.data.join(", "), expected: "one or more" });
    }
    await writePrompts(staged.path, TRAIN_PROMPTS, train);
    await writePrompts(staged.path, HELD_OUT_PROMPTS, held);
    const ends = [...base.config.eosTokenIds, ...(chat ? text.template().stopIds : [])];
    const { eos } = text.tokenizer.specialIds;
    const stopIds = draft.policy.stopIds ?? [...new Set([...ends, ...(eos === undefined ? [] : [eos])])];
    const settings: PolicyRunConfig = { ...draft, policy: { ...draft.policy, stopIds } };
    await writeJson(join(staged.path, "run.json"), settings);
    await staged.commit();
    const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    return { prompts: train.length, heldOut: held.length, longest };
  } catch (error) {
    await staged.abort();
    throw error;
  }
}
