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
  /** Tokens that a prompt and its text may have together (default: no limit). */
  readonly contextTokens?: number;
  /** Number of tokens of a text, without special ones. */
  countTokens(text: string): number;
  /** A text for each prompt, each as soon as it is written, in any order. @throws the signal's reason */
  generate(prompts: readonly string[], options: TextOptions): AsyncIterable<GeneratedText>;
}

/** Tokens of a prompt beside its text's own: one that begins it, and one that is written. */
const BESIDE = 2;

/** Why a model cannot write anything behind a prompt; null if it can. */
export function noRoom(
  generator: Pick<TextGenerator, "contextTokens" | "countTokens">,
  prompt: string,
): string | null {
  const { contextTokens } = generator;
  if (contextTokens === undefined) return null;
  const found = generator.countTokens(prompt) + BESIDE;
  return found <= contextTokens ? null : `the prompt needs ${found} tokens; the model has ${contextTokens}`;
}

/**
 * As `generate`, but a prompt that the model has no room for has an empty text: it spends a generation, and does not end the work on
 * all others.
 */
export async function* generateAll(
  generator: TextGenerator,
  prompts: readonly string[],
  { seeds, ...options }: TextOptions,
): AsyncIterable<GeneratedText> {
  const rooms = new Map<string, boolean>();
  const hasRoom = (prompt: string) => {
    const known = rooms.get(prompt) ?? noRoom(generator, prompt) === null;
    rooms.set(prompt, known);
    return known;
  };
  const asked = [...prompts.keys()].filter((index) => hasRoom(prompts[index]));
  const inside = new Set(asked);
  for (const index of prompts.keys()) {
    if (!inside.has(index)) yield { index, text: "", tokens: 0, end: "length" };
  }
  if (asked.length === 0) return;
  const texts = generator.generate(
    asked.map((index) => prompts[index]),
    { ...options, seeds: asked.map((index) => seeds[index]) },
  );
  for await (const text of texts) yield { ...text, index: asked[text.index] };
}

/** Writes the text of one prompt. Its signal is aborted where nobody wants the text any more. */
export type WriteText = (prompt: string, index: number, signal: AbortSignal) => Promise<GeneratedText>;

/** Texts of prompts that are written together, each as soon as it ends. A reader that leaves early waits until all have stopped. */
export async function* writtenTogether(
  prompts: readonly string[],
  signal: AbortSignal | undefined,
  write: WriteText,
): AsyncIterableIterator<GeneratedText> {
  const stopped = new AbortController();
  const both = signal === undefined ? stopped.signal : AbortSignal.any([signal, stopped.signal]);
  const running = new Map(prompts.map((prompt, index) => [index, write(prompt, index, both)]));
  try {
    while (running.size > 0) {
      const written = await Promise.race(running.values());
      running.delete(written.index);
      yield written;
    }
  } finally {
    stopped.abort(new Error("no longer wanted"));
    await Promise.allSettled(running.values());
  }
}
