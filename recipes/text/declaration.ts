/**
 * What a recipe on text is: arms that differ in settings of a training run, what is asked of the trained models, and claims with the
 * papers' figures. `program.ts` runs any of them.
 */
import type { Run } from "../../src/runs/run.ts";
import type { CorpusName } from "../corpora.ts";
import type { ArmOutcome } from "../shared/program.ts";
import type { HeldOutScores } from "./held-out.ts";
import type { FileOrder } from "./repository.ts";

/** Settings of a training run, as `--config` takes them. */
export type Settings = Readonly<Record<string, unknown>>;

export interface TextArm {
  readonly name: string;
  /** What it is, for the table. */
  readonly text: string;
  /** Over those of the recipe. */
  readonly settings?: Settings;
  /** Of files, where the recipe has projects (`dependencies`). */
  readonly order?: FileOrder;
  /** Its tokens, as a multiple of the recipe's (1). */
  readonly length?: number;
  /** The arm whose end it goes on from, with its moments, its place in the data and its steps. */
  readonly after?: string;
}

/** A trained arm, and what its exams may look at. */
export interface TrainedArm {
  readonly run: Run;
  readonly heldOut: HeldOutScores;
  readonly seed: number;
  readonly small: boolean;
}

export type TextExam = (trained: TrainedArm) => Promise<Pick<ArmOutcome, "scores" | "figures" | "items">>;

/**
 * How the first arm's measure must lie to the second's: `lower`, `higher`, the `same` within a part of it; or that of the first arm
 * alone between two values.
 */
export type Expectation =
  | { readonly kind: "lower" | "higher" }
  | { readonly kind: "same"; readonly within: number }
  | { readonly kind: "between"; readonly low: number; readonly high: number };

export interface TextClaim {
  readonly claim: string;
  /** The paper's figures. */
  readonly paper: string;
  readonly arm: string;
  /** What it is compared with; none where the claim is of one arm. */
  readonly with?: string;
  /** A figure or a share. */
  readonly measure: string;
  /** Differences as they are, where the other arm's value may be near 0 or below it. */
  readonly absolute?: true;
  readonly expects: Expectation;
}

export interface TextRecipe {
  readonly name: string;
  readonly folder: string;
  readonly title: string;
  /** What a reader must know besides, in Markdown. */
  readonly notes: string;
  readonly corpus: CorpusName;
  /** Over the preset `llm-small`; length of the run, its batch and evaluations left out. */
  readonly settings: Settings;
  /** Sequences of a step. */
  readonly batch: number;
  /** Bytes of a document, cut at ends of lines; absent: a file is one. */
  readonly pieces?: number;
  /** Projects of the corpus that are held out whole, by its name; arms may then order files. */
  readonly heldOutProjects?: Readonly<Record<string, readonly string[]>>;
  /** Tokens of an arm, in the form whose results stand beside the recipe and in the long one. */
  readonly tokens: number;
  readonly full: { readonly tokens: number; readonly corpus: CorpusName; readonly settings: Settings };
  /** Tokens per second of one core, of the slowest arm: turns tokens into minutes. */
  readonly speed: number;
  /** Of a corpus that `npm ci` brought. */
  readonly small: { readonly tokens: number; readonly corpus?: CorpusName; readonly settings: Settings };
  readonly seeds: readonly number[];
  readonly arms: readonly TextArm[];
  readonly exams: readonly TextExam[];
  readonly claims: readonly TextClaim[];
  /** Columns of the table. */
  readonly measures: readonly string[];
}
