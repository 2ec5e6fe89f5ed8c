/** The work that a row is: what it asks of an engine, and what comes of it. */
import type { Engine } from "../engine/engine.ts";
import type { Reward } from "../train/policy/rewards.ts";
import type { MetricValue } from "./metrics.ts";
import type { PromptReader } from "./prompts.ts";
import type { WritingSettings } from "./requests.ts";

/** What a log shows of a row. */
export interface WorkLog {
  /** What is right. */
  readonly target: string;
  /** Each request: what was read, and what was to follow or how it was written. */
  readonly requests: readonly (readonly [read: string, more: unknown])[];
  /** The answer to each: log-likelihood and whether it is the likeliest, or the texts that were written. */
  readonly answers: readonly (readonly (string | number | boolean)[])[];
}

/** What went otherwise than asked, in numbers. */
export interface WorkCounts {
  /** Requests whose beginning did not fit and was left out. */
  readonly shortened?: number;
  /** Texts without a verdict, because the judge had none. */
  readonly unjudged?: number;
  /** Rows that were not judged in time: all of their texts count as wrong. */
  readonly timedOut?: number;
}

/** What came of a piece of work: plain data, which is kept for a later start. */
export interface WorkResult {
  /** By metric. Pairs of several pieces of one row are added up. */
  readonly values: Readonly<Record<string, MetricValue>>;
  readonly counts?: WorkCounts;
  readonly log?: WorkLog;
}

/** A piece of work: a row, or a window of a text. */
export interface Work {
  /** The longest prompt that it reads, by which works with a common beginning are told. */
  readonly prompt: readonly number[];
  /** Tokens that it reads behind that prompt, all requests together. */
  readonly further: number;
  /** Tokens of its longest request, with what may be written. */
  readonly longest: number;
  readonly requests: number;
  run(engine: Engine, signal: AbortSignal): Promise<WorkResult>;
}

/** A judge of what is written. */
export interface EvaluationJudge {
  readonly reward: Reward;
  /** Rewards from here on count as passed; default 1. */
  readonly passReward?: number;
  /** Time for the texts of a row, which are worth nothing after it; default 300. */
  readonly seconds?: number;
  /** Rows that are judged at a time; default 4. */
  readonly parallel?: number;
  /** Field of the row with what is right; default: `key`, else `answer`. */
  readonly key?: string;
}

/** How rows of a model become work. */
export interface WorkSettings {
  readonly reader: PromptReader;
  /** Most tokens that are read at once. */
  readonly maxLength: number;
  /** Of text windows. */
  readonly windowLength: number;
  /** Of answers and of infills. */
  readonly writing: Readonly<Record<"answer" | "infill", WritingSettings>>;
  /** Texts that are written for a row. */
  readonly samples: number;
  /** k of pass@k; empty: it is not asked for. */
  readonly ks: readonly number[];
  readonly judge: EvaluationJudge | null;
  /** Runs judgments, some at a time. */
  readonly judgeInTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly seed: number;
  /** Whether results carry what a log shows. */
  readonly log: boolean;
}
