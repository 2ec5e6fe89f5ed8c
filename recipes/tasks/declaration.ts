/**
 * What a recipe on a task is: prompts whose answers can be checked, some with an answer that is shown. Small models of characters
 * are fine-tuned on what is shown and go on from there in arms; `program.ts` runs any of them.
 */
import type { CausalLM } from "../../src/models/causal-lm.ts";
import type { Reward } from "../../src/train/policy/rewards.ts";
import type { Arm, ArmContext, ArmOutcome } from "../shared/program.ts";
import type { TextClaim } from "../text/declaration.ts";
import type { Alphabet } from "./alphabet.ts";

export interface TaskSizes {
  readonly width: number;
  readonly layers: number;
  /** Answers that are shown, a fixed set. */
  readonly demonstrations: number;
  /** Steps of fine-tuning from random weights. */
  readonly steps: number;
  /** Updates of GRPO, their prompts and the completions of each. */
  readonly updates: number;
  readonly groups: number;
  readonly samples: number;
  /** Prompts that the tuned model answers to make pairs of. */
  readonly paired: number;
  /** Steps of DPO, and of fine-tuning on what DPO prefers. */
  readonly preferenceSteps: number;
  /** Held-out prompts of the exam. */
  readonly examined: number;
}

/** A prompt with an answer to learn. */
export interface Demonstration {
  readonly prompt: string;
  readonly answer: string;
}

/** Prompts in parts that share none. */
export interface TaskProblems<Row> {
  /** For the exam, the same for all seeds. */
  readonly heldOut: readonly Row[];
  demonstrations(seed: number): readonly Demonstration[];
  /** Whose answers can only be checked, in an order of the seed's. */
  checked(seed: number): readonly Row[];
}

export type TaskFigures = Pick<ArmOutcome, "scores" | "figures" | "items">;

export type TaskExam<Row> = (task: Task<Row>, context: ArmContext, model: CausalLM) => Promise<TaskFigures>;

export interface Task<Row> {
  readonly alphabet: Alphabet;
  /** Tokens of a packed row, and rows of a step. */
  readonly row: number;
  readonly rows: number;
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  promptOf(row: Row): string;
  /** 1 for what is right; less for what only looks like it. */
  readonly reward: Reward<Row>;
  /** With `--small`, whose models learn no task: what they can meet by chance, such as about the right length. Default: `reward`. */
  readonly smallReward?: Reward<Row>;
  problems(sizes: TaskSizes): TaskProblems<Row>;
  readonly sizes: { readonly usual: TaskSizes; readonly small: TaskSizes; readonly full: TaskSizes };
  /** Asked besides the shares of right answers. */
  readonly exams?: readonly TaskExam<Row>[];
  /** Of what held-out prompts are, shares of greedy answers told apart. */
  readonly kinds?: Readonly<Record<string, (row: Row) => boolean>>;
}

export interface TaskRecipe {
  readonly name: string;
  readonly folder: string;
  readonly title: string;
  /** What a reader must know besides, in Markdown. */
  readonly notes: string;
  readonly seeds: readonly number[];
  readonly arms: readonly Arm[];
  readonly claims: readonly TextClaim[];
  /** Columns of the table. */
  readonly measures: readonly string[];
  /** What `--full` does, as the page says it, and the help. */
  readonly longForm: string;
  readonly fullText: string;
}
