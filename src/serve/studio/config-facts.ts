/** What a model is and what it needs, by its configuration; where that lies is the concern of others. Runs in pages too. */
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import type { GgufFile } from "../../checkpoint/gguf/reader.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { countParameters } from "../../models/count.ts";
import { activationBytes, cacheBytes, type MemoryNeed, memoryNeeds } from "../../models/memory-needs.ts";
import { isVisionConfig, parseVisionConfig } from "../../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import { describeVision, partNeeds, visionMemoryNeeds } from "../../models/vision-needs.ts";

export interface ModelFacts {
  readonly architecture: string | null;
  readonly system: string | null;
  readonly parameters: number | null;
  /** Null where the configuration is none that is known here. */
  readonly language: LanguageConfig | null;
  readonly needs: readonly MemoryNeed[];
}

/** Tokens of the context that room is asked for, where none is named: caches take no more than is free. */
const LEAST_CONTEXT = 4096;
export const UNKNOWN: ModelFacts = {
  architecture: null,
  system: null,
  parameters: null,
  language: null,
  needs: [],
};

const LANGUAGE_SYSTEMS: Readonly<Record<string, string>> = {
  llama: "DeepSeek LLM",
  deepseek: "DeepSeekMoE",
  deepseek_v2: "DeepSeek-V2",
  deepseek_v3: "DeepSeek-V3",
  qwen2: "DeepSeek-R1-Distill-Qwen",
};

/** The system whose language models have this `model_type`. */
export const languageSystem = (modelType: string): string | null => LANGUAGE_SYSTEMS[modelType] ?? null;

function visionSystem({ generation, modelType }: VisionLanguageConfig): string {
  if (generation !== null) return generation.kind === "flow" ? "JanusFlow" : "Janus";
  return /vl_v2/.test(modelType) ? "DeepSeek-VL2" : "DeepSeek-VL";
}

/** The machine counts for whether something fits, which is asked when it is opened. */
const ANY_MACHINE = { total: Number.MAX_SAFE_INTEGER, free: Number.MAX_SAFE_INTEGER };

function languageFacts(language: LanguageConfig): Omit<ModelFacts, "architecture"> {
  return {
    system: languageSystem(language.modelType),
    parameters: countParameters(language).total,
    language,
    needs: memoryNeeds(language, ANY_MACHINE),
  };
}

/** Of a `config.json`. */
export function configFacts(json: Record<string, unknown>): ModelFacts {
  const named = Array.isArray(json.architectures) ? json.architectures[0] : json.model_type;
  const architecture = typeof named === "string" ? named.slice(0, 100) : null;
  try {
    if (!isVisionConfig(json)) return { architecture, ...languageFacts(parseConfig(json)) };
    const config = parseVisionConfig(json);
    const model = describeVision(config);
    return {
      ...{ architecture, system: visionSystem(config), language: config.language },
      parameters: partNeeds(model).reduce((sum, { parameters }) => sum + parameters, 0),
      needs: visionMemoryNeeds(model, ANY_MACHINE),
    };
  } catch {
    // A model of another family, or one that this version does not know.
    return { ...UNKNOWN, architecture };
  }
}

/** Of a GGUF file. @throws ConfigError, FormatError for what it says of itself */
export const ggufFacts = (file: GgufFile): ModelFacts => ({
  architecture: "gguf",
  ...languageFacts(parseConfig(ggufConfig(file))),
});

/** Bytes that an open model needs: its weights, one pass, and the cache of its context. @param stored bytes of its weights on disk */
export function neededBytes(
  { needs, language }: ModelFacts,
  stored: number,
  { dtype = "auto", context }: { readonly dtype?: string; readonly context?: number },
): number {
  const weights = needs.find((need) => need.dtype === dtype)?.weights ?? stored;
  if (language === null) return weights;
  const tokens = context ?? Math.min(language.maxPositions, LEAST_CONTEXT);
  return weights + activationBytes(language) + tokens * cacheBytes(language);
}
