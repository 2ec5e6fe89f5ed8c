/** What an evaluation may be told, with what holds where nothing is said. */
import type { ChatTemplate } from "../chat/template.ts";
import type { TokenModel } from "../models/token-model.ts";
import type { CacheDtype } from "../nn/cache.ts";
import { checkNumber } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { fimSentinels } from "../tokenizer/fim.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { atMost } from "../train/policy/at-most.ts";
import { type PromptSettings, SHOT_DELIMITER } from "./prompts.ts";
import type { EvaluationJudge, WorkSettings } from "./work.ts";

/** What is judged. */
export interface EvaluatedModel {
  readonly model: TokenModel;
  readonly tokenizer: Tokenizer;
  /** Null: none that fits, so that messages are refused. */
  readonly template?: ChatTemplate | null;
  /** Further tokens that end what is written, such as those of the generation settings. */
  readonly stopIds?: readonly number[];
}

export interface EvaluationSettings extends PromptSettings {
  /** Examples before each question; default 0. */
  readonly shots?: number;
  /** Rows of each task, from the first one on; default: all. */
  readonly limit?: number;
  /** Sequences of a pass; default 32. */
  readonly batchSize?: number;
  /** Most tokens that are read at once; default: the model's positions, for windows of text 4096 of them at most. */
  readonly maxLength?: number;
  /** Most tokens of what is written; default 256 for answers, 64 for infills. */
  readonly maxTokens?: number;
  /** Texts before which an answer ends; default: an empty line, and with the chat template none. */
  readonly stop?: readonly string[];
  /** Answers to each question; default 1. */
  readonly samples?: number;
  /** k of pass@k; default: 1 and all samples where there are several or a judge, else none. */
  readonly ks?: readonly number[];
  /** Of sampling; default 0, which is greedy, and 1 where there are several samples. */
  readonly temperature?: number;
  /** Default 1. */
  readonly topP?: number;
  /** Of examples and of sampling; default 1234. */
  readonly seed?: number;
  /** Storage of caches; default f32. */
  readonly cacheDtype?: CacheDtype;
}

export const DEFAULT_SEED = 1234;
export const DEFAULT_BATCH = 32;
const DEFAULT_ANSWER_TOKENS = 256;
const DEFAULT_INFILL_TOKENS = 64;
const DEFAULT_WINDOW = 4096;
const MOST_SHOTS = 1000;
const MOST_SAMPLES = 1000;
const MOST_BATCH = 1024;
const JUDGED_TOGETHER = 4;

/** How many examples, rows and sequences there are. */
export interface Extent {
  readonly shots: number;
  readonly limit: number;
  readonly batchSize: number;
}

/** @throws ConfigError naming the setting */
export function extentOf({ shots = 0, limit, batchSize = DEFAULT_BATCH }: EvaluationSettings): Extent {
  const place = { where: "evaluate" };
  checkNumber(place, "shots", shots, { integer: true, min: 0, max: MOST_SHOTS });
  if (limit !== undefined) checkNumber(place, "limit", limit, { integer: true, min: 1 });
  checkNumber(place, "batchSize", batchSize, { integer: true, min: 1, max: MOST_BATCH });
  return { shots, limit: limit ?? Number.POSITIVE_INFINITY, batchSize };
}

/** @throws ConfigError naming the setting */
export function workSettings(
  { model, tokenizer, template = null, stopIds: more = [] }: EvaluatedModel,
  settings: EvaluationSettings,
  judge: EvaluationJudge | null,
  log: boolean,
): WorkSettings {
  const { maxPositions, eosTokenIds, vocabSize } = model.config;
  const { samples = 1, seed = DEFAULT_SEED, topP = 1, chat = false, system, bos } = settings;
  const { temperature = samples > 1 ? 1 : 0, maxLength = maxPositions } = settings;
  const place = { where: "evaluate" };
  checkNumber(place, "samples", samples, { integer: true, min: 1, max: MOST_SAMPLES });
  checkNumber(place, "temperature", temperature, { min: 0 });
  checkNumber(place, "topP", topP, { above: 0, max: 1 });
  checkNumber(place, "seed", seed, { integer: true, min: 0 });
  checkNumber(place, "maxLength", maxLength, { integer: true, min: 2, max: maxPositions });
  const { maxTokens } = settings;
  if (maxTokens !== undefined) {
    checkNumber(place, "maxTokens", maxTokens, { integer: true, min: 1, max: maxLength - 1 });
  }
  if (samples > 1 && temperature === 0) {
    throw new ConfigError("several samples that are all the same", {
      ...{ ...place, name: "temperature", expected: "above 0 for several samples", found: 0 },
    });
  }
  const isAsked = samples > 1 || judge !== null;
  const { ks = isAsked ? [...new Set([1, samples])] : [] } = settings;
  for (const [i, k] of ks.entries()) {
    checkNumber(place, `ks[${i}]`, k, { integer: true, min: 1, max: samples });
  }
  if (judge !== null) {
    const { passReward = 1, seconds = 1, parallel = 1 } = judge;
    checkNumber(place, "passReward", passReward, {});
    checkNumber(place, "seconds", seconds, { above: 0, max: 2_000_000 });
    checkNumber(place, "parallel", parallel, { integer: true, min: 1 });
  }
  if (system !== undefined && !chat) {
    throw new ConfigError("a system message needs the chat template", { ...place, name: "system" });
  }
  if (chat && template === null) {
    throw new ConfigError("the model has no chat template, and none that is built in fits", {
      ...{ ...place, name: "chat" },
    });
  }
  const { stop = chat ? [] : [SHOT_DELIMITER] } = settings;
  // Refused now, and not at the first answer.
  new StopStrings(stop);
  const { eos } = tokenizer.specialIds;
  const ends = [...eosTokenIds, ...more, ...(eos === undefined ? [] : [eos])];
  const answers = chat ? [...ends, ...template!.stopIds] : ends;
  const sentinels = fimSentinels(tokenizer);
  const fitting = (tokens: number) => Math.min(maxTokens ?? tokens, maxLength - 1);
  const common = { temperature, topP, vocabularySize: Math.min(tokenizer.vocabSize, vocabSize) };
  return {
    reader: {
      tokenizer,
      template,
      settings: { chat, ...(system && { system }), ...(bos !== undefined && { bos }) },
    },
    ...{ maxLength, samples, ks, judge, seed, log },
    windowLength: settings.maxLength ?? Math.min(maxPositions, DEFAULT_WINDOW),
    writing: {
      answer: {
        ...common,
        ...{ maxTokens: fitting(DEFAULT_ANSWER_TOKENS), stop, stopIds: [...new Set(answers)] },
        silentIds: sentinels,
      },
      infill: {
        ...common,
        maxTokens: fitting(DEFAULT_INFILL_TOKENS),
        stop: settings.stop ?? [],
        stopIds: [...new Set([...ends, ...sentinels])],
        silentIds: sentinels,
      },
    },
    judgeInTurn: atMost(judge?.parallel ?? JUDGED_TOGETHER),
  };
}
