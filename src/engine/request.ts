/** What is asked of a generation, wherever it runs, and its refusal by name and number. */
import type { TokenModel } from "../models/token-model.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { PromptContents } from "./prompt.ts";
import { checkSampling } from "./sampling.ts";
import type { TokenSamplerOptions } from "./token-sampler.ts";

export interface RequestOptions extends TokenSamplerOptions {
  /** Most tokens to generate, at least 1; an engine takes 0 too. */
  readonly maxTokens: number;
  /** Tokens after which generation ends, themselves included in the output; default: the configuration's EOS. */
  readonly stopIds?: readonly number[];
  /** Seed of all random choices; default 0. */
  readonly seed?: number;
  /** Ends generation before the next pass of the model, without an error. */
  readonly signal?: AbortSignal;
  /** Tokens that exist; rows of a padded head beyond them are never chosen. Default: all rows. */
  readonly vocabularySize?: number;
  /** Draft with the multi-token-prediction module. */
  readonly speculative?: boolean;
  /** Whether tokens carry the experts that the position before them took. */
  readonly experts?: boolean;
  /** Whether tokens say what the pass that gave them shows: drafts, experts with their weights. The tokens stay the same. */
  readonly inside?: boolean;
}

/**
 * `stop`: at a stop id, a stop string, or if a constraint lets nothing follow; `length`: at `maxTokens`;
 * `aborted`: by a signal or by leaving; `failed`: by an error, which the iteration throws.
 */
export type StopReason = "stop" | "length" | "aborted" | "failed";

/** How drafts fared. */
export interface DraftCounts {
  drafted: number;
  accepted: number;
}

/** Refuses a count out of range by name. @throws ConfigError */
export function inRange(where: string, name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const expected =
    most === Number.MAX_SAFE_INTEGER ? `an integer, ${least} or more` : `an integer from ${least} to ${most}`;
  throw new ConfigError("out of range", { where, name, expected, found: value });
}

/** Refuses a count below 1 by name. @throws ConfigError */
export function positive(where: string, name: string, value: number): void {
  inRange(where, name, value, 1, Number.MAX_SAFE_INTEGER);
}

/** @throws ConfigError if a part's embeddings are not what the model reads, or have no hash */
function checkEmbeddings(where: string, { config, device }: TokenModel, { spans }: PromptContents): void {
  for (const { embeddings, hash, start } of spans) {
    const { shape, dtype } = embeddings;
    const name = `embeddings at position ${start}`;
    if (shape.length !== 2 || shape[1] !== config.hiddenSize || dtype !== "f32") {
      throw new ConfigError("embeddings that the model cannot read", {
        where,
        name,
        expected: `f32 [n, ${config.hiddenSize}]`,
        found: `${dtype} [${shape.join(", ")}]`,
      });
    }
    if (embeddings.device !== device) {
      throw new ConfigError("embeddings on another device than the model", { where, name });
    }
    if (typeof hash !== "string" || hash === "") {
      throw new ConfigError("embeddings without a content hash", {
        where,
        name,
        expected: "a text that no other content has, such as SHA-256 of the image and its preprocessing",
        found: hash,
      });
    }
  }
}

/** @throws ConfigError: the model has no experts to report */
export function refuseExperts(where: string, name: string): never {
  throw new ConfigError("the model has no experts to report", {
    where,
    name,
    expected: "a model with layers of experts (n_routed_experts)",
  });
}

/** @throws ConfigError for an id that is none of the model's */
export function checkIds(where: string, { config }: TokenModel, name: string, ids: readonly number[]): void {
  const outside = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < config.vocabSize));
  if (outside === undefined) return;
  throw new ConfigError("token id outside the model's vocabulary", {
    where,
    name,
    expected: `0 to ${config.vocabSize - 1}`,
    found: outside,
  });
}

/** Refuses what cannot be generated, fewer than `least` tokens among it, with the numbers. @throws ConfigError */
export function checkRequest(
  where: string,
  model: TokenModel,
  prompt: PromptContents,
  options: RequestOptions,
  least = 1,
): void {
  const { config } = model;
  const { length } = prompt.tokens;
  const { maxTokens, minTokens = 0, vocabularySize = config.vocabSize, speculative, experts } = options;
  const { logprobs, logitBias = [], stopIds = [] } = options;
  checkSampling(options);
  inRange(where, "maxTokens", maxTokens, least, Number.MAX_SAFE_INTEGER);
  inRange(where, "minTokens", minTokens, 0, maxTokens);
  positive(where, "vocabularySize", vocabularySize);
  if (vocabularySize > config.vocabSize) {
    throw new ConfigError("more tokens than rows of the output head", {
      where,
      name: "vocabularySize",
      expected: `at most ${config.vocabSize}`,
      found: vocabularySize,
    });
  }
  if (typeof logprobs === "number" && !(Number.isInteger(logprobs) && logprobs >= 0)) {
    throw new ConfigError("invalid number of alternatives", {
      where,
      name: "logprobs",
      expected: "an integer, 0 or more",
      found: logprobs,
    });
  }
  checkEmbeddings(where, model, prompt);
  if (length === 0) {
    throw new ConfigError("the prompt is empty", {
      where,
      expected: "at least one token",
      found: 0,
      hint: "Start with the BOS token.",
    });
  }
  checkIds(where, model, "prompt", prompt.tokens);
  checkIds(
    where,
    model,
    "logitBias",
    logitBias.map(([id]) => id),
  );
  if (minTokens > 0) checkIds(where, model, "stopIds", stopIds);
  if (length + maxTokens > config.maxPositions) {
    throw new ConfigError("prompt and new tokens exceed the model's context", {
      where,
      expected: `at most max_position_embeddings = ${config.maxPositions} tokens`,
      found: `${length} + ${maxTokens}`,
      hint:
        length < config.maxPositions
          ? `Set maxTokens to at most ${config.maxPositions - length}, or shorten the prompt.`
          : `Shorten the prompt by at least ${length + 1 - config.maxPositions} tokens.`,
    });
  }
  if (experts && config.moe === null) refuseExperts(where, "experts");
  if (speculative && config.mtpLayers === 0) {
    throw new ConfigError("the model has no multi-token-prediction module to draft with", {
      where,
      name: "speculative",
      expected: "num_nextn_predict_layers of 1 or more, with the weights of that layer in the files",
      found: config.mtpLayers,
      hint: "Disable speculative decoding, or use a checkpoint with that layer; transformers does not save it.",
    });
  }
}
