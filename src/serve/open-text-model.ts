/** Opens what a server needs of a model: weights on a device, tokenizer, templates, constraints. Node only. */

import { createHash } from "node:crypto";
import { totalmem } from "node:os";
import { builtinFor } from "../chat/builtin.ts";
import { controlTokens } from "../chat/provenance.ts";
import { builtinTemplate, type ChatTemplate, chatTemplate } from "../chat/template.ts";
import { type OutputPart, outputConstraint } from "../engine/constraint/output-constraints.ts";
import type { TokenConstraint } from "../engine/constraint.ts";
import { fromPlain, writeJson } from "../json/index.ts";
import { countParameters } from "../models/count.ts";
import type { LoadDtype, LoadedModel } from "../pretrained/load.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import { formatPercent } from "../text/units.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { planCaches } from "./cache-plan.ts";
import { type TextModel, toolTemplate } from "./job-plan.ts";
import type { EngineSettings, ModelInfo } from "./protocol.ts";
import { callFormat } from "./tool-format.ts";

export interface OpenedModel extends AsyncDisposable {
  readonly loaded: LoadedModel;
  readonly text: TextModel;
  /** What is known before the engine is there. */
  readonly info: Omit<ModelInfo, "maxBatch" | "maxQueue">;
}

/** Compiled constraints kept: requests of one program repeat them. */
const KEPT_CONSTRAINTS = 64;

function constrainer(
  tokenizer: Tokenizer,
  vocabularySize: number,
  endIds: readonly number[],
): TextModel["constrain"] {
  const options = { eosIds: endIds.filter((id) => id < vocabularySize), vocabularySize };
  const kept = new Map<string, TokenConstraint>();
  return (part: OutputPart) => {
    const key = writeJson(fromPlain(part));
    const constraint = kept.get(key) ?? outputConstraint(part, tokenizer, options);
    // Taken out and put back at the end: the first is the one used longest ago.
    kept.delete(key);
    kept.set(key, constraint);
    if (kept.size > KEPT_CONSTRAINTS) kept.delete(kept.keys().next().value!);
    return constraint.clone();
  };
}

/** The chat template: the checkpoint's, else the built-in one that fits; null where none does. */
function templateOf(loaded: LoadedModel, tokenizer: Tokenizer): ChatTemplate | null {
  const hints = { modelType: loaded.model.config.modelType, name: loaded.name };
  if (loaded.chatTemplate !== null) return chatTemplate(tokenizer, loaded.chatTemplate, hints);
  try {
    return builtinTemplate(tokenizer, builtinFor(tokenizer, hints));
  } catch (error) {
    // A base model: it completes texts and does not chat.
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

/** As tokenizer_config.json has it: programs that tokenize by this server read it there. */
function tokenizerInfo(
  tokenizer: Tokenizer,
  template: ChatTemplate | null,
  context: number,
): Readonly<Record<string, unknown>> {
  const { bos, eos, pad } = tokenizer.specialIds;
  const token = (id: number | undefined) => (id === undefined ? null : (tokenizer.tokenOf(id) ?? null));
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: token(bos),
    eos_token: token(eos),
    pad_token: token(pad),
    unk_token: null,
    add_bos_token: bos !== undefined && tokenizer.prefixIds.includes(bos),
    add_eos_token: tokenizer.suffixIds.length > 0,
    model_max_length: context,
    vocab_size: tokenizer.vocabSize,
    chat_template: template?.source ?? null,
  };
}

/** Bytes of the token that spells most. */
function longestToken(tokenizer: Tokenizer): number {
  let longest = 1;
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (tokenizer.tokenOf(id) !== undefined) longest = Math.max(longest, tokenizer.bytesOf(id).length);
  }
  return longest;
}

/** This machine's memory, or what a container leaves of it. */
function machineMemory(): { freeBytes: number; totalBytes: number } {
  const limit = process.constrainedMemory?.() ?? 0;
  const totalBytes = limit > 0 ? Math.min(totalmem(), limit) : totalmem();
  return { totalBytes, freeBytes: Math.min(process.availableMemory?.() ?? totalBytes, totalBytes) };
}

/** Opens the model of `settings`. @throws ConfigError, FormatError, ShapeError, HubError */
export async function openTextModel(
  settings: EngineSettings,
  onProgress?: (text: string) => void,
): Promise<OpenedModel> {
  const started = performance.now();
  const device = await createCpuDevice({ threads: settings.threads });
  try {
    let told = started;
    const loaded = await load(settings.model, {
      device,
      revision: settings.revision,
      file: settings.file,
      offline: settings.offline,
      dtype: (settings.dtype ?? "auto") as LoadDtype,
      onNotice: onProgress,
      onProgress: (progress) => {
        if (performance.now() - told < 2000) return;
        told = performance.now();
        onProgress?.(`${progress.stage}: ${formatPercent(progress.done / (progress.total || 1), 0)}`);
      },
    });
    const { model, tokenizer } = loaded;
    const { config } = model;
    if (tokenizer === null) {
      throw new ConfigError("the model has no tokenizer, so that it cannot be served", {
        where: settings.model,
        hint:
          "Put a tokenizer.json beside config.json; transformers writes it from tokenizer.model or from vocab.json and " +
          "merges.txt with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).",
      });
    }
    const { context, cacheTokens, notice } = planCaches(settings, {
      maxPositions: config.maxPositions,
      tokenBytes: model.cacheTokenBytes(settings.cacheDtype, settings.speculative),
      ...machineMemory(),
    });
    if (notice !== null) onProgress?.(notice);
    const vocabulary = Math.min(tokenizer.vocabSize, config.vocabSize);
    const { eos } = tokenizer.specialIds;
    const endIds = [...new Set([...config.eosTokenIds, ...(eos === undefined ? [] : [eos])])];
    const template = templateOf(loaded, tokenizer);
    const hints = { modelType: config.modelType, name: loaded.name };
    const withTools = toolTemplate(tokenizer, template, hints);
    const stopIds = [...new Set([...endIds, ...(template?.stopIds ?? [])])];
    const { specialIds } = tokenizer;
    const dtype = settings.dtype ?? "auto";
    const identity = JSON.stringify([loaded.name, loaded.source, dtype, config]);
    const { bytes } = model.parameters;
    return {
      loaded,
      text: {
        tokenizer,
        template,
        toolTemplate: withTools,
        callFormat: withTools === null ? null : callFormat(withTools),
        control: new Set([...controlTokens(tokenizer).values(), ...tokenizer.specialTokens]),
        endIds,
        vocabulary,
        context,
        constrain: constrainer(tokenizer, vocabulary, stopIds),
      },
      info: {
        name: loaded.name,
        architecture: config.modelType,
        parameters: countParameters(config).total,
        dtype,
        weightBytes: bytes,
        context,
        cacheTokens,
        vocabulary,
        chat: template !== null,
        tools: withTools !== null,
        fill: [specialIds.fimBegin, specialIds.fimHole, specialIds.fimEnd].every((id) => id !== undefined),
        fingerprint: `fp_${createHash("sha256").update(identity).digest("hex").slice(0, 12)}`,
        tokenizer: tokenizerInfo(tokenizer, template, context),
        longestToken: longestToken(tokenizer),
        loadSeconds: (performance.now() - started) / 1000,
      },
      async [Symbol.asyncDispose]() {
        await loaded.dispose();
        await device[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await device[Symbol.asyncDispose]();
    throw error;
  }
}
