/** What writes proofs: an engine with a model behind it, or a script in tests. */
import type { GenerationEnd } from "./attempt.ts";

export interface TextOptions {
  /** One for each prompt: the same prompt with the same seed gives the same text. */
  readonly seeds: readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** Strings at which a text ends, themselves left out. */
  readonly stop: readonly string[];
  readonly signal?: AbortSignal;
}

export interface GeneratedText {
  /** Number of its prompt. */
  readonly index: number;
  readonly text: string;
  readonly tokens: number;
  readonly end: GenerationEnd;
}

export interface TextGenerator {
  /** Names the model with its weights: results of another one do not continue a search. */
  readonly model: string;
  /** Number of tokens of a text, without special ones. */
  countTokens(text: string): number;
  /** A text for each prompt, each as soon as it is written, in any order. @throws the signal's reason */
  generate(prompts: readonly string[], options: TextOptions): AsyncIterable<GeneratedText>;
}
