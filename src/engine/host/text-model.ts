/** What an engine's host needs of a model in addition to its weights: tokenizer, templates, constraints, limits, a description. */
import { modelTemplate } from "../../chat/model-template.ts";
import { controlTokens } from "../../chat/provenance.ts";
import type { ChatTemplate } from "../../chat/template.ts";
import { fromPlain, writeJson } from "../../json/index.ts";
import { countParameters } from "../../models/count.ts";
import type { LoadedModel } from "../../pretrained/load.ts";
import { autoencoderOf, type LoadedDrawing } from "../../pretrained/load-drawing.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { type OutputPart, outputConstraintSlices } from "../constraint/output-constraints.ts";
import type { TokenConstraint } from "../constraint.ts";
import { codeImageSide } from "../draw/code-drawing.ts";
import { flowImageSide } from "../draw/flow-drawing.ts";
import { ImageEncoder } from "../image-encoder.ts";
import { type MachineMemory, planCaches } from "./cache-plan.ts";
import { HELD_BYTES } from "./image-jobs.ts";
import type { HostSettings, ImageOutput, ModelInfo } from "./protocol.ts";
import { type TextModel, toolTemplate } from "./request-plan.ts";
import { callFormat } from "./tool-format.ts";

export interface DescribedModel {
  readonly text: TextModel;
  /** The caller's; null for a model that does not see. */
  readonly images: ImageEncoder | null;
  /** What is known before the engine is there. */
  readonly info: Omit<ModelInfo, "maxBatch" | "maxQueue" | "loadSeconds">;
}

/** Bytes of embeddings kept for later requests. */
const IMAGE_CACHE_BYTES = 256 * 2 ** 20;
/** Compiled constraints kept: requests of one program repeat them. */
const KEPT_CONSTRAINTS = 64;

function constrainer(
  tokenizer: Tokenizer,
  vocabularySize: number,
  endIds: readonly number[],
): TextModel["constrain"] {
  const options = { eosIds: endIds.filter((id) => id < vocabularySize), vocabularySize };
  const kept = new Map<string, TokenConstraint>();
  return function* (part: OutputPart) {
    const key = writeJson(fromPlain(part));
    const constraint = kept.get(key) ?? (yield* outputConstraintSlices(part, tokenizer, options));
    // Taken out and put back at the end: the first is the one used longest ago.
    kept.delete(key);
    kept.set(key, constraint);
    if (kept.size > KEPT_CONSTRAINTS) kept.delete(kept.keys().next().value!);
    return constraint.clone();
  };
}

/** The chat template: the checkpoint's, else the built-in one that fits; null if none does. */
function templateOf(loaded: LoadedModel, tokenizer: Tokenizer): ChatTemplate | null {
  if (loaded.vision !== null || loaded.chatTemplate !== null) return modelTemplate(loaded, tokenizer);
  try {
    return modelTemplate(loaded, tokenizer);
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
    // Where code makes the prompts there is none.
    chat_template: template?.source || null,
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

/** Twelve hexadecimal digits that change with the text. */
async function digest(text: string): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** How a model draws, or why it cannot. */
function imageOutputOf(drawing: LoadedDrawing): ImageOutput {
  const { generation, model } = drawing;
  const { kind } = generation;
  if (kind === "codes") return { kind, size: codeImageSide(model), missing: null };
  try {
    return { kind, size: flowImageSide(model, autoencoderOf(drawing)), missing: null };
  } catch (error) {
    if (!(error instanceof DeepseekError)) throw error;
    return { kind, size: null, missing: error.message };
  }
}

/**
 * Everything about an open model that its host has to know.
 * @param memory of the machine, with the weights loaded; null if it is not known
 * @throws ConfigError if it has no tokenizer, or the settings do not fit it or the machine
 */
export async function describeModel(
  loaded: LoadedModel,
  settings: HostSettings,
  memory: MachineMemory | null,
  onNotice?: (text: string) => void,
): Promise<DescribedModel> {
  const { model, vision, tokenizer } = loaded;
  const { config } = model;
  const { parameters } = vision?.model ?? model;
  if (tokenizer === null) {
    throw new ConfigError("the model has no tokenizer and cannot be served", {
      where: loaded.source.path,
      hint:
        "Put a tokenizer.json next to config.json; transformers writes it from tokenizer.model or from vocab.json and " +
        "merges.txt with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).",
    });
  }
  const { context, cacheTokens, notice } = planCaches(settings, {
    maxPositions: config.maxPositions,
    tokenBytes: model.cacheTokenBytes(settings.cacheDtype, settings.speculative),
    memory: memory && {
      ...memory,
      free: Math.max(0, memory.free - (vision === null ? 0 : IMAGE_CACHE_BYTES + HELD_BYTES)),
    },
  });
  if (notice !== null) onNotice?.(notice);
  const vocabulary = Math.min(tokenizer.vocabSize, config.vocabSize);
  const { eos } = tokenizer.specialIds;
  const endIds = [...new Set([...config.eosTokenIds, ...(eos === undefined ? [] : [eos])])];
  const template = templateOf(loaded, tokenizer);
  const hints = { modelType: config.modelType, name: loaded.name };
  const withTools = toolTemplate(tokenizer, template, hints);
  const stopIds = [...new Set([...endIds, ...(template?.stopIds ?? [])])];
  const { specialIds } = tokenizer;
  const dtype = settings.dtype ?? "auto";
  const identity = JSON.stringify([
    ...[loaded.name, loaded.source, dtype],
    ...(vision === null ? [config] : [vision.model.config]),
  ]);
  const images =
    vision &&
    new ImageEncoder(vision.model, () => vision.imageProcessor(), { cacheBytes: IMAGE_CACHE_BYTES });
  return {
    images,
    text: {
      name: loaded.name,
      images,
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
      architecture: vision?.model.config.modelType ?? config.modelType,
      parameters: vision?.model.parameters.count ?? countParameters(config).total,
      dtype,
      weightBytes: parameters.bytes,
      context,
      cacheTokens,
      vocabulary,
      chat: template !== null,
      tools: withTools !== null,
      imageInput: vision && {
        size: vision.model.imageSize,
        tokens: vision.model.imageTokens(vision.family === "vl2" ? [1, 1] : [0, 0]),
      },
      imageOutput: loaded.drawing && imageOutputOf(loaded.drawing),
      fill: [specialIds.fimBegin, specialIds.fimHole, specialIds.fimEnd].every((id) => id !== undefined),
      fingerprint: `fp_${await digest(identity)}`,
      tokenizer: tokenizerInfo(tokenizer, template, context),
      longestToken: longestToken(tokenizer),
    },
  };
}
