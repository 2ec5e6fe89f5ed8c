/** What a model is, by its configuration alone: its system, how many parameters it has, what it needs while it is open. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { weightLayouts } from "../../checkpoint/folder.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { parseJsonObject } from "../../checkpoint/strict-json.ts";
import { readTextFile } from "../../files/text-file.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { countParameters } from "../../models/count.ts";
import { activationBytes, cacheBytes, type MemoryNeed, memoryNeeds } from "../../models/memory-needs.ts";
import { isVisionConfig, parseVisionConfig } from "../../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import { describeVision, partNeeds, visionMemoryNeeds } from "../../models/vision-needs.ts";
import { PROVER_FILE } from "../../prove/prover/settings.ts";

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
/** Bytes of a `config.json` that is looked at. */
const MOST_CONFIG = 4 * 2 ** 20;

const UNKNOWN: ModelFacts = { architecture: null, system: null, parameters: null, language: null, needs: [] };

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

function configFacts(json: Record<string, unknown>): ModelFacts {
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

/** Facts by path, with the time of the file that they are from. */
const known = new Map<string, { readonly changed: number; readonly facts: ModelFacts }>();
const MOST_KNOWN = 1000;

async function remembered(file: string, read: () => Promise<ModelFacts>): Promise<ModelFacts> {
  const changed = await stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  );
  if (changed === null) return UNKNOWN;
  const before = known.get(file);
  if (before?.changed === changed) return before.facts;
  const facts = await read().catch(() => UNKNOWN);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(file, { changed, facts });
  return facts;
}

/** Of a model's folder or GGUF file; what cannot be read has no facts. */
export async function modelFacts(path: string): Promise<ModelFacts> {
  if (/\.gguf$/i.test(path)) {
    return await remembered(path, async () => {
      const file = await openGgufFiles(nodeFolder(dirname(path)), basename(path));
      try {
        return { architecture: "gguf", ...languageFacts(parseConfig(ggufConfig(file))) };
      } finally {
        await file.close();
      }
    });
  }
  const file = join(path, "config.json");
  return await remembered(file, async () => {
    if ((await stat(file)).size > MOST_CONFIG) return UNKNOWN;
    const facts = configFacts(parseJsonObject(await readTextFile(file), file));
    const proves = (await readdir(path)).includes(PROVER_FILE);
    return proves && facts.system !== null ? { ...facts, system: "DeepSeek-Prover" } : facts;
  });
}

/** Bytes of the files of weights in a folder, or of a GGUF file. */
export async function weightFileBytes(path: string): Promise<number> {
  if (/\.gguf$/i.test(path)) return (await stat(path)).size;
  const names = (await readdir(path)).filter((name) => weightLayouts.some(({ files }) => files.test(name)));
  let sum = 0;
  for (const name of names) sum += (await stat(join(path, name))).size;
  return sum;
}

/** Bytes that an open model needs: its weights, one pass, and the cache of its context. */
export async function bytesNeeded(
  path: string,
  { dtype = "auto", context }: { readonly dtype?: string; readonly context?: number },
): Promise<number> {
  const { needs, language } = await modelFacts(path);
  const stored = needs.find((need) => need.dtype === dtype)?.weights ?? (await weightFileBytes(path));
  if (language === null) return stored;
  const tokens = context ?? Math.min(language.maxPositions, LEAST_CONTEXT);
  return stored + activationBytes(language) + tokens * cacheBytes(language);
}
